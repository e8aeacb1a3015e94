"""The costs of training plans: those that were counted on the published network, and our passes."""

import pytest
import torch

from bench._passes import SIZES, Inputs, count_gmac
from bench._plans import PLANS, pass_costs
from model.all_in_one.network import assemble

# Counted once on the official network, base, 3 frames, without patches and without naming words;
# with VTC there every text is read three times, once a frame: 10.3 instead of 3.4.
PUBLISHED = {
    "native: MLM, VTM": 127,
    "native and VTC": 190 - 10.3 + 3.4,
    "Clover, all passes": 239,
    "Clover without v_m": 186,
}


@pytest.fixture(scope="module")
def network():
    with torch.device("meta"):
        return assemble(SIZES["base"])


@pytest.mark.parametrize("plan", PUBLISHED)
def test_plans_cost_what_was_counted_on_the_published_network(network, plan):
    with torch.device("meta"):
        passes = pass_costs(network, count_gmac, is_whole=True)
    passes = {**passes, "patches": 0, "words": 0}
    assert PLANS[plan].cost(passes) == pytest.approx(PUBLISHED[plan], abs=1)


def test_a_plan_is_the_sum_of_its_passes(network):
    with torch.device("meta"):
        given = Inputs(SIZES["base"], 1, "meta")
        passes = pass_costs(network, count_gmac, is_whole=False)

        def step():
            words, visual = (
                network.text_tokens(given.ids, given.mask),
                network.visual_tokens(given.frames),
            )
            partly = network.visual_tokens(given.frames)
            for text in (words, words):
                network.embed_words(text, given.mask)
            network.embed_visual(visual)
            network.join(words, given.mask, partly)
            return network.mlm_logits(network.join(words, given.mask, visual).text[0, :6])

        assert count_gmac(step) == pytest.approx(PLANS["Clover without v_m"].cost(passes))
