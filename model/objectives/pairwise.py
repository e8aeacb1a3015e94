"""Pairwise ranking: what is whole fits better than what is partly hidden. Shapes: B, E."""

from torch import Tensor

from model.objectives.contrastive import TEMPERATURE
from model.objectives.precision import no_autocast
from model.objectives.tri_modal import unit

MARGIN = 5.0
"""Clover's (arXiv:2207.07885), in units of cosine / temperature: 0.25 of cosine at 0.05."""


def pairwise_ranking_loss(
    anchor: Tensor,
    better: Tensor,
    worse: Tensor,
    *,
    temperature: float = TEMPERATURE,
    margin: float = MARGIN,
) -> Tensor:
    """Return the mean hinge of (better - worse) below the margin, a scalar.

    Args:
        anchor: embeddings of any length, (B, E).
        better: row i should be the closer to anchor i, (B, E).
        worse: than this one, (B, E).
        temperature: divides the cosines; another one changes what the margin means.
        margin: wanted gap of the scaled cosines.
    """
    with no_autocast(anchor):
        rows = unit(anchor)
        gap = (rows * unit(better) - rows * unit(worse)).sum(dim=-1) / temperature  # (B,)
        return (margin - gap).clamp(min=0).mean()
