"""Generations beside the active one, written straight into the tables."""

from dataclasses import asdict
from datetime import timedelta
from uuid import UUID
from zlib import crc32

import numpy as np
from sqlalchemy import select, update

from model.bundle import bundle_digest
from service.catalog.activation_tables import GenerationVideo
from service.catalog.change_queries import append_change
from service.catalog.generation_queries import ActiveGeneration, generation_bundle
from service.catalog.tables import (
    ChangeOp,
    Embedding,
    Generation,
    GenerationState,
    ModelVersion,
    utc_now,
)


def build_generation(sessions, bundle, spec, *, name="other", is_ready=True) -> ActiveGeneration:
    """Register a bundle with a generation that is being built, complete or not."""
    digest = bundle_digest(bundle)
    with sessions.begin() as session:
        version = session.scalar(select(ModelVersion).where(ModelVersion.bundle_digest == digest))
        if version is None:
            version = ModelVersion(
                name=name, bundle_digest=digest, bundle_path=str(bundle), spec=asdict(spec)
            )
            session.add(version)
            session.flush()
        generation = Generation(
            model_version_id=version.id,
            state=GenerationState.BUILDING,
            ready_at=utc_now() if is_ready else None,
        )
        session.add(generation)
        session.flush()
        return generation_bundle(session, generation.id)


def make_ready(sessions, generation_id: UUID) -> None:
    """Say that a generation has every video."""
    with sessions.begin() as session:
        session.get_one(Generation, generation_id).ready_at = utc_now()


def embed_in(sessions, generation_id: UUID, video_id: UUID, vectors) -> int:
    """Give a video embeddings in one more generation, and return the change that says so."""
    vectors = np.asarray(vectors, np.float32).astype("<f2")
    with sessions.begin() as session:
        session.add_all(
            Embedding(
                generation_id=generation_id,
                video_id=video_id,
                ordinal=ordinal,
                video_version=1,
                vector=vector.tobytes(),
                crc=crc32(vector.tobytes()),
            )
            for ordinal, vector in enumerate(vectors)
        )
        session.add(
            GenerationVideo(
                generation_id=generation_id,
                video_id=video_id,
                video_version=1,
                num_segments=len(vectors),
            )
        )
        return append_change(
            session,
            ChangeOp.UPSERT,
            video_id=video_id,
            video_version=1,
            generation_id=generation_id,
        )


def promote(sessions, generation_id: UUID, *, keep_s: float = 3600.0) -> int:
    """Switch to a generation, keep the one before, and return the change that says so."""
    is_active = Generation.state == GenerationState.ACTIVE
    kept = {"state": GenerationState.KEPT, "kept_until": utc_now() + timedelta(seconds=keep_s)}
    with sessions.begin() as session:
        session.execute(update(Generation).where(is_active).values(**kept))
        session.get_one(Generation, generation_id).state = GenerationState.ACTIVE
        return append_change(session, ChangeOp.PROMOTE, generation_id=generation_id)


def retire(sessions, generation_id: UUID) -> None:
    """Be done with a generation."""
    with sessions.begin() as session:
        session.get_one(Generation, generation_id).state = GenerationState.RETIRED
