"""What the process of a tuning run says: one JSON object a line on its standard output.

Status 0: the last event says how it ended (`done`, `stopped`, `failed`). Any other: it was killed,
or hit a fault of ours; started again it goes on from its newest checkpoint.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from model.tuning.estimating import Estimate

PREPARING, TRAINING, EVALUATING = "preparing", "training", "evaluating"


@dataclass(frozen=True, kw_only=True)
class StageBegan:
    """A stage began: `preparing`, `training` or `evaluating`."""

    event: ClassVar[str] = "stage"
    stage: str


@dataclass(frozen=True, kw_only=True)
class StageProgress:
    """How far a stage is that takes no steps: clips decoded, parts of the comparison done."""

    event: ClassVar[str] = "progress"
    stage: str
    done: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What was decided from the pairs, before the first step.

    Attributes:
        steps: in all.
        batch: clips a step, over all processes.
        clips: that are trained on.
        captions: of these clips.
        left_out: pairs that cannot be used.
        new_words: that the tokenizer learned.
        first_step: steps that were taken already by an earlier process.
    """

    event: ClassVar[str] = "planned"
    steps: int
    batch: int
    clips: int
    captions: int
    left_out: int
    new_words: int
    first_step: int


@dataclass(frozen=True, kw_only=True)
class StepTaken:
    """A step was taken.

    Attributes:
        step: counted from 1.
        steps: in all.
        loss: the sum of the losses.
        losses: by objective.
        learning_rate: that it used.
        pairs_per_s: clips a second, a running mean.
        eta_s: until the last step, seconds.
    """

    event: ClassVar[str] = "step"
    step: int
    steps: int
    loss: float
    losses: dict[str, float]
    learning_rate: float
    pairs_per_s: float
    eta_s: float


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved:
    """A kill from now on loses no step up to this one."""

    event: ClassVar[str] = "checkpoint"
    step: int


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What a person should know.

    Reasons: `micro_batch_halved`, `checkpoint_damaged`, `checkpoint_failed`, `pairs_forgotten`,
    `negatives_not_trained`, `gallery_unusable`, `compared_on_cpu`.
    """

    event: ClassVar[str] = "notice"
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class LeftOutPair:
    """A pair cannot be used, and why; a sentence for a person."""

    event: ClassVar[str] = "left_out"
    ordinal: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The process was asked to stop and did, with a checkpoint of this step."""

    event: ClassVar[str] = "stopped"
    step: int


@dataclass(frozen=True, kw_only=True)
class Done:
    """The candidate and its report are there.

    Attributes:
        digest: of the candidate.
        report: the file.
    """

    event: ClassVar[str] = "done"
    digest: str
    report: Path


@dataclass(frozen=True, kw_only=True)
class Failed:
    """It cannot be done; started again it fails again.

    Reasons: `bad_folder`, `bad_bundle`, `bad_choices`, `too_few_pairs`,
    `undecodable`, `other_run`, `not_finite`, `out_of_memory`, `disk_full`.
    """

    event: ClassVar[str] = "failed"
    reason: str
    detail: str


Event = (
    StageBegan
    | StageProgress
    | Planned
    | StepTaken
    | CheckpointSaved
    | Notice
    | LeftOutPair
    | Stopped
    | Done
    | Failed
)
_EVENTS: dict[str, type[Any]] = {kind.event: kind for kind in Event.__args__}


def to_line(event: Event | Estimate) -> str:
    """Return an event as one line of JSON, without its end."""
    name = {} if isinstance(event, Estimate) else {"event": event.event}
    return json.dumps({**name, **asdict(event)}, default=str, ensure_ascii=False)


def read_event(line: str) -> Event | None:
    """Read a line that the process printed; None: it is no event."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kind = _EVENTS.get(found.pop("event", "")) if isinstance(found, dict) else None
    if kind is None:
        return None
    try:
        event: Event = kind(**_typed(found))
    except TypeError:
        return None
    return event


def read_estimate(line: str) -> Estimate:
    """Read what `--estimate` printed.

    Raises:
        ValueError: it is something else.
    """
    try:
        return Estimate(**json.loads(line))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{line[:200]!r} is no estimate") from error


def _typed(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Path(value) if name == "report" else value for name, value in found.items()}
