"""The parts of the gate, on answers that can be counted by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.bundle import load_bundle
from model.clip_store import ClipStore
from model.gate.gallery import Cut, GalleryError, GallerySegment, read_gallery, refuse
from model.gate.pairs import HeldOut, HeldOutPair, gather
from model.gate.progress import Parts
from model.gate.report import AS_SEARCHED, BY_SIMILARITY, final, judge, queries, rows
from model.gate.search import rank_first
from model.measure import no_progress
from model.metrics import Ranking
from tests.factories_model import TINY_PREPROCESSING


def ranking(ranks, groups=None):
    """Make the answers to queries, each of a group of its own."""
    ranks = np.asarray(ranks, np.float64)
    return Ranking(
        ranks, 1 / np.log2(ranks + 2), np.arange(len(ranks)) if groups is None else groups
    )


def held_out(count, num_groups=None):
    """Make texts of as many videos."""
    pairs = tuple(
        HeldOutPair(video_id=str(number), path=Path(f"{number}.mp4"), text=f"text {number}")
        for number in range(count)
    )
    groups = np.arange(count) % (num_groups or count)
    return HeldOut(pairs, np.arange(count), pairs, groups, (), count)


def better(count):
    """Make a base that always misses and a candidate that finds two of three."""
    return ranking([3] * count), ranking([0, 0, 2] * (count // 3))


def test_better_where_the_whole_interval_is_above_zero():
    verdict = judge(held_out(30), *better(30))
    assert verdict.outcome == "better"
    assert "from 0.0 to 66.7 % (+66.7 points" in verdict.why


def test_worse_where_it_is_below():
    base, candidate = better(30)
    assert judge(held_out(30), candidate, base).outcome == "worse"


def test_no_difference_where_it_holds_zero():
    base, candidate = ranking([0, 1] * 15), ranking([1, 0] * 15)
    assert judge(held_out(30), base, candidate).outcome == "no_difference"


def test_nineteen_texts_are_not_enough_to_tell_and_twenty_are():
    base, candidate = ranking([3] * 20), ranking([0] * 20)
    assert judge(held_out(20), base, candidate).outcome == "better"
    few = (ranking([3] * 19), ranking([0] * 19))
    assert judge(held_out(19), *few).outcome == "not_enough_to_tell"


def test_thirty_texts_of_four_videos_are_not_enough_to_tell():
    assert judge(held_out(30, num_groups=4), *better(30)).outcome == "not_enough_to_tell"


@pytest.mark.parametrize(
    ("missing", "name"), [("base", "The base model"), ("candidate", "The candidate")]
)
def test_what_cannot_search_is_not_compared(missing, name):
    given = {"base": ranking([0] * 30), "candidate": ranking([0] * 30)} | {missing: None}
    verdict = judge(held_out(30), **given)
    assert verdict.outcome == "not_enough_to_tell"
    assert verdict.why.startswith(f"{name} has no joint space")


def test_differences_are_candidate_less_base():
    base, candidate = better(30)
    found = {row["metric"]: row for row in rows({AS_SEARCHED: base}, {AS_SEARCHED: candidate})}
    assert found["R@1"]["difference"] == pytest.approx(66.67)
    assert found["R@1"]["low"] > 0
    assert (found["MdR"]["base"], found["MdR"]["candidate"]) == (4.0, 1.0)
    assert found["MdR"]["difference"] == -3.0
    assert found["MdR"]["high"] <= 0


def test_what_one_model_cannot_do_is_null():
    base, candidate = better(30)
    found = rows({BY_SIMILARITY: base}, {BY_SIMILARITY: candidate, AS_SEARCHED: candidate})
    alone = [row for row in found if row["stream"] == "reranked"]
    assert {row["base"] for row in alone} == {None}
    assert {row["difference"] for row in alone} == {None}
    assert all(row["candidate"] is not None for row in alone)


def test_a_model_without_a_matcher_is_judged_by_its_dual_stream():
    dual, reranked = better(30)
    assert final({BY_SIMILARITY: dual}) is dual
    assert final({BY_SIMILARITY: dual, AS_SEARCHED: reranked}) is reranked
    assert final({}) is None


def test_queries_come_by_how_much_they_changed():
    found = queries(held_out(3), ranking([5, 0, 1]), ranking([0, 2, 1]))
    assert [(query["text"], query["outcome"]) for query in found] == [
        ("text 0", "won"),
        ("text 1", "lost"),
        ("text 2", "same"),
    ]
    assert (found[0]["rank_before"], found[0]["rank_after"]) == (6, 1)


def test_the_first_right_segment_counts_and_equals_are_in_its_favour():
    scores = np.array([[0.9, 0.8, 0.7], [0.5, 0.5, 0.5], [0.1, 0.2, 0.3]])
    is_right = np.array([[False, True, True], [False, False, True], [True, False, False]])
    found = rank_first(scores, is_right, np.arange(3))
    assert found.ranks.tolist() == [1, 0, 2]
    ideal = 1 + 1 / np.log2(3)
    assert found.gains == pytest.approx([(1 / np.log2(3) + 0.5) / ideal, 1.0, 0.5])


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        rank_first(np.array([[np.nan]]), np.array([[True]]), np.arange(1))


@pytest.mark.parametrize(
    ("span", "is_shown"),
    [
        ((None, None), True),
        ((3.0, 4.5), True),
        ((3.0, 4.4), False),
        ((7.6, 8.2), True),
        ((7.9, 8.5), False),
        ((7.0, None), True),
    ],
)
def test_a_segment_shows_a_moment_if_they_overlap_enough(span, is_shown):
    segment = GallerySegment(
        video_id="a", ordinal=1, start_s=4.0, end_s=8.0, clips_path=Path("clips"), position=1
    )
    pair = HeldOutPair(video_id="a", path=Path("a"), text="", start_s=span[0], end_s=span[1])
    assert segment.answers(pair) is is_shown
    assert not segment.answers(replace(pair, video_id="b"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"frame_size": 64, "resize_short": 76, "frames_per_clip": 6}, None),
        ({"frames_per_clip": 2}, "stored clips have 2 frames"),
        ({"fit": "squash"}, "made square by squash"),
        ({"frame_size": 16, "resize_short": 19}, "show less"),
        ({"frame_size": 64, "resize_short": 128}, "show less"),
    ],
)
def test_clips_that_show_less_than_a_model_reads_are_refused(bundle_dir, changes, message):
    spec = load_bundle(bundle_dir).spec
    reason = refuse(replace(Cut.of(spec), **changes), spec)
    assert (reason is None) == (message is None)
    assert message is None or message in reason


def test_of_very_many_texts_whole_groups_are_drawn(tmp_path):
    pairs = [
        HeldOutPair(video_id=f"{number // 3}", path=tmp_path / "gone.mp4", text=f"{number}")
        for number in range(300)
    ]
    store = ClipStore(tmp_path, TINY_PREPROCESSING, workers=1)
    found = gather(pairs, [store], seed=0, progress=no_progress, most_texts=31)
    assert (len(found.left_out), len(found.pairs), found.num_asked) == (10, 0, 300)


def test_a_damaged_gallery_file_is_refused(tmp_path):
    (tmp_path / "gallery.jsonl").write_text('{"cut": {"frames_per_clip": 4}}\n')
    with pytest.raises(GalleryError, match="cannot be used"):
        read_gallery(tmp_path / "gallery.jsonl")


def test_progress_never_goes_back():
    told = []
    parts = Parts(lambda _what, done, of: told.append((done, of)))
    parts.begin(0.0, 0.5)("pairs matched", 9, 10)
    parts.begin(0.1, 0.2)("clips embedded", 1, 10)
    parts.begin(0.5, 1.0)("pairs matched", 10, 10)
    assert [done for done, _of in told] == sorted(done for done, _of in told)
    assert told[-1] == (1000, 1000)
