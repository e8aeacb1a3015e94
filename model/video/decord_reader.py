"""Decode the wanted frames with decord (the package decord2): the second reader.

decord returns wrong frames without an error where it seeks (MPEG-TS, old x264 4:4:4 streams)
and where its own list of frames differs from the file's (edit lists). So it only ever reads
in sequence, and only files whose frames it counts as we do; the rest falls to PyAV.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import decord
import numpy as np
from decord._ffi.base import DECORDError
from decord.video_reader import VideoReader

from model.video.confinement import VIDEO_FD
from model.video.gate import OpenVideo
from model.video.packet_index import PacketIndex
from model.video.plan import SpanPlan
from model.video.pyav_reader import DecodeTally, choose_threads, read_with_pyav
from model.video.transforms import Frame

READS_RIGHT = frozenset({"mp4", "matroska", "flv", "ogg"})
"""decord starts behind the first keyframe of other containers, or takes their timestamps wrong.
It has no list of allowed formats; these stand in the first bytes, so it opens no other one."""

NUM_COLOURS = 3
"""decord gives frames a fourth channel where a video is turned by an odd angle."""
INEXACT = "decord can't read this file exactly; it was read with PyAV"
NARROWEST = 64
"""decord returns frames of fewer pixels a row with a wrong shape."""

decord.logging.set_level(decord.logging.QUIET)


@dataclass(frozen=True)
class DecordFrame:
    """A frame with its place in the video; decord turned it upright already."""

    rank: int
    aspect: float
    frame: Any

    def pixels(self) -> Frame:
        """Return it in RGB, uint8 (H, W, 3)."""
        return np.asarray(self.frame.asnumpy(), np.uint8)


def read_with_decord(
    video: OpenVideo, index: PacketIndex, plans: Sequence[SpanPlan], tally: DecodeTally
) -> Iterator[Any]:
    """Yield the wanted frames in display order; decord can't tell which are damaged."""
    aspect = video.aspect
    reader = open_reader(video, len(index.packets))
    if reader is None:
        tally.problems.append(INEXACT)
        yield from read_with_pyav(video, index, plans, tally)
        return
    at = 0
    keys = [int(key) for key in reader.get_key_indices()]
    for rank in sorted({rank for plan in plans for rank in plan.wanted}):
        try:
            advance(reader, keys, at, rank)
            frame = reader.next()
        except (DECORDError, StopIteration) as error:
            tally.note(error)
            yield from read_with_pyav(video, index, plans, tally)  # gets past the damage
            return
        if frame.shape[2:] != (NUM_COLOURS,):
            tally.problems.append(INEXACT)
            yield from read_with_pyav(video, index, plans, tally)
            return
        at = rank + 1
        yield DecordFrame(rank, aspect, frame)


def open_reader(video: OpenVideo, num_frames: int) -> Any | None:
    """Open the video with decord, or return None where its answers could not be trusted."""
    is_safe = video.damage is None and video.container_name in READS_RIGHT
    is_only = len(video.container.streams.video) == 1  # so decord's choice is the checked one
    if not is_safe or not is_only or video.stream.width < NARROWEST:
        return None
    try:
        reader = VideoReader(f"/proc/self/fd/{VIDEO_FD}", num_threads=choose_threads(video))
    except (DECORDError, RuntimeError):
        return None
    return reader if len(reader) == num_frames else None


def advance(reader: Any, keys: list[int], at: int, to: int) -> None:
    """Leave out frames without a seek: `skip_frames` seeks where it passes a keyframe."""
    while at < to:
        following = bisect_right(keys, at)
        key = keys[following] if following < len(keys) else to + 1
        before_key = min(to, key - 1)
        if before_key > at:
            reader.skip_frames(before_key - at)
        if key <= to:
            reader.next()
        at = min(to, key)
