"""ingest(): decode, embed and store one video. Decoding and embedding overlap."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import structlog

from model.retrieval import RetrievalSpec
from model.video.clips import ClipReader, ClipShape, DecodedClip, DecodeReport
from model.video.errors import VideoError
from model.video.segments import Span, cut
from service import tracing
from service.catalog.embedding_queries import NORM_TOLERANCE
from service.catalog.generation_queries import ActiveGeneration, generation_bundle
from service.catalog.ingest_queries import Ingested, IngestedSegment, commit_ingest
from service.catalog.job_queries import LostLeaseError
from service.catalog.session import in_transaction
from service.catalog.tables import Job, Video
from service.catalog.video_queries import find_video
from service.footage import decode_limits
from service.jobs import Task
from service.observing.worker_metrics import WorkerMetrics
from service.search.stopwatch import Stopwatch
from service.settings import Settings
from service.storage import DerivedDraft
from workers.embedder import Embedder, embedding_of
from workers.lease import Lease
from workers.resources import Resources
from workers.runner import WorkError

BUFFERED_BATCHES = 2
"""Clips of one video that wait for their embedding: while one batch runs the next one gathers."""

THUMBNAIL_BYTES = 32 * 1024
"""What a thumbnail takes, roughly, when the free disk is checked."""

log = structlog.get_logger(__name__)


def ingest(job: Job, lease: Lease, resources: Resources) -> None:
    """Decode, embed and store one video; it is searchable when this returns.

    Raises:
        WorkError: the video can't be decoded, or its embeddings make no sense.
        StorageFullError: the disk has no room for what is made of it.
        UnavailableError: memory does not suffice to embed a clip, or the object store is away.
        JobStoppedError: the job was cancelled, or the worker shuts down.
        LostLeaseError: another worker has the job; nothing was committed.
    """
    settings, storage, watch = resources.settings, resources.storage, Stopwatch()
    lease.report("loading", 0.0)
    video, generation = _load(job, resources)
    with (
        _refusals_as_work_errors(resources.metrics),
        resources.embedder(generation) as embedder,
        storage.open_derived(video.id, job.id, job.fence) as draft,
        storage.local_blob(video.sha256) as path,
    ):
        spans = _cut(video, settings)
        storage.check_space(_bytes_of(spans, embedder.spec))
        collector = _Collector(video, embedder, draft, settings)
        reader = open_reader(path, spans, embedder.spec, settings)
        with reader, lease.stopping(reader.kill), collector:
            for clip in watch.waiting("decode", reader):
                with watch.counted("embed"):
                    collector.add(clip)
                lease.report("embedding", collector.num_embedded / len(spans))
                lease.check()
            with watch.stage("embed"):
                ingested = collector.finish(reader.report)
    lease.check()
    with watch.stage("commit"):
        committed = in_transaction(
            resources.sessions,
            lambda session: commit_ingest(session, job.id, job.fence, ingested),
        )
    timings_ms = watch.timings_ms()
    resources.metrics.observe_ingest(timings_ms)
    tracing.note({f"{stage}_ms": spent for stage, spent in timings_ms.items()})
    if ingested.is_partial:
        resources.metrics.count_damage(ingested.reason or "damaged", is_whole=False)
    for embed_job in committed.embed_jobs:
        resources.sender.send(Task.EMBED_VIDEO, embed_job)
    log.info("video_ingested", segments=len(ingested.segments), is_partial=ingested.is_partial)


def _load(job: Job, resources: Resources) -> tuple[Video, ActiveGeneration]:
    with resources.sessions() as session:
        record = find_video(session, job.subject_id)
        if record is None:
            raise LostLeaseError(f"video {job.subject_id} was deleted")
        return record.video, generation_bundle(session, job.generation_id)


def _cut(video: Video, settings: Settings) -> list[Span]:
    """Cut the video by the duration that the probe found when it was uploaded."""
    if video.duration_s is None:
        raise WorkError("not_probed", "The length of the video is unknown.", is_final=True)
    return cut(video.duration_s, length_s=settings.segment_s, every_s=settings.segment_every_s)


def open_reader(
    path: Path, spans: Sequence[Span], spec: RetrievalSpec, settings: Settings
) -> ClipReader:
    """Start the child that decodes the clips which a model wants.

    Raises:
        VideoError: the file is empty.
    """
    shape = ClipShape(
        frames_per_clip=spec.frames_per_clip,
        frame_size=spec.frame_size,
        resize_short=spec.resize_short,
        thumbnail_px=settings.thumbnail_px,
        fit=spec.fit,
        resample=spec.resample,
    )
    return ClipReader(
        path,
        spans,
        shape=shape,
        sampling=settings.sampling,
        reader=settings.reader,
        limits=decode_limits(settings),
    )


def _bytes_of(spans: Sequence[Span], spec: RetrievalSpec) -> int:
    """Return what the files of a video will take, roughly."""
    clip_bytes = spec.frames_per_clip * spec.frame_size * spec.frame_size * 3
    return len(spans) * (clip_bytes + THUMBNAIL_BYTES)


@contextmanager
def _refusals_as_work_errors(metrics: WorkerMetrics) -> Iterator[None]:
    try:
        yield
    except VideoError as error:
        metrics.count_damage(error.reason, is_whole=True)
        raise WorkError(error.reason, error.detail, is_final=not error.may_pass) from error


class _Collector:
    """Store clips and have them embedded while more are decoded.

    Memory stays bounded: frames go to disk at once, and at most `BUFFERED_BATCHES` batches
    of clips wait for their embedding, which keeps the decoder waiting in turn.

    Use it as a context manager: what still waits at the end is not embedded any more.
    """

    def __init__(
        self, video: Video, embedder: Embedder, draft: DerivedDraft, settings: Settings
    ) -> None:
        self._video = video
        self._embedder = embedder
        self._draft = draft
        self._max_waiting = BUFFERED_BATCHES * settings.embed_batch
        self._segments: list[IngestedSegment] = []
        self._embeddings: list[np.ndarray] = []  # float16 (E,) each
        self._waiting: deque[Future[np.ndarray]] = deque()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Cancel what waits."""
        for future in self._waiting:
            future.cancel()

    @property
    def num_embedded(self) -> int:
        """How many clips are done."""
        return len(self._embeddings)

    def add(self, clip: DecodedClip) -> None:
        """Take a clip; wait if too many are being embedded."""
        place = self._draft.add(clip.frames, clip.thumbnail)
        self._segments.append(
            IngestedSegment(
                ordinal=clip.span.ordinal,
                start_s=clip.span.start_s,
                end_s=clip.span.end_s,
                thumbnail_offset=place.offset,
                thumbnail_bytes=place.num_bytes,
            )
        )
        self._waiting.append(self._embedder.embed(self._video.id, clip.frames))
        while self._waiting and (self._is_full or self._waiting[0].done()):
            self._take_embedding()

    def finish(self, report: DecodeReport) -> Ingested:
        """Wait for the last embeddings, and make the files durable."""
        while self._waiting:
            self._take_embedding()
        return Ingested(
            segments=self._segments,
            vectors=np.stack(self._embeddings),
            derived=self._draft.publish(),
            is_partial=report.is_partial,
            report=asdict(report),
            reason=report.reason,
            detail=describe(report),
        )

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) > self._max_waiting

    def _take_embedding(self) -> None:
        embedding = embedding_of(self._waiting.popleft())
        norm = float(np.linalg.norm(embedding))
        if (
            embedding.shape != (self._embedder.spec.embedding_dim,)
            or not abs(norm - 1) < NORM_TOLERANCE
        ):
            raise WorkError(
                "bad_embedding",
                f"The model gave an embedding of shape {embedding.shape} and norm {norm}.",
                is_final=False,
            )
        self._embeddings.append(embedding.astype(np.float16))


WHAT_IS_WRONG = {
    "truncated": "The file is cut off before its end",
    "corrupt_container": "The structure of the file is damaged",
}


def describe(report: DecodeReport) -> str | None:
    """Say in a sentence or two what could not be decoded, if anything."""
    if not report.is_partial:
        return None
    wrong = WHAT_IS_WRONG.get(report.reason or "", "Some of the file is damaged")
    corrupt = report.frames_corrupt
    frames = f", {corrupt} damaged frame{'s were' if corrupt > 1 else ' was'} left out"
    return (
        f"{wrong}. {report.segments_decoded} of {report.segments_wanted} segments could be decoded"
        f"{frames if corrupt else ''}; they are searchable."
    )
