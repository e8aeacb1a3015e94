"""WebVTT and SubRip (.srt): cues, each with a span and a text.

WebVTT is <https://www.w3.org/TR/webvtt1/>. SubRip has no specification: a number, times with a
comma, lines of text with a little HTML, an empty line.
"""

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from service.captions.lines import BadLineError, CaptionFormat, Record, check_length
from service.errors import InvalidInputError

HEADER = re.compile(r"WEBVTT(?:[ \t].*)?")
NO_CUE = re.compile(r"(?:NOTE(?:[ \t].*)?|STYLE[ \t]*|REGION[ \t]*)")
ARROW = "-->"
TIME = r"(?:([0-9]{1,4}):)?([0-5]?[0-9]):([0-5]?[0-9])[.,]([0-9]{3})"
TIMES = re.compile(rf"[ \t]*{TIME}[ \t]*-->[ \t]*{TIME}(?:[ \t].*)?")
VTT_TAG = re.compile(r"<[a-z0-9/][^<>]*>", re.IGNORECASE)
SRT_TAG = re.compile(
    r"</?(?:[bisucv]|font|lang|ruby|rt)(?:[ .][^<>]*)?>|\{\\[^{}]*\}|\{/?[bisu]\}", re.IGNORECASE
)
REFERENCE = re.compile(r"&(?:[a-z][a-z0-9]{1,31}|#[0-9]{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "{": "&#123;"})


def read_cues(lines: Iterable[str], form: CaptionFormat) -> Iterator[Record | tuple[int, str]]:
    """Yield the cues of a file that have a text, or line and reason of what is none.

    Raises:
        InvalidInputError: the file is not WebVTT, though it should be.
    """
    blocks = _blocks(lines, form)
    if form is CaptionFormat.VTT:
        _line, header = next(blocks, (0, [""]))
        if not HEADER.fullmatch(header[0]):
            raise InvalidInputError("A WebVTT file begins with WEBVTT.", reason="not_webvtt")
    for line, block in blocks:
        if form is CaptionFormat.VTT and NO_CUE.fullmatch(block[0]) and not _has_times(block):
            continue
        try:
            record = _read_cue(line, block, form)
        except BadLineError as error:
            yield line, str(error)
            continue
        if record.text:
            yield record


def write_cue(number: int, start_s: float, end_s: float, text: str, form: CaptionFormat) -> str:
    """Return a cue as a file of this form has it, with the empty line behind it."""
    times = f"{_clock(start_s, form)} {ARROW} {_clock(end_s, form)}"
    if form is CaptionFormat.VTT:
        return f"{times}\n{text.translate(ESCAPES)}\n\n"
    is_plain = plain_text(text, form) == text and ARROW not in text
    return f"{number}\n{times}\n{text if is_plain else text.translate(ESCAPES)}\n\n"


def plain_text(text: str, form: CaptionFormat) -> str:
    """Return the text of a cue without markup and with the characters that references stand for."""
    tag = VTT_TAG if form is CaptionFormat.VTT else SRT_TAG
    return REFERENCE.sub(lambda found: html.unescape(found.group()), tag.sub("", text)).strip()


def _blocks(lines: Iterable[str], form: CaptionFormat) -> Iterator[tuple[int, list[str]]]:
    """Yield what stands between empty lines, with the number of its first line.

    In WebVTT a line of blanks is a part of the text, and some programs write such lines.
    """
    block: list[str] = []
    number = num_chars = 0
    for number, line in enumerate(lines, start=1):
        content = line.rstrip("\n")
        if content if form is CaptionFormat.VTT else content.strip():
            block.append(content)
            num_chars += len(content)
            check_length(number - len(block) + 1, num_chars)
        elif block:
            yield number - len(block), block
            block, num_chars = [], 0
    if block:
        yield number - len(block) + 1, block


def _has_times(block: Sequence[str]) -> bool:
    return any(ARROW in line for line in block)


def _read_cue(line: int, block: Sequence[str], form: CaptionFormat) -> Record:
    place = 0 if ARROW in block[0] else 1
    found = TIMES.fullmatch(block[place]) if place < len(block) else None
    if found is None:
        raise BadLineError("There is no line with two times, as 00:00:01.000 --> 00:00:02.500.")
    text = block[place + 1 :]
    if _has_times(text):
        raise BadLineError("An empty line must stand before the next cue.")
    parts = found.groups()
    return Record(
        line=line,
        videos=(),
        text=plain_text(" ".join(text), form),
        start_s=_seconds(*parts[:4]),
        end_s=_seconds(*parts[4:]),
    )


def _seconds(hours: str | None, minutes: str, seconds: str, milliseconds: str) -> float:
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return (whole * 1000 + int(milliseconds)) / 1000


def _clock(seconds: float, form: CaptionFormat) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, seconds_left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    mark = "," if form is CaptionFormat.SRT else "."
    return f"{hours:02d}:{minutes:02d}:{seconds_left:02d}{mark}{milliseconds:03d}"
