"""Galleries written straight into the tables: videos whose embeddings a test decides."""

import time
from dataclasses import asdict
from pathlib import Path
from uuid import UUID, uuid4
from zlib import crc32

import numpy as np

from service.catalog.change_queries import append_change
from service.catalog.generation_queries import ensure_active_generation
from service.catalog.ingest_queries import delete_video
from service.catalog.session import in_transaction
from service.catalog.tables import (
    Blob,
    BlobState,
    ChangeOp,
    Embedding,
    Segment,
    Video,
    VideoState,
    VideoTag,
    utc_now,
)

SEGMENT_S = 4.0
PATIENCE_S = 20.0


class Gallery:
    """The videos of one test."""

    def __init__(self, sessions, storage, bundle: Path, *, digest: str, spec):
        self.sessions = sessions
        self.storage = storage
        self.spec = spec
        self.generation = in_transaction(
            sessions,
            lambda session: ensure_active_generation(
                session, name="tiny", digest=digest, path=str(bundle), spec=asdict(spec)
            ),
        )

    def add(self, vectors, *, title="a video", tags=(), has_clips=False, **columns) -> UUID:
        """Add a searchable video of one segment per embedding, in one transaction."""
        vectors = np.asarray(vectors, np.float32).astype("<f2")
        video_id = uuid4()
        derived = self.write_clips(video_id, len(vectors)) if has_clips else NO_CLIPS
        with self.sessions.begin() as session:
            sha256 = uuid4().hex * 2
            session.add(Blob(sha256=sha256, size_bytes=1, state=BlobState.LIVE))
            session.flush()
            session.add(
                Video(
                    id=video_id,
                    sha256=sha256,
                    file_name=f"{title}.mp4",
                    title=title,
                    fields={},
                    num_segments=len(vectors),
                    derived=derived,
                    **{
                        "state": VideoState.READY,
                        "duration_s": SEGMENT_S * len(vectors),
                        "created_at": utc_now(),
                        **columns,
                    },
                )
            )
            session.flush()
            session.add_all(VideoTag(video_id=video_id, tag=tag) for tag in tags)
            session.add_all(_segment(video_id, ordinal) for ordinal in range(len(vectors)))
            self._add_embeddings(session, video_id, vectors)
            append_change(
                session,
                ChangeOp.UPSERT,
                video_id=video_id,
                video_version=1,
                generation_id=self.generation.generation_id,
            )
        return video_id

    def delete(self, video_id: UUID) -> int:
        """Delete a video as the service does."""
        return in_transaction(self.sessions, lambda session: delete_video(session, video_id))

    def write_clips(self, video_id: UUID, count: int) -> str:
        """Write random clips as an ingest does, and return the name of their folder."""
        spec = self.spec
        shape = (spec.frames_per_clip, spec.frame_size, spec.frame_size, 3)
        random = np.random.default_rng(video_id.int % 2**32)
        with self.storage.open_derived(video_id, uuid4(), 1) as draft:
            for _ in range(count):
                draft.add(random.integers(0, 256, shape, np.uint8), b"jpeg")
            return draft.publish()

    def _add_embeddings(self, session, video_id, vectors):
        session.add_all(
            Embedding(
                generation_id=self.generation.generation_id,
                video_id=video_id,
                ordinal=ordinal,
                video_version=1,
                vector=vector.tobytes(),
                crc=crc32(vector.tobytes()),
            )
            for ordinal, vector in enumerate(vectors)
        )


NO_CLIPS = f"derived/{UUID(int=0)}/{UUID(int=0)}-1"


def _segment(video_id: UUID, ordinal: int) -> Segment:
    return Segment(
        video_id=video_id,
        ordinal=ordinal,
        position=ordinal,
        start_s=SEGMENT_S * ordinal,
        end_s=SEGMENT_S * (ordinal + 1),
        thumbnail_offset=0,
        thumbnail_bytes=4,
    )


def like(query: np.ndarray, similarity: float, *, seed: int = 0) -> np.ndarray:
    """Return a unit vector with this similarity to a query."""
    other = np.random.default_rng(seed).normal(size=query.shape)
    other -= query * (other @ query)
    other /= np.linalg.norm(other)
    return (similarity * query + np.sqrt(1 - similarity**2) * other).astype(np.float32)


def until(is_true, *, what="it"):
    """Wait until something is true, or fail."""
    give_up = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < give_up, f"{what} did not come true in {PATIENCE_S} s"
        time.sleep(0.005)
