"""Pixels become patches, and patches become fewer.

Shapes: B clips, T frames, S frame side, M tokens of a clip, C width, T' H' W' the grid of patches.
"""

from torch import Tensor, nn
from torch.nn import functional

from model.clover.windows import Size

MERGED = 4
"""Tokens that become one between two stages: two rows by two columns."""


class TubeletEmbedding(nn.Module):
    """Project patches that span several frames, and normalise them.

    The weights are a strided convolution, as published; it is computed as one matrix product.
    Clips that do not divide are padded with zeros at the end: a single image is followed by black.

    Args:
        tubelet: frames that one patch spans.
        patch: side of a patch, pixels.
        width: feature width C.
    """

    def __init__(self, *, tubelet: int, patch: int, width: int) -> None:
        super().__init__()
        self.sides = (tubelet, patch, patch)
        self.proj = nn.Conv3d(3, width, kernel_size=self.sides, stride=self.sides)
        self.norm = nn.LayerNorm(width)

    def forward(self, frames: Tensor) -> tuple[Tensor, Size]:
        """Return the patches (B, M, C) and their size.

        Args:
            frames: normalised frames, (B, T, 3, S, S).
        """
        given = (frames.shape[1], *frames.shape[3:])
        time, rows, columns = (
            -side % step for side, step in zip(given, self.sides, strict=True)
        )  # missing at the end
        if time or rows or columns:
            frames = functional.pad(frames, (0, columns, 0, rows, 0, 0, 0, time))
        tubelet, patch, _ = self.sides
        cells = frames.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))
        cells = cells.unflatten(1, (-1, tubelet))  # (B, T', t, 3, H', p, W', p)
        cells = cells.permute(0, 1, 4, 6, 3, 2, 5, 7)  # (B, T', H', W', 3, t, p, p)
        size = (cells.shape[1], cells.shape[2], cells.shape[3])
        pixels = cells.flatten(4).flatten(1, 3)
        weight = self.proj.weight.flatten(1)  # (C, 3 t p p)
        patches = functional.linear(pixels.to(weight.dtype), weight, self.proj.bias)
        tokens: Tensor = self.norm(patches)
        return tokens, size


class PatchMerging(nn.Module):
    """Join two rows by two columns into one token of twice the width.

    Args:
        width: feature width C of the tokens that are joined.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(MERGED * width)
        self.reduction = nn.Linear(MERGED * width, 2 * width, bias=False)

    def forward(self, tokens: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Return the joined tokens (B, M / 4, 2 C) and their size. An odd side gets a zero."""
        frames, rows, columns = size
        grid = tokens.unflatten(1, size)
        if rows % 2 or columns % 2:
            grid = functional.pad(grid, (0, 0, 0, columns % 2, 0, rows % 2))
        grid = grid.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, T', h, 2, w, 2, C)
        grid = grid.permute(0, 1, 2, 4, 5, 3, 6)  # column, row: the published order
        merged = self.reduction(self.norm(grid.flatten(4).flatten(1, 3)))
        return merged, (frames, -(-rows // 2), -(-columns // 2))
