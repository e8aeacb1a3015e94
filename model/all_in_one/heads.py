"""What reads the features: pooling, matching, masked words, joint space.

Shapes: B pairs, L tokens, C width, E joint space.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.all_in_one.embeddings import TEXT_NORM_EPS


class Pooler(nn.Module):
    """BERT's pooler: a dense layer and tanh over the first token.

    Args:
        width: feature width C.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, first: Tensor) -> Tensor:
        """Return the pooled features, (B, C)."""
        return torch.tanh(self.dense(first))


class MatchingHead(nn.Module):
    """Two classes on the pooled features: 0 = another clip's text, 1 = this clip's.

    Args:
        width: feature width C.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the logits, (B, 2)."""
        logits: Tensor = self.fc(pooled)
        return logits


class JointVideoHead(nn.Module):
    """Clover's projection of a clip with hidden cells that was read together with its text.

    Args:
        width: feature width C.
        projection: width E of the joint space.
    """

    def __init__(self, *, width: int, projection: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * projection)
        self.norm1 = nn.LayerNorm(2 * projection)
        self.fc2 = nn.Linear(2 * projection, projection)
        self.norm2 = nn.LayerNorm(projection)

    def forward(self, first: Tensor) -> Tensor:
        """Return the embeddings of the first tokens (B, C), of any length, (B, E)."""
        hidden = functional.gelu(self.norm1(self.fc1(first)))
        embeddings: Tensor = self.norm2(self.fc2(hidden))
        return embeddings


class JointTextHead(nn.Module):
    """Clover's projection of a text with hidden words that was read together with its clip.

    Args:
        width: feature width C.
        projection: width E of the joint space.
        dropout: probability between the layers.
    """

    def __init__(self, *, width: int, projection: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(width, projection)

    def forward(self, first: Tensor) -> Tensor:
        """Return the embeddings of the first tokens (B, C), of any length, (B, E)."""
        embeddings: Tensor = self.fc2(self.dropout(functional.gelu(self.fc1(first))))
        return embeddings


class _Transform(nn.Module):
    """Dense layer, exact GELU, norm: BERT's step before its decoder."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=TEXT_NORM_EPS)

    def forward(self, features: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(functional.gelu(self.dense(features)))
        return normed


class MaskedLanguageHead(nn.Module):
    """Name the hidden words. The decoder is not tied to the word table; its bias stands alone.

    Args:
        width: feature width C.
        vocabulary: number of words V.
    """

    def __init__(self, *, width: int, vocabulary: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.transform = _Transform(width=width)
        self.decoder = nn.Linear(width, vocabulary, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits over the vocabulary for any features (..., C): (..., V)."""
        return functional.linear(self.transform(features), self.decoder.weight, self.bias)
