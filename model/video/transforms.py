"""Turn a decoded frame into the square that the network reads, and into a thumbnail.

The default rule is the evaluation transform of All-in-One: PIL's antialiased bilinear filter
on uint8, short side to `resize_short`, long side cut to an integer, centre crop at
round((size - S) / 2). Training uses the same functions. The other rules are those of the image
processors that CLIP and SigLIP come with.
"""

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frame = NDArray[np.uint8]

Fit = Literal["crop", "crop_floor", "squash"]
"""How a frame becomes a square: `crop` cuts the centre out, its corner rounded to the nearest
pixel; `crop_floor` rounds it down, as the image processors of `transformers` do; `squash` takes
the whole frame and ignores its aspect ratio."""
Resample = Literal["bilinear", "bicubic"]
"""The filter that frames are resized with, antialiased, as PIL does it."""

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

LONGEST_SHARE = 8
"""Frames longer than this many short sides are cropped while they are resized."""
SHORTEST_SIDE = 1
REDUCING_GAP = 2.0
"""Thumbnails are shrunk by a whole number first, which costs half and looks the same."""


def resized_size(width: int, height: int, resize_short: int) -> tuple[int, int]:
    """Return (width, height) after the short side became `resize_short`."""
    if width <= height:
        return resize_short, int(resize_short * height / width)
    return int(resize_short * width / height), resize_short


def to_square(
    frame: Frame,
    *,
    resize_short: int,
    frame_size: int,
    aspect: float = 1.0,
    fit: Fit = "crop",
    resample: Resample = "bilinear",
) -> Frame:
    """Resize the short side, then crop the centre; or squash the whole frame.

    Args:
        frame: RGB, uint8 (H, W, 3).
        resize_short: length of the short side after resizing, at least `frame_size`.
        frame_size: side S of the square.
        aspect: width of a pixel divided by its height.
        fit: see `Fit`.
        resample: see `Resample`.

    Returns:
        uint8 (S, S, 3).

    Raises:
        ValueError: the short side is smaller than the crop.
    """
    if resize_short < frame_size:
        raise ValueError(f"cannot crop {frame_size} px from a short side of {resize_short} px")
    image, pil_filter = Image.fromarray(frame), FILTERS[resample]
    if fit == "squash":
        return np.asarray(image.resize((frame_size, frame_size), pil_filter))
    shown_width = max(SHORTEST_SIDE, round(image.width * aspect))
    width, height = resized_size(shown_width, image.height, resize_short)
    left, top = (_margin(side - frame_size, fit) for side in (width, height))
    crop = (left, top, left + frame_size, top + frame_size)
    if max(width, height) <= LONGEST_SHARE * resize_short:
        resized = image.resize((width, height), pil_filter)
        return np.asarray(resized.crop(crop))
    across, down = image.width / width, image.height / height  # source pixels per result pixel
    source = (crop[0] * across, crop[1] * down, crop[2] * across, crop[3] * down)
    return np.asarray(image.resize((frame_size, frame_size), pil_filter, box=source))


def _margin(spare: int, fit: Fit) -> int:
    """Return how much of the spare length is cut off before the crop."""
    return spare // 2 if fit == "crop_floor" else round(spare / 2)


def to_thumbnail(frame: Frame, *, longest_px: int, aspect: float = 1.0, quality: int = 80) -> bytes:
    """Return the frame as a JPEG whose longest side is at most `longest_px`."""
    image = Image.fromarray(frame)
    width, height = max(SHORTEST_SIDE, round(image.width * aspect)), image.height
    scale = min(1.0, longest_px / max(width, height))
    size = (max(SHORTEST_SIDE, round(width * scale)), max(SHORTEST_SIDE, round(height * scale)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
