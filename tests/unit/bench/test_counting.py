"""The multiply-adds that shares of a machine's peak are reckoned from."""

from dataclasses import replace

import pytest
import torch

from bench._passes import SIZES, Inputs, build, count_gmac, count_passes

# Counted once on the official networks: thousand million multiply-adds of one item at 224 px with
# 40 tokens: text, video of 1 and 3 frames, fused of 1, 3 and 9 frames, 3 with patches kept.
PUBLISHED = {
    "tiny": (0.220, 1.254, 3.761, 1.546, 4.638, 13.91, 4.551),
    "small": (0.864, 4.624, 13.87, 5.634, 16.90, 50.70, 16.73),
    "base": (3.427, 17.56, 52.69, 21.28, 63.84, 191.5, 63.50),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_whole_passes_cost_what_the_published_networks_cost(size):
    text, video_1, video_3, fused_1, fused_3, fused_9, kept_3 = PUBLISHED[size]
    with torch.device("meta"):
        for num_frames, video, fused in ((1, video_1, fused_1), (3, video_3, fused_3)):
            network, given = make(size, num_frames)
            counted = count_gmac(lambda n=network, g=given: n.video_features(g.frames))
            assert counted == pytest.approx(video, rel=5e-4)
            counted = count_gmac(lambda n=network, g=given: match_whole(n, g))
            assert counted == pytest.approx(fused, rel=5e-4)
        assert count_gmac(lambda: network.text_features(given.ids, given.mask)) == pytest.approx(
            text, rel=2e-3
        )
        visual = network.visual_tokens(given.frames)
        counted = count_gmac(lambda: network.fuse(given.ids, given.mask, visual))
        assert counted == pytest.approx(kept_3, rel=5e-4)
        network, given = make(size, 9)
        assert count_gmac(lambda: match_whole(network, given)) == pytest.approx(fused_9, rel=5e-4)


def make(size, num_frames):
    dims = replace(SIZES[size], frames=num_frames)
    return build(dims), Inputs(dims, 1, "meta")


def match_whole(network, given):
    fused = network.fuse(given.ids, given.mask, network.visual_tokens(given.frames))
    return network.match_logits(fused)


def test_serving_saves_most_of_the_last_block():
    counted = count_passes(SIZES["base"])
    text, video, fused = (PUBLISHED["base"][i] for i in (0, 2, 4))
    for name, whole in (("text", text), ("video", video), ("fused", fused)):
        assert 11 / 12 * whole < counted[name] < 0.95 * whole


def test_a_training_step_costs_three_times_its_forward_passes():
    counted = count_passes(SIZES["tiny"])
    forward = counted["text"] + counted["video"] + counted["fused"]
    assert counted["train"] == pytest.approx(3 * forward, rel=0.05)


def test_clover_is_counted_as_well():
    counted = count_passes(SIZES["clover-small"])
    assert 0 < counted["video"] < counted["fused"] < counted["train"] / 3
