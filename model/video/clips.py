"""Read the clips of a video's segments, in a child that may crash without harm."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from model.video.child_process import DecodeChild
from model.video.limits import DecodeLimits
from model.video.messages import CLIP_HEADER, MAX_THUMBNAIL_BYTES, Kind, Message, nonsense
from model.video.segments import Span
from model.video.transforms import Fit, Resample

MAX_PROBLEMS = 20
MAX_PROBLEM_CHARACTERS = 300

Sampling = Literal["exact", "keyframes"]
Reader = Literal["pyav", "decord"]


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """What a clip looks like.

    Attributes:
        frames_per_clip: T.
        frame_size: side S of the square frames, pixels.
        resize_short: the short side is resized to this before the centre crop, pixels.
        thumbnail_px: longest side of a thumbnail, pixels.
        fit: how a frame becomes a square, see `model.video.transforms.Fit`.
        resample: filter that it is resized with.
    """

    frames_per_clip: int
    frame_size: int
    resize_short: int
    thumbnail_px: int
    fit: Fit = "crop"
    resample: Resample = "bilinear"

    @property
    def clip_bytes(self) -> int:
        """Pixels of one clip, bytes."""
        return self.frames_per_clip * self.frame_size * self.frame_size * 3


@dataclass(frozen=True)
class DecodedClip:
    """The sampled frames of one segment.

    Attributes:
        span: the segment.
        frames: RGB, uint8 (T, S, S, 3).
        thumbnail: a JPEG.
    """

    span: Span
    frames: NDArray[np.uint8]
    thumbnail: bytes


@dataclass(frozen=True, kw_only=True)
class DecodeReport:
    """How decoding went.

    Attributes:
        frames_wanted: frames that the segments asked for; one that two ask for counts twice.
        frames_decoded: those of them that were decoded undamaged.
        frames_corrupt: frames that the decoder gave but marked as damaged, wanted or not.
        segments_wanted: segments that were asked for.
        segments_decoded: segments that gave a clip.
        problems: what went wrong, sentences for a person.
        reason: `truncated`, `decode_errors` or `corrupt_container` if the video is damaged.
    """

    frames_wanted: int
    frames_decoded: int
    frames_corrupt: int
    segments_wanted: int
    segments_decoded: int
    problems: tuple[str, ...]
    reason: str | None

    @property
    def is_partial(self) -> bool:
        """The video is damaged; what could be decoded was."""
        return self.reason is not None


class ClipReader:
    """Iterate over the clips of a video's segments, in order. A context manager.

    Segments without a decodable frame are skipped. The wall limit counts the time that this
    process waits for the child, so a slow consumer is no fault of the video.

    Args:
        path: the video.
        spans: segments, ordinals increasing.
        shape: what a clip looks like.
        sampling: `exact` decodes the frames displayed at the times asked for; `keyframes`
            the keyframe nearest to each, where one lies inside the segment.
        reader: library that decodes.
        limits: how much the child may use.

    Raises:
        VideoError: the file is empty. While iterating: nothing can be decoded, or the child
            crashed or used up its limits.
    """

    def __init__(
        self,
        path: Path,
        spans: Sequence[Span],
        *,
        shape: ClipShape,
        sampling: Sampling,
        reader: Reader,
        limits: DecodeLimits,
    ) -> None:
        self._spans = {span.ordinal: span for span in spans}
        self._shape = shape
        self._report: DecodeReport | None = None
        request = {
            "task": "clips",
            "spans": [[span.ordinal, span.start_s, span.end_s] for span in spans],
            "shape": asdict(shape),
            "sampling": sampling,
            "reader": reader,
            "limits": asdict(limits),
        }
        self._child = DecodeChild(path, request, limits=limits, clip_bytes=shape.clip_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[DecodedClip]:
        last_ordinal = -1
        for message in self._child.messages():
            if message.kind is Kind.REPORT:
                self._report = parse_report(message)
                continue
            clip = self._parse_clip(message)
            if clip.span.ordinal <= last_ordinal:
                raise nonsense()
            last_ordinal = clip.span.ordinal
            yield clip
        if self._report is None:
            raise nonsense()

    @property
    def report(self) -> DecodeReport:
        """How decoding went; known once all clips were read.

        Raises:
            RuntimeError: not all clips were read.
        """
        if self._report is None:
            raise RuntimeError("the decode report is known only after the last clip")
        return self._report

    @property
    def cpu_s(self) -> float:
        """CPU time of the child, known after its end."""
        return self._child.cpu_s

    @property
    def peak_memory_bytes(self) -> int:
        """Largest resident size of the child, known after its end."""
        return self._child.peak_memory_bytes

    def kill(self) -> None:
        """Kill the child, from any thread; who iterates gets a VideoError."""
        self._child.kill()

    def close(self) -> None:
        """End the child, whatever it does. Safe to call twice."""
        self._child.close()

    def _parse_clip(self, message: Message) -> DecodedClip:
        shape, size = self._shape, CLIP_HEADER.size
        if message.kind is not Kind.CLIP or len(message.payload) < size + shape.clip_bytes:
            raise nonsense()
        ordinal, thumbnail_bytes = CLIP_HEADER.unpack_from(message.payload)
        is_whole = len(message.payload) == size + shape.clip_bytes + thumbnail_bytes
        if ordinal not in self._spans or not is_whole or thumbnail_bytes > MAX_THUMBNAIL_BYTES:
            raise nonsense()
        pixels = np.frombuffer(message.payload, np.uint8, shape.clip_bytes, size)
        side = shape.frame_size
        return DecodedClip(
            self._spans[ordinal],
            pixels.reshape(shape.frames_per_clip, side, side, 3),
            message.payload[size + shape.clip_bytes :],
        )


def parse_report(message: Message) -> DecodeReport:
    """Read the child's report, checking every type."""
    found = message.json()
    try:
        return DecodeReport(
            frames_wanted=int(found["frames_wanted"]),
            frames_decoded=int(found["frames_decoded"]),
            frames_corrupt=int(found["frames_corrupt"]),
            segments_wanted=int(found["segments_wanted"]),
            segments_decoded=int(found["segments_decoded"]),
            problems=tuple(
                str(problem)[:MAX_PROBLEM_CHARACTERS]
                for problem in found["problems"][:MAX_PROBLEMS]
            ),
            reason=None if found["reason"] is None else str(found["reason"])[:64],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise nonsense() from error
