"""What the child does with an opened file: tell what it is, or read its clips."""

import importlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import av
from av.video.frame import VideoFrame
from PIL import Image

from model.video import gate
from model.video.clip_builder import BuiltClip, ClipBuilder, GoodFrame
from model.video.errors import VideoError
from model.video.gate import OUT_OF_MEMORY, OpenVideo, open_gate
from model.video.limits import DecodeLimits
from model.video.messages import Kind, pack_clip, pack_json
from model.video.packet_index import PacketIndex, list_packets
from model.video.plan import SpanPlan, plan_spans
from model.video.pyav_reader import (
    DecodeTally,
    packets_of,
    quarter_turns,
    read_with_pyav,
)
from model.video.segments import Span

ReadFrames = Callable[
    [OpenVideo, PacketIndex, Sequence[SpanPlan], DecodeTally], Iterator[GoodFrame]
]
LAZY_MODULES = (
    "av.audio.stream",
    "av.subtitles.stream",
    "av.video.reformatter",
)
MAX_PACKETS_TO_FIRST_FRAME = 2000
UNTRUSTED_DURATIONS = frozenset({"mpegts", "mpeg", "mpegvideo", "yuv4mpegpipe"})
SMALL_BYTES = 512 * 1024 * 1024
"""Files up to this size are listed packet by packet instead of believing the header."""


def load_lazy_code(reader: str) -> None:
    """Import what libraries import on first use: soon no file can be opened any more."""
    for name in LAZY_MODULES:
        importlib.import_module(name)
    Image.preinit()
    load_reader(reader)


def load_reader(name: str) -> ReadFrames:
    """Return the function that reads frames with a library.

    Raises:
        VideoError: the library is not installed.
    """
    if name == "pyav":
        return read_with_pyav
    try:
        found = importlib.import_module("model.video.decord_reader")
    except ImportError as error:
        detail = "The reader decord is not installed: pip install reelseek[decord]."
        raise VideoError("reader_missing", detail) from error
    read: ReadFrames = found.read_with_decord
    return read


def probe(video_fd: int, limits: DecodeLimits) -> bytes:
    """Return the facts of a video as a message.

    Raises:
        VideoError: it is no video, or its first frames can't be decoded.
    """
    with closing(open_gate(video_fd, limits)) as video:
        frame = first_frame(video)
        duration_s = gate.header_duration_s(video.container, video.stream)
        num_frames, rate = video.stream.frames or None, gate.frame_rate(video.stream)
    is_small = os.fstat(video_fd).st_size <= SMALL_BYTES
    if is_small or duration_s is None or video.container_name in UNTRUSTED_DURATIONS:
        with closing(open_gate(video_fd, limits)) as again:
            index = list_packets(again, limits)
        num_frames = len(index.packets)
        is_whole = not video.damage and not index.problems
        duration_s = index.end_s if is_whole else max(index.end_s, duration_s or 0.0)
        gate.check_duration(duration_s, limits)
    turns = quarter_turns(frame.rotation)
    size = (max(1, round(frame.width * video.aspect)), frame.height)
    facts = {
        "container": video.container_name,
        "codec": video.codec_name,
        "width": size[turns % 2],
        "height": size[1 - turns % 2],
        "rotation": -90 * turns % 360,
        "duration_s": duration_s,
        "frame_rate": rate,
        "num_frames": num_frames,
    }
    return pack_json(Kind.FACTS, facts)


def first_frame(video: OpenVideo) -> VideoFrame:
    """Decode the first frame.

    Raises:
        VideoError: there is none.
    """
    tally = DecodeTally()
    context = video.stream.codec_context
    context.thread_count = 1
    packets = itertools.islice(packets_of(video, tally), MAX_PACKETS_TO_FIRST_FRAME)
    for packet in itertools.chain(packets, [None]):
        try:
            frames = list(context.decode(packet))
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, IndexError, TypeError) as error:
            tally.note(error)
            continue
        if frames:
            return frames[0]
    raise nothing_decodable(video.damage)


def nothing_decodable(damage: str | None) -> VideoError:
    """Make the refusal of a video without a single decodable frame."""
    return VideoError(
        damage or "undecodable",
        "No frame of the video can be decoded: it is damaged or encrypted; re-encode it.",
    )


def read_clips(video_fd: int, request: dict[str, Any], limits: DecodeLimits) -> Iterator[bytes]:
    """Yield one message per clip, then the report.

    Raises:
        VideoError: nothing can be decoded.
    """
    shape = request["shape"]
    with closing(open_gate(video_fd, limits)) as video:
        index = list_packets(video, limits)
    plans = plan_spans(
        [Span(*span) for span in request["spans"]],
        index,
        count=shape["frames_per_clip"],
        keyframes_only=request["sampling"] == "keyframes",
    )
    builder = ClipBuilder(
        plans,
        frame_size=shape["frame_size"],
        resize_short=shape["resize_short"],
        thumbnail_px=shape["thumbnail_px"],
        fit=shape["fit"],
        resample=shape["resample"],
    )
    tally = DecodeTally(num_errors=len(index.problems), problems=list(index.problems))
    with closing(open_gate(video_fd, limits)) as video:
        frames = load_reader(request["reader"])(video, index, plans, tally)
        for clip in build(builder, frames):
            yield pack_clip(clip.ordinal, clip.frames.tobytes(), clip.thumbnail)
        damage = video.damage
    if not builder.num_clips:
        raise nothing_decodable(damage)
    num_wanted = len(request["spans"]) * shape["frames_per_clip"]
    report = {
        "frames_wanted": num_wanted,
        "frames_decoded": builder.num_decoded,
        "frames_corrupt": tally.num_corrupt,
        "segments_wanted": len(request["spans"]),
        "segments_decoded": builder.num_clips,
        "problems": tally.problems,
        "reason": damage or why_partial(plans, builder, tally),
    }
    yield pack_json(Kind.REPORT, report)


def build(builder: ClipBuilder, frames: Iterable[GoodFrame]) -> Iterator[BuiltClip]:
    """Yield the clips that the frames make up."""
    for frame in frames:
        yield from builder.add(frame)
    yield from builder.finish()


def why_partial(plans: Sequence[SpanPlan], builder: ClipBuilder, tally: DecodeTally) -> str | None:
    """Return `decode_errors` if anything that should have been decoded was not."""
    is_short = builder.num_clips < len(plans)
    return "decode_errors" if is_short or tally.num_errors or tally.num_corrupt else None
