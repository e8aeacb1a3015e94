"""How a network is trained, whatever the objectives: values that a card can record."""

import math
from dataclasses import dataclass
from typing import Literal

Schedule = Literal["hold", "cosine"]
TrainPrecision = Literal["bfloat16", "float32"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train. What is learned is a recipe's business.

    Attributes:
        steps: after so many, training ends.
        until: if another plan takes over before that: the number of steps after which.
        learning_rate: of AdamW, after warm-up.
        text_rate: what it is multiplied by for weights that only texts pass through.
        warmup_steps: the learning rate rises over these.
        first: the step from which warm-up counts, where a run goes on with a fresh optimizer.
        schedule: `hold` keeps the learning rate, so that training can be stopped, looked at and
            continued; `cosine` lets it fall along half a wave from the end of warm-up.
        cooldown_steps: of `hold`: the learning rate falls to zero over the last of these.
        floor: of `cosine`: the share of the learning rate that is left at the end.
        weight_decay: of matrices.
        largest_gradient: gradients are scaled down to this norm.
        average: weight of the past in the running average of the weights, which is what is kept.
        micro_batch: rows that one process sends through the network at a time; None: all of its
            rows. The gradients are the same.
        recomputes_blocks: blocks keep their inputs only and run again in the backward pass.
        precision: type in which matrices are multiplied; weights and sums are float32.
        seed: draws all that is random in a step, with the number of the step.
    """

    steps: int
    until: int | None = None
    learning_rate: float = 1.5e-3
    text_rate: float = 1.0
    warmup_steps: int = 100
    first: int = 0
    schedule: Schedule = "hold"
    cooldown_steps: int = 0
    floor: float = 0.0
    weight_decay: float = 0.02
    largest_gradient: float = 1.0
    average: float = 0.995
    micro_batch: int | None = None
    recomputes_blocks: bool = False
    precision: TrainPrecision = "bfloat16"
    seed: int = 0

    @property
    def end(self) -> int:
        """Number of steps after which this plan is over."""
        return self.steps if self.until is None else self.until

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        warm = min(1.0, (step - self.first + 1) / max(1, self.warmup_steps))
        if self.schedule == "cosine":
            return self.learning_rate * warm * self._wave(step)
        left = (self.steps - step) / max(1, self.cooldown_steps)
        return self.learning_rate * warm * min(1.0, left)

    def _wave(self, step: int) -> float:
        """Return 1 up to the end of warm-up, then half a cosine wave down to the floor."""
        risen = self.first + self.warmup_steps
        passed = min(1.0, max(0.0, (step - risen) / max(1, self.steps - risen)))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * passed))
