"""Checks the promises of docs/consistency.md against what is there; changes nothing."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from service.catalog.audit_files import audit_files
from service.catalog.audit_generations import audit_generations
from service.catalog.caption_tables import Caption, Feedback
from service.catalog.change_queries import (
    FIRST_CHAIN,
    BrokenChangeLogError,
    read_changes,
    read_counter,
    verify_chain,
)
from service.catalog.embedding_queries import NORM_TOLERANCE
from service.catalog.generation_queries import find_active_generation
from service.catalog.index_queries import SEARCHABLE, read_embeddings
from service.catalog.job_queries import OPEN
from service.catalog.session import allow_idling
from service.catalog.tables import (
    Change,
    ChangeOp,
    Embedding,
    Generation,
    Job,
    Segment,
    Video,
    VideoState,
)
from service.catalog.tuning_tables import PairOrigin, TuningPair
from service.catalog.violations import Violation
from service.storage import Storage

PAGE = 5000
UNFINISHED = (VideoState.QUEUED, VideoState.PROCESSING)


@dataclass(frozen=True)
class _Rule:
    """A rule that a query breaks: the rows that it finds, by id of the video."""

    kind: str
    detail: str
    broken_by: Select[UUID]


def audit(
    session: Session, storage: Storage, *, grace_s: float, verify_digests: bool = True
) -> list[Violation]:
    """Return every promise that is broken; an empty list is what it should be.

    Args:
        session: a reading session that was not used yet.
        storage: the files.
        grace_s: age from which a file that no row names should be gone, seconds.
        verify_digests: read every file of a live video and compare its SHA-256.
    """
    if session.get_bind().dialect.name == "postgresql":  # all statements see the same moment
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    allow_idling(session)  # files are read from end to end meanwhile
    files = audit_files(session, storage, grace_s=grace_s, verify_digests=verify_digests)
    found = chain(
        _audit_change_log(session),
        _audit_rules(session),
        audit_generations(session, grace_s=grace_s),
        _audit_vectors(session),
        files,
    )
    return list(found)


def _audit_change_log(session: Session) -> Iterator[Violation]:
    seq, digest = 0, FIRST_CHAIN
    counter = read_counter(session)
    try:
        while changes := read_changes(session, seq, PAGE):
            seq, digest = verify_chain(seq, digest, changes)
    except BrokenChangeLogError as error:
        yield Violation("broken_change_log", "change_log", str(error))
        return
    if (seq, digest) != (counter.seq, counter.chain):
        yield Violation(
            "broken_change_log", "change_counter", f"counts {counter.seq} lines, there are {seq}"
        )


def _audit_rules(session: Session) -> Iterator[Violation]:
    rules = chain(_rules_of_states(), _rules_of_captions(), _rules_of_embeddings(session))
    for rule in rules:
        for video_id in session.scalars(rule.broken_by.distinct()):
            yield Violation(rule.kind, f"video {video_id}", rule.detail)


def _rules_of_states() -> Iterator[_Rule]:
    has_open_job = exists().where(Job.subject_id == Video.id, Job.state.in_(OPEN))
    yield _Rule(
        "stuck_video",
        "waits, but no job will ever finish it",
        select(Video.id).where(Video.state.in_(UNFINISHED), ~has_open_job),
    )
    yield _Rule(
        "failure_without_reason",
        "has failed, but nothing says why",
        select(Video.id).where(Video.state == VideoState.FAILED, Video.reason.is_(None)),
    )
    yield _Rule(
        "job_of_deleted_video",
        "is deleted, but has a job that waits or runs",
        select(Video.id).where(Video.state == VideoState.DELETED, has_open_job),
    )
    yield _Rule(
        "remains_of_deleted_video",
        "is deleted, but has embeddings or segments",
        select(Video.id).where(
            Video.state == VideoState.DELETED,
            or_(
                exists().where(Embedding.video_id == Video.id),
                exists().where(Segment.video_id == Video.id),
            ),
        ),
    )


def _rules_of_captions() -> Iterator[_Rule]:
    is_feedback_on_it = or_(Feedback.video_id == Video.id, Feedback.instead_video_id == Video.id)
    yield _Rule(
        "remains_of_deleted_video",
        "is deleted, but has captions, feedback or pairs to learn from",
        select(Video.id).where(
            Video.state == VideoState.DELETED,
            or_(
                exists().where(Caption.video_id == Video.id),
                exists().where(is_feedback_on_it),
                exists().where(TuningPair.video_id == Video.id),
            ),
        ),
    )
    of = TuningPair.origin
    is_caption = and_(of == PairOrigin.CAPTION, TuningPair.origin_id == Caption.id)
    is_feedback = and_(of == PairOrigin.FEEDBACK, TuningPair.origin_id == Feedback.id)
    yield _Rule(
        "pair_without_origin",
        "has a pair to learn from whose caption or feedback is gone",
        select(TuningPair.video_id).where(
            ~exists().where(is_caption).correlate(TuningPair),
            ~exists().where(is_feedback).correlate(TuningPair),
        ),
    )


def _rules_of_embeddings(session: Session) -> Iterator[_Rule]:
    yield _Rule(
        "stale_embedding",
        "has embeddings of another version of it",
        select(Video.id).join(
            Embedding,
            and_(Embedding.video_id == Video.id, Embedding.video_version != Video.version),
        ),
    )
    yield _Rule(
        "wrong_segments",
        "says another number of segments than there are, or has gaps in their positions",
        _with_wrong_segments(),
    )
    announced = _last_change(Change.op == ChangeOp.DELETE)
    yield _Rule(
        "unannounced_change",
        "was announced to replicas, and its delete was not",
        select(Video.id).where(
            Video.state == VideoState.DELETED,
            _last_change(Change.op == ChangeOp.UPSERT) > func.coalesce(announced, 0),
        ),
    )
    active = find_active_generation(session)
    if active is None:
        return
    of_generation = and_(
        Change.op == ChangeOp.UPSERT,
        Change.generation_id == active.generation_id,
        Change.video_version == Video.version,
    )
    yield _Rule(
        "unannounced_change",
        "is searchable, but replicas were never told",
        select(Video.id).where(Video.state.in_(SEARCHABLE), _last_change(of_generation).is_(None)),
    )
    has_embedding = exists().where(
        Embedding.generation_id == active.generation_id,
        Embedding.video_id == Segment.video_id,
        Embedding.ordinal == Segment.ordinal,
    )
    yield _Rule(
        "missing_embedding",
        "is searchable, but a segment of it has no embedding",
        select(Video.id)
        .join(Segment, Segment.video_id == Video.id)
        .where(Video.state.in_(SEARCHABLE), ~has_embedding),
    )
    has_segment = exists().where(
        Segment.video_id == Embedding.video_id, Segment.ordinal == Embedding.ordinal
    )
    yield _Rule(
        "embedding_without_segment",
        "has an embedding, but no such segment",
        select(Embedding.video_id).where(~has_segment),
    )


def _with_wrong_segments() -> Select[UUID]:
    counted = (
        select(
            Segment.video_id,
            func.count().label("number"),
            func.max(Segment.position).label("last"),
        )
        .group_by(Segment.video_id)
        .subquery()
    )
    return (
        select(Video.id)
        .outerjoin(counted, counted.c.video_id == Video.id)
        .where(
            Video.state.in_(SEARCHABLE),
            or_(
                func.coalesce(counted.c.number, 0) != Video.num_segments,
                counted.c.last != Video.num_segments - 1,
            ),
        )
    )


def _last_change(condition: Any) -> Any:
    """Return the number of the newest line about a video that fulfils the condition."""
    return (
        select(func.max(Change.seq))
        .where(Change.video_id == Video.id, condition)
        .correlate(Video)
        .scalar_subquery()
    )


def _audit_vectors(session: Session) -> Iterator[Violation]:
    for generation_id in session.scalars(select(Generation.id)).all():
        width = None
        for row in read_embeddings(session, generation_id):
            subject = f"segment {row.ordinal} of video {row.video_id}"
            width = width or len(row.vector)
            if zlib.crc32(row.vector) != row.crc:
                yield Violation("damaged_embedding", subject, "does not match its checksum")
            elif len(row.vector) != width or len(row.vector) % 2:
                yield Violation("damaged_embedding", subject, "has another width than the others")
            elif not _is_unit(row.vector):
                yield Violation("damaged_embedding", subject, "is not of unit norm")


def _is_unit(vector: bytes) -> bool:
    norm = np.linalg.norm(np.frombuffer(vector, dtype="<f2").astype(np.float32))
    return bool(abs(norm - 1) < NORM_TOLERANCE)
