"""Texts and spans have one form each, and what has none is refused."""

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.captions.checking import MAX_TEXT, WHOLE, Span, check_span, check_text, length_of
from service.errors import InvalidInputError

seconds = st.floats(0, 100) | st.none()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  a cat\tjumps \n", "a cat jumps"),
        ("cafe\u0301", "café"),
        ("eine Katze\u00a0springt", "eine Katze springt"),
        ("猫が跳ぶ", "猫が跳ぶ"),
        ("👩\u200d🔧 mends a car", "👩\u200d🔧 mends a car"),
        ("x" * MAX_TEXT + "   ", "x" * MAX_TEXT),
    ],
)
def test_a_text_is_kept_in_its_plain_form(text, kept):
    assert check_text(text) == kept


@pytest.mark.parametrize("text", ["", "  \n", "x" * (MAX_TEXT + 1), "a\0b", "\x1b[31m", "\ud800"])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(InvalidInputError, match="text"):
        check_text(text)


@given(st.text(max_size=60))
def test_a_checked_text_stays_as_it_is(text):
    try:
        kept = check_text(text)
    except InvalidInputError:
        return
    assert check_text(kept) == kept == unicodedata.normalize("NFC", kept).strip()


@pytest.mark.parametrize(
    ("start_s", "end_s", "kept"),
    [
        (None, None, WHOLE),
        (0, 8, WHOLE),
        (0.0, 8.4, WHOLE),
        (None, 8, WHOLE),
        (0, None, WHOLE),
        (2, None, Span(2, 8)),
        (None, 3, Span(0, 3)),
        (1.23456, 2, Span(1.235, 2)),
        (7, 8.5, Span(7, 8)),
    ],
)
def test_a_span_lies_within_its_video(start_s, end_s, kept):
    assert check_span(start_s, end_s, 8.0) == kept


@pytest.mark.parametrize(
    ("start_s", "end_s", "why"),
    [
        (-1, 2, "0 s or later"),
        (2, 2, "begins"),
        (3, 2, "begins"),
        (1.0001, 1.0002, "begins"),
        (8, None, "begins"),
        (8.2, 8.3, "begins"),
        (1, 8.6, "the video after 8 s"),
        (math.nan, 2, "needs"),
        (1, math.inf, "needs"),
    ],
)
def test_a_span_that_is_none_is_refused(start_s, end_s, why):
    with pytest.raises(InvalidInputError, match=why):
        check_span(start_s, end_s, 8.0)


def test_a_span_of_a_video_of_unknown_length_needs_an_end():
    assert check_span(1, 1000, None) == Span(1, 1000)
    with pytest.raises(InvalidInputError, match="needs"):
        check_span(1, None, None)


@given(seconds, seconds, st.floats(0.1, 50))
def test_a_checked_span_stays_as_it_is(start_s, end_s, duration_s):
    try:
        span = check_span(start_s, end_s, duration_s)
    except InvalidInputError:
        return
    assert check_span(*span, duration_s) == span
    if span != WHOLE:
        assert 0 <= span.start_s < span.end_s <= length_of(duration_s) <= duration_s
