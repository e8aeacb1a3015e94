"""Name what a file is by its first bytes, to refuse it with a reason that helps."""

import re
from typing import NamedTuple

HEAD_BYTES = 4096


class Signature(NamedTuple):
    """First bytes, and what they are."""

    pattern: re.Pattern[bytes]
    reason: str
    name: str


def _starts(pattern: bytes, reason: str, name: str) -> Signature:
    return Signature(re.compile(rb"\A(?:\xef\xbb\xbf)?\s*" + pattern, re.DOTALL), reason, name)


SIGNATURES = (
    _starts(rb"\xff\xd8\xff", "still_image", "a JPEG picture"),
    _starts(rb"\x89PNG", "still_image", "a PNG picture"),
    _starts(rb"BM.{4}\0\0\0\0", "still_image", "a BMP picture"),
    _starts(rb"(?:II\*\0|MM\0\*)", "still_image", "a TIFF picture"),
    _starts(rb"RIFF.{4}WEBP", "still_image", "a WebP picture"),
    _starts(rb".{4}ftyp(?:heic|heix|mif1|avif|avis)", "still_image", "a HEIF picture"),
    _starts(rb"GIF8", "container_not_allowed", "an animated GIF"),
    _starts(rb"#EXTM3U", "container_not_allowed", "an HLS playlist"),
    _starts(rb"ffconcat", "container_not_allowed", "an ffconcat script"),
    _starts(rb"(?:<\?xml[^>]*>\s*)?<MPD", "container_not_allowed", "a DASH manifest"),
    _starts(rb"v=0\r?\n", "container_not_allowed", "an SDP session"),
    _starts(rb"\[playlist\]", "container_not_allowed", "a playlist"),
    _starts(rb"RIFF.{4}WAVE", "no_video_stream", "a sound file"),
    _starts(rb"(?:ID3|fLaC)", "no_video_stream", "a sound file"),
)


def recognise(head: bytes) -> Signature | None:
    """Return what the first bytes of a file are, if it is a thing that we refuse."""
    return next((known for known in SIGNATURES if known.pattern.match(head)), None)
