"""Evaluation sets as files."""

import pytest

from service.errors import InvalidInputError
from service.evaluations import read_entries
from service.evaluations.sets import MAX_QUERIES


def refusal(content: bytes, file_format) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        read_entries(content, file_format)
    return caught.value


@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_a_csv_names_text_video_and_span(head):
    content = head + b'Text,Video,start_s,end_s\r\n"a dog, running",walk.mp4,1.5,4\r\na cat,b,,\r\n'

    first, second = read_entries(content, "csv")

    assert (first.text, first.video, first.start_s, first.end_s) == (
        "a dog, running",
        "walk.mp4",
        1.5,
        4.0,
    )
    assert first.is_named
    assert (second.place, second.start_s, second.end_s) == ("line 3", None, None)


def test_json_lines_hold_the_same():
    content = '{"text": "a\u2028dog", "video_id": "x", "start_s": 1, "end_s": 2}\n\n'.encode()

    (entry,) = read_entries(content + b'{"query": "b", "video": "y"}\r\n', "jsonl")[:1]

    assert (entry.text, entry.video, entry.start_s) == ("a\u2028dog", "x", 1.0)


@pytest.mark.parametrize(
    ("content", "file_format", "reason"),
    [
        (b"\xff\xfe", "csv", "bad_file"),
        (b"", "csv", "bad_file"),
        (b"text,clip\na,b\n", "csv", "bad_file"),
        (b'text,video\n"a,b\n', "csv", "bad_file"),
        (b"text,video\na,b,c\n", "csv", "bad_queries"),
        (b"text,video\n,b\n", "csv", "bad_queries"),
        (b"text,video,start_s,end_s\na,b,soon,4\n", "csv", "bad_queries"),
        (b"text,video,colour\na,b,red\n", "csv", "bad_queries"),
        (b"{", "jsonl", "bad_file"),
        (b"[" * 100_000, "jsonl", "bad_file"),
        (b"7", "jsonl", "bad_queries"),
        (b'{"text": "a"}', "jsonl", "bad_queries"),
        (b'{"text": 7, "video": "b"}', "jsonl", "bad_queries"),
        (b'{"text": "a\\u0000", "video": "b"}', "jsonl", "bad_queries"),
        (b'{"text": "a", "video": "\\ud800"}', "jsonl", "bad_queries"),
        (b'{"text": "a", "video": "b", "start_s": true}', "jsonl", "bad_queries"),
        (b'{"text": "a", "video": "b", "start_s": [1]}', "jsonl", "bad_queries"),
        (b"a,b\n" * (MAX_QUERIES + 3), "csv", "bad_file"),
        (b"text,video\n" + b"a,b\n" * (MAX_QUERIES + 1), "csv", "too_many_queries"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(content, file_format, reason):
    assert refusal(content, file_format).reason == reason


def test_the_first_mistakes_are_named_with_their_lines():
    error = refusal(b"text,video\n" + b",b\n" * 9, "csv")

    assert error.detail.startswith("9 of 9 queries cannot be used; nothing was kept. line 2: ")
    assert "line 6" in error.detail
    assert error.detail.endswith("And 4 more.")
