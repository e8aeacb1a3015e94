"""Find out what a file is, without trusting it."""

from dataclasses import asdict, dataclass
from pathlib import Path

from model.video.child_process import DecodeChild
from model.video.limits import DecodeLimits
from model.video.messages import Kind, Message, nonsense

MICROSECOND_DIGITS = 6
"""Containers count in fractions; 3.9999999999999996 s are four."""


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What is known of a video before its frames are read.

    Attributes:
        container: FFmpeg's name of the format, as `mov`.
        codec: FFmpeg's name of the codec, as `h264`.
        width: of a frame as displayed (after rotation), pixels.
        height: of a frame as displayed, pixels.
        rotation: degrees clockwise that stored frames are turned by for display: 0, 90, 180, 270.
        duration_s: length of the picture, seconds.
        frame_rate: frames per second on average, if known.
        num_frames: how many there are, if known.
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int
    duration_s: float
    frame_rate: float | None
    num_frames: int | None


def probe(path: Path, *, limits: DecodeLimits) -> VideoFacts:
    """Open a video in a sandboxed child and decode its first frame.

    Raises:
        VideoError: it is no video that we read; `reason` says why.
    """
    with DecodeChild(path, {"task": "probe", "limits": asdict(limits)}, limits=limits) as child:
        found = list(child.messages())
    if [message.kind for message in found] != [Kind.FACTS]:
        raise nonsense()
    return parse_facts(found[0])


def parse_facts(message: Message) -> VideoFacts:
    """Read the child's answer, checking every type."""
    found = message.json()
    try:
        return VideoFacts(
            container=str(found["container"])[:64],
            codec=str(found["codec"])[:64],
            width=int(found["width"]),
            height=int(found["height"]),
            rotation=int(found["rotation"]),
            duration_s=round(float(found["duration_s"]), MICROSECOND_DIGITS),
            frame_rate=None if found["frame_rate"] is None else float(found["frame_rate"]),
            num_frames=None if found["num_frames"] is None else int(found["num_frames"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise nonsense() from error
