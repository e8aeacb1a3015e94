"""Which segments become one moment, and in which order moments are shown."""

import math
from dataclasses import replace
from uuid import UUID

import pytest

from model.retrieval import sigmoid
from service.catalog.index_queries import LiveSegment
from service.index.faiss_index import Hit
from service.search.moments import (
    MAX_SEGMENTS,
    Candidate,
    best_of_each_video,
    confidence_in,
    describe,
    in_order,
    join_adjoining,
)

VIDEO, OTHER = UUID(int=1), UUID(int=2)


def log_odds(probability):
    return math.log(probability / (1 - probability))


def candidates(*rows, video=VIDEO, first_place=1, length_s=4.0, every_s=4.0):
    """Make candidates from (ordinal, similarity, match probability or None), best first."""
    made = []
    for place, (ordinal, similarity, probability) in enumerate(rows, start=first_place):
        start_s = every_s * ordinal
        segment = LiveSegment(
            video_id=video,
            video_version=1,
            ordinal=ordinal,
            position=ordinal,
            start_s=start_s,
            end_s=start_s + length_s,
            thumbnail_offset=0,
            thumbnail_bytes=1,
            derived="",
            title="title",
            file_name="name.mp4",
            duration_s=400.0,
        )
        hit = Hit(video, 1, video.int, ordinal, similarity)
        odds = None if probability is None else log_odds(probability)
        made.append(
            Candidate(
                hit=hit,
                segment=segment,
                place=place,
                log_odds=odds,
                rerank_score=odds,
                probability=probability,
            )
        )
    return made


def ordinals(made, **options):
    """Return the ordinals of each moment, in the order shown."""
    moments = join_adjoining(in_order(made), **options)
    return [[one.hit.ordinal for one in moment] for moment in moments]


def test_matched_segments_are_ordered_by_the_score_that_the_model_gives_them():
    worse, better = candidates((0, 0.9, 0.6), (10, 0.5, 0.7))
    worse = replace(worse, rerank_score=better.rerank_score + 1)
    assert [one.hit.ordinal for one in in_order([better, worse])] == [0, 10]


def test_matched_segments_come_first_whatever_the_similarity_of_the_rest():
    made = candidates((0, 0.9, None), (10, 0.5, 0.2), (20, 0.4, 0.9))
    assert [one.hit.ordinal for one in in_order(made)] == [20, 10, 0]


def test_adjoining_good_matches_join():
    assert ordinals(candidates((5, 0.5, 0.9), (6, 0.5, 0.8), (4, 0.5, 0.7))) == [[4, 5, 6]]


def test_segments_that_do_not_adjoin_stay_apart():
    assert ordinals(candidates((5, 0.5, 0.9), (7, 0.5, 0.9))) == [[5], [7]]


def test_a_gap_in_time_keeps_consecutive_ordinals_apart():
    assert ordinals(candidates((5, 0.5, 0.9), (6, 0.5, 0.9), every_s=10.0)) == [[5], [6]]


def test_overlapping_segments_join():
    assert ordinals(candidates((5, 0.5, 0.9), (6, 0.5, 0.9), every_s=2.0)) == [[5, 6]]


def test_a_much_worse_neighbour_stays_apart():
    assert ordinals(candidates((5, 0.5, 0.99), (6, 0.5, 0.6))) == [[5], [6]]


def test_two_bad_matches_do_not_join_though_they_are_close():
    assert ordinals(candidates((5, 0.5, 0.3), (6, 0.5, 0.3))) == [[5], [6]]


def test_a_calibrated_model_joins_what_it_is_confident_of():
    made = candidates(
        (5, 0.5, 0.3), (6, 0.5, 0.25), (4, 0.5, 0.15), (9, 0.5, 0.05), (10, 0.5, 0.05)
    )
    assert ordinals(made, good=0.1) == [[5, 6], [4], [9], [10]]


@pytest.mark.parametrize(
    ("probabilities", "least", "is_degraded", "confidence"),
    [
        ([0.2, 0.5], 0.4, False, "confident"),
        ([0.4], 0.4, False, "confident"),
        ([0.2, 0.3], 0.4, False, "none"),
        ([0.3, None], 0.4, False, "none"),
        ([0.3, None], 0.4, True, "unknown"),
        ([0.5, None], 0.4, True, "confident"),
        ([0.2, 0.9], None, False, "unknown"),
        ([None, None], 0.4, False, "unknown"),
        ([], 0.4, False, "unknown"),
    ],
)
def test_an_answer_is_as_confident_as_its_best_match(probabilities, least, is_degraded, confidence):
    made = candidates(*((place, 0.5, value) for place, value in enumerate(probabilities)))
    assert confidence_in(made, least=least, is_degraded=is_degraded) == confidence


def test_without_a_match_similarity_decides():
    made = candidates((5, 0.50, None), (6, 0.46, None), (4, 0.44, None))
    assert ordinals(made) == [[5, 6], [4]]


def test_no_negative_similarity_joins():
    assert ordinals(candidates((5, -0.1, None), (6, -0.1, None))) == [[5], [6]]


def test_a_moment_is_compared_with_its_best_and_does_not_creep():
    falling = [(ordinal, 0.5 * 0.95**ordinal, None) for ordinal in range(6)]
    assert ordinals(candidates(*falling)) == [[0, 1, 2], [3, 4, 5]]


def test_a_whole_video_does_not_melt_into_one_moment():
    parts = ordinals(candidates(*((ordinal, 0.5, None) for ordinal in range(100))))
    assert max(map(len, parts)) == MAX_SEGMENTS
    assert sorted(ordinal for part in parts for ordinal in part) == list(range(100))


def test_segments_of_different_videos_never_join():
    made = candidates((5, 0.5, None)) + candidates((6, 0.5, None), video=OTHER, first_place=2)
    assert ordinals(made) == [[5], [6]]


def test_a_moment_is_described_by_its_best_segment():
    made = candidates((6, 0.6, 0.7), (5, 0.5, 0.9))
    (moment,) = join_adjoining(in_order(made))
    told = describe(moment, rank=3)
    assert (told.start_s, told.end_s, told.segments) == (20.0, 28.0, (5, 6))
    assert told.match_probability == pytest.approx(0.9)
    assert (told.similarity, told.rank, told.retrieval_rank) == (0.6, 3, 1)
    assert told.thumbnail_ordinal == 5


def test_grouping_by_video_keeps_the_best_moment_of_each():
    made = candidates((5, 0.5, None), (9, 0.4, None))
    made += candidates((1, 0.45, None), video=OTHER, first_place=3)
    kept = best_of_each_video(join_adjoining(in_order(made)))
    assert [(moment[0].hit.video_id, moment[0].hit.ordinal) for moment in kept] == [
        (VIDEO, 5),
        (OTHER, 1),
    ]


@pytest.mark.parametrize("odds", [-1000.0, -2.0, 0.0, 3.0, 1000.0])
def test_sigmoid_is_right_and_never_overflows(odds):
    expected = 0.0 if odds == -1000 else 1 / (1 + math.exp(-odds))
    assert sigmoid(odds) == pytest.approx(expected)
