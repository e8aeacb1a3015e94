"""What a text and a span may be, checked once, here."""

import math
import unicodedata
from typing import NamedTuple

from service.errors import InvalidInputError
from service.metadata import FORBIDDEN

MAX_TEXT = 2000
TOLERANCE_S = 0.5
"""How far a span may reach beyond the end of its video; it is cut off there."""


class Span(NamedTuple):
    """A part of a video, seconds with three decimals; both None: the whole video."""

    start_s: float | None = None
    end_s: float | None = None


WHOLE = Span()


def check_text(text: str) -> str:
    """Return a text in NFC, with single blanks between words and none around it.

    Raises:
        InvalidInputError: it is empty, too long, or no plain text.
    """
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    if not 1 <= len(plain) <= MAX_TEXT:
        raise InvalidInputError(f"A text has 1 to {MAX_TEXT} characters; this has {len(plain)}.")
    if not plain.isprintable() and any(unicodedata.category(c) in FORBIDDEN for c in plain):
        raise InvalidInputError("A text must not hold control characters.")
    return plain


def check_span(start_s: float | None, end_s: float | None, duration_s: float | None) -> Span:
    """Return a span within a video.

    A start alone reaches to the end of the video, an end alone begins with it. A span of the whole
    video is kept as none, so that one thing has one form. Spans have milliseconds, as subtitles.

    Args:
        start_s: where it begins, seconds.
        end_s: where it ends, exclusive.
        duration_s: how long the video is; None: nobody knows.

    Raises:
        InvalidInputError: it is empty, negative, not finite, or reaches beyond the video.
    """
    if start_s is None and end_s is None:
        return WHOLE
    start_s = 0.0 if start_s is None else start_s
    length_s = math.inf if duration_s is None else length_of(duration_s)
    end_s = length_s if end_s is None else end_s
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        raise InvalidInputError("A span needs a start and an end, as seconds.")
    if start_s < 0:
        raise InvalidInputError(f"A span begins at 0 s or later; this begins at {start_s:g} s.")
    if end_s > length_s + TOLERANCE_S:
        raise InvalidInputError(f"It ends at {end_s:g} s, but the video after {length_s:g} s.")
    start_s, end_s = round(start_s, 3), min(round(end_s, 3), length_s)
    if start_s >= end_s:
        raise InvalidInputError(f"It begins at {start_s:g} s and ends at {end_s:g} s.")
    return WHOLE if (start_s, end_s) == (0.0, length_s) else Span(start_s, end_s)


def length_of(duration_s: float) -> float:
    """Return the length of a video in whole milliseconds, seconds."""
    return math.floor(duration_s * 1000) / 1000
