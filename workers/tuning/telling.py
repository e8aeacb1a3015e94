"""How the process of a tuning run tells its parent what happens."""

import os
from collections import deque
from collections.abc import Callable
from typing import TextIO

from model.clip_store import LeftOut
from model.recipes.recipe import MEASURES
from model.train import Step
from model.tuning.estimating import Estimate
from model.tuning.listener import Listener, Prepared
from workers.tuning.events import (
    PREPARING,
    TRAINING,
    CheckpointSaved,
    Event,
    LeftOutPair,
    Notice,
    Planned,
    StageBegan,
    StageProgress,
    StepTaken,
    to_line,
)

Say = Callable[[Event | Estimate], None]
MEAN_OF = 20
"""Steps that the speed is a mean of."""


def take_stdout() -> Say:
    """Return what writes events to standard output; all else that is printed goes to the log."""
    stream: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def say(event: Event | Estimate) -> None:
        stream.write(to_line(event) + "\n")

    return say


def listener_of(say: Say, num_clips: int) -> Listener:
    """Return what turns a run's calls into events.

    Args:
        say: writes an event.
        num_clips: that are decoded before training.
    """
    speed = _Speed()

    def left_out(one: LeftOut) -> None:
        for ordinal in one.pair.ordinals:
            say(LeftOutPair(ordinal=ordinal, reason=one.reason))

    def prepared(found: Prepared) -> None:
        speed.batch = found.batch
        say(Planned(**vars(found)))
        say(StageBegan(stage=TRAINING))

    return Listener(
        checked=lambda done: say(StageProgress(stage=PREPARING, done=done, of=num_clips)),
        left_out=left_out,
        prepared=prepared,
        took=lambda step, steps: say(speed.told(step, steps)),
        saved=lambda step: say(CheckpointSaved(step=step)),
        noticed=lambda reason, text: say(Notice(reason=reason, text=text)),
    )


class _Speed:
    """The running mean of what a step takes."""

    def __init__(self) -> None:
        self.batch = 0
        self._durations_s: deque[float] = deque(maxlen=MEAN_OF)

    def told(self, step: Step, steps: int) -> StepTaken:
        self._durations_s.append(step.duration_s)
        mean_s = sum(self._durations_s) / len(self._durations_s)
        return StepTaken(
            step=step.number,
            steps=steps,
            loss=sum(value for name, value in step.losses.items() if name not in MEASURES),
            losses=step.losses,
            learning_rate=step.learning_rate,
            pairs_per_s=self.batch / mean_s,
            eta_s=(steps - step.number) * mean_s,
        )
