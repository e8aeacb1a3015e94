"""activate(): embed every video with another model, check it, and let it take over.

Each step is a commit of its own and finds out what is left to do, so that whoever takes the job
over after a crash goes on where it ended.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from model.bundle import BundleError
from service.activations import send_runs
from service.catalog import activation_queries, check_queries, embedding_queries
from service.catalog.activation_queries import Begun
from service.catalog.generation_queries import ActiveGeneration
from service.catalog.session import in_transaction
from service.catalog.stored_queries import StoredVideo, missing_videos
from service.catalog.tables import GenerationState, Job
from service.models import find_bundle, keep_bundle
from service.registry import Registry
from workers import canary, shadow
from workers.embedder import Embedder, load_embedder
from workers.embedding_progress import Progress
from workers.lease import Lease
from workers.reembed import Done, Reembedder, Throttle
from workers.resources import Resources
from workers.runner import WorkError

EMBEDDING, CHECKING, WARMING, SWITCHING = "embedding", "checking", "warming", "switching"
SHARE_OF_EMBEDDING = 0.9
"""Of the whole job, as its percent counts it."""
PAGE = 200
VIDEOS_PER_COMMIT = 64
SEGMENTS_PER_COMMIT = 1024
COMMIT_EVERY_S = 1.0
SEEN_WITHIN_S = 15.0
LOOK_EVERY_S = 0.1
MOST_FRUITLESS = 100
"""Passes that embed nothing although a video is missing; another job may be writing it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for API processes to load the generation before it is searched.

    Attributes:
        first_s: until the first one says that it is there; then there is none.
        settle_s: at least, for others to say so, too.
        most_s: at most; whoever is late goes on answering from the generation before.
    """

    first_s: float = 3.0
    settle_s: float = 2.0
    most_s: float = 60.0


def activate(job: Job, lease: Lease, resources: Resources) -> None:
    """Let a model take over; every video is searched by it when this returns.

    Raises:
        WorkError: a check failed (`canary_failed`), or a video cannot be embedded.
        JobStoppedError: the activation was cancelled, or the worker shuts down.
        LostLeaseError: another worker has the job.
    """
    run(job, lease, resources, Patience())


def run(job: Job, lease: Lease, resources: Resources, patience: Patience) -> None:
    """Do what `activate` says, with this patience."""
    begun = in_transaction(
        resources.sessions,
        lambda session: activation_queries.begin_activation(session, job.id, job.fence),
    )
    with resources.embedder(begun.target) as embedder:
        _Activation(job, lease, resources, begun, embedder).run(patience)
    send_runs(resources.reads, resources.sender)


class _Activation:
    """One run of the job."""

    def __init__(
        self, job: Job, lease: Lease, resources: Resources, begun: Begun, embedder: Embedder
    ) -> None:
        self._job, self._lease, self._resources = job, lease, resources
        self._begun, self._embedder = begun, embedder
        self._target: UUID = begun.target.generation_id
        self._report = begun.report
        self._progress = Progress(
            decoded_again=begun.report.get("embedding", {}).get("decoded_again", 0)
        )

    def run(self, patience: Patience) -> None:
        """Do all steps; embed again what came meanwhile, until nothing is missing at the switch."""
        self._lease.report(EMBEDDING, 0.0)
        self._prepare()
        self._embed_missing()
        self._check()
        self._let_load(patience)
        while not self._switch():
            self._embed_missing()

    def _prepare(self) -> None:
        """Write down what the model is, what it makes of the pinned clips, and keep its files."""
        registry = Registry(self._resources.settings.data_dir)
        target = self._begun.target
        keep_bundle(
            registry, digest=target.bundle_digest, folder=find_bundle(target, registry, None)
        )
        if "pins" not in self._report:
            self._report["pins"] = canary.pin(self._embedder.network)
        spec = asdict(self._embedder.spec)
        begin = activation_queries.begin_activation
        job = self._job
        in_transaction(
            self._resources.sessions,
            lambda session: begin(session, job.id, job.fence, spec=spec),
        )
        self._save_report()

    def _embed_missing(self) -> None:
        """Embed all videos that the generation lacks, also those that come meanwhile."""
        fruitless = 0
        while True:
            with self._resources.reads() as session:
                missing, segments = embedding_queries.count_missing(session, self._target)
                total = embedding_queries.count_searchable_segments(session)
            done = total - segments
            if not self._progress.total:
                self._progress.done_before = done
            self._progress.total, self._progress.done = total, done
            if not missing:
                return
            fruitless = 0 if self._embed_once() else fruitless + 1
            if fruitless > MOST_FRUITLESS:
                raise WorkError(
                    "cannot_embed", f"{missing} videos could not be embedded.", is_final=True
                )

    def _embed_once(self) -> int:
        """Go through what is missing now, and return how many videos were embedded."""
        reembedder = Reembedder(
            self._job, self._lease, self._resources, self._embedder, report=self._tell
        )
        throttle = Throttle(self._resources.settings.reembed_share, self._lease)
        self._before_pass = self._progress.done
        count = 0
        batch: list[Done] = []
        since = time.monotonic()
        for done in reembedder.embed(self._missing()):
            batch.append(done)
            segments = sum(len(one.video.ordinals) for one in batch)
            is_large = len(batch) >= VIDEOS_PER_COMMIT or segments >= SEGMENTS_PER_COMMIT
            if is_large or time.monotonic() - since >= COMMIT_EVERY_S:
                count += self._commit(batch)
                batch, since = [], time.monotonic()
                throttle.rest()
        return count + (self._commit(batch) if batch else 0)

    def _missing(self) -> Iterator[StoredVideo]:
        after: UUID | None = None
        while True:
            with self._resources.reads() as session:
                page = missing_videos(session, self._target, after=after, limit=PAGE)
            if not page:
                return
            yield from page
            after = page[-1].video_id

    def _tell(self, num_embedded: int) -> None:
        self._progress.done = self._before_pass + num_embedded
        share = self._progress.done / max(1, self._progress.total)
        self._lease.report(EMBEDDING, SHARE_OF_EMBEDDING * share)

    def _commit(self, batch: list[Done]) -> int:
        self._lease.check()
        self._progress.decoded_again += sum(one.was_decoded for one in batch)
        self._report["embedding"] = self._progress.as_report()
        videos = [one.video for one in batch]
        in_transaction(
            self._resources.sessions,
            lambda session: embedding_queries.commit_some(
                session, self._job.id, self._job.fence, videos, report=self._report
            ),
        )
        return len(batch)

    def _check(self) -> None:
        """Make sure that the model is what it was, and see what a switch would change."""
        self._lease.report(CHECKING, SHARE_OF_EMBEDDING)
        fresh = load_embedder(
            self._begun.target, self._resources.settings, on_pass=lambda _pass: None
        )
        try:
            found = canary.check(
                fresh.network,
                self._report["pins"],
                generation=self._begun.target,
                active=self._begun.active,
                reads=self._resources.reads,
                storage=self._resources.storage,
            )
        finally:
            fresh.close()
        self._report["embedding"] = self._progress.as_report()
        self._report["canary"] = found.figures
        self._save_report()
        if found.problems and not self._report.get("is_forced"):
            raise WorkError("canary_failed", " ".join(found.problems), is_final=True)
        self._report["shadow"] = self._search_in_both()
        self._save_report()

    def _search_in_both(self) -> dict[str, Any]:
        active = self._begun.active
        with self._resources.reads() as session:
            texts = check_queries.typical_texts(session, shadow.NUM_TEXTS)
        if active is None or not texts:
            return {"texts": 0}
        try:
            before = self._rank(active, texts)
        except BundleError as error:  # an update took it away; then there is nothing to compare
            return {"texts": 0, "problem": str(error)}
        return shadow.compare(texts, before, self._rank(self._begun.target, texts))

    def _rank(self, generation: ActiveGeneration, texts: list[str]) -> list[Any]:
        with self._resources.embedder(generation) as embedder:
            return shadow.rank(
                embedder.network,
                generation.generation_id,
                texts,
                reads=self._resources.reads,
                lease=self._lease,
            )

    def _let_load(self, patience: Patience) -> None:
        """Wait until the API processes have the generation in memory; kept ones are there."""
        if self._begun.state is GenerationState.KEPT:
            return
        self._lease.report(WARMING, 0.95)
        self._in_transaction(activation_queries.mark_ready)
        began = time.monotonic()
        seen = warm = 0
        while (waited_s := time.monotonic() - began) < patience.most_s:
            self._lease.check()
            with self._resources.reads() as session:
                seen, warm = activation_queries.count_replicas(
                    session, self._target, seen_within_s=SEEN_WITHIN_S
                )
            is_enough = waited_s >= (patience.settle_s if seen else patience.first_s)
            if warm == seen and is_enough:
                break
            time.sleep(LOOK_EVERY_S)
        self._report["warming"] = {"processes": seen, "warm": warm}
        self._save_report()

    def _switch(self) -> bool:
        self._lease.report(SWITCHING, 0.99)
        self._lease.check()
        window_s = self._resources.settings.rollback_window_s
        is_switched: bool = self._in_transaction(
            partial(activation_queries.switch_by_job, kept_for_s=window_s)
        )
        log.info("model_switched" if is_switched else "switch_waits", model=self._begun.target.name)
        return is_switched

    def _save_report(self) -> None:
        self._in_transaction(partial(activation_queries.save_report, report=self._report))

    def _in_transaction(self, work: Any) -> Any:
        """Run a statement of this job, fenced."""
        return in_transaction(
            self._resources.sessions, lambda session: work(session, self._job.id, self._job.fence)
        )
