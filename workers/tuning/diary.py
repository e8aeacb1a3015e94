"""What a run's process says, written down for those who watch: once a second, fenced."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from service.catalog import job_queries, tuning_progress_queries
from service.catalog.session import in_transaction
from service.catalog.tables import Job
from workers.lease import Lease
from workers.resources import Resources
from workers.tuning.events import (
    EVALUATING,
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
)

WRITE_EVERY_S = 1.0
MOST_POINTS = 2000
"""Of a longer run every second, third, ... step is kept."""
SPANS = {PREPARING: (0.0, 0.05), TRAINING: (0.05, 0.85), EVALUATING: (0.85, 0.97)}
"""Which part of the whole each stage is, as shares."""


class Diary:
    """Takes events and writes them.

    Args:
        job: of the run.
        lease: told how far it is.
        resources: of this process.
        steps_kept: of the newest checkpoint from before; one of more steps is an advance.
    """

    def __init__(self, job: Job, lease: Lease, resources: Resources, *, steps_kept: int) -> None:
        self._job, self._lease, self._resources = job, lease, resources
        self._steps_kept = steps_kept
        self._plan: dict[str, Any] = {}
        self._points: dict[int, Mapping[str, Any]] = {}
        self._notices: list[tuple[str, str]] = []
        self._has_advanced = False
        self._written_at = time.monotonic()

    def take(self, event: Event) -> None:
        """Note an event; `write_if_due` writes it."""
        match event:
            case StageBegan():
                self._report(event.stage, 0.0)
            case StageProgress():
                self._report(event.stage, event.done / max(1, event.of))
            case Planned():
                self._plan = asdict(event)
            case StepTaken():
                self._take_step(event)
            case CheckpointSaved():
                self._has_advanced |= event.step > self._steps_kept
            case Notice():
                self._notices.append((event.reason, event.text))
            case LeftOutPair():
                self._notices.append(("left_out", f"Pair {event.ordinal}: {event.reason}"))
            case _:
                pass  # how it ended, which is the worker's to judge

    def write_if_due(self) -> None:
        """Write what was noted, at most once a second.

        Raises:
            LostLeaseError: the job is not this worker's any more.
        """
        if time.monotonic() - self._written_at >= WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write what was noted.

        Raises:
            LostLeaseError: the job is not this worker's any more.
        """
        self._written_at = time.monotonic()
        if self._plan or self._points or self._notices or self._has_advanced:
            in_transaction(self._resources.sessions, self._write)
            self._plan, self._points, self._notices = {}, {}, []
            self._has_advanced = False

    def _write(self, session: Session) -> None:
        own = session, self._job.id, self._job.fence
        if self._plan:
            tuning_progress_queries.set_plan(*own, self._plan)
        if self._points:
            tuning_progress_queries.add_points(*own, self._points)
        for reason, text in self._notices:
            tuning_progress_queries.add_notice(*own, reason=reason, text=text)
        if self._has_advanced:
            job_queries.keep_attempts(*own)

    def _take_step(self, step: StepTaken) -> None:
        self._report(TRAINING, step.step / max(1, step.steps))
        every = math.ceil(step.steps / MOST_POINTS)
        if step.step % every == 0 or step.step in (1, step.steps):
            self._points[step.step] = {
                "loss": step.loss,
                "losses": step.losses,
                "learning_rate": step.learning_rate,
                "pairs_per_s": step.pairs_per_s,
                "eta_s": step.eta_s,
            }

    def _report(self, stage: str, share: float) -> None:
        start, end = SPANS.get(stage, (0.0, 0.0))
        self._lease.report(stage, start + (end - start) * min(1.0, share))
