"""CSV and JSON Lines: what is said of which video, line by line."""

import io
import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.pairs import read_pairs
from service.captions.checking import check_text
from service.captions.cues import read_cues
from service.captions.lines import MAX_LINE_CHARS, MAX_LINES, CaptionFormat, read_lines
from service.captions.tables import csv_header, read_csv, read_jsonl, write_csv, write_jsonl
from service.catalog.caption_queries import NamedCaption
from service.catalog.caption_tables import Caption, CaptionSource
from service.errors import InvalidInputError


def from_csv(content, *, needs_video=True):
    data = content if isinstance(content, bytes) else content.encode()
    return list(read_csv(read_lines(io.BytesIO(data), newline=""), needs_video=needs_video))


def from_jsonl(*lines):
    content = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return list(read_jsonl(read_lines(io.BytesIO(content.encode()))))


def plain(record):
    return record.line, record.videos, record.text, record.start_s, record.end_s


def named(text, *, file_name="clip.mp4", start_s=None, end_s=None):
    caption = Caption(
        id=uuid4(),
        video_id=uuid4(),
        text=text,
        start_s=start_s,
        end_s=end_s,
        source=CaptionSource.TYPED,
        created_at=datetime.now(UTC),
    )
    return NamedCaption(caption=caption, file_name=file_name)


CSV = (
    "video,text,start_s,end_s\r\n"
    'clip.mp4,"a cat, and ""a dog""",1,2.5\r\n'
    "\r\n"
    'clip.mp4,"two\r\nlines",,\r\n'
    "clip.mp4,last\r\n"
)


@pytest.mark.parametrize("content", [CSV, "\ufeff" + CSV, CSV.replace("\r\n", "\n")])
def test_csv_is_read_with_the_numbers_of_its_lines(content):
    found = [(one.line, " ".join(one.text.split()), one.start_s) for one in from_csv(content)]

    assert found == [(2, 'a cat, and "a dog"', 1.0), (4, "two lines", None), (6, "last", None)]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_of_other_countries_is_read(delimiter):
    content = delimiter.join(("Text", "Video", "notes")) + "\na, b" + delimiter + "clip.mp4\n"

    (record,) = from_csv(content)

    assert plain(record) == (2, ("clip.mp4",), "a, b", None, None)


@pytest.mark.parametrize("header", ["", "a,b", "text", "video,start_s", "\ud800"])
def test_csv_without_its_columns_is_refused(header):
    with pytest.raises(InvalidInputError, match="names its columns"):
        from_csv(header.encode(errors="surrogatepass") + b"\nx,y\n")


def test_csv_of_one_video_need_not_name_it():
    (record,) = from_csv("text\na cat\n", needs_video=False)

    assert record.videos == ()


def test_a_wrong_row_is_named_and_the_next_is_read():
    content = 'video,text,start_s\nx,a,b\nx,"a"b,1\nx,y,1,2\nx,,1\nx,good,1\n'

    *wrong, good = from_csv(content)

    assert [entry[0] for entry in wrong] == [2, 3, 4, 5]
    for entry, why in zip(wrong, ["not a number", "not CSV", "4 values", "no text"], strict=True):
        assert why in entry[1]
    assert good.text == "good"


def test_json_lines_of_ours_and_of_training_are_read():
    found = from_jsonl(
        {"video": "a.mp4", "text": "one", "start_s": 1, "end_s": 2.5},
        "",
        {"file": "b.mp4", "captions": ["two", "three"], "end_s": None},
        {"video": "unknown", "file": "c.mp4", "caption": "four", "more": 1},
    )

    assert [plain(one) for one in found] == [
        (1, ("a.mp4",), "one", 1.0, 2.5),
        (3, ("b.mp4",), "two", None, None),
        (3, ("b.mp4",), "three", None, None),
        (4, ("unknown", "c.mp4"), "four", None, None),
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("[" * 5000, "not JSON"),
        ("[]", "not a JSON object"),
        ({"video": "a"}, "no text"),
        ({"video": "a", "captions": []}, "no text"),
        ({"video": "a", "captions": "x"}, "no text"),
        ({"video": "a", "text": 7}, "must be strings"),
        ({"video": 7, "text": "a"}, "must be strings"),
        ({"video": "a", "captions": ["x", None]}, "must be strings"),
        ({"video": "a", "text": "x", "start_s": "soon"}, "start_s is not a number"),
        ({"video": "a", "text": "x", "end_s": True}, "end_s is not a number"),
        ({"video": "a", "text": "x", "end_s": [1]}, "end_s is not a number"),
        ('{"video": "a", "text": "x", "end_s": 1' + "0" * 400 + "}", "end_s is not a number"),
    ],
)
def test_a_wrong_line_is_named(line, why):
    ((number, reason), good) = from_jsonl(line, {"video": "a", "text": "good"})

    assert number == 1
    assert why in reason
    assert good.text == "good"


def is_text(text):
    try:
        return check_text(text) == text
    except InvalidInputError:
        return False


texts = st.text(min_size=1, max_size=40).filter(is_text)


@given(st.lists(st.tuples(texts, texts, st.none() | st.integers(0, 10**6)), max_size=5))
def test_what_is_written_is_read(rows):
    captions = [
        named(text, file_name=name, start_s=ms and ms / 1000, end_s=ms and (ms + 1) / 1000)
        for text, name, ms in rows
    ]
    wanted = [
        ((str(one.caption.video_id), one.file_name.strip()), one.caption.text, one.caption.start_s)
        for one in captions
    ]
    for found in (
        from_csv(csv_header() + write_csv(captions)),
        list(read_jsonl(io.StringIO(write_jsonl(captions)))),
    ):
        assert [(one.videos, one.text, one.start_s) for one in found] == wanted


def test_training_reads_an_export(tmp_path):
    listing = tmp_path / "captions.jsonl"
    listing.write_text(write_jsonl([named("a cat", start_s=1.0, end_s=2.0), named("a dog")]))

    first, second = read_pairs(listing, tmp_path)

    assert (first.path.name, first.captions, first.start_s, first.end_s) == (
        "clip.mp4",
        ("a cat",),
        1.0,
        2.0,
    )
    assert second.end_s is None


def test_lines_are_bounded():
    with pytest.raises(InvalidInputError, match="longer than"):
        list(read_lines(io.BytesIO(b"x" * (MAX_LINE_CHARS + 1))))
    with pytest.raises(InvalidInputError, match="more than"):
        list(read_lines(io.BytesIO(b"\n" * (MAX_LINES + 1))))


def test_a_row_and_a_cue_are_bounded_though_they_have_many_lines():
    quoted = 'a,"\n",' * (MAX_LINE_CHARS // 6 + 1)
    with pytest.raises(InvalidInputError, match="begins in line 2 is longer"):
        from_csv("video,text\n" + quoted)
    for form in ("vtt", "srt"):
        content = "WEBVTT\n\n" + "x\n" * (MAX_LINE_CHARS + 1)
        with pytest.raises(InvalidInputError, match="begins in line 3 is longer"):
            list(read_cues(io.StringIO(content), CaptionFormat(form)))


def test_the_file_stays_open_for_another_reading():
    file = io.BytesIO(b"a\nb\n")

    assert next(read_lines(file)) == "a\n"
    assert list(read_lines(file)) == ["a\n", "b\n"]
