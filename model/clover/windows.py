"""Which patches attend to each other: shifted windows over time, height and width.

Shapes: B clips, M tokens of a clip, N tokens of a window, W windows of a clip, C width.
A size is (frames, rows, columns), and tokens are numbered in that order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int, int]

APART = -100.0
"""Added to the scores of two tokens that the shift brought into one window from afar."""


@dataclass(frozen=True, eq=False)
class Group:
    """Windows that are alike in what may attend to what.

    Attributes:
        count: windows of all clips together.
        apart: added to the scores, (N, N); None: nothing.
    """

    count: int
    apart: Tensor | None


@dataclass(frozen=True, eq=False)
class Windows:
    """How the tokens of a batch are cut into windows, group by group, and put back.

    Attributes:
        size: of the clips.
        padded: size after padding to whole windows.
        length: tokens N of a window.
        order: token of the batch in each slot of each window, int64 (W B N,).
        back: slot that each token of the batch is in, int64 (B M,).
        groups: the windows in their order.
        bias_index: row of the table of relative positions for each pair of tokens, (N N,).
    """

    size: Size
    padded: Size
    length: int
    order: Tensor
    back: Tensor
    groups: tuple[Group, ...]
    bias_index: Tensor

    def cut(self, tokens: Tensor) -> Tensor:
        """Return the windows of clips, (W B, N, C).

        Args:
            tokens: (B, M, C); padding is zero.
        """
        if self.padded != self.size:
            after = [(0, whole - side) for side, whole in zip(self.size, self.padded, strict=True)]
            padding = [0, 0, *(edge for axis in reversed(after) for edge in axis)]
            tokens = functional.pad(tokens.unflatten(1, self.size), padding).flatten(1, 3)
        rows: Tensor = _Reorder.apply(tokens.flatten(0, 1), self.order, self.back)
        windows: Tensor = rows.unflatten(0, (-1, self.length))
        return windows

    def join(self, windows: Tensor) -> Tensor:
        """Put windows (W B, N, C) back together without the padding, (B, M, C)."""
        rows: Tensor = _Reorder.apply(windows.flatten(0, 1), self.back, self.order)
        tokens: Tensor = rows.unflatten(0, (-1, prod(self.padded)))
        if self.padded != self.size:
            time, down, across = self.size
            tokens = tokens.unflatten(1, self.padded)[:, :time, :down, :across].flatten(1, 3)
        return tokens


class _Reorder(torch.autograd.Function):
    """Permute rows. Its gradient is a gather too; that of `index_select` is a slow scatter."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.back = back
        return rows.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.index_select(0, ctx.back), None, None


@lru_cache(maxsize=64)  # a network has eight for each size of batch
@torch.inference_mode(mode=False)  # kept, and used in training too
def cut_windows(
    *,
    batch: int,
    size: Size,
    window: Size,
    is_shifted: bool,
    cuts_bias_index: bool,
    device: torch.device,
) -> Windows:
    """Plan how clips of one size are cut into windows.

    A window is never larger than the clip, and there is no shift along an axis that one window
    covers. Windows that a shift mixed from both ends of a clip are cut into regions, which do not
    attend to each other.

    Args:
        batch: clips B.
        size: of a clip.
        window: size of a full window.
        is_shifted: windows begin half a window later.
        cuts_bias_index: see `CloverDims`.
        device: where the indices are kept.
    """
    clamped = _three(min(side, limit) for side, limit in zip(size, window, strict=True))
    shift = _three(
        limit // 2 if is_shifted and side > limit else 0
        for side, limit in zip(size, window, strict=True)
    )
    padded = _three(-(-side // inner) * inner for side, inner in zip(size, clamped, strict=True))
    slots, kinds = _sort_windows(padded, clamped, shift)  # (W, N)
    order = slots[:, None] + prod(padded) * torch.arange(batch)[:, None]  # (W, B, N)
    order = order.flatten()
    groups = tuple(
        Group(kinds.count(kind) * batch, _keep_apart(clamped, shift, kind, device))
        for kind in dict.fromkeys(kinds)
    )
    return Windows(
        size=size,
        padded=padded,
        length=prod(clamped),
        order=order.to(device),
        back=order.argsort().to(device),
        groups=groups,
        bias_index=_bias_index(clamped, window, cuts=cuts_bias_index).to(device),
    )


def _sort_windows(
    padded: Size, clamped: Size, shift: Size
) -> tuple[Tensor, list[tuple[bool, ...]]]:
    """Return the tokens of each window, (W, N), and the axes along which it mixes both ends."""
    tokens = torch.arange(prod(padded)).view(padded).roll([-step for step in shift], (0, 1, 2))
    counts = _three(whole // inner for whole, inner in zip(padded, clamped, strict=True))
    cut = tokens.view(counts[0], clamped[0], counts[1], clamped[1], counts[2], clamped[2])
    cut = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(0, 2)  # (W, N)
    places = product(*(range(count) for count in counts))
    kinds = [
        tuple(
            step > 0 and at == count - 1
            for at, count, step in zip(place, counts, shift, strict=True)
        )
        for place in places
    ]
    by_kind = sorted(range(len(kinds)), key=lambda index: kinds[index])
    return cut[by_kind], [kinds[index] for index in by_kind]


def _keep_apart(
    clamped: Size, shift: Size, kind: tuple[bool, ...], device: torch.device
) -> Tensor | None:
    """Return what is added to the scores in windows that mix both ends along some axes."""
    if not any(kind):
        return None
    regions = torch.zeros(clamped, dtype=torch.int64)
    for axis, is_mixed in enumerate(kind):
        if is_mixed:
            is_from_start = torch.arange(clamped[axis]) >= clamped[axis] - shift[axis]
            shape = [-1 if other == axis else 1 for other in range(len(clamped))]
            regions = 2 * regions + is_from_start.view(shape)
    flat = regions.flatten()
    return torch.where(flat[:, None] == flat, 0.0, APART).to(device)


def _bias_index(clamped: Size, window: Size, *, cuts: bool) -> Tensor:
    """Number the offset of each pair of tokens of a window, as offsets in a full window."""
    places = torch.cartesian_prod(*(torch.arange(side) for side in (window if cuts else clamped)))
    places = places[: prod(clamped)]  # (N, 3)
    offsets = places[:, None] - places + torch.tensor(window) - 1  # (N, N, 3), not negative
    _, rows, columns = (2 * side - 1 for side in window)
    index = (offsets[..., 0] * rows + offsets[..., 1]) * columns + offsets[..., 2]
    return index.flatten()


def _three(values: Iterator[int]) -> Size:
    frames, rows, columns = values
    return frames, rows, columns
