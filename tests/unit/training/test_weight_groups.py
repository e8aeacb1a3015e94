"""What is frozen stays, what only texts pass learns at its own rate."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from model.all_in_one.network import build
from model.clover.network import build as build_clover
from model.weight_groups import freeze, parameter_groups
from tests.factories_training import ALL_IN_ONE, CLOVER, PLAN, batch_of, native_training


def moved(training):
    before = {name: value.clone() for name, value in training.network.named_parameters()}
    list(islice(training.run(batch_of(step) for step in range(2)), 2))
    now = training.network.named_parameters()
    return {name for name, value in now if not torch.equal(value, before[name])}


def start(frozen, plan=PLAN):
    fresh = native_training(plan)
    freeze(fresh.network, frozen)
    return type(fresh)(recipe=fresh.recipe, plan=plan)


@pytest.mark.parametrize(
    ("part", "table"),
    [
        ("text", "text_embeddings.word_embeddings.weight"),
        ("video", "transformer.patch_embed.proj.weight"),
        ("transformer.blocks.0.", "transformer.blocks.0.attn.qkv.weight"),
    ],
)
def test_what_is_frozen_stays_and_the_rest_learns(part, table):
    changed = moved(start([part]))
    assert table not in changed
    assert {"transformer.blocks.1.attn.qkv.weight", "itm_score.fc.weight"} <= changed


def test_both_families_know_what_belongs_to_text_and_what_to_video():
    for network in (build(ALL_IN_ONE), build_clover(CLOVER)):
        assert freeze(network, ["text"]) > 3
        kept = {name for name, value in network.named_parameters() if not value.requires_grad}
        assert any("word_embeddings" in name for name in kept)
        assert freeze(network, ["video"]) > 3
        kept = {name for name, value in network.named_parameters() if not value.requires_grad}
        assert any("patch_embed" in name for name in kept)
        assert not any("word_embeddings" in name for name in kept)


@pytest.mark.parametrize("part", ["words", ""])
def test_a_part_that_is_not_there_is_refused_with_those_that_are(part):
    with pytest.raises(ValueError, match=r"text, video, or .* text_embeddings, token_type"):
        freeze(build(ALL_IN_ONE), [part])


def test_freezing_everything_is_refused():
    network = build(ALL_IN_ONE)
    with pytest.raises(ValueError, match="nothing would be learned"):
        freeze(network, {name.split(".")[0] for name, _ in network.named_parameters()})


def test_texts_learn_at_their_own_rate():
    training = native_training(replace(PLAN, text_rate=0.5))
    list(islice(training.run([batch_of(0)]), 1))
    rates = {
        id(value): group["lr"]
        for group in training.optimizer.param_groups
        for value in group["params"]
    }
    network = training.network
    table, patches = network.text_embeddings.word_embeddings, network.transformer.patch_embed.proj
    assert rates[id(table.weight)] == pytest.approx(0.5 * rates[id(patches.weight)])


def test_alike_rates_make_the_groups_that_checkpoints_know():
    training = native_training()
    groups = parameter_groups(training.recipe.parts, 0.02, 1.0)
    assert [group["weight_decay"] for group in groups] == [0.02, 0.0]
