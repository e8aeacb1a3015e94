"""What is learned from the procedural world: values that a card can record."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WorldObjectives:
    """What is learned, and how much each part counts.

    Attributes:
        temperature: divides the similarities of VTC.
        rivals: pairs of videos R per step that the fused pass must tell apart; 0: no fused pass.
        twin_share: share of the rivals that are a group's first two, the hardest to tell apart.
        group_share: share of the rivals that are from one group; the rest are the most similar
            of the batch.
        fused_from: the first step with a fused pass.
        contrast_every: the dual stream learns every so many steps only; in the others it merely
            says which videos of the batch are alike.
        masked_texts: texts per step of which words are hidden.
        masked_share: share of words that are hidden.
        masked_weight: weight of the masked-language loss.
        contrast_weight: weight of the contrastive loss over the batch.
        group_weight: weight of the contrastive loss inside each group.
        naming_weight: weight of naming what is in a clip, and what a text tells.
        checking_weight: weight of saying which facts of a pair are told rightly.
    """

    temperature: float = 0.05
    rivals: int = 8
    twin_share: float = 0.6
    group_share: float = 0.85
    fused_from: int = 0
    contrast_every: int = 1
    masked_texts: int = 8
    masked_share: float = 0.3
    masked_weight: float = 0.3
    contrast_weight: float = 0.5
    group_weight: float = 0.5
    naming_weight: float = 1.0
    checking_weight: float = 0.0
