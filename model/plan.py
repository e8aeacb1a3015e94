"""How a network is trained, as values that a card can record."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train.

    Attributes:
        steps: after so many, training ends.
        until: if another plan takes over before that: the number of steps after which.
        learning_rate: of AdamW, after warm-up.
        warmup_steps: the learning rate rises over these.
        cooldown_steps: it falls to zero over the last of these; in between it stays, so that
            training can be stopped, looked at, and continued.
        weight_decay: of matrices.
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
        largest_gradient: gradients are scaled down to this norm.
        average: weight of the past in the running average of the weights, which is what is kept.
        seed: draws rivals and hidden words.
    """

    steps: int
    until: int | None = None
    learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    cooldown_steps: int = 0
    weight_decay: float = 0.02
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
    largest_gradient: float = 1.0
    average: float = 0.995
    seed: int = 0

    @property
    def end(self) -> int:
        """Number of steps after which this plan is over."""
        return self.steps if self.until is None else self.until

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (self.steps - step) / max(1, self.cooldown_steps)
        return self.learning_rate * warm * min(1.0, left)
