"""Cursors survive the way to the client and back, and nothing else passes for one."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalog.index_queries import VideoFilter
from service.cursors import MAX_CURSOR
from service.errors import BadRequestError
from service.search import pages
from service.search.pages import Page
from service.search.request import SearchRequest, make_plan
from service.settings import Settings

KEY = b"k" * 32
shown = st.dictionaries(
    st.integers(1, 2**40), st.frozensets(st.integers(0, 20_000), max_size=20), max_size=30
)


def plan(**options):
    return make_plan(SearchRequest(**{"text": "a dog", **options}), Settings())


def page(**options):
    return Page(generation_id=UUID(int=7), epoch="e", seq=9, digest=plan().digest, **options)


@given(shown=shown, num_shown=st.integers(0, 10**6))
def test_a_cursor_brings_back_the_page(shown, num_shown):
    made = page(shown=shown, num_shown=num_shown)
    assert pages.decode(pages.encode(made, KEY), plan(), KEY) == made


@given(data=st.data())
def test_an_altered_cursor_is_refused(data):
    cursor = pages.encode(page(shown={3: frozenset({1, 2})}), KEY)
    place = data.draw(st.integers(0, len(cursor) - 1))
    character = data.draw(st.characters().filter(lambda one: one != cursor[place]))
    with pytest.raises(BadRequestError):
        pages.decode(cursor[:place] + character + cursor[place + 1 :], plan(), KEY)


@given(text=st.text(max_size=60))
def test_what_is_no_cursor_is_refused(text):
    with pytest.raises(BadRequestError):
        pages.decode(text, plan(), KEY)


def test_a_cursor_of_another_installation_is_refused():
    with pytest.raises(BadRequestError):
        pages.decode(pages.encode(page(), b"x" * 32), plan(), KEY)


@pytest.mark.parametrize(
    "other",
    [
        {"text": "a cat"},
        {"candidates": 17},
        {"rerank_depth": 3},
        {"group_by": "video"},
        {"filter": VideoFilter(tags=["x"])},
        {"filter": VideoFilter(video_ids=[])},
    ],
)
def test_a_cursor_of_another_search_is_refused(other):
    with pytest.raises(BadRequestError):
        pages.decode(pages.encode(page(), KEY), plan(**other), KEY)


@pytest.mark.parametrize("same", [{"limit": 50}, {"deadline_ms": 5}, {"text": "  a dog "}])
def test_what_does_not_change_the_list_may_change_between_pages(same):
    assert pages.decode(pages.encode(page(), KEY), plan(**same), KEY) == page()


def test_a_cursor_after_the_most_that_can_be_shown_is_not_too_long():
    every = {100 * number: frozenset({number % 3000}) for number in range(1, 10_001)}
    cursor = pages.encode(page(shown=every, num_shown=10_000), KEY)
    assert len(cursor) < MAX_CURSOR
    assert pages.decode(cursor, plan(), KEY).shown == every
