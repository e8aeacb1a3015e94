"""Decode the wanted frames with PyAV: one pass over the file, each GOP at most once."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from model.video.gate import OUT_OF_MEMORY, OpenVideo
from model.video.packet_index import PacketIndex
from model.video.plan import SpanPlan, packets_to_decode
from model.video.transforms import Frame

SKIPS_NON_REFERENCE = frozenset({"h264", "mpeg4", "mpeg2video", "mpeg1video", "vp8", "vp9"})
HVCC_LAYERS = 21
MAX_THREADS = 8
MEMORY_PER_PIXEL = 4
"""Bytes that a decoding thread holds for each pixel of the frame, roughly."""
MEMORY_FOR_THREADS = 512 * 1024 * 1024
MAX_NOTED = 5
REORDERED = 32
"""More packets than a codec may hold back to put frames in order."""
HIDDEN = -1
"""Place of a packet that is decoded for others and not shown itself."""


@dataclass
class DecodeTally:
    """What happened while decoding."""

    num_corrupt: int = 0
    num_errors: int = 0
    problems: list[str] = field(default_factory=list)

    def note(self, error: Exception) -> None:
        """Count an error of the decoder; keep the first few texts."""
        self.num_errors += 1
        if self.num_errors <= MAX_NOTED:
            self.problems.append(f"decoding: {error}")


@dataclass(frozen=True)
class RankedFrame:
    """A good frame with its place in the video."""

    rank: int
    frame: VideoFrame
    stored_aspect: float

    @property
    def aspect(self) -> float:
        """Width of an upright pixel divided by its height."""
        is_turned = quarter_turns(self.frame.rotation) % 2
        return 1 / self.stored_aspect if is_turned else self.stored_aspect

    def pixels(self) -> Frame:
        """Return it upright in RGB, uint8 (H, W, 3)."""
        return to_upright_rgb(self.frame)


def to_upright_rgb(frame: VideoFrame) -> Frame:
    """Return a frame in RGB, turned as it should be shown, uint8 (H, W, 3)."""
    pixels = cast("Frame", frame.to_ndarray(format="rgb24"))
    turns = quarter_turns(frame.rotation)
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def quarter_turns(rotation: int) -> int:
    """Return how many quarters counter-clockwise an angle in degrees is, 0 to 3."""
    return round(rotation / 90) % 4


def choose_threads(video: OpenVideo) -> int:
    """Return how many threads decode: the cores that we may use, as far as memory allows."""
    context = video.stream.codec_context
    pixels = max(1, (context.width or 1) * (context.height or 1))
    by_memory = MEMORY_FOR_THREADS // (pixels * MEMORY_PER_PIXEL)
    return max(1, min(MAX_THREADS, len(os.sched_getaffinity(0)), by_memory))


def read_with_pyav(
    video: OpenVideo, index: PacketIndex, plans: Sequence[SpanPlan], tally: DecodeTally
) -> Iterator[RankedFrame]:
    """Yield good frames in display order: all wanted ones, and others that came along.

    Each packet carries its place in the video instead of its timestamp, so a frame is
    known whatever clocks, edit lists or joins did. Frames that nothing refers to are
    skipped unless they are wanted themselves, which changes no other frame.

    Args:
        video: opened, its packets not read yet.
        index: its packets.
        plans: the frames that segments want.
        tally: told of errors and damaged frames.
    """
    context = video.stream.codec_context
    context.thread_count, context.thread_type = choose_threads(video), "AUTO"
    is_needed = packets_to_decode(plans, index)  # (P,)
    is_wanted = np.zeros(len(index.ranks), bool)
    is_wanted[[index.packets[rank] for plan in plans for rank in plan.wanted]] = True
    if not index.is_ordered:
        is_needed[: np.flatnonzero(is_needed)[-1] + REORDERED] = True
    may_skip = index.is_ordered and may_skip_non_reference(video)
    decoder = _Decoder(video, tally, is_ordered=index.is_ordered)
    last_fed, last_needed = -1, int(np.flatnonzero(is_needed)[-1])
    for number, packet in enumerate(packets_of(video, tally)):
        if number > last_needed:
            break
        if not is_needed[number]:
            continue
        if last_fed >= 0 and number != last_fed + 1:
            yield from decoder.drain()
        last_fed = number
        packet.pts, packet.dts = max(HIDDEN, int(index.ranks[number])), None
        if may_skip:
            context.skip_frame = "DEFAULT" if is_wanted[number] else "NONREF"
        yield from decoder.decode(packet)
    yield from decoder.drain()


def packets_of(video: OpenVideo, tally: DecodeTally) -> Iterator["Packet[VideoStream]"]:
    """Yield the packets of the video stream, the same ones each time, until damage."""
    try:
        for packet in video.container.demux(video.stream):
            if packet.size:
                yield packet
    except MemoryError:
        raise
    except av.FFmpegError as error:  # also that of a thread: demuxing starts none
        tally.note(error)


def may_skip_non_reference(video: OpenVideo) -> bool:
    """Tell whether frames marked as non-reference can be left out.

    HEVC marks them within a temporal layer only, so all must be in one layer; byte 21 of
    hvcC (ISO/IEC 14496-15, 8.3.3.1) says how many there are.
    """
    if video.codec_name == "hevc":
        header = video.stream.codec_context.extradata or b""
        layers = header[HVCC_LAYERS : HVCC_LAYERS + 1]
        return header[:1] == b"\1" and layers != b"" and (layers[0] >> 3) & 7 == 1
    return video.codec_name in SKIPS_NON_REFERENCE


class _Decoder:
    """The codec of a stream, its errors counted instead of raised."""

    def __init__(self, video: OpenVideo, tally: DecodeTally, *, is_ordered: bool) -> None:
        self._context = video.stream.codec_context
        self._aspect = video.aspect
        self._tally = tally
        self._is_ordered = is_ordered
        self._num_out = 0

    def decode(self, packet: "Packet[VideoStream] | None") -> Iterator[RankedFrame]:
        """Yield the good frames that a packet brings out."""
        try:
            frames = self._context.decode(packet)
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, IndexError, TypeError) as error:  # all were met in the wild
            self._tally.note(error)
            return
        for frame in frames:
            rank = frame.pts if self._is_ordered else self._num_out
            self._num_out += 1
            if frame.is_corrupt:
                self._tally.num_corrupt += 1
            elif rank is not None and rank > HIDDEN:
                yield RankedFrame(rank, frame, self._aspect)

    def drain(self) -> Iterator[RankedFrame]:
        """Yield what is still inside, and make ready for another keyframe."""
        yield from self.decode(None)
        self._context.flush_buffers()
