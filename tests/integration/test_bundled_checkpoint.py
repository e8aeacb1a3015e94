"""The checkpoint that comes with the product finds what happens in made-up videos."""

from pathlib import Path

import pytest

from model.bundle import load_bundle
from model.evaluate import evaluate_world

BUNDLE = Path(__file__).parents[2] / "model" / "bundled"
NUM_VIDEOS = 64
MOST_BYTES = 20_000_000


@pytest.fixture(scope="module")
def figures():
    return evaluate_world(load_bundle(BUNDLE), num_videos=NUM_VIDEOS, seed=20)


def test_it_is_small():
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) <= MOST_BYTES


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_the_dual_stream_finds_videos_never_seen(figures, direction):
    assert figures[direction]["dual_stream"]["R@1"] >= 80
    assert figures[direction]["dual_stream"]["R@5"] >= 95


def test_the_fused_pass_ranks_at_least_as_well(figures):
    t2v = figures["t2v"]
    assert t2v["reranked"]["R@1"] >= t2v["dual_stream"]["R@1"]


def test_the_fused_pass_tells_a_video_from_its_reversal(figures):
    assert figures["temporal_order"]["fused"] >= 92
