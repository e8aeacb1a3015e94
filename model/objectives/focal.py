"""Focal MLM: name the hidden words, the hard ones above all. Shapes: V vocabulary.

The focal loss (arXiv:1708.02002) on masked words, as Clover (arXiv:2207.07885) uses it.
"""

from torch import Tensor

from model.objectives.masked_language import IGNORED
from model.objectives.precision import full

FOCUS = 2.0


def focal_masked_language_loss(logits: Tensor, labels: Tensor, *, focus: float = FOCUS) -> Tensor:
    """Return the mean over hidden words of (1 - p)^focus (-log p), a scalar; 0 if none is hidden.

    p is the probability of the true word; the factor is differentiated too.

    Args:
        logits: (..., V); to save the decoder's work, those of hidden words alone.
        labels: the true id where a word is hidden, else -100, int64 (...).
        focus: how little the easy words count; 0: plain cross entropy.
    """
    hidden = (labels != IGNORED).flatten()
    log_all = full(logits).flatten(0, -2).log_softmax(dim=-1)  # (N, V)
    true = labels.flatten().masked_fill(~hidden, 0)
    log_p = log_all.gather(1, true[:, None])[:, 0]  # (N,)
    losses = (-log_p.expm1()) ** focus * -log_p
    return losses.masked_fill(~hidden, 0).sum() / hidden.sum().clamp(min=1)
