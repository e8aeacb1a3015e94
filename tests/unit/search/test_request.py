"""What may be searched for."""

import pytest

from service.catalog.index_queries import VideoFilter
from service.errors import InvalidInputError
from service.search.request import MAX_TEXT_CHARS, SearchRequest, make_plan, normalise
from service.settings import Settings


@pytest.mark.parametrize(
    "text", ["", "   ", "\n\t", "a\x00b", "a\nb", "\x7f", "x\ud800", "x" * (MAX_TEXT_CHARS + 1)]
)
def test_text_that_cannot_be_searched_for_is_refused(text):
    with pytest.raises(InvalidInputError):
        normalise(text)


@pytest.mark.parametrize(
    "text", ["x", "x" * MAX_TEXT_CHARS, "ein Hund läuft", "犬が走る", "👩‍👧 waves"]
)
def test_text_of_any_language_is_taken(text):
    assert normalise(text) == text


def test_text_is_stripped_and_composed():
    assert normalise("  cafe\u0301 ") == "café"


def test_settings_fill_in_what_the_request_leaves_open():
    settings = Settings(search_candidates=50, rerank_depth=7, search_deadline_ms=1500)
    plan = make_plan(SearchRequest(text="x"), settings)
    assert (plan.candidates, plan.rerank_depth, plan.deadline_s) == (50, 7, 1.5)


def test_zero_is_not_left_open():
    assert make_plan(SearchRequest(text="x", rerank_depth=0), Settings()).rerank_depth == 0


def test_there_are_never_fewer_candidates_than_the_page_holds():
    assert make_plan(SearchRequest(text="x", candidates=5, limit=20), Settings()).candidates == 20


def test_no_tags_are_no_filter_but_no_ids_are():
    def is_empty(**options):
        request = SearchRequest(text="x", filter=VideoFilter(**options))
        return make_plan(request, Settings()).filter.is_empty

    assert is_empty(tags=[])
    assert not is_empty(video_ids=[])
