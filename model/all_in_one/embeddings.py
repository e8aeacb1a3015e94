"""Words and patches become tokens.

Shapes: B texts or clips, L text tokens, T frames, S frame side, N patches of a frame, C width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TEXT_NORM_EPS = 1e-12
"""BERT's epsilon, used by the text embeddings and the masked-language head."""


class TextEmbeddings(nn.Module):
    """BERT's embedding block: word, token type and position, normalised.

    Row 0 of the word table (padding) is an ordinary row, and row 0 of the token types is always
    used. Names of parameters are those of the published files.

    Args:
        vocabulary: rows of the word table.
        max_tokens: rows of the position table.
        width: feature width C.
        dropout: probability after the norm.
    """

    def __init__(self, *, vocabulary: int, max_tokens: int, width: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = empty_table(vocabulary, width)
        self.position_embeddings = empty_table(max_tokens, width)
        self.token_type_embeddings = empty_table(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=TEXT_NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.register_load_state_dict_pre_hook(_ignore_position_ids)

    def forward(self, ids: Tensor) -> Tensor:
        """Return one token per word, (B, L, C).

        Args:
            ids: token ids, int64 (B, L).

        Raises:
            ValueError: the text is longer than the position table.
        """
        length = ids.shape[1]
        if length > self.position_embeddings.num_embeddings:
            limit = self.position_embeddings.num_embeddings
            raise ValueError(f"a text of {length} tokens is longer than {limit}")
        words = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]  # (B, L, C)
        words = words + self.position_embeddings.weight[:length]
        tokens: Tensor = self.dropout(self.LayerNorm(words))
        return tokens


class PatchEmbedding(nn.Module):
    """Project every patch of a frame, in raster order.

    The weights are a strided convolution, as published; it is computed as one matrix product
    over unfolded patches, which is the same sum.

    Args:
        patch: side of a patch, pixels.
        width: feature width C.
    """

    def __init__(self, *, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)

    def forward(self, frames: Tensor) -> Tensor:
        """Return one token per patch, (B, T, N, C).

        Args:
            frames: normalised frames, (B, T, 3, S, S).
        """
        grid = (self.patch, self.patch)
        pixels = frames.unflatten(4, (-1, self.patch)).unflatten(3, (-1, self.patch))
        pixels = pixels.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)  # (B, T, N, 3 p p)
        weight = self.proj.weight.flatten(1)  # (C, 3 p p)
        if pixels.shape[-1] != weight.shape[-1]:
            raise ValueError(f"frames of shape {tuple(frames.shape)} hold no patches of {grid}")
        return functional.linear(pixels.to(weight.dtype), weight, self.proj.bias)


def empty_table(rows: int, width: int) -> nn.Embedding:
    """Return a table of vectors that are yet to be drawn or loaded."""
    table: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)
    return table


def fit_temporal(table: Tensor, frames: int) -> Tensor:
    """Fit a temporal embedding to another number of frames, as the official loader does.

    Args:
        table: temporal embedding, (1, T, C).
        frames: rows wanted.

    Returns:
        the first rows, then zeros where the table has too few, (1, frames, C).
    """
    kept = table[:, :frames]
    return torch.cat((kept, kept.new_zeros(1, frames - kept.shape[1], kept.shape[2])), dim=1)


def _ignore_position_ids(_module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Drop the constant 0, 1, 2, ... that some published files carry."""
    state.pop(f"{prefix}position_ids", None)
