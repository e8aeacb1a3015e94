"""Token rolling: the one way in which the frames of a clip see each other.

Shapes: B clips, T frames, S tokens of a sequence, P image tokens of a frame, N patches, C width.
"""

import torch
from torch import Tensor

PLASTIC = 1.32471795724474602596
"""Root of x^3 = x + 1; its powers step the R2 low-discrepancy sequence (M. Roberts, 2018)."""


def roll_tokens_(tokens: Tensor, *, start: int, count: int) -> None:
    """Swap tokens between neighbouring frames, in place.

    The first `count` image tokens after cls move one frame forward in time, the last `count`
    one frame back; the ends of the clip are joined. One frame is left as it is.

    Args:
        tokens: sequences that end with the image tokens, (B, T, S, C).
        start: slot of the first image token, cls; the text stands before it.
        count: how many tokens move each way.

    Raises:
        ValueError: the two ranges would overlap.
    """
    end = tokens.shape[2]
    if 2 * count > end - start - 1:
        raise ValueError(f"{count} tokens each way do not fit in {end - start} image tokens")
    if tokens.shape[1] == 1 or not count:
        return
    ahead = tokens[:, :, start + 1 : start + 1 + count]  # (B, T, f, C)
    ahead.copy_(ahead.roll(1, dims=1))
    back = tokens[:, :, end - count :]  # (B, T, f, C)
    back.copy_(back.roll(-1, dims=1))


def spread_order(*, grid: int, count: int) -> Tensor:
    """Order the patches of a frame so that those that roll cover it evenly.

    Any few successive points of the R2 sequence are spread out, so the patches it visits first
    are put where tokens roll ahead, and those it visits next where they roll back.

    Args:
        grid: patches along one side.
        count: how many tokens roll each way.

    Returns:
        the raster index of the patch in each slot, int64 (N,).
    """
    visited: dict[int, None] = {}
    step = 0
    while len(visited) < grid * grid:
        step += 1
        row = int(grid * ((0.5 + step / PLASTIC) % 1))
        column = int(grid * ((0.5 + step / PLASTIC**2) % 1))
        visited.setdefault(row * grid + column)
    patches = list(visited)
    order = patches[:count] + patches[2 * count :] + patches[count : 2 * count]
    return torch.tensor(order, device="cpu")
