"""The audit finds damage of every kind, and nothing where there is none."""

import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import delete, insert, select, text, update

from service import videos
from service.catalog.audit import audit
from service.catalog.caption_tables import Caption, Feedback
from service.catalog.ingest_queries import delete_video
from service.catalog.job_queries import claim_job, fail_job
from service.catalog.session import in_transaction
from service.catalog.tables import (
    Blob,
    BlobState,
    Change,
    ChangeCounter,
    ChangeOp,
    Embedding,
    Job,
    JobState,
    ModelVersion,
    Segment,
    Video,
    VideoState,
    utc_now,
)
from service.catalog.tuning_tables import PairOrigin, Policy, Tuning, TuningPair
from tests.factories import derive, ingest, stage
from tests.stored_files import blob_path, derived_paths

GRACE_S = 100.0
BAD_VECTOR = np.full(8, 2, dtype="<f2").tobytes()


@pytest.fixture
def world(sessions, read_sessions, storage, upload):
    """A searchable video, one that waits, one that failed and one that was deleted."""
    ready, queued, failed, deleted = (upload() for _ in range(4))
    ingest(sessions, storage, ready.job_id)
    ingest(sessions, storage, deleted.job_id)
    videos.delete_video(sessions, deleted.video_id)

    def fail(session):
        job = claim_job(session, failed.job_id, lease_s=60)
        fail_job(session, job.id, job.fence, reason="no_frames", detail="Nothing decoded.")

    in_transaction(sessions, fail)
    with sessions() as session:
        blob = blob_path(storage, session.get_one(Video, ready.video_id).sha256)
        derived = session.get_one(Video, ready.video_id).derived
    return SimpleNamespace(
        ready=ready.video_id,
        queued=queued.video_id,
        failed=failed.video_id,
        deleted=deleted.video_id,
        sessions=sessions,
        read_sessions=read_sessions,
        storage=storage,
        blob=blob,
        derived=derived,
    )


def kinds(world):
    with world.read_sessions() as session:
        found = audit(session, world.storage, grace_s=GRACE_S)
    return sorted({violation.kind for violation in found})


def test_what_is_whole_is_not_complained_about(world):
    assert kinds(world) == []


@dataclass(frozen=True)
class Damage:
    """What goes wrong, and what the audit must call it."""

    kind: str
    plant: Callable


def sql(make_statement):
    """Plant damage by a statement made from the world."""

    def plant(world):
        with world.sessions.begin() as session:
            session.execute(make_statement(world))

    return plant


def age(path):
    then = time.time() - 2 * GRACE_S
    for each in (path, *(path.iterdir() if path.is_dir() else ())):
        os.utime(each, (then, then))


def embedding(video_id, generation_id, **values):
    vector = values.pop("vector", np.eye(8, dtype="<f2")[0].tobytes())
    return insert(Embedding).values(
        video_id=video_id,
        generation_id=generation_id,
        vector=vector,
        **{"crc": zlib.crc32(vector), "ordinal": 0, "video_version": 1} | values,
    )


def leave_embedding_of_deleted(world):
    with world.sessions.begin() as session:
        generation_id = session.scalars(text("SELECT id FROM generations")).one()
        session.execute(
            text(
                "INSERT INTO embeddings SELECT generation_id, :deleted, ordinal, 2, vector, crc "
                "FROM embeddings WHERE generation_id = :generation AND ordinal = 0"
            ),
            {"deleted": _as_stored(session, world.deleted), "generation": generation_id},
        )


def leave_pair(world):
    with world.sessions.begin() as session:
        version = session.scalars(select(ModelVersion)).one()
        tuning = Tuning(base_version_id=version.id, policy=Policy.MANUAL, request={})
        session.add(tuning)
        session.flush()
        session.add(
            TuningPair(
                tuning_id=tuning.id,
                ordinal=0,
                origin=PairOrigin.CAPTION,
                origin_id=uuid4(),
                video_id=world.ready,
                text="x",
                is_held_out=False,
                is_negative=False,
            )
        )


def _as_stored(session, id_):
    return id_.hex if session.get_bind().dialect.name == "sqlite" else id_


def forget_line(world):
    with world.sessions.begin() as session:
        session.execute(delete(Change).where(Change.seq == 2))


def leave_upload(world):
    age(stage(world.storage).path)


def leave_blob(world):
    staged = stage(world.storage)
    world.storage.publish(staged)
    age(blob_path(world.storage, staged.sha256))


def leave_derived(world):
    derive(world.storage, world.ready, world.queued, 9)
    age_derived(world)
    with world.sessions.begin() as session:
        long_ago = utc_now() - timedelta(days=1)
        session.execute(update(Video).values(updated_at=long_ago))


def age_derived(world):
    for path in derived_paths(world.storage):
        age(path)


def leave_part(world):
    name = f"{uuid4()}/0"
    world.storage.put_part(name, stage(world.storage).path)
    age(world.storage.root / "uploads" / name)


def shorten_clips(world):
    folder = world.storage.root / world.derived
    np.save(folder / "clips.npy", np.zeros((1, 2, 4, 4, 3), dtype=np.uint8))


def of_ready(statement_of, **values):
    return sql(lambda world: statement_of(world).values(**values))


def embeddings_of_ready(world):
    return update(Embedding).where(Embedding.video_id == world.ready, Embedding.ordinal == 1)


DAMAGE = {
    "a video waits without a job": Damage(
        "stuck_video",
        sql(lambda w: update(Job).where(Job.subject_id == w.queued).values(state=JobState.DONE)),
    ),
    "a failure has no reason": Damage(
        "failure_without_reason",
        sql(lambda w: update(Video).where(Video.id == w.failed).values(reason=None)),
    ),
    "a deleted video has a job": Damage(
        "job_of_deleted_video",
        sql(lambda w: update(Job).where(Job.subject_id == w.deleted).values(state=JobState.QUEUED)),
    ),
    "a deleted video has an embedding": Damage(
        "remains_of_deleted_video", leave_embedding_of_deleted
    ),
    "a deleted video has a caption": Damage(
        "remains_of_deleted_video",
        sql(lambda w: insert(Caption).values(video_id=w.deleted, text="x", source="typed")),
    ),
    "a deleted video is what somebody meant": Damage(
        "remains_of_deleted_video",
        sql(
            lambda w: insert(Feedback).values(
                text="x",
                verdict="instead",
                video_id=w.ready,
                instead_video_id=w.deleted,
                receipt={},
            )
        ),
    ),
    "a pair has outlived its caption": Damage("pair_without_origin", leave_pair),
    "a video has another version than its embeddings": Damage(
        "stale_embedding",
        sql(lambda w: update(Video).where(Video.id == w.ready).values(version=2)),
    ),
    "an embedding is missing": Damage(
        "missing_embedding",
        sql(lambda w: delete(Embedding).where(Embedding.video_id == w.ready)),
    ),
    "a segment is missing": Damage(
        "wrong_segments",
        sql(lambda w: delete(Segment).where(Segment.video_id == w.ready, Segment.ordinal == 0)),
    ),
    "an embedding has no segment": Damage(
        "embedding_without_segment",
        sql(lambda _w: update(Segment).where(Segment.ordinal == 1).values(ordinal=7)),
    ),
    "bytes of an embedding have changed": Damage(
        "damaged_embedding", of_ready(embeddings_of_ready, vector=b"\0" * 16)
    ),
    "an embedding is not of unit norm": Damage(
        "damaged_embedding",
        of_ready(embeddings_of_ready, vector=BAD_VECTOR, crc=zlib.crc32(BAD_VECTOR)),
    ),
    "an embedding is shorter than the others": Damage(
        "damaged_embedding",
        of_ready(embeddings_of_ready, vector=BAD_VECTOR[:8], crc=zlib.crc32(BAD_VECTOR[:8])),
    ),
    "a line of the change log is missing": Damage("broken_change_log", forget_line),
    "a line of the change log was altered": Damage(
        "broken_change_log",
        sql(lambda _w: update(Change).where(Change.seq == 2).values(op=ChangeOp.DELETE)),
    ),
    "the counter is behind": Damage(
        "broken_change_log", sql(lambda _w: update(ChangeCounter).values(seq=1))
    ),
    "a video was never announced": Damage(
        "unannounced_change",
        sql(lambda w: delete(Change).where(Change.video_id == w.ready)),
    ),
    "a delete was never announced": Damage(
        "unannounced_change",
        sql(lambda _w: delete(Change).where(Change.op == ChangeOp.DELETE)),
    ),
    "a file is missing": Damage("missing_file", lambda w: w.blob.unlink()),
    "a file has other content of the same length": Damage(
        "damaged_file", lambda w: w.blob.write_bytes(b"x" * w.blob.stat().st_size)
    ),
    "a file was cut short": Damage("damaged_file", lambda w: w.blob.write_bytes(b"")),
    "the file of a live video is condemned": Damage(
        "condemned_file", sql(lambda _w: update(Blob).values(state=BlobState.CONDEMNED))
    ),
    "clips are missing": Damage(
        "missing_derived",
        lambda w: (w.storage.root / w.derived / "clips.npy").unlink(),
    ),
    "clips are fewer than segments": Damage("missing_derived", shorten_clips),
    "no folder of clips is named": Damage(
        "missing_derived",
        sql(lambda w: update(Video).where(Video.id == w.ready).values(derived=None)),
    ),
    "an upload was left": Damage("orphan_file", leave_upload),
    "a file was left": Damage("orphan_file", leave_blob),
    "a folder of clips was left": Damage("orphan_file", leave_derived),
    "a piece of an upload was left": Damage("orphan_file", leave_part),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_found(world, damage):
    damage.plant(world)
    assert damage.kind in kinds(world)


def test_folders_of_what_was_just_deleted_wait_for_the_next_listing(world):
    age_derived(world)

    with world.sessions.begin() as session:
        delete_video(session, world.ready)

    assert "orphan_file" not in kinds(world)


def test_a_quick_audit_does_not_read_the_files(world):
    world.blob.write_bytes(b"x" * world.blob.stat().st_size)
    with world.read_sessions() as session:
        assert audit(session, world.storage, grace_s=GRACE_S, verify_digests=False) == []


def test_every_state_of_a_video_is_in_the_world(world):
    with world.sessions() as session:
        states = {session.get_one(Video, id_).state for id_ in vars(world).values() if _is_id(id_)}
    assert states == set(VideoState) - {VideoState.PROCESSING, VideoState.PARTIAL}


def _is_id(value):
    return type(value).__name__ == "UUID"
