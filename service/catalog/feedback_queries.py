"""Feedback as it is listed and taken away, and what pairs are made from."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from service.catalog.caption_queries import forget_pairs_from
from service.catalog.caption_tables import Caption, CaptionSource, Feedback
from service.catalog.index_queries import SEARCHABLE
from service.catalog.quoted_queries import forget_in_activations
from service.catalog.tables import Video
from service.catalog.tuning_tables import PairOrigin


def newest_feedback(
    session: Session, *, text: str, video_id: UUID, start_s: float | None, end_s: float | None
) -> Feedback | None:
    """Return the last that was said of a hit as an answer to a text."""
    return session.scalar(
        select(Feedback)
        .where(Feedback.video_id == video_id, Feedback.text == text)
        .where(Feedback.start_s.is_not_distinct_from(start_s))
        .where(Feedback.end_s.is_not_distinct_from(end_s))
        .order_by(Feedback.created_at.desc(), Feedback.id.desc())
        .limit(1)
    )


def list_feedback(
    session: Session, *, before: tuple[datetime, UUID] | None, limit: int
) -> list[Feedback]:
    """Return feedback, newest first, from behind (created_at, id) of another one."""
    statement = select(Feedback)
    if before is not None:
        statement = statement.where(tuple_(Feedback.created_at, Feedback.id) < tuple_(*before))
    statement = statement.order_by(Feedback.created_at.desc(), Feedback.id.desc()).limit(limit)
    return list(session.scalars(statement))


def delete_feedback(session: Session, feedback_id: UUID) -> bool:
    """Delete feedback and every pair that was made from it; False if there is none."""
    gone = delete(Feedback).where(Feedback.id == feedback_id).returning(Feedback.text)
    texts = session.scalars(gone).all()
    forget_pairs_from(session, PairOrigin.FEEDBACK, [feedback_id])
    forget_in_activations(session, texts)
    return bool(texts)


def searchable_contents(session: Session) -> dict[UUID, str]:
    """Return the digests of the content of all searchable videos."""
    rows = session.execute(select(Video.id, Video.sha256).where(Video.state.in_(SEARCHABLE)))
    return {row[0]: row[1] for row in rows}


def all_captions(
    session: Session, *, sources: Collection[CaptionSource], holds: bool
) -> Sequence[Caption]:
    """Return captions of these sources, oldest first.

    Args:
        session: any session; one that writes if `holds`.
        sources: where they came from.
        holds: nobody deletes them before the transaction ends.
    """
    statement = select(Caption).where(Caption.source.in_(sources))
    statement = statement.order_by(Caption.created_at, Caption.id)
    if holds:
        statement = statement.with_for_update(read=True, key_share=True)
    return session.scalars(statement).all()


def all_feedback(session: Session, *, holds: bool) -> Sequence[Feedback]:
    """Return feedback, oldest first; `holds` as in `all_captions`."""
    statement = select(Feedback).order_by(Feedback.created_at, Feedback.id)
    if holds:
        statement = statement.with_for_update(read=True, key_share=True)
    return session.scalars(statement).all()
