"""The audit finds damage of generations, each kind of it, and nothing where there is none."""

import zlib
from dataclasses import dataclass
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import delete, insert, update

from service.catalog.activation_tables import GenerationVideo
from service.catalog.audit import audit
from service.catalog.generation_queries import put_version
from service.catalog.session import in_transaction
from service.catalog.tables import (
    Embedding,
    Generation,
    GenerationState,
    Job,
    JobKind,
    utc_now,
)
from tests.factories import ingest

GRACE_S = 100.0
LONG_AGO = utc_now().replace(year=2020)


@pytest.fixture
def world(sessions, read_sessions, storage, upload, generation):
    """A searchable video, and a second generation that nobody has filled yet."""
    video = upload()
    ingest(sessions, storage, video.job_id)

    def start(session):
        version = put_version(session, name="o", digest="cd" * 32, path="/o", spec={})
        other = Generation(model_version_id=version.id, state=GenerationState.BUILDING)
        session.add(other)
        session.flush()
        return other.id

    return SimpleNamespace(
        sessions=sessions,
        read_sessions=read_sessions,
        storage=storage,
        video=video.video_id,
        active=generation.generation_id,
        other=in_transaction(sessions, start),
    )


def kinds(world):
    with world.read_sessions() as session:
        return {found.kind for found in audit(session, world.storage, grace_s=GRACE_S)}


@dataclass(frozen=True)
class Damage:
    """What goes wrong, by statements made from the world, and what the audit must call it."""

    kind: str
    statements: object


def embedding_in_other(world):
    vector = np.eye(8, dtype="<f2")[0].tobytes()
    return insert(Embedding).values(
        generation_id=world.other,
        video_id=world.video,
        ordinal=0,
        video_version=1,
        vector=vector,
        crc=zlib.crc32(vector),
    )


def listed_in_other(world, **values):
    return insert(GenerationVideo).values(
        {
            "generation_id": world.other,
            "video_id": world.video,
            "video_version": 1,
            "num_segments": 1,
            **values,
        }
    )


def state_of_other(world, **values):
    return update(Generation).where(Generation.id == world.other).values(**values)


def activation_jobs(world):
    return [
        insert(Job).values(
            id=uuid4(),
            kind=JobKind.ACTIVATE,
            subject_id=uuid4(),
            generation_id=world.other,
            version=1,
        )
        for _ in range(2)
    ]


DAMAGE = {
    "the active generation does not list a video": Damage(
        "missing_generation_video", lambda _w: [delete(GenerationVideo)]
    ),
    "embeddings are listed nowhere": Damage(
        "unlisted_embedding", lambda w: [embedding_in_other(w)]
    ),
    "a listed video has no embeddings": Damage("wrong_embeddings", lambda w: [listed_in_other(w)]),
    "a video is listed with another version": Damage(
        "stale_generation_video", lambda w: [listed_in_other(w, video_version=2)]
    ),
    "replicas were never told": Damage(
        "unannounced_change", lambda w: [embedding_in_other(w), listed_in_other(w)]
    ),
    "a retired generation was not emptied": Damage(
        "remains_of_retired_generation",
        lambda w: [
            embedding_in_other(w),
            state_of_other(w, state=GenerationState.RETIRED, kept_until=LONG_AGO),
        ],
    ),
    "a generation is built by nobody": Damage(
        "abandoned_generation", lambda w: [state_of_other(w, created_at=LONG_AGO)]
    ),
    "two activations are open": Damage("many_activations", activation_jobs),
    "clips that were decoded for a generation are missing": Damage(
        "missing_derived",
        lambda w: [
            embedding_in_other(w),
            listed_in_other(w, derived=f"derived/{w.video}/{uuid4()}-1"),
        ],
    ),
}


def test_what_is_whole_is_not_complained_about(world):
    assert kinds(world) == set()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_found(world, damage):
    with world.sessions.begin() as session:
        for statement in damage.statements(world):
            session.execute(statement)

    assert damage.kind in kinds(world)
