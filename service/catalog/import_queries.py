"""Imports and their items. The job's row is locked first; an item is settled once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from service.catalog.clock import database_time
from service.catalog.import_progress import MAX_DETAIL, without_query
from service.catalog.import_tables import Import, ImportItem, ImportKind, ItemState
from service.catalog.job_queries import OPEN, LostLeaseError, lock_own_job
from service.catalog.tables import Job, JobKind, JobState
from service.catalog.webhook_queries import announce_import
from service.errors import ConflictError, NotFoundError

CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """Something to import.

    Attributes:
        source: its address, or its path below the folder or bucket.
        said: title, tags and fields, if something is said about it.
        size_bytes: if it is known already.
    """

    source: str
    said: Mapping[str, Any] | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class ImportRecord:
    """An import with its job, and how many of its items are in each state."""

    request: Import
    job: Job
    counts: Mapping[ItemState, int]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an item.

    Attributes:
        state: never `waiting`.
        source: the address as it is kept from now on, without what may be secret of it.
        video_id: the video that it is, if it is one.
        size_bytes: of what was fetched.
        reason: machine-readable code if it was refused.
        detail: a sentence for a person if it was refused.
    """

    state: ItemState
    source: str
    video_id: UUID | None = None
    size_bytes: int | None = None
    reason: str | None = None
    detail: str | None = None


def add_import(session: Session, request: Import, items: Sequence[NewItem]) -> Job:
    """Queue an import; without items it has to be listed first."""
    session.add(request)
    session.flush()
    _insert_items(session, request.id, items)
    job = Job(kind=JobKind.IMPORT, subject_id=request.id, version=1)
    session.add(job)
    session.flush()
    return job


def list_items(session: Session, job_id: UUID, fence: int, items: Sequence[NewItem]) -> None:
    """Write what a folder or a bucket holds, once.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    request = session.get_one(Import, job.subject_id)
    if not request.is_listed:
        request.is_listed = True
        _insert_items(session, request.id, items)


def settle_item(session: Session, job_id: UUID, fence: int, ordinal: int, outcome: Outcome) -> None:
    """Write what became of an item.

    Raises:
        LostLeaseError: the job is not this worker's any more, or the item was settled before.
    """
    job = lock_own_job(session, job_id, fence)
    settled = session.scalar(
        update(ImportItem)
        .where(
            ImportItem.import_id == job.subject_id,
            ImportItem.ordinal == ordinal,
            ImportItem.state == ItemState.WAITING,
        )
        .values(
            state=outcome.state,
            source=outcome.source,
            video_id=outcome.video_id,
            size_bytes=func.coalesce(outcome.size_bytes, ImportItem.size_bytes),
            reason=outcome.reason,
            detail=outcome.detail[:MAX_DETAIL] if outcome.detail else None,
        )
        .returning(ImportItem.ordinal)
    )
    if settled is None:
        raise LostLeaseError(f"item {ordinal} of {job.subject_id} was settled before")
    job.attempts = 1  # it gets on: who is interrupted often must not be given up
    session.flush()


def finish_import(session: Session, job_id: UUID, fence: int) -> None:
    """Close the job of an import whose items are all settled.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    job.state, job.progress, job.stage = JobState.DONE, 1.0, None
    job.reason = job.detail = job.lease_until = None
    session.flush()
    session.execute(update(Job).where(Job.id == job.id).values(finished_at=database_time()))
    announce_import(session, job.subject_id, JobState.DONE)


def cancel_import(session: Session, import_id: UUID) -> None:
    """End an import; what was accepted stays.

    Raises:
        NotFoundError: there is none with this id.
        ConflictError: it is over.
    """
    job = session.scalar(
        select(Job)
        .where(Job.subject_id == import_id, Job.kind == JobKind.IMPORT)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise NotFoundError(f"There is no import {import_id}.")
    if job.state not in OPEN:
        raise ConflictError(f"The import is over: it is {job.state}.", reason="already_ended")
    job.state, job.lease_until = JobState.CANCELLED, None
    session.flush()
    session.execute(update(Job).where(Job.id == job.id).values(finished_at=database_time()))
    kind = session.scalar(select(Import.kind).where(Import.id == import_id))
    waiting = ImportItem.import_id == import_id, ImportItem.state == ItemState.WAITING
    if kind is ImportKind.URLS:
        for item in session.scalars(select(ImportItem).where(*waiting)):
            item.source = without_query(item.source)
        session.flush()
    session.execute(
        update(ImportItem)
        .where(*waiting)
        .values(
            state=ItemState.REFUSED, reason=CANCELLED, detail="The import was cancelled before."
        )
    )
    announce_import(session, import_id, JobState.CANCELLED)


def load_import(session: Session, import_id: UUID) -> Import:
    """Return what was asked."""
    return session.get_one(Import, import_id, populate_existing=True)


def waiting_items(session: Session, import_id: UUID, *, limit: int) -> Sequence[ImportItem]:
    """Return the next items that are to be fetched."""
    return session.scalars(
        select(ImportItem)
        .where(ImportItem.import_id == import_id, ImportItem.state == ItemState.WAITING)
        .order_by(ImportItem.ordinal)
        .limit(limit)
    ).all()


def get_import(session: Session, import_id: UUID) -> ImportRecord:
    """Return an import.

    Raises:
        NotFoundError: there is none with this id.
    """
    row = session.execute(_imports().where(Import.id == import_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no import {import_id}.")
    return _complete(session, [(row[0], row[1])])[0]


def newest_imports(
    session: Session, *, before: tuple[datetime, UUID] | None, limit: int
) -> list[ImportRecord]:
    """Return imports, newest first, from behind (created_at, id) of another one."""
    columns = (Import.created_at, Import.id)
    statement = _imports()
    if before is not None:
        statement = statement.where(tuple_(*columns) < tuple_(*before))
    statement = statement.order_by(*(column.desc() for column in columns)).limit(limit)
    return _complete(session, [(row[0], row[1]) for row in session.execute(statement)])


def items_of(
    session: Session, import_id: UUID, *, after: int, limit: int, state: ItemState | None = None
) -> Sequence[ImportItem]:
    """Return items in their order, those behind an ordinal."""
    statement = select(ImportItem).where(
        ImportItem.import_id == import_id, ImportItem.ordinal > after
    )
    if state is not None:
        statement = statement.where(ImportItem.state == state)
    return session.scalars(statement.order_by(ImportItem.ordinal).limit(limit)).all()


def _insert_items(session: Session, import_id: UUID, items: Sequence[NewItem]) -> None:
    rows = [
        {
            "import_id": import_id,
            "ordinal": ordinal,
            "source": item.source,
            "said": dict(item.said) if item.said else None,
            "size_bytes": item.size_bytes,
            "state": ItemState.WAITING,
        }
        for ordinal, item in enumerate(items)
    ]
    if rows:
        session.execute(insert(ImportItem), rows)


def _imports() -> Select[Import, Job]:
    is_its_job = and_(Job.subject_id == Import.id, Job.kind == JobKind.IMPORT)
    return select(Import, Job).join(Job, is_its_job)


def _complete(session: Session, found: Sequence[tuple[Import, Job]]) -> list[ImportRecord]:
    counts = _count(session, [request.id for request, _job in found])
    return [
        ImportRecord(request=request, job=job, counts=counts.get(request.id, {}))
        for request, job in found
    ]


def _count(session: Session, ids: Collection[UUID]) -> dict[UUID, dict[ItemState, int]]:
    statement = (
        select(ImportItem.import_id, ImportItem.state, func.count())
        .where(ImportItem.import_id.in_(ids))
        .group_by(ImportItem.import_id, ImportItem.state)
    )
    counts: dict[UUID, dict[ItemState, int]] = {}
    for import_id, state, number in session.execute(statement):
        counts.setdefault(import_id, {})[state] = number
    return counts
