"""What a person may choose of a tuning run, and what is chosen otherwise."""

import math
from dataclasses import dataclass
from typing import Literal

from model.plan import Plan, TrainPrecision

RecipeName = Literal["native", "clover"]
LARGEST_BATCH = 64
FEWEST_STEPS = 120
SMALLEST_BATCH = 16
SHARE_OF_FEW = 3
"""A third of few pairs makes a batch. It was not compared with all of them at once, which costs
three times as much a step."""
EPOCHS = 10
MOST_CLIPS = 1_000_000
"""Seen in all unless more steps are asked for."""
RATE_AT_128 = 5e-4
"""Learning rate of a network of width 128; wider ones take smaller steps."""


class TuningError(ValueError):
    """Nothing can be tuned; the message says why and what to do.

    Attributes:
        reason: in one word, for programs.
    """

    reason = "bad_choices"


class TooFewPairsError(TuningError):
    """What is left to train on does not suffice."""

    reason = "too_few_pairs"


class UndecodableError(TuningError):
    """No video can be used."""

    reason = "undecodable"


class OtherRunError(TuningError):
    """What is in the folder is not of this run."""

    reason = "other_run"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a person may choose; None: decided by the number of pairs and the size of the network.

    Attributes:
        recipe: `native` is All-in-One's objectives, `clover` Clover's.
        steps: how many.
        epochs: how often every pair is seen; in place of `steps`.
        batch: pairs a step, over all processes.
        learning_rate: after warm-up.
        text_learning_rate: of what only texts pass through: the table of words, the text layers;
            as `learning_rate` if unset.
        frozen: parts that do not learn: `video` or `text` (what only these pass through), or how
            the names of weights begin.
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
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    text_learning_rate: float | None = None
    frozen: tuple[str, ...] = ()
    micro_batch: int | None = None
    recomputes_blocks: bool = False
    precision: TrainPrecision = "bfloat16"
    dropout: float = 0.1
    word_dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no sense, whatever is trained.

        Raises:
            TuningError: says which choice and why.
        """
        if self.steps is not None and self.epochs is not None:
            raise TuningError("steps and epochs both say how long to train; give one of them")
        for name, least in {"steps": 1, "epochs": 1, "batch": 2, "micro_batch": 1}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise TuningError(f"{name} is {value}; it has to be at least {least}")
        for name in ("learning_rate", "text_learning_rate"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise TuningError(f"{name} is {value}; it has to be above 0")
        for name in ("dropout", "word_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise TuningError(f"{name} is {getattr(self, name)}; it has to be from 0 to 1")


def plan_for(
    num_pairs: int, choices: Choices, *, width: int, processes: int = 1
) -> tuple[Plan, int]:
    """Return a plan, and how many pairs a batch has.

    Few pairs are seen often (at least 120 steps), many up to ten times, very many once: a million
    clips in all. A batch has 64 pairs, or a third of few.

    Args:
        num_pairs: that can be trained on.
        choices: what was asked for.
        width: of the network.
        processes: that share a batch.

    Raises:
        TooFewPairsError: fewer than two, than a batch, or than processes.
    """
    of_few = max(SMALLEST_BATCH, num_pairs // SHARE_OF_FEW)
    batch = choices.batch or min(LARGEST_BATCH * processes, of_few, num_pairs)
    batch -= batch % processes
    if not 2 <= batch <= num_pairs:  # noqa: PLR2004 - one and another
        raise TooFewPairsError(
            f"{num_pairs} pairs do not make batches of {choices.batch or 2} for {processes} "
            "processes; give more pairs or a smaller batch"
        )
    steps = choices.steps or _steps(num_pairs, batch, choices.epochs)
    rate = choices.learning_rate or RATE_AT_128 * 128 / width
    plan = Plan(
        steps=steps,
        learning_rate=rate,
        text_rate=(choices.text_learning_rate or rate) / rate,
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


def _steps(num_pairs: int, batch: int, epochs: int | None) -> int:
    """Return how many steps see every pair so often; None: as often as suits their number."""
    if epochs is not None:
        return math.ceil(epochs * num_pairs / batch)
    clips = min(EPOCHS * num_pairs, max(num_pairs, MOST_CLIPS))
    return max(FEWEST_STEPS, round(clips / batch))
