"""The video encoder: a Video Swin transformer (arXiv:2106.13230).

Shapes: B clips, T frames, S frame side, M tokens of a clip, N tokens of a window, W windows of a
clip, G cells along one side of a tube mask, C width, H heads, D = C / H.

A size is (frames, rows, columns) of the grid that tokens stand on.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.all_in_one.blocks import DropPath, Mlp
from model.clover.dims import MLP_RATIO
from model.clover.patches import PatchMerging, TubeletEmbedding
from model.clover.windows import Group, Size, cut_windows


class WindowAttention(nn.Module):
    """Self-attention inside windows, with a learned bias for each relative position.

    Args:
        width: feature width C.
        heads: number of heads H.
        bias_rows: offsets inside a full window.
    """

    def __init__(self, *, width: int, heads: int, bias_rows: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(bias_rows, heads))

    def forward(self, windows: Tensor, bias_index: Tensor, groups: Sequence[Group]) -> Tensor:
        """Let the tokens of each window attend to each other, (W B, N, C).

        Args:
            windows: normalised tokens, (W B, N, C).
            bias_index: row of the bias table for each pair of tokens, (N N,).
            groups: which windows have which tokens to keep apart, in their order.
        """
        length = windows.shape[1]
        split = self.qkv(windows).unflatten(-1, (3, self.heads, -1))  # (W B, N, 3, H, D)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind()  # (W B, H, N, D) each
        bias = functional.embedding(bias_index, self.relative_position_bias_table)  # (N N, H)
        bias = bias.t().reshape(1, self.heads, length, length)
        gathered, start = [], 0
        for group in groups:
            rows = slice(start, start + group.count)
            scores = bias if group.apart is None else bias + group.apart
            gathered.append(
                functional.scaled_dot_product_attention(
                    query[rows], key[rows], value[rows], attn_mask=scores.to(query.dtype)
                ).transpose(1, 2)
            )  # (rows, N, H, D)
            start += group.count
        together = gathered[0] if len(gathered) == 1 else torch.cat(gathered)
        mixed: Tensor = self.proj(together.flatten(2))
        return mixed


class SwinBlock(nn.Module):
    """One pre-norm block whose tokens attend inside windows.

    Args:
        width: feature width C.
        heads: number of attention heads H.
        window: size of a full window.
        is_shifted: windows begin half a window later.
        bias_rows: offsets inside a full window.
        cuts_bias_index: see `CloverDims`.
        drop_path: share of clips that skip a branch in training.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        window: Size,
        is_shifted: bool,
        bias_rows: int,
        cuts_bias_index: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.window = window
        self.is_shifted = is_shifted
        self.cuts_bias_index = cuts_bias_index
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width=width, heads=heads, bias_rows=bias_rows)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width=width, hidden=MLP_RATIO * width, dropout=0.0)
        self.drop_path = DropPath(probability=drop_path)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Return the tokens after the block, (B, M, C).

        Args:
            tokens: (B, M, C).
            size: of the grid that they stand on.
        """
        tokens = tokens + self.drop_path(self._attend(self.norm1(tokens), size))
        out: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return out

    def _attend(self, tokens: Tensor, size: Size) -> Tensor:
        windows = cut_windows(
            batch=len(tokens),
            size=size,
            window=self.window,
            is_shifted=self.is_shifted,
            cuts_bias_index=self.cuts_bias_index,
            device=tokens.device,
        )
        mixed = self.attn(windows.cut(tokens), windows.bias_index, windows.groups)
        return windows.join(mixed)


class SwinStage(nn.Module):
    """Blocks, every second with shifted windows, and a merging unless it is the last.

    Args:
        width: feature width C.
        heads: attention heads of a block.
        window: size of a full window.
        bias_rows: offsets inside a full window.
        cuts_bias_index: see `CloverDims`.
        drop_paths: stochastic depth of each block.
        has_merging: whether another stage follows.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        window: Size,
        bias_rows: int,
        cuts_bias_index: bool,
        drop_paths: Sequence[float],
        has_merging: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(
                width=width,
                heads=heads,
                window=window,
                is_shifted=index % 2 == 1,
                bias_rows=bias_rows,
                cuts_bias_index=cuts_bias_index,
                drop_path=drop_path,
            )
            for index, drop_path in enumerate(drop_paths)
        )
        self.downsample = PatchMerging(width=width) if has_merging else None

    def forward(self, tokens: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Return the tokens after the stage and their size."""
        for block in self.blocks:
            tokens = block(tokens, size)
        if self.downsample is None:
            return tokens, size
        merged: tuple[Tensor, Size] = self.downsample(tokens, size)
        return merged


class VideoSwin(nn.Module):
    """The video encoder. There is no absolute position: offsets inside windows are all it knows.

    Args:
        widths: width of each stage.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        window: size of a full window.
        tubelet: frames that one patch spans.
        patch: side of a patch, pixels.
        cuts_bias_index: see `CloverDims`.
        drop_path: stochastic depth of the last block; it rises linearly from none in the first.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        window: Size,
        tubelet: int,
        patch: int,
        cuts_bias_index: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, widths[0], 1, 1, 1))
        self.patch_embed = TubeletEmbedding(tubelet=tubelet, patch=patch, width=widths[0])
        last = max(1, sum(depths) - 1)
        rates = [drop_path * index / last for index in range(sum(depths))]
        self.layers = nn.ModuleList(
            SwinStage(
                width=width,
                heads=heads[stage],
                window=window,
                bias_rows=prod(2 * side - 1 for side in window),
                cuts_bias_index=cuts_bias_index,
                drop_paths=rates[sum(depths[:stage]) : sum(depths[: stage + 1])],
                has_merging=stage + 1 < len(depths),
            )
            for stage, width in enumerate(widths)
        )
        self.norm = nn.LayerNorm(widths[-1])

    def forward(self, frames: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the normalised features of clips, (B, T', H', W', C).

        Args:
            frames: normalised frames, (B, T, 3, S, S).
            hidden: cells whose patches are replaced by the mask token in all frames, bool
                (B, G, G).
        """
        tokens, size = self.patch_embed(frames)
        if hidden is not None:
            token = self.mask_token.flatten().to(tokens.dtype)
            tokens = torch.where(_spread_cells(hidden, size), token, tokens)
        for stage in self.layers:
            tokens, size = stage(tokens, size)
        features: Tensor = self.norm(tokens).unflatten(1, size)
        return features


def _spread_cells(hidden: Tensor, size: Size) -> Tensor:
    """Enlarge cells (B, G, G) to patches, bool (B, M, 1)."""
    frames, rows, columns = size
    cells = hidden.shape[1]
    down = torch.arange(rows, device=hidden.device) * cells // rows
    across = torch.arange(columns, device=hidden.device) * cells // columns
    patches = hidden[:, down][:, :, across]  # (B, H', W')
    return patches[:, None].expand(-1, frames, -1, -1).flatten(1)[..., None]
