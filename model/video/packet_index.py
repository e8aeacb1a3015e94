"""List the packets of a stream, without decoding them, and plan which ones to decode.

Shapes: P packets in the order of the file (decode order), F <= P frames in display order.
"""

from array import array
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from model.video.errors import VideoError
from model.video.gate import OpenVideo, too_many_frames
from model.video.limits import DecodeLimits

Ints = NDArray[np.int64]
JOINABLE = frozenset({"mpegts", "mpeg"})
"""Containers whose clock may jump in the middle, as after joining two files."""
UNORDERED_IN_AVI = frozenset({"h264", "hevc"})
LONGEST_JUMP_S = 10.0
SLACK_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class PacketIndex:
    """Where each frame of a video is.

    Attributes:
        times_s: when each frame is shown, seconds from the start of the video, (F,), sorted.
        packets: packet of each frame, (F,).
        ranks: place of each packet among the frames, -1 if it is not shown, (P,).
        keys: packets that decoding can start at, increasing; the first GOP starts at keys[0].
        end_s: when the last frame disappears.
        is_ordered: the file says in which order frames are shown; AVI does not for codecs
            that it was not made for, and then `ranks` hold only if all frames are decoded.
        problems: what went wrong while listing.
    """

    times_s: NDArray[np.float64]
    packets: Ints
    ranks: Ints
    keys: Ints
    end_s: float
    is_ordered: bool
    problems: tuple[str, ...]

    def rank_at(self, time_s: float) -> int:
        """Return the frame displayed at a time; the first or last one outside the video."""
        after = int(np.searchsorted(self.times_s, time_s + SLACK_S, side="right"))
        return max(0, after - 1)


@dataclass
class _Listing:
    """Packets as they come."""

    shown_at: "array[int]"
    lasts: "array[int]"
    is_key: "array[int]"
    is_hidden: "array[int]"
    is_ordered: bool
    problems: list[str]


def list_packets(video: OpenVideo, limits: DecodeLimits) -> PacketIndex:
    """Read all packets of the video stream once.

    Raises:
        VideoError: there are too many, or none.
    """
    listing = _read_listing(video, limits)
    if not listing.shown_at:
        raise VideoError(
            video.damage or "no_video_stream", "The file holds no pictures; upload it again."
        )
    return _arrange(video, listing)


def _read_listing(video: OpenVideo, limits: DecodeLimits) -> _Listing:
    unit_s = float(video.stream.time_base or 1)
    is_joinable = video.container_name in JOINABLE
    is_ordered = not (video.container_name == "avi" and video.codec_name in UNORDERED_IN_AVI)
    listing = _Listing(array("q"), array("q"), array("b"), array("b"), is_ordered, [])
    shift, last_dts, last_shown = 0, None, -1
    try:
        for packet in video.container.demux(video.stream):
            if packet.size == 0:
                continue
            dts = packet.dts if packet.dts is not None else packet.pts
            shown = packet.pts if packet.pts is not None else dts
            if is_joinable and dts is not None and last_dts is not None:
                step_s = (dts - last_dts) * unit_s
                if step_s < 0 or step_s > LONGEST_JUMP_S:
                    shift += last_dts + (packet.duration or 0) - dts
            last_dts = dts if dts is not None else last_dts
            last_shown = last_shown + 1 if shown is None else shown + shift
            listing.is_ordered &= packet.pts is not None
            listing.shown_at.append(last_shown)
            listing.lasts.append(max(0, packet.duration or 0))
            listing.is_key.append(packet.is_keyframe)
            listing.is_hidden.append(packet.is_discard)
            if len(listing.shown_at) > limits.max_frames:
                raise too_many_frames(limits)
    except MemoryError:
        raise
    except (av.FFmpegError, OverflowError) as error:  # torn MPEG-TS says "try again", as well
        listing.problems.append(f"reading stopped early: {error}")
    return listing


def _arrange(video: OpenVideo, listing: _Listing) -> PacketIndex:
    shown_at = np.array(listing.shown_at, np.int64)
    keys = np.flatnonzero(np.array(listing.is_key))
    keys = keys if len(keys) else np.zeros(1, np.int64)
    is_shown = np.array(listing.is_hidden) == 0
    is_shown[: keys[0]] = False
    second = keys[1] if len(keys) > 1 else len(shown_at)
    is_shown[keys[0] : second] &= shown_at[keys[0] : second] >= shown_at[keys[0]]
    if not is_shown.any():
        is_shown[keys[0]] = True
    shown = np.flatnonzero(is_shown)
    packets = shown[np.argsort(shown_at[shown], kind="stable")]
    ranks = np.full(len(shown_at), -1, np.int64)
    ranks[packets] = np.arange(len(packets))
    unit_s = float(video.stream.time_base or 1)
    times_s: NDArray[np.float64] = (shown_at[packets] * unit_s).astype(np.float64)
    times_s -= _origin_s(video, float(times_s[0]))
    steps = np.diff(times_s)
    usual_s = float(np.sort(steps)[len(steps) // 2]) if len(steps) else 0.0
    last_s = listing.lasts[int(packets[-1])] * unit_s
    return PacketIndex(
        times_s=times_s,
        packets=packets,
        ranks=ranks,
        keys=keys,
        end_s=float(times_s[-1]) + max(last_s, usual_s),
        is_ordered=listing.is_ordered,
        problems=tuple(listing.problems),
    )


def _origin_s(video: OpenVideo, first_s: float) -> float:
    """Return the time that players call 0: where the earliest stream starts."""
    if video.container.start_time is None or video.container_name == "avi":
        return first_s
    start_s = video.container.start_time / av.time_base
    if 0 <= start_s <= first_s:
        return start_s
    return min(first_s, 0.0) if start_s < 0 else first_s
