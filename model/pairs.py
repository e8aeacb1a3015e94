"""Videos with captions in a JSON Lines file: what training on one's own footage reads.

One object a line: `{"file": "cat.mp4", "caption": "a cat jumps onto a table"}`, with `captions` (a
list) in place of `caption` where there are several, and `start_s` and `end_s` where only a part of
the video is meant. Other keys are ignored.
"""

import json
import math
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.preprocessing import Preprocessing
from model.video.clips import ClipReader, ClipShape
from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.segments import Span

THUMBNAIL_PX = 32
"""Decoding makes one with every clip; training throws it away."""
LONGEST_CAPTION = 10_000


class PairsError(ValueError):
    """The file cannot be used; the message names the file and the line."""


@dataclass(frozen=True, kw_only=True)
class VideoPair:
    """A clip and what is said about it.

    Attributes:
        path: the video.
        captions: at least one; training draws one of them each time.
        start_s: where the clip begins, seconds from the start of the video.
        end_s: where it ends; None: with the video.
        line: of the file that named it, for messages.
        ordinals: what each caption is called if it may be taken back later; empty: none may.
    """

    path: Path
    captions: tuple[str, ...]
    start_s: float = 0.0
    end_s: float | None = None
    line: int = 0
    ordinals: tuple[int, ...] = ()

    def left(self, forgotten: Container[int]) -> tuple[str, ...]:
        """Return the captions that were not taken back."""
        if not self.ordinals:
            return self.captions
        both = zip(self.captions, self.ordinals, strict=True)
        return tuple(caption for caption, ordinal in both if ordinal not in forgotten)

    def without(self, forgotten: Container[int]) -> "VideoPair":
        """Return the pair as if captions that were taken back had never been; maybe without any."""
        ordinals = tuple(ordinal for ordinal in self.ordinals if ordinal not in forgotten)
        return replace(self, captions=self.left(forgotten), ordinals=ordinals)


def read_pairs(listing: Path, folder: Path) -> list[VideoPair]:
    """Read pairs from a JSON Lines file.

    Args:
        listing: the file.
        folder: the videos that it names are below it.

    Raises:
        PairsError: the file cannot be read, is empty, or a line is not as it should be.
    """
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise PairsError(f"{listing} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PairsError(f"{listing} is not UTF-8 text") from error
    pairs = [
        _read_line(line, number, listing, folder)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not pairs:
        raise PairsError(f"{listing} names no videos")
    return pairs


def _read_line(line: str, number: int, listing: Path, folder: Path) -> VideoPair:
    where = f"{listing}, line {number}"
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PairsError(f"{where} is not JSON") from error
    if not isinstance(found, dict):
        raise PairsError(f"{where} is not an object with file and caption")
    file = found.get("file")
    if not isinstance(file, str) or not file:
        raise PairsError(f"{where} names no file")
    start_s, end_s = _read_time(found, "start_s", where), _read_time(found, "end_s", where)
    if end_s is not None and end_s <= (start_s or 0.0):
        raise PairsError(f"{where}: end_s {end_s:g} is not after start_s {start_s or 0.0:g}")
    return VideoPair(
        path=folder / file,
        captions=_read_captions(found, where),
        start_s=start_s or 0.0,
        end_s=end_s,
        line=number,
    )


def _read_captions(found: dict[str, Any], where: str) -> tuple[str, ...]:
    captions = found.get("captions", [found["caption"]] if "caption" in found else [])
    if not isinstance(captions, list) or not captions:
        raise PairsError(f"{where} has neither a caption nor a list of captions")
    for caption in captions:
        if not isinstance(caption, str) or not caption.strip():
            raise PairsError(f"{where}: {caption!r} is not a caption")
        if len(caption) > LONGEST_CAPTION:
            raise PairsError(f"{where}: a caption is longer than {LONGEST_CAPTION} characters")
    return tuple(caption.strip() for caption in captions)


def _read_time(found: dict[str, Any], name: str, where: str) -> float | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PairsError(f"{where}: {name} is {value!r}, not a number of seconds")
    if not math.isfinite(value) or value < 0:
        raise PairsError(f"{where}: {name} is {value!r}, not a moment of a video")
    return float(value)


def decode_clip(
    pair: VideoPair, preprocessing: Preprocessing, *, limits: DecodeLimits
) -> NDArray[np.uint8]:
    """Decode the clip of a pair by the same code, and to the same pixels, as ingest does.

    Args:
        pair: which part of which video.
        preprocessing: how frames are chosen and cut.
        limits: what the child that decodes may use.

    Returns:
        RGB, uint8 (T, S, S, 3).

    Raises:
        VideoError: the video is missing, or nothing can be decoded where the clip should be.
    """
    if not pair.path.is_file():
        raise VideoError("missing_file", f"There is no file {pair.path}.")
    span = Span(0, pair.start_s, limits.max_duration_s if pair.end_s is None else pair.end_s)
    shape = ClipShape(
        frames_per_clip=preprocessing.frames_per_clip,
        frame_size=preprocessing.frame_size,
        resize_short=preprocessing.resize_short,
        fit=preprocessing.fit,
        resample=preprocessing.resample,
        thumbnail_px=THUMBNAIL_PX,
    )
    reader = ClipReader(
        pair.path, [span], shape=shape, sampling="exact", reader="pyav", limits=limits
    )
    with reader:
        clips = list(reader)
    if not clips:
        raise VideoError("undecodable", f"Nothing can be decoded from {pair.start_s:g} s on.")
    return clips[0].frames
