"""Captions as they are written, listed and taken away, with what was made from them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, insert, or_, select, tuple_
from sqlalchemy.orm import Session

from service.catalog.caption_tables import Caption, Feedback
from service.catalog.quoted_queries import forget_in_activations, forget_in_tunings
from service.catalog.tables import Video, VideoState
from service.catalog.tuning_tables import PairOrigin, TuningPair

IDS_PER_STATEMENT = 5000
ROWS_AT_ONCE = 2000


@dataclass(frozen=True, kw_only=True)
class NamedCaption:
    """A caption and the name of its video's file."""

    caption: Caption
    file_name: str


def find_caption(
    session: Session, video_id: UUID, text: str, start_s: float | None, end_s: float | None
) -> Caption | None:
    """Return the caption that says the same of the same span."""
    same = (Caption.video_id == video_id, Caption.text == text)
    return session.scalar(
        select(Caption)
        .where(*same, Caption.start_s.is_not_distinct_from(start_s))
        .where(Caption.end_s.is_not_distinct_from(end_s))
        .order_by(Caption.created_at, Caption.id)
        .limit(1)
    )


def list_captions(
    session: Session,
    *,
    video_id: UUID | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Caption]:
    """Return captions, newest first.

    Args:
        session: any session.
        video_id: only those of this video.
        before: (created_at, id) of the last caption of the page before.
        limit: how many at most.
    """
    statement = select(Caption)
    if video_id is not None:
        statement = statement.where(Caption.video_id == video_id)
    if before is not None:
        statement = statement.where(tuple_(Caption.created_at, Caption.id) < tuple_(*before))
    statement = statement.order_by(Caption.created_at.desc(), Caption.id.desc()).limit(limit)
    return list(session.scalars(statement))


def captions_after(
    session: Session, *, video_id: UUID | None, after: tuple[datetime, UUID] | None, limit: int
) -> list[NamedCaption]:
    """Return captions, oldest first, from behind (created_at, id) of another one."""
    statement = select(Caption, Video.file_name).join(Video, Video.id == Caption.video_id)
    if video_id is not None:
        statement = statement.where(Caption.video_id == video_id)
    if after is not None:
        statement = statement.where(tuple_(Caption.created_at, Caption.id) > tuple_(*after))
    statement = statement.order_by(Caption.created_at, Caption.id).limit(limit)
    rows = session.execute(statement)
    return [NamedCaption(caption=row[0], file_name=row[1]) for row in rows]


def add_captions(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add captions given by their columns."""
    if rows:
        session.execute(insert(Caption), rows)


def said_of(
    session: Session, video_ids: Collection[UUID]
) -> Iterator[tuple[UUID, str, float | None, float | None]]:
    """Yield (video, text, start_s, end_s) of every caption of these videos."""
    columns = (Caption.video_id, Caption.text, Caption.start_s, Caption.end_s)
    for some in _in_parts(sorted(video_ids)):
        found = session.execute(
            select(*columns).where(Caption.video_id.in_(some)),
            execution_options={"yield_per": ROWS_AT_ONCE},
        )
        yield from ((row[0], row[1], row[2], row[3]) for row in found)


def lock_lengths(session: Session, video_ids: Collection[UUID]) -> dict[UUID, float | None]:
    """Lock those of these videos that are not deleted, and return how long they are, seconds.

    Nobody deletes one of them, or writes its captions, before the transaction ends.
    """
    statement = select(Video.id, Video.duration_s).where(Video.state != VideoState.DELETED)
    lengths: dict[UUID, float | None] = {}
    for some in _in_parts(sorted(video_ids)):
        chosen = statement.where(Video.id.in_(some)).order_by(Video.id).with_for_update()
        lengths |= {row[0]: row[1] for row in session.execute(chosen)}
    return lengths


def videos_called(session: Session, names: Collection[str]) -> dict[str, list[UUID]]:
    """Return the videos that names may mean: by id, then digest, then file name, then title.

    Args:
        session: any session.
        names: at most some thousands; PostgreSQL must be able to hold them.

    Returns:
        The videos by name; a name that means several videos has them all, an unknown one none.
    """
    ids = {name: UUID(name) for name in names if _is_uuid(name)}
    found: dict[str, list[UUID]] = {name: [] for name in names}
    alive = select(Video.id).where(Video.state != VideoState.DELETED)
    known = set(session.scalars(alive.where(Video.id.in_(sorted(set(ids.values()))))))
    found |= {name: [id_] for name, id_ in ids.items() if id_ in known}
    for column in (Video.sha256, Video.file_name, Video.title):
        left = {name for name, videos in found.items() if not videos}
        rows = session.execute(
            select(column, Video.id)
            .where(Video.state != VideoState.DELETED, column.in_(sorted(left)))
            .order_by(Video.id)
        )
        for name, video_id in rows:
            found[name].append(video_id)
    return found


def delete_caption(session: Session, caption_id: UUID) -> bool:
    """Delete a caption and every pair that was made from it; False if there is none."""
    gone = delete(Caption).where(Caption.id == caption_id).returning(Caption.text)
    texts = session.scalars(gone).all()
    forget_pairs_from(session, PairOrigin.CAPTION, [caption_id])
    forget_in_activations(session, texts)
    return bool(texts)


def forget_pairs_from(session: Session, origin: PairOrigin, origin_ids: Collection[UUID]) -> None:
    """Delete the pairs that were made from these, also where reports quote them.

    Delete the origins first: whoever makes pairs from them holds them locked, so by then those
    pairs are there to be seen.
    """
    for some in _in_parts(sorted(origin_ids)):
        _forget_pairs(session, (TuningPair.origin == origin) & TuningPair.origin_id.in_(some))


def forget_pairs_of_video(session: Session, video_id: UUID) -> None:
    """Delete what was said of a video: captions, feedback, pairs made from them, quotations."""
    of_video = delete(Caption).where(Caption.video_id == video_id).returning(Caption.text)
    texts = set(session.scalars(of_video))
    is_about = or_(Feedback.video_id == video_id, Feedback.instead_video_id == video_id)
    about = delete(Feedback).where(is_about).returning(Feedback.id, Feedback.text)
    feedback = session.execute(about).all()
    forget_pairs_from(session, PairOrigin.FEEDBACK, [row.id for row in feedback])
    _forget_pairs(session, TuningPair.video_id == video_id)
    forget_in_activations(session, texts | {row.text for row in feedback})


def _forget_pairs(session: Session, which: ColumnElement[bool]) -> None:
    columns = (TuningPair.tuning_id, TuningPair.video_id, TuningPair.text)
    gone = session.execute(delete(TuningPair).where(which).returning(*columns))
    forget_in_tunings(session, [(row[0], row[1], row[2]) for row in gone])


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name.lower()
    except ValueError:
        return False


def _in_parts(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        yield ids[start : start + IDS_PER_STATEMENT]
