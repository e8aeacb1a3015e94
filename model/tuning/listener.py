"""What a tuning run tells: while it goes on, and when it is over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.clip_store import LeftOut
from model.train import Step


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """How tuning went.

    Attributes:
        folder: the new bundle.
        digest: of the new bundle; None: training was stopped before its end, and can be resumed.
        steps: that were taken, in all.
        num_pairs: that were trained on.
        left_out: pairs that could not be used.
        new_words: that the tokenizer learned.
        wait_share: share of the time that was spent waiting for data, from 0 to 1.
    """

    folder: Path
    digest: str | None
    steps: int
    num_pairs: int
    left_out: Sequence[LeftOut]
    new_words: int
    wait_share: float


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a run is, once its data is checked.

    Attributes:
        steps: in all.
        batch: clips a step, over all processes.
        clips: that are trained on.
        captions: of these.
        left_out: pairs that cannot be used.
        new_words: that the tokenizer learned.
        first_step: steps that were taken already.
    """

    steps: int
    batch: int
    clips: int
    captions: int
    left_out: int
    new_words: int
    first_step: int


@dataclass(frozen=True)
class Listener:
    """Who is told how tuning goes; only in the first process.

    Attributes:
        checked: called with the number of clips that were decoded.
        left_out: called with each pair that cannot be used.
        prepared: called before the first step.
        took: called with each step, and how many there will be.
        saved: called with the step of each checkpoint.
        noticed: called with a reason and a sentence that a person should read.
    """

    checked: Callable[[int], None] = field(default=lambda _: None)
    left_out: Callable[[LeftOut], None] = field(default=lambda _: None)
    prepared: Callable[[Prepared], None] = field(default=lambda _: None)
    took: Callable[[Step, int], None] = field(default=lambda _, __: None)
    saved: Callable[[int], None] = field(default=lambda _: None)
    noticed: Callable[[str, str], None] = field(default=lambda _, __: None)
