"""Evaluation sets: lists of queries whose right moments are known."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, insert, select
from sqlalchemy.orm import Session

from service.catalog.evaluation_tables import EvaluationQuery, EvaluationSet
from service.catalog.tables import Video, VideoState
from service.errors import NotFoundError

IDS_PER_STATEMENT = 5000


@dataclass(frozen=True, kw_only=True)
class NewQuery:
    """A query and the moment that answers it; without a span any moment of the video does."""

    text: str
    video_id: UUID
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class QueryRecord:
    """A query of a set, with what became of its video.

    Attributes:
        is_gone: the video was deleted since.
    """

    ordinal: int
    text: str
    video_id: UUID
    title: str
    start_s: float | None
    end_s: float | None
    is_gone: bool


@dataclass(frozen=True, kw_only=True)
class SetRecord:
    """A set, how many queries it has, and for how many the video was deleted since."""

    evaluation_set: EvaluationSet
    num_queries: int
    num_gone: int
    is_newest: bool


@dataclass(frozen=True, kw_only=True)
class NamedVideo:
    """A video as people name it, and how long it is (seconds) if that is known."""

    id: UUID
    file_name: str
    title: str
    duration_s: float | None


def add_set(
    session: Session, *, name: str, queries: Sequence[NewQuery], created_by: UUID | None
) -> EvaluationSet:
    """Keep a list of queries: the first by its name, or the next version of it."""
    newest = session.scalar(
        select(func.max(EvaluationSet.version)).where(EvaluationSet.name == name)
    )
    made = EvaluationSet(name=name, version=(newest or 0) + 1, created_by=created_by)
    session.add(made)
    session.flush()
    rows = [
        {
            "set_id": made.id,
            "ordinal": ordinal,
            "text": query.text,
            "video_id": query.video_id,
            "start_s": query.start_s,
            "end_s": query.end_s,
        }
        for ordinal, query in enumerate(queries)
    ]
    session.execute(insert(EvaluationQuery), rows)
    return made


def list_sets(session: Session, *, all_versions: bool = False) -> list[SetRecord]:
    """Return the newest version of each set, or every version, by name and newest first."""
    statement = _sets().order_by(EvaluationSet.name, EvaluationSet.version.desc())
    if not all_versions:
        statement = statement.where(EvaluationSet.version == _newest_version())
    return [_set_record(*row) for row in session.execute(statement)]


def newest_set_ids(session: Session) -> list[UUID]:
    """Return the newest version of each set."""
    newest = select(EvaluationSet.id).where(EvaluationSet.version == _newest_version())
    return list(session.scalars(newest.order_by(EvaluationSet.id)))


def get_set(session: Session, set_id: UUID) -> SetRecord:
    """Return a set.

    Raises:
        NotFoundError: there is none with this id.
    """
    row = session.execute(_sets().where(EvaluationSet.id == set_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no evaluation set {set_id}.")
    return _set_record(*row)


def queries_of(session: Session, set_id: UUID) -> list[QueryRecord]:
    """Return the queries of a set in their order."""
    rows = session.execute(
        select(EvaluationQuery, Video.title, Video.state)
        .join(Video, Video.id == EvaluationQuery.video_id)
        .where(EvaluationQuery.set_id == set_id)
        .order_by(EvaluationQuery.ordinal)
    )
    return [
        QueryRecord(
            ordinal=query.ordinal,
            text=query.text,
            video_id=query.video_id,
            title=title,
            start_s=query.start_s,
            end_s=query.end_s,
            is_gone=state == VideoState.DELETED,
        )
        for query, title, state in rows
    ]


def latest_texts(session: Session, limit: int) -> list[str]:
    """Return different texts of the newest versions of all sets, the newest sets first."""
    first = func.min(EvaluationQuery.ordinal)
    rows = session.execute(
        select(EvaluationQuery.text)
        .join(EvaluationSet, EvaluationSet.id == EvaluationQuery.set_id)
        .where(EvaluationSet.version == _newest_version())
        .group_by(EvaluationQuery.text)
        .order_by(func.max(EvaluationSet.created_at).desc(), first, EvaluationQuery.text)
        .limit(limit)
    )
    return list(rows.scalars())


def live_videos(session: Session, video_ids: Collection[UUID]) -> list[NamedVideo]:
    """Return those of the videos that are not deleted."""
    return _named_videos(session, Video.id, sorted(set(video_ids)))


def videos_called(session: Session, names: Collection[str]) -> list[NamedVideo]:
    """Return the videos that have one of these names as their title or file name."""
    wanted = sorted(set(names))
    found = _named_videos(session, Video.title, wanted)
    found += _named_videos(session, Video.file_name, wanted)
    return list({video.id: video for video in found}.values())


def _newest_version() -> Any:
    other = EvaluationSet.__table__.alias("other")
    newest = select(func.max(other.c.version)).where(other.c.name == EvaluationSet.name)
    return newest.correlate(EvaluationSet).scalar_subquery()


def _sets() -> Select[*tuple[Any, ...]]:
    queries = select(func.count()).where(EvaluationQuery.set_id == EvaluationSet.id)
    gone = queries.join(Video, Video.id == EvaluationQuery.video_id)
    gone = gone.where(Video.state == VideoState.DELETED)
    return select(
        EvaluationSet,
        queries.select_from(EvaluationQuery).correlate(EvaluationSet).scalar_subquery(),
        gone.select_from(EvaluationQuery).correlate(EvaluationSet).scalar_subquery(),
        EvaluationSet.version == _newest_version(),
    )


def _set_record(found: EvaluationSet, queries: int, gone: int, newest: bool) -> SetRecord:  # noqa: FBT001 (a row)
    return SetRecord(
        evaluation_set=found, num_queries=queries, num_gone=gone, is_newest=bool(newest)
    )


def _named_videos(session: Session, column: Any, values: Sequence[Any]) -> list[NamedVideo]:
    columns = (Video.id, Video.file_name, Video.title, Video.duration_s)
    found: list[NamedVideo] = []
    for start in range(0, len(values), IDS_PER_STATEMENT):
        some = values[start : start + IDS_PER_STATEMENT]
        rows = session.execute(
            select(*columns).where(column.in_(some), Video.state != VideoState.DELETED)
        )
        found += [
            NamedVideo(id=id_, file_name=file_name, title=title, duration_s=duration_s)
            for id_, file_name, title, duration_s in rows
        ]
    return found
