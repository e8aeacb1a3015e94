"""Which cells of a clip are hidden: blocks, the same in every frame. Shapes: B clips, G cells.

The block-wise masking of BEiT (arXiv:2106.08254, algorithm 1) as Clover (arXiv:2207.07885) uses
it: a tube through all frames, so that no frame tells what the others hide.
"""

import math
import random

import torch
from torch import Tensor

GRID = 7
"""Clover's cells along one side of a frame of 224 pixels,"""
CELLS = 10
"""of which so many are hidden."""
HIDDEN_SHARE = CELLS / GRID**2
SMALLEST_BLOCK = 4
ATTEMPTS = 10
LOG_ASPECT = math.log(0.3)
"""Blocks are at most so much taller than wide (its exponential), or wider than tall."""


def tube_masks(
    count: int,
    *,
    grid: int = GRID,
    cells: int | None = None,
    draw: random.Random | None = None,
) -> Tensor:
    """Draw which cells of each clip are hidden, in all its frames.

    Args:
        count: clips B.
        grid: cells G along one side.
        cells: how many to hide; a fifth of the grid, as of Clover's, if not given. Three masks of
            a hundred have one fewer, when none of ten blocks in a row fits what is left; none is
            empty.
        draw: where the randomness comes from.

    Returns:
        True where hidden, bool (B, G, G).

    Raises:
        ValueError: not at least one cell can be hidden and one left.
    """
    cells = max(1, round(HIDDEN_SHARE * grid**2)) if cells is None else cells
    if not 0 < cells < grid**2:
        raise ValueError(f"{cells} cells cannot be hidden of a grid of {grid} x {grid}")
    draw = draw or random.Random()  # noqa: S311 (no secret)
    return torch.stack([_draw_mask(grid, cells, draw) for _ in range(count)])


def _draw_mask(grid: int, cells: int, draw: random.Random) -> Tensor:
    """Add blocks until enough is hidden or none fits, bool (G, G)."""
    mask = torch.zeros(grid, grid, dtype=torch.bool)
    remaining = cells
    while remaining > 0 and _add_block(mask, remaining, draw):
        remaining = cells - int(mask.sum())
    if remaining == cells:  # blocks are too large for a grid of very few cells
        mask.view(-1)[draw.randrange(grid**2)] = True
    return mask


def _add_block(mask: Tensor, remaining: int, draw: random.Random) -> bool:
    """Hide one block of at most `remaining` new cells; return whether one was found.

    The order of the draws is that of the published code: area, aspect, then the corner.
    """
    grid = len(mask)
    for _ in range(ATTEMPTS):
        area = draw.uniform(SMALLEST_BLOCK, remaining)
        aspect = math.exp(draw.uniform(LOG_ASPECT, -LOG_ASPECT))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height >= grid or width >= grid:
            continue
        top, left = draw.randint(0, grid - height), draw.randint(0, grid - width)
        block = mask[top : top + height, left : left + width]
        if 0 < int((~block).sum()) <= remaining:
            block.fill_(value=True)
            return True
    return False
