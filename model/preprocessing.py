"""Pixels as the network reads them: the same for training and serving.

Shapes: B clips, T frames, S frame side.
"""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from model.video.transforms import Fit, Resample

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_LEVEL = 255
CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a clip is cut and scaled.

    Attributes:
        resize_short: the short side is resized to this before the centre crop, pixels.
        frame_size: side S of the crop, pixels.
        frames_per_clip: T.
        fit: how a frame becomes a square, see `Fit`; `squash` uses `frame_size` alone.
        resample: filter that it is resized with.
        mean: per-channel mean that pixels in [0, 1] are shifted by, RGB.
        std: per-channel deviation that they are divided by, RGB.
    """

    resize_short: int
    frame_size: int
    frames_per_clip: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    fit: Fit = "crop"
    resample: Resample = "bilinear"

    def __post_init__(self) -> None:
        """Refuse values that no clip could be cut by."""
        if not 0 < self.frame_size <= self.resize_short:
            raise ValueError(f"cannot crop {self.frame_size} px from {self.resize_short} px")
        if self.frames_per_clip < 1:
            raise ValueError(f"a clip of {self.frames_per_clip} frames is empty")
        for name, value, known in (
            ("fit", self.fit, get_args(Fit)),
            ("resample", self.resample, get_args(Resample)),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r} is none of {', '.join(known)}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != CHANNELS:
                raise ValueError(f"{name} {values} is not that of three channels")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} is not positive")

    def normalise(self, clips: Tensor) -> Tensor:
        """Turn decoded frames into what the network reads.

        Args:
            clips: RGB, uint8 (B, T, S, S, 3).

        Returns:
            float32 (B, T, 3, S, S).
        """
        mean = torch.tensor(self.mean, device=clips.device)[:, None, None]
        std = torch.tensor(self.std, device=clips.device)[:, None, None]
        channels_first = clips.permute(0, 1, 4, 2, 3).to(torch.float32)
        return (channels_first / MAX_LEVEL - mean) / std
