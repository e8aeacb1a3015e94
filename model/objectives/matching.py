"""VTM: does this text belong to this clip? Shapes: B pairs, V candidates.

Which pairs are asked about: All-in-One's keeps half of the pairs and gives the rest a clip drawn
uniformly (`keep_half` with `uniform_negatives`); `hard_negatives` asks what is hard to tell.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.objectives.precision import full


def matching_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of the matching head, a scalar.

    Args:
        logits: (B, 2).
        labels: 1 where the text belongs to the clip, else 0, int (B,).
    """
    return functional.cross_entropy(full(logits), labels.long())


def keep_half(count: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Choose the pairs that stay as they are: half of them, rounded down, in random places.

    Args:
        count: pairs B.
        generator: where the randomness comes from; the result is on its device.

    Returns:
        1 where the pair stays, 0 where it gets a wrong partner, int64 (B,).
    """
    device = generator.device if generator else None
    return (torch.randperm(count, generator=generator, device=device) < count // 2).long()


def uniform_negatives(is_positive: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw a wrong partner for every row, each equally likely.

    The published code draws from the whole dataset and may by chance draw what is right; among
    the few of a batch that chance is large, so here it is excluded.

    Args:
        is_positive: True where the candidate is right and must not be drawn, bool (B, V).
        generator: where the randomness comes from.

    Returns:
        index of a candidate, int64 (B,).

    Raises:
        ValueError: a row has no wrong candidate.
    """
    return _draw(torch.zeros(is_positive.shape, device=is_positive.device), is_positive, generator)


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
    return _draw(similarity.detach().float() / temperature, is_positive, generator)


def _draw(logits: Tensor, is_positive: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw a wrong candidate for every row by the softmax of its logits, int64 (B,)."""
    if bool(is_positive.all(dim=1).any()):
        raise ValueError("a row has no wrong candidate to draw")
    chances = logits.masked_fill(is_positive, float("-inf")).softmax(dim=1)
    if generator is not None:
        chances = chances.to(generator.device)  # the same draws wherever the network runs
    return torch.multinomial(chances, 1, generator=generator)[:, 0].to(logits.device)
