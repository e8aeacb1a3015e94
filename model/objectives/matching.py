"""VTM: does this text belong to this clip? Shapes: B pairs, V videos."""

import torch
from torch import Tensor
from torch.nn import functional


def matching_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of the matching head, a scalar.

    Args:
        logits: (B, 2).
        labels: 1 where the text belongs to the clip, else 0, int (B,).
    """
    return functional.cross_entropy(logits.float(), labels.long())


def hard_negatives(
    similarity: Tensor,
    is_positive: Tensor,
    *,
    temperature: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw a wrong partner for every row, the likelier the more similar it is.

    The sampling of ALBEF (arXiv:2107.07651, section 3.2).

    Args:
        similarity: of each row with each candidate, (B, V).
        is_positive: True where the candidate is right and must not be drawn, bool (B, V).
        temperature: divides the similarities; small prefers the hardest.
        generator: where the randomness comes from.

    Returns:
        index of a candidate, int64 (B,).

    Raises:
        ValueError: a row has no wrong candidate.
    """
    if bool(is_positive.all(dim=1).any()):
        raise ValueError("a row has no wrong candidate to draw")
    logits = (similarity.detach().float() / temperature).masked_fill(is_positive, float("-inf"))
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
