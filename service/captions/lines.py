"""Files of captions as they are read: lines in, what is said or what is wrong out."""

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from io import TextIOWrapper
from typing import BinaryIO

from service.errors import InvalidInputError

MAX_LINE_CHARS = 1024 * 1024
MAX_LINES = 1_000_000
ENCODING = "utf-8-sig"
"""UTF-8, with a byte order mark or without."""


class CaptionFormat(StrEnum):
    """A kind of file that captions come and go in."""

    CSV = "csv"
    JSONL = "jsonl"
    VTT = "vtt"
    SRT = "srt"

    @property
    def needs_video(self) -> bool:
        """Whether a file of it is about one video, which it does not name."""
        return self in {CaptionFormat.VTT, CaptionFormat.SRT}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One caption as a file has it; nothing of it was checked yet.

    Attributes:
        line: where it begins.
        videos: what names the video, the first that is known counts; none: the file has none.
        text: what is said.
        start_s: where its span begins, seconds.
        end_s: where it ends.
    """

    line: int
    videos: tuple[str, ...]
    text: str
    start_s: float | None
    end_s: float | None


class BadLineError(Exception):
    """A line that is no caption; the message says why."""


def read_lines(file: BinaryIO, *, newline: str | None = None) -> Generator[str]:
    """Yield the lines of a file; bytes that are not UTF-8 become lone surrogates.

    Close the iterator before the file.

    Args:
        file: from its start.
        newline: as `open` has it.

    Raises:
        InvalidInputError: there are too many lines, or one is too long.
    """
    file.seek(0)
    text = TextIOWrapper(file, ENCODING, errors="surrogateescape", newline=newline)
    try:
        number = 0
        while line := text.readline(MAX_LINE_CHARS + 1):
            number += 1
            if number > MAX_LINES:
                raise InvalidInputError(
                    f"The file has more than {MAX_LINES} lines. Send it in parts.",
                    reason="too_many_lines",
                )
            check_length(number, len(line))
            yield line
    finally:
        text.detach()  # the file is the caller's


def check_length(number: int, num_chars: int) -> None:
    """Refuse a line, or what begins with it, if it is longer than any caption.

    Raises:
        InvalidInputError: it is.
    """
    if num_chars > MAX_LINE_CHARS:
        raise InvalidInputError(
            f"What begins in line {number} is longer than {MAX_LINE_CHARS} characters.",
            reason="line_too_long",
        )
