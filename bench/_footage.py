"""Writes 1080p H.264 footage that costs about as much to decode as a camera's."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 1920, 1080
RATE = 30
BIT_RATE = 6_000_000
MARGIN = 256
"""The camera drifts over a larger picture, pixels."""
NUM_NOISES = 8


def write_footage(path: Path, *, duration_s: float, seed: int = 0) -> None:
    """Write drifting texture with passing things and sensor noise, at some 6 Mbit/s."""
    with av.open(str(path), "w", format="mp4") as container:
        options = {"preset": "veryfast", "maxrate": str(BIT_RATE), "bufsize": str(2 * BIT_RATE)}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = BIT_RATE
        for pixels in _frames(round(duration_s * RATE), np.random.default_rng(seed)):
            frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _frames(count: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield frames as planes, uint8 (3/2 H, W)."""
    luma = _texture(HEIGHT + MARGIN, WIDTH + MARGIN, random)
    chroma = _texture((HEIGHT + MARGIN) // 2, WIDTH + MARGIN, random) // 4 + 96
    noises = random.normal(0, 2.5, (NUM_NOISES, HEIGHT, WIDTH)).astype(np.int16)
    for index in range(count):
        angle = index / RATE
        top = int((1 + np.sin(0.7 * angle)) * MARGIN / 2)
        left = int((1 + np.cos(0.5 * angle)) * MARGIN / 2)
        picture = luma[top : top + HEIGHT, left : left + WIDTH] + noises[index % NUM_NOISES]
        _draw_things(picture, angle)
        planes = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
        planes[:HEIGHT] = picture.clip(16, 235)
        planes[HEIGHT:] = chroma[top // 2 : top // 2 + HEIGHT // 2, left // 2 * 2 :][:, :WIDTH]
        yield planes


def _texture(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Return smooth shapes with finer and finer detail, int16 (height, width)."""
    picture = np.zeros((height, width))
    for step, strength in ((240, 60.0), (60, 30.0), (16, 12.0), (4, 6.0)):
        coarse = random.normal(0, strength, (height // step + 2, width // step + 2))
        picture += np.kron(coarse, np.ones((step, step)))[:height, :width]
    return (picture + 126).clip(16, 235).astype(np.int16)


def _draw_things(picture: np.ndarray, angle: float) -> None:
    """Let a few bright and dark squares cross the picture, each at its own speed."""
    for number in range(6):
        size = 60 + 30 * number
        x = int((angle * (120 + 70 * number) + 300 * number) % (WIDTH - size))
        y = int((np.sin(angle + number) + 1) / 2 * (HEIGHT - size))
        picture[y : y + size, x : x + size] += np.int16(60 if number % 2 else -60)
