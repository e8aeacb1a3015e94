"""Embeds videos that are there already into one more generation."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import structlog

from service.catalog.embedding_queries import NORM_TOLERANCE, EmbeddedVideo, commit_embedding
from service.catalog.generation_queries import ActiveGeneration, generation_bundle
from service.catalog.job_queries import LostLeaseError
from service.catalog.session import in_transaction
from service.catalog.stored_queries import StoredVideo, is_lacking, stored_videos
from service.catalog.tables import Job
from workers.embedder import Embedder, embedding_of
from workers.lease import Lease
from workers.resources import Resources
from workers.runner import WorkError
from workers.stored_clips import ClipSource

BUFFERED_BATCHES = 4
"""Clips that wait for their embedding, in batches: the next ones are read while one runs."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Done:
    """A video that was embedded, and whether it had to be decoded again for it."""

    video: EmbeddedVideo
    was_decoded: bool


def embed(job: Job, lease: Lease, resources: Resources) -> None:
    """Embed one video into the generation of an EMBED job.

    Raises:
        WorkError: the video cannot be decoded any more, or its embeddings make no sense.
        StorageFullError: the disk has no room for its clips.
        JobStoppedError: the job was cancelled, or the worker shuts down.
        LostLeaseError: another worker has the job, or nobody wants the generation any more.
    """
    stored, generation = _load(job, resources)
    embedded = None
    if stored is not None:
        lease.report("loading", 0.0)
        with resources.embedder(generation) as embedder:
            done = list(Reembedder(job, lease, resources, embedder).embed([stored]))
        if not done:
            raise LostLeaseError(f"video {stored.video_id} was deleted")
        embedded = done[0].video
    lease.check()
    in_transaction(
        resources.sessions,
        lambda session: commit_embedding(session, job.id, job.fence, embedded),
    )
    log.info("video_embedded", was_missing=embedded is not None)


def _load(job: Job, resources: Resources) -> tuple[StoredVideo | None, ActiveGeneration]:
    with resources.reads() as session:
        generation = generation_bundle(session, job.generation_id)
        found = stored_videos(session, [job.subject_id])
        if not found or found[0].version != job.version:
            raise LostLeaseError(f"video {job.subject_id} was deleted or changed")
        lacks = is_lacking(session, generation.generation_id, job.subject_id)
        return (found[0] if lacks else None), generation


class _InWork:
    """A video whose clips are being embedded."""

    def __init__(self, stored: StoredVideo, source: ClipSource) -> None:
        self.stored, self.source = stored, source
        self.was_decoded = not source.fits
        self.embeddings: list[np.ndarray] = []  # float16 (E,) each
        self.is_read = False

    @property
    def is_done(self) -> bool:
        """Whether all of its clips are embedded."""
        return self.is_read and len(self.embeddings) == len(self.stored.spans)

    def as_done(self) -> Done:
        """Return what is to be written."""
        video = EmbeddedVideo(
            video_id=self.stored.video_id,
            version=self.stored.version,
            ordinals=[span.ordinal for span in self.stored.spans],
            vectors=np.stack(self.embeddings) if self.embeddings else np.empty((0, 1)),
            derived=self.source.derived,
        )
        return Done(video=video, was_decoded=self.was_decoded)


class Reembedder:
    """Embed many videos; their clips share batches, and are read while others are embedded.

    Args:
        job: for which it is done.
        lease: of the job.
        resources: of the process.
        embedder: the loaded bundle of the generation.
        report: told how many clips are embedded; if unset, the share goes to the lease.
    """

    def __init__(
        self,
        job: Job,
        lease: Lease,
        resources: Resources,
        embedder: Embedder,
        *,
        report: Callable[[int], None] | None = None,
    ) -> None:
        self._job, self._lease, self._resources = job, lease, resources
        self._embedder = embedder
        self._report = report
        self._max_waiting = BUFFERED_BATCHES * resources.settings.embed_batch
        self._waiting: deque[tuple[_InWork, Future[np.ndarray]]] = deque()
        self._num_embedded = 0

    def embed(self, videos: Iterable[StoredVideo]) -> Iterator[Done]:
        """Yield each video when it is embedded, in the order given, but those that were deleted.

        Raises:
            WorkError: one cannot be decoded any more, or its embeddings make no sense.
            JobStoppedError: the work must stop.
        """
        in_work: deque[_InWork] = deque()
        try:
            for stored in videos:
                work = _InWork(stored, self._source_of(stored))
                try:
                    in_work.append(work)
                    self._read(work)
                except FileNotFoundError as error:
                    self._make_sure_it_was_deleted(stored, error)
                    in_work.pop()
                while in_work and in_work[0].is_done:
                    yield in_work.popleft().as_done()
            while self._waiting:
                self._take_embedding()
                while in_work and in_work[0].is_done:
                    yield in_work.popleft().as_done()
        finally:
            for _work, future in self._waiting:
                future.cancel()
            self._waiting.clear()

    def _source_of(self, stored: StoredVideo) -> ClipSource:
        return ClipSource(
            stored=stored,
            spec=self._embedder.spec,
            job=self._job,
            lease=self._lease,
            storage=self._resources.storage,
            settings=self._resources.settings,
        )

    def _read(self, work: _InWork) -> None:
        """Hand the clips of a video over; wait while too many are being embedded."""
        for clip in work.source:
            self._lease.check()
            self._waiting.append((work, self._embedder.embed(work.stored.video_id, clip)))
            while self._waiting and (self._is_full or self._waiting[0][1].done()):
                self._take_embedding()
        work.is_read = True

    def _make_sure_it_was_deleted(self, stored: StoredVideo, error: FileNotFoundError) -> None:
        """Let a file be missing whose video is not there any more.

        Raises:
            WorkError: the video is there.
        """
        with self._resources.reads() as session:
            if not stored_videos(session, [stored.video_id]):
                return
        raise WorkError(
            "file_missing",
            f"The file of video {stored.video_id} is not there any more; restore it, or delete the "
            "video.",
            is_final=True,
        ) from error

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) > self._max_waiting

    def _take_embedding(self) -> None:
        work, future = self._waiting.popleft()
        embedding = embedding_of(future)
        norm = float(np.linalg.norm(embedding))
        if not abs(norm - 1) < NORM_TOLERANCE:  # False for NaN, too
            raise WorkError(
                "bad_embedding",
                f"The model gave an embedding of norm {norm} for video {work.stored.video_id}.",
                is_final=False,
            )
        work.embeddings.append(embedding.astype(np.float16))
        self._num_embedded += 1
        if self._report is not None:
            self._report(self._num_embedded)
        else:
            stage = "decoding" if work.was_decoded else "embedding"
            self._lease.report(stage, self._num_embedded / max(1, len(work.stored.spans)))


class Throttle:
    """Makes work take only a share of the time, by resting after it.

    Args:
        share: of the time that the work may take, 0 to 1.
        lease: a stop ends a rest at once.
    """

    def __init__(self, share: float, lease: Lease) -> None:
        self._share, self._lease = share, lease
        self._since = time.monotonic()

    def rest(self) -> None:
        """Rest in proportion to the time since the last rest."""
        worked_s = time.monotonic() - self._since
        until = time.monotonic() + worked_s * (1 / self._share - 1)
        while (left_s := until - time.monotonic()) > 0:
            self._lease.check()
            time.sleep(min(left_s, 0.1))
        self._since = time.monotonic()
