"""Cutting videos into spans, and choosing moments inside them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.video.sample_times import sample_times
from model.video.segments import Span, cut

LENGTHS = st.floats(0.1, 60)


def test_a_video_is_cut_into_spans_that_adjoin():
    assert cut(12.0, length_s=4, every_s=4) == [Span(0, 0, 4), Span(1, 4, 8), Span(2, 8, 12)]


def test_a_short_last_span_is_merged_into_the_one_before():
    assert cut(9.9, length_s=4, every_s=4) == [Span(0, 0, 4), Span(1, 4, 9.9)]


def test_a_last_span_of_half_the_length_stays():
    assert cut(10.0, length_s=4, every_s=4)[-1] == Span(2, 8, 10)


def test_a_single_frame_without_duration_gives_one_span():
    assert cut(0.0, length_s=4, every_s=4) == [Span(0, 0, 0)]


def test_overlapping_spans_start_as_often_as_asked():
    assert [span.start_s for span in cut(8.0, length_s=4, every_s=2)] == [0, 2, 4]


@given(st.floats(0.01, 2000), LENGTHS, LENGTHS)
def test_spans_are_numbered_start_at_zero_and_end_with_the_video(duration_s, length_s, every_s):
    spans = cut(duration_s, length_s=length_s, every_s=min(length_s, every_s))

    assert [span.ordinal for span in spans] == list(range(len(spans)))
    assert spans[0].start_s == 0
    assert spans[-1].end_s == pytest.approx(duration_s)
    assert all(span.start_s < span.end_s for span in spans)
    assert all(before.end_s >= after.start_s - 1e-6 for before, after in pairwise(spans))


@pytest.mark.parametrize(
    "arguments", [(-1, 4, 4), (10, 0, 4), (10, 4, 0), (float("nan"), 4, 4), (float("inf"), 4, 4)]
)
def test_nonsense_is_not_cut(arguments):
    duration_s, length_s, every_s = arguments
    with pytest.raises(ValueError, match="cannot cut"):
        cut(duration_s, length_s=length_s, every_s=every_s)


@given(st.floats(0, 1e5), st.floats(0.01, 1e4), st.integers(1, 64))
def test_sampled_moments_lie_inside_the_segment_in_order(start_s, length_s, count):
    times = sample_times(start_s, start_s + length_s, count)

    assert len(times) == count
    assert times == sorted(times)
    assert start_s <= times[0] <= times[-1] < start_s + length_s


def test_moments_are_the_centres_of_equal_bins():
    assert sample_times(2.0, 6.0, 4) == [2.5, 3.5, 4.5, 5.5]


@pytest.mark.parametrize(("end_s", "count"), [(0.5, 3), (2.0, 0)])
def test_nonsense_is_not_sampled(end_s, count):
    with pytest.raises(ValueError, match=r"segment ends|cannot sample"):
        sample_times(1.0, end_s, count)
