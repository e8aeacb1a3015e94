"""Real videos whose frames say which frame they are."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS_A_SIDE = 4
"""The number of a frame is written as 4 x 4 squares, lowest bit first, in the middle."""
CODE_SHARE = 0.7
"""Side of that code as a share of the short side, so that it survives a centre crop."""
TIME_BASE = Fraction(1, 90_000)

Pattern = Callable[[int, int, int], np.ndarray]
"""(number of the frame, width, height) -> RGB, uint8 (H, W, 3)."""


def code_box(width: int, height: int) -> tuple[float, float, float]:
    """Return (left, top, side of one bit) of the code in a frame."""
    side = CODE_SHARE * min(width, height)
    return (width - side) / 2, (height - side) / 2, side / BITS_A_SIDE


def draw_number(number: int, width: int, height: int) -> np.ndarray:
    """Return a grey frame with its number as a code of white and black squares."""
    frame = np.full((height, width, 3), 96, np.uint8)
    left, top, step = code_box(width, height)
    for bit in range(BITS_A_SIDE**2):
        row, column = divmod(bit, BITS_A_SIDE)
        rows = slice(round(top + row * step), round(top + (row + 1) * step))
        columns = slice(round(left + column * step), round(left + (column + 1) * step))
        frame[rows, columns] = 220 if number >> bit & 1 else 24
    return frame


def read_number(frame: np.ndarray, *, zoom: float = 1.0) -> int:
    """Return the number written in a frame, uint8 (H, W, 3).

    Args:
        frame: as decoded, or a square cropped from its middle.
        zoom: `resize_short / frame_size` for a square: how much of the short side is cut off.
    """
    height, width = frame.shape[:2]
    side = CODE_SHARE * min(width, height) * zoom
    left, top, step = (width - side) / 2, (height - side) / 2, side / BITS_A_SIDE
    number = 0
    for bit in range(BITS_A_SIDE**2):
        row, column = divmod(bit, BITS_A_SIDE)
        y, x = top + (row + 0.5) * step, left + (column + 0.5) * step
        around = frame[
            max(0, round(y - step / 5)) : round(y + step / 5) + 1,
            max(0, round(x - step / 5)) : round(x + step / 5) + 1,
        ]
        number |= int(around.mean() > 110) << bit
    return number


def make_video(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 25,
    size: tuple[int, int] = (160, 120),
    codec: str = "libx264",
    seed: int = 0,
    pattern: Pattern = draw_number,
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    times: Sequence[float] | None = None,
    start_s: float = 0.0,
    gop: int = 12,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video that can be played; the suffix chooses the container.

    Args:
        path: file to write, as `x.mp4`, `x.mkv`, `x.ts`, `x.avi`, `x.webm`.
        seconds: length; ignored where `times` is given.
        fps: frames per second, where they are evenly spaced.
        size: (width, height) as stored.
        codec: name of FFmpeg's encoder.
        seed: another seed makes another file.
        pattern: draws frame 0, 1, ...
        pixel_format: as stored.
        rotation: display rotation written into the header, degrees counter-clockwise.
        times: when each frame is shown, for a variable frame rate.
        start_s: added to all timestamps; negative ones become an edit list in MP4.
        gop: distance of keyframes at most.
        codec_options: of the encoder, as {"bf": "2"}.
        container_options: of the muxer, as {"movflags": "faststart"}.

    Returns:
        `path`.
    """
    shown_at = [i / fps for i in range(round(seconds * fps))] if times is None else list(times)
    with av.open(str(path), "w", options=container_options or {}) as container:
        container.metadata["comment"] = f"seed {seed}"
        stream = container.add_stream(codec, rate=fps, options=codec_options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.gop_size = gop
        stream.time_base = stream.codec_context.time_base = encoder_clock(codec, fps, times)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, shown_s in enumerate(shown_at):
            pixels = tint(pattern(number, *size), seed)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(shown_s / frame.time_base)
            mux(container, stream.encode(frame), start_s)
        mux(container, stream.encode(None), start_s)
    return path


def encoder_clock(codec: str, fps: int, times: Sequence[float] | None) -> Fraction:
    """Return a clock that the encoder takes: MPEG-4 part 2 has 16 bits for it."""
    if times is None:
        return Fraction(1, fps)
    return Fraction(1, 1000) if codec == "mpeg4" else TIME_BASE


def tint(frame: np.ndarray, seed: int) -> np.ndarray:
    """Colour the left edge by the seed, outside of the number."""
    if seed:
        edge = max(2, frame.shape[1] // 20)
        shade = np.random.default_rng(seed).integers(0, 256, 3)
        frame = frame.copy()
        frame[:, :edge] = shade
    return frame


def mux(container: av.container.OutputContainer, packets: list[av.Packet], start_s: float) -> None:
    """Write packets, moved in time."""
    for packet in packets:
        if start_s:
            shift = round(start_s / packet.time_base)
            packet.pts += shift
            packet.dts += shift
        container.mux(packet)
