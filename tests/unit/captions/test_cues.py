"""WebVTT and SubRip as they are found in the wild are read, and what we write others read, too."""

import io

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.captions.checking import check_text
from service.captions.cues import plain_text, read_cues, write_cue
from service.captions.lines import CaptionFormat, read_lines
from service.errors import InvalidInputError

FORMS = [CaptionFormat.VTT, CaptionFormat.SRT]
HEADERS = {CaptionFormat.VTT: "WEBVTT\n\n", CaptionFormat.SRT: ""}
PARTS = ["a", "b", " ", "&", "<", ">", "{", "}", "\\", ";", "#", "1", "-->", "amp", "<i>", "é", "/"]


def read(content, form):
    """Return (line, start, end, text) of cues, and (line, reason) of what is none."""
    data = content if isinstance(content, bytes) else content.encode()
    return [
        entry
        if isinstance(entry, tuple)
        else (entry.line, entry.start_s, entry.end_s, " ".join(entry.text.split()))
        for entry in read_cues(read_lines(io.BytesIO(data)), form)
    ]


VTT = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: red }

NOTE
a comment

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Mary>Hello &amp; <i>good</i> morning
- to <00:00:02.000><c.red>you</c>

NOTE --> no
00:00:03.000 --> 00:00:04.000
1 &lt; 2

1:00:00.000 --> 1:00:01.250
 \nbehind a line of blanks

00:00:05.000 --> 00:00:06.000
"""


def test_webvtt_is_read_without_its_markup():
    assert read(VTT, CaptionFormat.VTT) == [
        (10, 1.0, 2.5, "Hello & good morning - to you"),
        (15, "There is no line with two times, as 00:00:01.000 --> 00:00:02.500."),
        (19, 3600.0, 3601.25, "behind a line of blanks"),
    ]


SRT = """\ufeff1\r
00:00:01,000 --> 00:00:02,500\r
{\\an8}<font color="#fff">Hello</font> <b>you</b>\r
\r
2\r
00:00:03,000 --> 00:00:04,000 X1:40 X2:600\r
1 < 2 & 3 > 2\r
 \r
00:00:05,000 --> 00:00:06,000\r
no number\r
"""


def test_subrip_is_read_without_its_markup():
    assert read(SRT, CaptionFormat.SRT) == [
        (1, 1.0, 2.5, "Hello you"),
        (5, 3.0, 4.0, "1 < 2 & 3 > 2"),
        (9, 5.0, 6.0, "no number"),
    ]


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("just a text", "no line with two times"),
        ("1\n00:00:61,000 --> 00:01:02,000\nx", "no line with two times"),
        ("1\n00:00:01 --> 00:00:02\nx", "no line with two times"),
        ("1\n00:00:01,000 -> 00:00:02,000\nx", "no line with two times"),
        ("a\nb\n00:00:01,000 --> 00:00:02,000\nx", "no line with two times"),
        (
            "00:00:01,000 --> 00:00:02,000\nx\n2\n00:00:03,000 --> 00:00:04,000\ny",
            "An empty line must stand",
        ),
    ],
)
def test_a_block_that_is_no_cue_is_named_and_the_next_is_read(block, why):
    ((line, reason), good) = read(
        f"{block}\n\n7\n00:00:08,000 --> 00:00:09,000\ngood\n", CaptionFormat.SRT
    )

    assert line == 1
    assert why in reason
    assert good[1:] == (8.0, 9.0, "good")


@pytest.mark.parametrize(
    "content", ["", "webvtt\n", "WEBVTTX\n", "1\n00:00:01.000 --> 00:02.000\n"]
)
def test_a_file_that_is_no_webvtt_is_refused(content):
    with pytest.raises(InvalidInputError, match="begins with WEBVTT"):
        read(content, CaptionFormat.VTT)


@pytest.mark.parametrize("content", ["WEBVTT", "\ufeffWEBVTT\r\n", "WEBVTT\tx\r\rNOTE x\r"])
def test_a_webvtt_file_may_have_no_cues(content):
    assert read(content, CaptionFormat.VTT) == []


@pytest.mark.parametrize("form", FORMS)
def test_bytes_that_are_no_text_do_no_harm(form):
    content = HEADERS[form].encode() + b"00:00:01.000 --> 00:00:02.000\n\xff\xfe\x80\n"
    ((_line, _start, _end, text),) = read(content, form)

    with pytest.raises(InvalidInputError):
        check_text(text)


@pytest.mark.parametrize("form", FORMS)
@given(parts=st.lists(st.sampled_from(PARTS), min_size=1, max_size=12))
def test_every_text_survives_a_file(form, parts):
    text = " ".join("".join(parts).split())
    if not text:
        return
    content = HEADERS[form] + write_cue(1, 1.5, 2.0, text, form) + write_cue(2, 2, 3, "b", form)

    first, second = read(content, form)

    assert first[1:] == (1.5, 2.0, text)
    assert second[1:] == (2.0, 3.0, "b")


@pytest.mark.parametrize("form", FORMS)
@given(st.text(max_size=50))
def test_markup_is_taken_away_in_no_time_and_once(form, text):
    assert isinstance(plain_text(text, form), str)
    assert plain_text("<" * 20_000 + text, form)


@pytest.mark.parametrize("form", FORMS)
def test_ffmpeg_reads_what_we_write(form):
    content = HEADERS[form] + "".join(
        write_cue(n, 3600.0 * n + 1.25, 3600.0 * n + 2.5, f"text {n}", form) for n in range(3)
    )

    with av.open(io.BytesIO(content.encode()), format="webvtt" if form == "vtt" else "srt") as file:
        packets = [one for one in file.demux(subtitles=0) if one.size]

    found = [(p.pts * p.time_base, p.duration * p.time_base, bytes(p).decode()) for p in packets]
    assert found == [(3600 * n + 1.25, 1.25, f"text {n}") for n in range(3)]
