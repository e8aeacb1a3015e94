"""Open an untrusted file in the child: allowed containers and codecs only, or a reason."""

import math
import os
import re
from dataclasses import dataclass
from typing import Any

import av
import av.logging
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from model.video.errors import VideoError
from model.video.limits import DecodeLimits
from model.video.signatures import HEAD_BYTES, recognise
from model.video.structure import find_damage, why_unreadable_boxes

MATROSKA = "matroska,webm"
CONTAINERS = {
    "mov,mp4,m4a,3gp,3g2,mj2": "mp4",
    MATROSKA: "matroska",
    "avi": "avi",
    "mpegts": "mpegts",
    "mpeg": "mpeg",
    "mpegvideo": "mpegvideo",
    "flv": "flv",
    "ogg": "ogg",
    "asf": "asf",
    "yuv4mpegpipe": "yuv4mpegpipe",
}
CODECS = (
    "h264,hevc,vvc,av1,libdav1d,vp8,vp9,mpeg1video,mpeg2video,mpeg4,h263,h263p,flv,"
    "msmpeg4v1,msmpeg4v2,msmpeg4,wmv1,wmv2,wmv3,vc1,theora,prores,dnxhd,mjpeg,dvvideo,"
    "rawvideo,ffv1,huffyuv,ffvhuff,utvideo,cfhd,svq1,svq3,cinepak,indeo5,vp6,vp6f"
)
"""Decoders that may run, as FFmpeg's `codec_whitelist` wants them; none is for pictures."""
CODEC_NAMES = {"libdav1d": "av1", "msmpeg4": "msmpeg4v3", "flv": "flv1"}
OUT_OF_MEMORY = (MemoryError, BlockingIOError)
"""The second is how a thread that could not be started looks."""
MAX_STREAMS = 128
"""More than any recording or broadcast has; FFmpeg prepares a decoder for each."""
MAX_FRAME_RATE = 1000
PIXEL_ASPECTS = (1 / 16, 16)
TOO_LARGE = re.compile(r"Picture size ([1-9]\d*)x([1-9]\d*) is invalid")


@dataclass(frozen=True, kw_only=True)
class OpenVideo:
    """A video that passed the gate.

    Attributes:
        container: opened by FFmpeg.
        stream: the one that is shown.
        container_name: as `mp4`.
        codec_name: as `h264`.
        damage: `truncated` or `corrupt_container` if the outermost layer is damaged.
        aspect: width of a stored pixel divided by its height.
    """

    container: InputContainer
    stream: VideoStream
    container_name: str
    codec_name: str
    damage: str | None
    aspect: float

    def close(self) -> None:
        """Close the file."""
        self.container.close()


def open_gate(video_fd: int, limits: DecodeLimits) -> OpenVideo:
    """Open the file, or refuse it before anything large was allocated.

    Raises:
        VideoError: it is no video that we read.
    """
    container, log = open_container(video_fd, limits)
    stream = pick_stream(container, log)
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    check_size(stream, log, limits)
    check_claims(container, stream, limits)
    name = CONTAINERS[container.format.name]
    codec = stream.codec_context.name
    if codec not in CODECS.split(","):
        raise VideoError(
            "codec_not_allowed",
            f"The codec {codec} is not read; re-encode the video, as H.264 in MP4.",
        )
    stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}
    return OpenVideo(
        container=container,
        stream=stream,
        container_name=name,
        codec_name=CODEC_NAMES.get(codec, codec),
        damage=find_damage(video_fd, name),
        aspect=pixel_aspect(stream),
    )


def open_container(video_fd: int, limits: DecodeLimits) -> tuple[InputContainer, str]:
    """Return the opened container, and what FFmpeg said meanwhile."""
    options = {
        "fd": str(video_fd),
        "protocol_whitelist": "fd",
        "format_whitelist": ",".join(CONTAINERS),
        "codec_whitelist": CODECS,
        "max_pixels": str(limits.max_pixels),
        "max_streams": str(MAX_STREAMS),
    }
    os.lseek(video_fd, 0, os.SEEK_SET)  # duplicates share the position
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=False) as lines:
            try:
                container = av.open("fd:", options=options)
            except OUT_OF_MEMORY:
                check_streams(join_log(lines))
                raise
            except (av.FFmpegError, ValueError, OSError) as error:
                log = join_log(lines)
                check_streams(log)
                raise explain(video_fd, log, error) from error
    finally:
        av.logging.set_level(None)
    log = join_log(lines)
    check_streams(log)
    return container, log


def check_streams(log: str) -> None:
    """Refuse a file with more streams than FFmpeg was told to read."""
    if "exceeds max_streams" in log:
        detail = f"The file has more than {MAX_STREAMS} streams; keep the one with pictures."
        raise VideoError("too_many_streams", detail)


def join_log(lines: list[Any]) -> str:
    """Join captured (level, name, text) lines."""
    return "\n".join(str(text) for _, _, text in lines)


def explain(video_fd: int, log: str, error: Exception) -> VideoError:
    """Say why FFmpeg could not open the file."""
    head = os.pread(video_fd, HEAD_BYTES, 0)
    known = recognise(head)
    if known:
        return VideoError(known.reason, f"This is {known.name}, not a video; upload a video file.")
    if size := TOO_LARGE.search(log):
        return too_large(int(size[1]), int(size[2]))
    if isinstance(error, EOFError):
        return no_stream()
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"} or "moov" in log:
        return VideoError(*UNREADABLE_MP4[why_unreadable_boxes(video_fd)])
    return VideoError(
        "not_a_video", "The file is no video in a format that we read; upload MP4, MKV or WebM."
    )


UNREADABLE_MP4 = {
    reason: (reason, detail)
    for reason, detail in (
        ("truncated", "The file ends before its index does; copy or record it again."),
        ("corrupt_index", "The index of the file is damaged; repair or re-encode it."),
        ("not_a_video", "The file has neither index nor pictures; upload it again."),
        ("no_video_stream", "The file holds no video stream; upload one with pictures."),
    )
}


def pick_stream(container: InputContainer, log: str) -> VideoStream:
    """Return the video stream that players show; cover pictures of music do not count."""
    shown = [
        stream
        for stream in container.streams.video
        if Disposition.attached_pic not in stream.disposition
    ]
    if not shown:
        if size := TOO_LARGE.search(log):
            raise too_large(int(size[1]), int(size[2]))
        raise no_stream()
    shown = [stream for stream in shown if stream.codec_context is not None]
    if not shown:
        detail = "The codec of the video is unknown; re-encode it, as H.264 in MP4."
        raise VideoError("codec_not_allowed", detail)
    return max(shown, key=lambda stream: (stream.width or 0) * (stream.height or 0))


def check_size(stream: VideoStream, log: str, limits: DecodeLimits) -> None:
    """Refuse frames that are too large, whether FFmpeg took the header or not."""
    width, height = stream.width or 0, stream.height or 0
    if width * height > limits.max_pixels:
        raise too_large(width, height)
    size = TOO_LARGE.search(log)
    if width * height == 0 and size:
        raise too_large(int(size[1]), int(size[2]))


def check_claims(container: InputContainer, stream: VideoStream, limits: DecodeLimits) -> None:
    """Refuse headers that promise more than we are ready to read."""
    if (stream.frames or 0) > limits.max_frames:
        raise too_many_frames(limits)
    check_duration(header_duration_s(container, stream) or 0.0, limits)


def check_duration(duration_s: float, limits: DecodeLimits) -> None:
    """Refuse a video that is too long."""
    if duration_s > limits.max_duration_s:
        raise VideoError(
            "duration_too_long",
            f"The video lasts {duration_s / 3600:.1f} h; the limit is "
            f"{limits.max_duration_s / 3600:.1f} h: cut it.",
        )


def header_duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Return how long the picture lasts by the header, or None if it does not say."""
    if stream.duration and stream.time_base:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration:
        is_end = container.format.name == MATROSKA  # it says when the video ends, not how long
        start = max(0, container.start_time or 0) if is_end else 0
        duration_s = (container.duration - start) / av.time_base
    else:
        return None
    return duration_s if math.isfinite(duration_s) and duration_s > 0 else None


def pixel_aspect(stream: VideoStream) -> float:
    """Return width / height of a stored pixel; 1 where the header says nothing sensible."""
    ratio = stream.sample_aspect_ratio
    if not ratio or not PIXEL_ASPECTS[0] <= ratio <= PIXEL_ASPECTS[1]:
        return 1.0
    return float(ratio)


def frame_rate(stream: VideoStream) -> float | None:
    """Return frames per second on average, if the header says something sensible."""
    rate = float(stream.average_rate or 0)
    return rate if 0 < rate <= MAX_FRAME_RATE else None


def too_large(width: int, height: int) -> VideoError:
    """Make the refusal of a frame size."""
    return VideoError(
        "resolution_too_large", f"Frames of {width} x {height} are too large; scale the video down."
    )


def too_many_frames(limits: DecodeLimits) -> VideoError:
    """Make the refusal of a frame count."""
    return VideoError(
        "too_many_frames", f"The video has more than {limits.max_frames} frames; cut it."
    )


def no_stream() -> VideoError:
    """Make the refusal of a file without pictures."""
    return VideoError(*UNREADABLE_MP4["no_video_stream"])
