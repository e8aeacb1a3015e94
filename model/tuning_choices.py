"""What a person may choose of a tuning run, and what is chosen otherwise."""

from dataclasses import dataclass
from typing import Literal

from model.plan import Plan, TrainPrecision

RecipeName = Literal["native", "clover"]
LARGEST_BATCH = 64
FEWEST_STEPS = 300
EPOCHS = 10
MOST_CLIPS = 1_000_000
"""Seen in all unless more steps are asked for."""
RATE_AT_128 = 5e-4
"""Learning rate of a network of width 128; wider ones take smaller steps."""


class TuningError(ValueError):
    """Nothing can be tuned; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a person may choose; None: decided by the number of pairs and the size of the network.

    Attributes:
        recipe: `native` is All-in-One's objectives, `clover` Clover's.
        steps: how many.
        batch: pairs a step, over all processes.
        learning_rate: after warm-up.
        micro_batch: pairs that one process sends through the network at a time.
        recomputes_blocks: save memory by running blocks again in the backward pass.
        precision: type in which matrices are multiplied.
        dropout: probability in training.
        word_dropout: largest share of words that a text may lose in training; above 0, words that
            no caption has are then read as one unknown word, not letter by letter. Meant for
            few captions, and queries in other words.
        seed: draws all that is random.
    """

    recipe: RecipeName = "native"
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    micro_batch: int | None = None
    recomputes_blocks: bool = False
    precision: TrainPrecision = "bfloat16"
    dropout: float = 0.1
    word_dropout: float = 0.0
    seed: int = 0


def plan_for(
    num_pairs: int, choices: Choices, *, width: int, processes: int = 1
) -> tuple[Plan, int]:
    """Return a plan, and how many pairs a batch has.

    Few pairs are seen often (at least 300 steps), many up to ten times, very many once: a million
    clips in all.

    Args:
        num_pairs: that can be trained on.
        choices: what was asked for.
        width: of the network.
        processes: that share a batch.

    Raises:
        TuningError: there are fewer than two pairs for each process, or for a batch.
    """
    batch = choices.batch or min(LARGEST_BATCH * processes, num_pairs)
    batch -= batch % processes
    if not 2 <= batch <= num_pairs:  # noqa: PLR2004 - one and another
        raise TuningError(
            f"{num_pairs} pairs do not make batches of {choices.batch or 2} for {processes} "
            "processes; give more pairs or a smaller batch"
        )
    clips = min(EPOCHS * num_pairs, max(num_pairs, MOST_CLIPS))
    steps = choices.steps or max(FEWEST_STEPS, round(clips / batch))
    plan = Plan(
        steps=steps,
        learning_rate=choices.learning_rate or RATE_AT_128 * 128 / width,
        warmup_steps=max(1, steps // 10),
        schedule="cosine",
        floor=0.01,
        average=0.98 if steps < 1000 else 0.998,  # noqa: PLR2004 - of a short run, the last part
        micro_batch=choices.micro_batch,
        recomputes_blocks=choices.recomputes_blocks,
        precision=choices.precision,
        seed=choices.seed,
    )
    return plan, batch
