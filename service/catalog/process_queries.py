"""Who runs, what waits for whom, and what was done for the last time when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, delete, func, literal_column, not_, or_, select
from sqlalchemy.orm import Session

from service.catalog.clock import database_time
from service.catalog.import_tables import ImportItem, ItemState
from service.catalog.process_tables import LastRun, Process
from service.catalog.tables import Job, JobKind, JobState
from service.catalog.webhook_rest_queries import IS_FAILING
from service.catalog.webhook_tables import DeliveryState, Webhook, WebhookDelivery

SILENT_S = 60.0
"""A process that wrote nothing for so long has ended, or hangs."""
FORGOTTEN_S = 86400.0
"""Its row is kept so long: doctor says of whom nothing was heard."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A process, how long ago it wrote its row, by the database's clock, and when it began."""

    id: UUID
    kind: str
    host: str
    pid: int
    version: str
    facts: Mapping[str, Any]
    silent_s: float
    age_s: float

    @property
    def is_alive(self) -> bool:
        """Whether it was heard of lately."""
        return self.silent_s < SILENT_S


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What waits, of one kind of job.

    Attributes:
        queued: jobs that are due.
        held: jobs that wait for their time.
        running: jobs that are worked on.
        age_s: how long the oldest of those that are due has waited.
    """

    queued: int = 0
    held: int = 0
    running: int = 0
    age_s: float = 0.0


def write_process(session: Session, process: Process) -> None:
    """Write the row of a process anew, and forget those that ended long ago."""
    session.merge(process)
    session.flush()
    session.execute(
        Process.__table__.update()  # type: ignore[attr-defined]
        .where(Process.id == process.id)
        .values(seen_at=database_time())
    )
    session.execute(delete(Process).where(Process.seen_at < database_time(-FORGOTTEN_S)))


def remove_process(session: Session, process_id: UUID) -> None:
    """Forget a process that stops."""
    session.execute(delete(Process).where(Process.id == process_id))


def read_processes(session: Session) -> list[Seen]:
    """Return every process of the last day, those heard of last first."""
    now = read_clock(session)
    rows = session.scalars(select(Process).order_by(Process.seen_at.desc(), Process.id))
    return [
        Seen(
            id=row.id,
            kind=row.kind,
            host=row.host,
            pid=row.pid,
            version=row.version,
            facts=row.facts,
            silent_s=_age_s(row.seen_at, now),
            age_s=_age_s(row.started_at, now),
        )
        for row in rows
    ]


def read_clock(session: Session) -> datetime:
    """Return the time now, by the database's clock."""
    now: datetime = session.execute(select(database_time())).scalar_one()
    return now


def read_queues(session: Session) -> dict[JobKind, Waiting]:
    """Return what waits and runs, of every kind; what waits for a webhook that is away is held."""
    of_away = (
        select(WebhookDelivery.id)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(WebhookDelivery.state == DeliveryState.WAITING, Webhook.failures > 0)
    )
    is_for_away = and_(Job.kind == JobKind.DELIVER, Job.subject_id.in_(of_away))
    is_later = and_(Job.not_before.is_not(None), Job.not_before > database_time())
    is_held = and_(Job.state == JobState.QUEUED, or_(is_later, is_for_away))
    is_due = and_(Job.state == JobState.QUEUED, not_(is_later), not_(is_for_away))
    due_since = func.coalesce(Job.not_before, Job.created_at)
    now = read_clock(session)
    rows = session.execute(
        select(
            Job.kind,
            func.count().filter(is_due),
            func.count().filter(is_held),
            func.count().filter(Job.state == JobState.RUNNING),
            func.min(due_since, type_=Job.created_at.type).filter(is_due),
        )
        .where(Job.state.in_((JobState.QUEUED, JobState.RUNNING)))
        .group_by(Job.kind)
    )
    found = {
        kind: Waiting(
            queued=queued,
            held=held,
            running=running,
            age_s=_age_s(oldest, now),
        )
        for kind, queued, held, running, oldest in rows
    }
    return {kind: found.get(kind, Waiting()) for kind in JobKind}


def _age_s(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else max(0.0, (now - moment).total_seconds())


def count_webhooks(session: Session) -> dict[str, int]:
    """Return how many webhooks are told of events, are away, and are told of nothing."""
    is_failing = and_(Webhook.is_enabled, IS_FAILING)
    disabled, failing, all_of_them = session.execute(
        select(
            func.count().filter(Webhook.is_enabled.is_(False)),
            func.count().filter(is_failing),
            func.count(),
        ).where(Webhook.deleted_at.is_(None))
    ).one()
    enabled = all_of_them - failing - disabled
    return {"enabled": enabled, "failing": failing, "disabled": disabled}


def count_deliveries(session: Session) -> dict[str, int]:
    """Return how many messages to webhooks are in each state; `retrying`: waits after a failure."""
    # a bound 0 would be two parameters, and to PostgreSQL two expressions
    was_tried = WebhookDelivery.tries > literal_column("0")
    rows = session.execute(
        select(WebhookDelivery.state, was_tried, func.count()).group_by(
            WebhookDelivery.state, was_tried
        )
    )
    counts = dict.fromkeys((*map(str, DeliveryState), "retrying"), 0)
    for state, has_failed, number in rows:
        is_retrying = state is DeliveryState.WAITING and has_failed
        counts["retrying" if is_retrying else str(state)] += number
    return counts


def failing_webhooks(session: Session) -> list[tuple[UUID, str]]:
    """Return id and reason of each webhook that is off, or has messages that failed and wait."""
    off = session.execute(
        select(Webhook.id, Webhook.disabled_reason).where(
            Webhook.deleted_at.is_(None), Webhook.is_enabled.is_(False)
        )
    )
    found = {webhook_id: f"off: {reason or 'by hand'}" for webhook_id, reason in off}
    retried = session.execute(
        select(WebhookDelivery.webhook_id, func.count())
        .where(WebhookDelivery.state == DeliveryState.WAITING, WebhookDelivery.tries > 0)
        .group_by(WebhookDelivery.webhook_id)
    )
    failing = session.execute(
        select(Webhook.id, Webhook.failing_since).where(Webhook.deleted_at.is_(None), IS_FAILING)
    )
    for webhook_id, since in failing:
        found.setdefault(webhook_id, f"away since {since:%Y-%m-%d %H:%M} UTC")
    for webhook_id, number in retried:
        found.setdefault(webhook_id, f"{number} messages failed and wait for another try")
    return sorted(found.items(), key=str)


def count_import_items(session: Session) -> dict[str, int]:
    """Return how many files of imports are in each state."""
    rows = session.execute(select(ImportItem.state, func.count()).group_by(ImportItem.state))
    return dict.fromkeys(map(str, ItemState), 0) | {str(state): number for state, number in rows}


def note_run(session: Session, name: str, result: Mapping[str, Any]) -> None:
    """Remember that something was done now, and how it ended."""
    session.merge(LastRun(name=name, finished_at=read_clock(session), result=dict(result)))


def last_run(session: Session, name: str) -> LastRun | None:
    """Return when something was last done, or None if never."""
    return session.get(LastRun, name)
