"""How a published model wants its images, out of the preprocessing that comes with it.

What was read is tried against the image processor of `transformers` itself: a rule that we do not
follow to the last digit is refused, not approximated.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor

from model.image_text.patches import cut_into_patches
from model.image_text.published_sizes import read_published_json
from model.image_text.sizes import Sizes
from model.image_text.towers import quietly
from model.importing.errors import ImportRefusedError
from model.preprocessing import MAX_LEVEL, Preprocessing
from model.video.transforms import Fit, to_square

FILES = ("preprocessor_config.json", "processor_config.json")
FILTERS = {2: "bilinear", 3: "bicubic"}
"""PIL's numbers of the resampling filters that are known here."""
TRIED = ((96, 54), (54, 97), (301, 200))
"""Sizes of the frames that both are tried with, (W, H)."""
TOLERANCE = 1e-5
CLIP_FACTOR = 1 / MAX_LEVEL


def read_published_images(folder: Path, sizes: Sizes, *, frames: int) -> Preprocessing:
    """Read how frames are cut and scaled.

    Args:
        folder: of the model.
        sizes: of its towers.
        frames: T, how many frames of a segment are averaged.

    Raises:
        ImportRefusedError: there is no preprocessing, or none that video frames can follow.
    """
    present = [folder / name for name in FILES if (folder / name).is_file()]
    if not present:
        raise ImportRefusedError(
            f"{folder} has no {FILES[0]}, which says how images are resized and scaled; fetch it "
            "with the model."
        )
    for path in present:
        read_published_json(path)
    try:
        with quietly():
            processor = AutoImageProcessor.from_pretrained(
                str(folder), backend="pil", trust_remote_code=False, local_files_only=True
            )
        found = _as_preprocessing(processor, sizes, frames)
        _try(processor, found, sizes)
    except ImportRefusedError:
        raise
    except Exception as error:  # many kinds, for any wrong value
        message = f"The preprocessing in {present[0]} cannot be used: {error}."
        raise ImportRefusedError(message) from error
    return found


def _as_preprocessing(processor: Any, sizes: Sizes, frames: int) -> Preprocessing:
    if processor.resample not in FILTERS:
        raise ImportRefusedError(
            f"It resizes images with PIL's filter {processor.resample}; "
            f"known are {', '.join(f'{number} ({name})' for number, name in FILTERS.items())}."
        )
    resize_short, frame_size, fit = _geometry(processor, sizes)
    if not sizes.is_patchwise and frame_size != sizes.vision.image_size:
        raise ImportRefusedError(
            f"Its preprocessing makes images of {frame_size} px, its network reads "
            f"{sizes.vision.image_size} px."
        )
    mean, std = _scaling(processor)
    return Preprocessing(
        resize_short=resize_short,
        frame_size=frame_size,
        frames_per_clip=frames,
        mean=mean,
        std=std,
        fit=fit,
        resample="bicubic" if FILTERS[processor.resample] == "bicubic" else "bilinear",
    )


def _geometry(processor: Any, sizes: Sizes) -> tuple[int, int, Fit]:
    """Return the short side before a crop, the side S, and how a frame becomes a square."""
    if sizes.is_patchwise:
        if processor.patch_size != sizes.vision.patch_size:
            raise ImportRefusedError(
                f"Its preprocessing cuts patches of {processor.patch_size} px, its network reads "
                f"{sizes.vision.patch_size} px."
            )
        side = processor.patch_size * math.isqrt(processor.max_num_patches)
        return side, side, "squash"
    if not processor.do_resize or processor.size is None:
        raise ImportRefusedError("It does not resize images, so frames of a video do not fit it.")
    size, crop = processor.size, processor.crop_size if processor.do_center_crop else None
    if crop is not None and crop.height != crop.width:
        raise ImportRefusedError(f"It reads images of {crop.width} x {crop.height} px: not square.")
    if size.shortest_edge and crop is not None and crop.height:
        return size.shortest_edge, crop.height, "crop_floor"
    if size.height and size.height == size.width and crop in (None, size):
        return size.height, size.height, "squash"
    told = {name: value for name, value in dict(size).items() if value}
    raise ImportRefusedError(f"It resizes images to {told}, which does not make them square.")


Channels = tuple[float, float, float]


def _scaling(processor: Any) -> tuple[Channels, Channels]:
    """Return mean and deviation for pixels in [0, 1], whatever the file scales by."""
    factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if processor.do_normalize:
        mean, std = _three(processor.image_mean), _three(processor.image_std)
    if math.isclose(factor, CLIP_FACTOR, rel_tol=1e-6):
        return mean, std
    unit = factor * MAX_LEVEL
    return _three([value / unit for value in mean]), _three([value / unit for value in std])


def _three(values: Any) -> Channels:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _try(processor: Any, found: Preprocessing, sizes: Sizes) -> None:
    """Compare both on frames of noise; NaFlex on square ones, as video frames are given to it."""
    noise = np.random.default_rng(0)
    for width, height in TRIED:
        frame = noise.integers(0, 256, (height, width, 3), np.uint8)
        square = to_square(
            frame,
            resize_short=found.resize_short,
            frame_size=found.frame_size,
            fit=found.fit,
            resample=found.resample,
        )
        ours = found.normalise(torch.from_numpy(square.copy())[None, None])[0]
        if sizes.is_patchwise:
            ours = cut_into_patches(ours, sizes.vision.patch_size)["pixel_values"]
        asked = square if sizes.is_patchwise else frame
        theirs = processor(images=[asked], return_tensors="pt")["pixel_values"]
        same = ours.shape == theirs.shape
        if not same or float((ours - theirs).abs().max()) > TOLERANCE:
            raise ImportRefusedError(
                f"Its preprocessing ({type(processor).__name__}) does more than resize, crop and "
                "scale, and is not known here."
            )
