"""MLM: name the hidden words. Shapes: B texts, L tokens, V vocabulary."""

from torch import Tensor
from torch.nn import functional

from model.objectives.precision import full

IGNORED = -100
"""Label of a word that was not hidden."""


def masked_language_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy over the hidden words, a scalar; 0 if none is hidden.

    To save the decoder's work, hand over the logits of hidden words alone:
    `masked_language_loss(network.mlm_logits(features[hidden]), labels[hidden])`.

    Args:
        logits: (B, L, V), or any (..., V).
        labels: the true id where a word is hidden, else -100, int64 (B, L), or any (...).
    """
    hidden = labels != IGNORED
    total = functional.cross_entropy(
        full(logits).flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / hidden.sum().clamp(min=1)
