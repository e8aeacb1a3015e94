"""Images as lists of patches, for the networks that read images of any shape (NaFlex).

Shapes: N images, S side, P patches, Q pixels along a patch.
"""

import torch
from torch import Tensor


def cut_into_patches(pixels: Tensor, side: int) -> dict[str, Tensor]:
    """Return what the image tower of SigLIP 2 is given for square images.

    Args:
        pixels: float32 (N, 3, S, S).
        side: Q, which divides S.
    """
    across = pixels.shape[-1] // side
    patches = pixels.unflatten(3, (across, side)).unflatten(2, (across, side))
    patches = patches.permute(0, 2, 4, 3, 5, 1)  # (N, S/Q, S/Q, Q, Q, 3)
    patches = patches.flatten(3).flatten(1, 2)  # (N, P, 3 Q Q)
    return {
        "pixel_values": patches,
        "pixel_attention_mask": torch.ones(patches.shape[:2], device=pixels.device),
        "spatial_shapes": torch.full((len(pixels), 2), across, device=pixels.device),
    }
