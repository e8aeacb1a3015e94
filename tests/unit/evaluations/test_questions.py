"""Which segment answers a question, and how queries of the same text become one."""

from uuid import uuid4

import pytest

from service.catalog.evaluation_queries import QueryRecord
from service.evaluations import RightMoment, questions_of

VIDEO = uuid4()


def query(text="a red circle", video_id=VIDEO, *, is_gone=False, start_s=None, end_s=None):
    return QueryRecord(
        ordinal=0,
        text=text,
        video_id=video_id,
        title="a video",
        start_s=start_s,
        end_s=end_s,
        is_gone=is_gone,
    )


@pytest.mark.parametrize(
    ("span", "segment", "is_right"),
    [
        ((None, None), (0, 4), True),
        ((3.0, 9.0), (4, 8), True),
        ((3.0, 9.0), (0, 4), True),  # a second of it
        ((3.5, 9.0), (0, 4), True),  # half a second is enough
        ((3.6, 9.0), (0, 4), False),
        ((3.8, 4.2), (0, 4), True),  # half of what is short is enough
        ((3.9, 4.3), (0, 4), False),
        ((8.0, 9.0), (4, 8), False),  # it begins where the segment ends
    ],
)
def test_a_segment_is_right_when_it_shows_enough_of_the_moment(span, segment, is_right):
    moment = RightMoment(video_id=VIDEO, start_s=span[0], end_s=span[1])

    assert moment.holds(*segment) is is_right


def test_queries_of_one_text_are_one_question_with_several_answers():
    other = uuid4()
    queries = [query("a"), query("b"), query("a", other, start_s=1.0, end_s=2.0)]

    first, second = questions_of(queries)

    assert (first.text, second.text) == ("a", "b")
    assert [moment.video_id for moment in first.moments] == [VIDEO, other]
    assert first.moments[1].end_s == 2.0


def test_a_question_lives_as_long_as_one_of_its_videos():
    half, none = questions_of(
        [query("half", is_gone=True), query("half", uuid4()), query("none", is_gone=True)]
    )

    assert (len(half.moments), half.num_gone, half.is_gone) == (1, 1, False)
    assert (none.num_gone, none.is_gone) == (1, True)
