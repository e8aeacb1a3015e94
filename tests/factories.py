"""Things that tests need many of, made the way the service makes them."""

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import av
import numpy as np

from service import uploads
from service.catalog.generation_queries import ActiveGeneration, ensure_active_generation
from service.catalog.ingest_queries import Ingested, IngestedSegment, commit_ingest
from service.catalog.job_queries import claim_job
from service.catalog.session import Sessions, in_transaction
from service.idempotency import IdempotencyToken
from service.jobs import JobSender
from service.metadata import UploadMetadata
from service.quotas import UNLIMITED, Quotas
from service.storage import StagedFile, Storage

DIM = 8


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a probe would have found."""

    container: str = "mov"
    codec: str = "h264"
    width: int = 64
    height: int = 48
    duration_s: float = 8.0
    frame_rate: float | None = 25.0


def register_bundle(sessions: Sessions, digest: str = "ab" * 32) -> ActiveGeneration:
    """Make a generation active."""
    return in_transaction(
        sessions,
        lambda session: ensure_active_generation(
            session, name="tiny", digest=digest, path="/bundles/tiny", spec={"embedding_dim": DIM}
        ),
    )


def stage(storage: Storage, content: bytes | None = None) -> StagedFile:
    """Receive a file; without content it is one that was never seen before."""
    with storage.open_staging() as staging:
        staging.write(uuid4().bytes if content is None else content)
        return staging.finish()


def upload(
    sessions: Sessions,
    storage: Storage,
    sender: JobSender,
    content: bytes | None = None,
    *,
    file_name: str = "clip.mp4",
    facts: Facts | None = None,
    idempotency: IdempotencyToken | None = None,
    owner: str | None = None,
    quotas: Quotas = UNLIMITED,
    **metadata,
) -> uploads.Accepted:
    """Accept a file with this content."""
    return uploads.accept(
        uploads.Upload(
            staged=stage(storage, content),
            file_name=file_name,
            metadata=UploadMetadata(**metadata),
            facts=facts or Facts(),
        ),
        sessions=sessions,
        storage=storage,
        sender=sender,
        idempotency=idempotency,
        owner=owner,
        quotas=quotas,
    )


def unit_vectors(count: int, *, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Return random embeddings of unit norm, float32 (count, dim)."""
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def derive(storage: Storage, video_id, job_id, fence, *, count: int = 2, **ingested) -> Ingested:
    """Write clips and thumbnails of `count` segments, and describe them."""
    with storage.open_derived(video_id, job_id, fence) as draft:
        places = [
            draft.add(np.full((2, 4, 4, 3), ordinal, dtype=np.uint8), b"jpeg%d" % ordinal)
            for ordinal in range(count)
        ]
        name = draft.publish()
    segments = [
        IngestedSegment(
            ordinal=ordinal,
            start_s=4.0 * ordinal,
            end_s=4.0 * (ordinal + 1),
            thumbnail_offset=place.offset,
            thumbnail_bytes=place.num_bytes,
        )
        for ordinal, place in enumerate(places)
    ]
    vectors = ingested.pop("vectors", unit_vectors(count))
    return Ingested(segments=segments, vectors=vectors, derived=name, **ingested)


def ingest(sessions: Sessions, storage: Storage, job_id, **options) -> int:
    """Do what a worker does with a job: claim, make files, commit."""
    job = in_transaction(sessions, lambda session: claim_job(session, job_id, lease_s=60))
    ingested = derive(storage, job.subject_id, job.id, job.fence, **options)
    committed = in_transaction(
        sessions, lambda session: commit_ingest(session, job.id, job.fence, ingested)
    )
    return committed.seq


def write_video(
    path: Path, *, duration_s: float = 2.0, rate: int = 10, size: tuple[int, int] = (64, 48)
) -> Path:
    """Write an H.264 video in which a bright bar moves from left to right; size is (W, H)."""
    width, height = size
    count = round(duration_s * rate)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(count):
            frame = np.full((height, width, 3), 40, dtype=np.uint8)
            left = index * (width - 8) // max(1, count - 1)
            frame[:, left : left + 8] = (250, 200, 60)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
