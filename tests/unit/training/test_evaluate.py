"""Ranks and recall, as the field counts them."""

from pathlib import Path

import numpy as np
import pytest

from model.evaluate import Recall, text_to_video_ranks, video_to_text_ranks

FIXTURE = Path(__file__).parents[2] / "data" / "parity" / "fixture-aux.npz"


@pytest.mark.parametrize("case", ["a", "b"])
def test_recall_is_that_of_the_reference(case):
    with np.load(FIXTURE) as arrays:
        similarity = arrays[f"metrics/{case}/sims"]
        expected = {name: arrays[f"metrics/{case}/{name}"] for name in ("t2v", "v2t")}
    found = {
        "t2v": Recall.of(text_to_video_ranks(similarity)),
        "v2t": Recall.of(video_to_text_ranks(similarity)),
    }
    for name, (r1, r5, r10, _, median, _) in expected.items():
        assert found[name].r1 == pytest.approx(r1)
        assert found[name].r5 == pytest.approx(r5)
        assert found[name].r10 == pytest.approx(r10)
        assert found[name].median_rank == pytest.approx(median)


def test_an_answer_that_all_videos_share_counts_as_found_by_text_but_not_by_video():
    level = np.zeros((4, 4), np.float32)
    assert text_to_video_ranks(level).tolist() == [0, 0, 0, 0]
    assert video_to_text_ranks(level).tolist() == [1.5] * 4
