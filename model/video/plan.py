"""Decide which frames each segment needs, and which packets must be decoded for them.

Shapes: P packets, F frames, T frames per clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.video.packet_index import SLACK_S, PacketIndex
from model.video.sample_times import sample_times
from model.video.segments import Span

SHORTEST_SKIP = 12
"""Fewer packets than this are decoded rather than skipped: a gap empties the pipeline."""


@dataclass(frozen=True)
class SpanPlan:
    """The frames of one segment.

    Attributes:
        span: the segment.
        wanted: T frames (ranks), non-decreasing.
        first: first frame shown inside the segment.
        last: last frame shown inside the segment.
    """

    span: Span
    wanted: tuple[int, ...]
    first: int
    last: int


def plan_spans(
    spans: Sequence[Span], index: PacketIndex, *, count: int, keyframes_only: bool
) -> list[SpanPlan]:
    """Choose the frames of each segment; segments that start behind the video get none.

    A segment that the picture does not fill (a cut file) is sampled where there is picture.

    Args:
        spans: the segments.
        index: the frames that there are.
        count: frames per clip T.
        keyframes_only: use the nearest keyframe where one is shown inside the segment.
    """
    key_ranks = np.sort(index.ranks[index.keys])
    key_ranks = key_ranks[key_ranks >= 0]
    plans = []
    for span in spans:
        if span.start_s >= index.end_s and span.start_s > 0:
            continue
        end_s = max(span.start_s, min(span.end_s, index.end_s))
        first, last = index.rank_at(span.start_s), index.rank_at(max(0.0, end_s - 2 * SLACK_S))
        times = sample_times(span.start_s, end_s, count)
        wanted = [index.rank_at(time_s) for time_s in times]
        inside = key_ranks[(key_ranks >= first) & (key_ranks <= last)]
        if keyframes_only and len(inside):
            distances = np.abs(index.times_s[inside][None] - np.array(times)[:, None])  # (T, K)
            wanted = [int(inside[nearest]) for nearest in distances.argmin(axis=1)]
        plans.append(SpanPlan(span, tuple(wanted), first, last))
    return plans


def packets_to_decode(plans: Sequence[SpanPlan], index: PacketIndex) -> NDArray[np.bool_]:
    """Mark the packets that the wanted frames depend on, (P,).

    Decoding starts at a keyframe and goes to the last wanted packet of its GOP. Frames that
    follow a keyframe in the file but are shown before it may need the GOP before as well.
    The first packet is always decoded: x264 names its version there, and the H.264 decoder
    needs that to read old 4:4:4 streams.
    """
    is_needed = np.zeros(len(index.ranks), bool)
    is_needed[index.keys[0]] = True
    wanted = sorted({int(index.packets[rank]) for plan in plans for rank in plan.wanted})
    ends = np.append(index.keys[1:], len(index.ranks))
    for packet in wanted:
        gop = max(0, int(np.searchsorted(index.keys, packet, side="right")) - 1)
        key = int(index.keys[gop])
        is_needed[key : packet + 1] = True
        is_leading = index.ranks[packet] < index.ranks[key]
        if is_leading and gop > 0:
            is_needed[index.keys[gop - 1] : key] = True
    for key, end in zip(index.keys, ends, strict=True):
        needed = np.flatnonzero(is_needed[key:end])
        is_short = len(needed) > 0 and int(end - key - needed[-1] - 1) < SHORTEST_SKIP
        if is_short and end < len(index.ranks) and is_needed[end]:
            is_needed[key:end] = True
    return is_needed
