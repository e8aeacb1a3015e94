"""The Vision Transformer that encodes words and patches alike.

Shapes: B sequences, S tokens, Q tokens that ask, C width, H heads, D = C / H, T frames, N patches.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.all_in_one.embeddings import PatchEmbedding

VISION_NORM_EPS = 1e-6
"""Epsilon of every LayerNorm inside the Vision Transformer."""


class Attention(nn.Module):
    """Self-attention with one projection for queries, keys and values.

    Args:
        width: feature width C.
        heads: number of heads H.
        dropout: probability after the output projection.
    """

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None, num_queries: int | None) -> Tensor:
        """Return what the first tokens (or all) gather from the sequence, (B, Q, C).

        Args:
            tokens: normalised tokens, (B, S, C).
            mask: True where a key may be attended, bool (B, 1, 1, S); None: everywhere.
            num_queries: Q; None: all S.
        """
        if num_queries is None:
            query, key, value = self._split_heads(self.qkv(tokens), 3)
        else:
            width = tokens.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            asking = functional.linear(tokens[:, :num_queries], weight[:width], bias[:width])
            (query,) = self._split_heads(asking, 1)
            answering = functional.linear(tokens, weight[width:], bias[width:])
            key, value = self._split_heads(answering, 2)
        gathered = _attend(query, key, value, mask)  # (B, H, Q, D)
        mixed: Tensor = self.dropout(self.proj(gathered.transpose(1, 2).flatten(2)))
        return mixed

    def _split_heads(self, features: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Cut (B, S, parts C) into `parts` of (B, H, S, D)."""
        split = features.unflatten(-1, (parts, self.heads, -1))  # (B, S, parts, H, D)
        by_part: tuple[Tensor, ...] = split.permute(2, 0, 3, 1, 4).unbind()
        return by_part


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Return scaled dot-product attention, (B, H, Q, D).

    In bfloat16 on a CPU, two plain products take 0.7 of the time of torch's kernel at the lengths
    that we have (bench/forward.py); everywhere else the kernel is ahead.
    """
    if query.device.type != "cpu" or query.dtype is not torch.bfloat16 or query.requires_grad:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.mT  # (B, H, Q, S)
    if mask is not None:
        scores.masked_fill_(~mask, float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=scores.dtype)
    return weights @ value


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between them.

    Args:
        width: feature width C.
        hidden: width between the layers.
        dropout: probability after each layer.
    """

    def __init__(self, *, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform each token by itself, (B, S, C)."""
        hidden = self.dropout(functional.gelu(self.fc1(tokens)))
        out: Tensor = self.dropout(self.fc2(hidden))
        return out


class DropPath(nn.Module):
    """Stochastic depth (arXiv:1603.09382): a branch is left out for whole sequences.

    Args:
        probability: share of sequences that skip the branch in training.
    """

    def __init__(self, *, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch, zeroed for some sequences and scaled for the others, (B, S, C)."""
        if not self.training or not self.probability:
            return branch
        keep = 1 - self.probability
        kept = branch.new_empty(len(branch), 1, 1).bernoulli_(keep)
        return branch * (kept / keep)


class Block(nn.Module):
    """One pre-norm transformer block.

    Args:
        width: feature width C.
        heads: number of attention heads H.
        mlp_width: hidden width of the MLP.
        dropout: probability after attention and inside the MLP.
        drop_path: share of sequences that skip a branch in training.
    """

    def __init__(
        self, *, width: int, heads: int, mlp_width: int, dropout: float, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=VISION_NORM_EPS)
        self.attn = Attention(width=width, heads=heads, dropout=dropout)
        self.norm2 = nn.LayerNorm(width, eps=VISION_NORM_EPS)
        self.mlp = Mlp(width=width, hidden=mlp_width, dropout=dropout)
        self.drop_path = DropPath(probability=drop_path)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, num_queries: int | None = None
    ) -> Tensor:
        """Return the tokens after the block; only the first Q of them if that is all one needs.

        Args:
            tokens: (B, S, C).
            mask: True where a key may be attended, bool (B, 1, 1, S); None: everywhere.
            num_queries: Q; None: all S.

        Returns:
            (B, Q, C).
        """
        attended = self.attn(self.norm1(tokens), mask, num_queries)  # (B, Q, C)
        if num_queries is not None:
            tokens = tokens[:, :num_queries]
        tokens = tokens + self.drop_path(attended)
        out: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return out


class VisionTransformer(nn.Module):
    """Patch embedding, positions and blocks. The order of the passes is the network's business.

    The plain class adds a temporal embedding to the patches, never to cls. The distilled class
    has a second special token and leaves its temporal embedding unused.

    Args:
        width: feature width C.
        depth: number of blocks.
        heads: attention heads of a block.
        mlp_width: hidden width of a block's MLP.
        patch: side of a patch, pixels.
        num_patches: patches N of a frame.
        frames: rows of the temporal embedding.
        is_distilled: whether to build the distilled class.
        dropout: probability after the positions and inside the blocks.
        drop_path: stochastic depth of the last block; it rises linearly from none in the first.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        patch: int,
        num_patches: int,
        frames: int,
        is_distilled: bool,
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.num_special = 2 if is_distilled else 1
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_special + num_patches, width))
        self.temporal_embed = nn.Parameter(torch.zeros(1, frames, width))
        if is_distilled:
            self.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embed = PatchEmbedding(patch=patch, width=width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                heads=heads,
                mlp_width=mlp_width,
                dropout=dropout,
                drop_path=drop_path * index / max(1, depth - 1),
            )
            for index in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=VISION_NORM_EPS)

    def embed_frames(self, frames: Tensor, order: Tensor | None) -> Tensor:
        """Return the tokens of each frame: the special ones, then its patches.

        Args:
            frames: normalised frames, (B, T, 3, S, S).
            order: raster index of the patch in each slot, int64 (N,) or one such row per frame,
                (B, T, N); None: raster order. Positions move with their patches.

        Returns:
            (B, T, P, C).

        Raises:
            ValueError: the clip is longer than the temporal embedding, or frames have another
                number of patches than the position table.
        """
        patches = self.patch_embed(frames)  # (B, T, N, C)
        clips, num_frames, num_patches, _ = patches.shape
        if num_frames > self.temporal_embed.shape[1]:
            limit = self.temporal_embed.shape[1]
            raise ValueError(f"a clip of {num_frames} frames is longer than {limit}")
        if num_patches != self.pos_embed.shape[1] - self.num_special:
            wanted = self.pos_embed.shape[1] - self.num_special
            raise ValueError(f"a frame of {num_patches} patches does not fit {wanted} positions")
        patches = patches + self.pos_embed[:, self.num_special :]
        if self.num_special == 1:
            patches = patches + self.temporal_embed[:, :num_frames, None]
        special = torch.cat(self.special_tokens(), dim=1)  # (1, 1 or 2, C)
        special = special + self.pos_embed[:, : self.num_special]
        special = special.expand(clips, num_frames, -1, -1)
        if order is not None:
            patches = _reorder(patches, order)
        tokens: Tensor = self.dropout(torch.cat((special, patches), dim=2))
        return tokens

    def special_tokens(self) -> tuple[Tensor, ...]:
        """Return the learned tokens that stand before the patches, each (1, 1, C)."""
        if self.num_special == 1:
            return (self.cls_token,)
        return (self.cls_token, self.dist_token)


def _reorder(patches: Tensor, order: Tensor) -> Tensor:
    """Put patch `order[s]` of each frame into slot s, (B, T, N, C)."""
    if order.ndim == 1:
        return patches.index_select(2, order)
    return patches.gather(2, order[..., None].expand_as(patches))
