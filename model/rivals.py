"""Which pairs of a batch the fused pass must tell apart: random ones would teach it little."""

import torch
from torch import Tensor

from model.data import Batch
from model.objectives.matching import hard_negatives
from model.recipes.world_objectives import WorldObjectives


def choose_rivals(
    batch: Batch, similarity: Tensor, plan: WorldObjectives, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Choose pairs of rows whose clips and texts the fused pass must tell apart.

    Args:
        batch: where they are from.
        similarity: of texts with videos, (B, B).
        plan: how many, and of which difficulty.
        generator: where the randomness comes from.

    Returns:
        rows and their rivals, 2 x int64 (R,).
    """
    is_false = ~(batch.is_true | batch.is_true.T)
    alike = hard_negatives(similarity, ~is_false, temperature=0.1, generator=generator)  # (B,)
    members = [(batch.groups == group).nonzero()[:, 0] for group in batch.groups.unique()]
    order = torch.randperm(len(members), generator=generator)[: plan.rivals]
    fates = torch.rand(len(order), generator=generator)
    ours, theirs = [], []
    for index, fate in zip(order.tolist(), fates.tolist(), strict=True):
        rows = members[index]
        others = rows[1:] if fate >= plan.twin_share else rows[1:2]
        first = int(rows[0])
        if fate >= plan.group_share or not len(others):
            first = int(rows[torch.randint(len(rows), (), generator=generator)])
            others = alike[first : first + 1]
        ours.append(first)
        theirs.append(int(others[torch.randint(len(others), (), generator=generator)]))
    return torch.tensor(ours), torch.tensor(theirs)
