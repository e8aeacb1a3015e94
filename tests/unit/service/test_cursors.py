"""A cursor is accepted only as we made it, and only by the list it is of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cursors import decode_cursor, encode_cursor
from service.errors import BadRequestError

SECRET = b"k" * 32


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=50) | st.integers(), max_size=10))
def test_a_position_comes_back_as_it_was(position):
    cursor = encode_cursor(SECRET, "videos", position)
    assert decode_cursor(SECRET, "videos", cursor) == position


@pytest.mark.parametrize("cursor", ["", ".", "a", "a.b", "a.b.c", "ü.ü", "====.====", "x" * 10_000])
def test_nonsense_is_refused(cursor):
    with pytest.raises(BadRequestError) as refused:
        decode_cursor(SECRET, "videos", cursor)
    assert refused.value.reason == "bad_cursor"


def test_a_cursor_that_was_changed_is_refused():
    cursor = encode_cursor(SECRET, "videos", ["2026", 1])
    for place in range(0, len(cursor), 5):
        other = "A" if cursor[place] != "A" else "B"
        with pytest.raises(BadRequestError):
            decode_cursor(SECRET, "videos", cursor[:place] + other + cursor[place + 1 :])


def test_a_cursor_of_another_list_or_installation_is_refused():
    cursor = encode_cursor(SECRET, "videos", 1)
    with pytest.raises(BadRequestError):
        decode_cursor(SECRET, "search", cursor)
    with pytest.raises(BadRequestError):
        decode_cursor(b"x" * 32, "videos", cursor)
