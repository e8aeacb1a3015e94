"""The blocks of the Vision Transformer: attention and an MLP, each behind a norm.

Shapes: B sequences, S tokens, Q tokens that ask, C width, H heads, D = C / H.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

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
    that we have (bench/forward.py), and a training step of the tiny size 0.66 of that with torch's
    plain products, which are float32 (bench/training_step.py). Elsewhere the kernel is ahead.
    """
    if query.device.type != "cpu" or query.dtype is not torch.bfloat16:
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
