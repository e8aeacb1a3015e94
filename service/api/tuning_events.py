"""A tuning run as server-sent events: `progress`, `point`, `notice`, then `end`."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.orm import Session

from service.api.events import ENDED, format_event
from service.api.tuning_schemas import NoticeOut, PointOut, TuningProgress
from service.api.tuning_views import notice_out, point_out, progress_out
from service.catalog import tuning_progress_queries, tuning_queries
from service.catalog.session import Sessions
from service.catalog.tuning_queries import TuningRecord

TUNINGS = "tunings"
_ID = re.compile(r"(\d{1,12})-(\d{1,6})-(.{0,100})")


@dataclass(frozen=True)
class TuningState:
    """A run at one moment.

    Attributes:
        progress: how far it is.
        points: losses so far; the list grows, `num_points` of them belong to this moment.
        notices: what it had to tell; the list grows, `num_notices` of them belong to this moment.
    """

    progress: TuningProgress
    points: list[PointOut] = field(compare=False)
    num_points: int
    notices: list[NoticeOut] = field(compare=False)
    num_notices: int


class TuningReader:
    """Reads watched runs; of points and notices only those that were not read before.

    Args:
        reads: reading sessions.
    """

    def __init__(self, reads: Sessions) -> None:
        self._reads = reads
        self._curves: dict[UUID, tuple[list[PointOut], list[NoticeOut]]] = {}

    def __call__(self, tuning_ids: Collection[UUID]) -> Mapping[UUID, TuningState]:
        """Return the runs that streams follow; what nobody follows is forgotten."""
        self._curves = {
            tuning_id: self._curves.get(tuning_id, ([], [])) for tuning_id in tuning_ids
        }
        with self._reads() as session:
            records = tuning_queries.tunings_by_id(session, tuning_ids)
            return {
                record.tuning.id: _read(session, record, *self._curves[record.tuning.id])
                for record in records
            }


class TuningTeller:
    """Tells the events of one stream.

    Args:
        last_event_id: of the last event that the client saw: it says what need not be told again.
        after_step: points up to this step need not be told.
    """

    def __init__(self, last_event_id: str | None, *, after_step: int = 0) -> None:
        self.is_over = False
        self._step, self._num_notices, self._progress = after_step, 0, ""
        known = _ID.fullmatch(last_event_id or "")
        if known:
            self._step = max(after_step, int(known[1]))
            self._num_notices, self._progress = int(known[2]), known[3]

    def tell(self, state: TuningState) -> Sequence[bytes]:
        """Return what the client does not know yet."""
        events = []
        for notice in state.notices[self._num_notices : state.num_notices]:
            self._num_notices += 1
            events.append(format_event("notice", notice, id_=self._id()))
        for point in state.points[: state.num_points]:
            if point.step > self._step:
                self._step = point.step
                events.append(format_event("point", point, id_=self._id()))
        said = mark_of(state.progress)
        self.is_over = state.progress.state in ENDED
        if self.is_over or said != self._progress:
            self._progress = said
            name = "end" if self.is_over else "progress"
            events.append(format_event(name, state.progress, id_=self._id()))
        return events

    def has_told_all(self, state: TuningState) -> bool:
        """Whether the client has seen the end of this run."""
        return state.progress.state in ENDED and self._progress == mark_of(state.progress)

    def _id(self) -> str:
        return f"{self._step}-{self._num_notices}-{self._progress}"


def mark_of(progress: TuningProgress) -> str:
    """Name a state of a run, by what people see of it."""
    return f"{progress.state}.{progress.stage or ''}.{progress.percent:.1f}"


def read_state(reads: Sessions, tuning_id: UUID) -> TuningState:
    """Return one run as it is now.

    Raises:
        NotFoundError: there is none with this id.
    """
    with reads() as session:
        return _read(session, tuning_queries.get_tuning(session, tuning_id), [], [])


def _read(
    session: Session, record: TuningRecord, points: list[PointOut], notices: list[NoticeOut]
) -> TuningState:
    """Add what is new to the lists, which only this thread changes."""
    tuning_id = record.tuning.id
    last_step = points[-1].step if points else 0
    new_points = tuning_progress_queries.points_of(session, tuning_id, after_step=last_step)
    points.extend(map(point_out, new_points))
    new_notices = tuning_progress_queries.notices_of(session, tuning_id, after=len(notices))
    notices.extend(map(notice_out, new_notices))
    return TuningState(
        progress=progress_out(record, points[-1].eta_s if points else None),
        points=points,
        num_points=len(points),
        notices=notices,
        num_notices=len(notices),
    )
