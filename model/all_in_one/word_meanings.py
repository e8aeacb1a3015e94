"""What a text's words mean goes into its embedding directly, beside what the backbone makes of it.

The backbone learns from captions alone what their words mean, and of words that no caption has,
nothing. Where captions are few, this path finds clips by other words. Nothing in it is learned:
what would be learned from few captions would hold for these only.

Shapes: B texts, L tokens, E joint space, R rows of the tokenizer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-8
WEIGHT = 3.0
"""Of the words' meanings; what the backbone makes of the text counts 1."""


class WordMeanings(nn.Module):
    """A vector for every token that the tokenizer knows, zero for signs.

    Args:
        rows: tokens of the tokenizer R.
        width: of the joint space E.
    """

    table: Tensor

    def __init__(self, *, rows: int, width: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(rows, width))

    def forward(self, ids: Tensor) -> Tensor:
        """Return what tokens mean, ids (B, L) to (B, L, E)."""
        return functional.embedding(ids, self.table)

    def combine(self, own: Tensor, meanings: Tensor, mask: Tensor) -> Tensor:
        """Return the embeddings of texts, of unit norm, (B, E).

        Args:
            own: what the backbone makes of the texts, of unit norm, (B, E).
            meanings: of their tokens, (B, L, E).
            mask: True where a real token stands, bool (B, L).
        """
        told = (meanings.float() * mask[..., None]).sum(dim=1)  # (B, E)
        told = functional.normalize(told, dim=-1, eps=EPS)
        return functional.normalize(own + WEIGHT * told, dim=-1, eps=EPS)
