"""This process's copies of generations: they follow the change log, and can be thrown away."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.catalog.change_queries import BrokenChangeLogError, read_counter
from service.catalog.generation_queries import ActiveGeneration, active_generation
from service.catalog.replica_queries import Report, generations_to_follow
from service.catalog.session import Sessions
from service.catalog.tables import GenerationState
from service.errors import ServiceError
from service.index.builder import RebuildPolicy
from service.index.figures import IndexFigures
from service.index.followed import ChangeLines, OutOfStepError
from service.index.loader import Encoders, Follower, Loader, OpenEncoder
from service.index.outer import Outer
from service.index.reporter import Reporter
from service.index.serving import Held, Published, Serving
from service.index.vector_index import VectorIndex
from service.settings import Settings

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 30.0

Wanted = Sequence[tuple[ActiveGeneration, GenerationState]]


class IndexReplica:
    """Follow the change log in a thread, and hand out immutable views.

    The embeddings are here, in FAISS, or in a Milvus server that one of the processes feeds.

    The active generation is followed, those that a rollback would go back to, and one that is
    about to take over. Each but the first is loaded in the background. Once another is promoted
    and loaded here, it answers whoever names no generation; until then, the one before does.

    Args:
        reads: transactions that only read.
        sessions: transactions that write (the rows of snapshots, and of reports).
        settings: how often to poll, which index, where snapshots are.
        open_encoder: opens the encoder of a generation, once each; the replica closes it.
        policy: when to build a new base and to publish it.
    """

    def __init__(
        self,
        *,
        reads: Sessions,
        sessions: Sessions,
        settings: Settings,
        open_encoder: OpenEncoder,
        policy: RebuildPolicy | None = None,
    ) -> None:
        self._reads = reads
        self._poll_s = settings.replica_poll_ms / 1000
        self._encoders = Encoders(open_encoder)
        self._outer = Outer.of(settings, reads=reads, sessions=sessions)
        self._loader = Loader(
            reads=reads,
            sessions=sessions,
            settings=settings,
            encoders=self._encoders,
            policy=policy or RebuildPolicy(),
            on_done=self.wake,
            outer=self._outer,
        )
        self._reporter = Reporter(sessions)
        self._wake = threading.Event()
        self._published = Published(wake=self.wake, wait_s=self._poll_s)
        self._followed: dict[UUID, Follower] = {}  # our thread's; others read what is published
        self._trusts_snapshots = True
        self._seen_seq = 0
        self._level_at = time.monotonic()
        self._failure: str | None = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="index-replica", daemon=True)

    def start(self) -> None:
        """Begin to load and to follow; returns at once."""
        self._reporter.start()
        if self._outer is not None:
            self._outer.feeder.start()
        self._thread.start()

    def stop(self) -> None:
        """End the threads and close the encoders; views that were handed out stay usable."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)
        self._reporter.stop(STOP_TIMEOUT_S)
        for followed in self._followed.values():
            followed.give_up()
        self._loader.join(STOP_TIMEOUT_S)
        for followed in self._followed.values():
            followed.join(STOP_TIMEOUT_S)
        if self._outer is not None:
            self._outer.feeder.stop(STOP_TIMEOUT_S)
            self._outer.store.close()
        self._encoders.close()

    def wake(self) -> None:
        """Read the change log now rather than at the next poll."""
        self._wake.set()

    @property
    def is_ready(self) -> bool:
        """Whether searches may be answered: everything committed before the start is here."""
        return self._published.is_ready

    @property
    def applied_seq(self) -> int:
        """Number of the last change that searches see; 0 while nothing is served."""
        serving = self._published.held.current
        return serving.view.seq if serving else 0

    @property
    def lag_s(self) -> float:
        """How old what searches see may be, seconds: all that was committed earlier is in it."""
        return time.monotonic() - self._level_at

    @property
    def figures(self) -> IndexFigures | None:
        """What of the index that answers is shown; None while nothing is served."""
        serving = self._published.held.current
        return None if serving is None else serving.view.figures

    @property
    def failure(self) -> str | None:
        """Why nothing is served, or not what should be, if that is known."""
        return self._failure

    @property
    def generation_ids(self) -> frozenset[UUID]:
        """The generations that can be searched here now."""
        return frozenset(self._published.held.servings)

    def view(self) -> VectorIndex:
        """Return what searches see now.

        Raises:
            UnavailableError: not ready.
        """
        return self.serving().view

    def serving(self, *, min_seq: int = 0, generation_id: UUID | None = None) -> Serving:
        """Return index and encoder, to be used together for one whole search.

        Args:
            min_seq: a change that the view must contain; waited for, 2 s at most.
            generation_id: the generation to search; if None, the active one.

        Raises:
            ConflictError: the generation is not kept any more.
            UnavailableError: not ready, or the change was not applied in time.
        """
        return self._published.serving(min_seq=min_seq, generation_id=generation_id)

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self._failure = self._follow()
            except (OutOfStepError, BrokenChangeLogError) as error:
                log.warning("replica_out_of_step", error=str(error), seq=self.applied_seq)
                self._drop_all()
                self._published.ready_at = None
                self._trusts_snapshots = False  # they may end before the same damage
                continue  # loads again at once
            except ServiceError as error:
                self._failure = error.detail
                log.info("replica_waits", error=error.detail)
            except SQLAlchemyError as error:
                # what is held stays valid; searches ask SQL themselves before they answer
                log.warning("replica_cannot_read", error=str(error))
            except Exception as error:
                self._failure = f"The index could not be loaded: {error}"
                log.exception("replica_failed")
                self._drop_all()
            self._wake.wait(self._poll_s)
            self._wake.clear()

    def _follow(self) -> str | None:
        """Apply what was committed since the last time; load first if there is nothing.

        Returns:
            Why what was promoted does not answer yet, if it could not be loaded.
        """
        if self._published.held.current is None:
            self._load_first()
        asked = time.monotonic()
        arrived = self._loader.take()  # before the counter is read: it is not ahead of that
        with self._reads() as session:
            wanted = generations_to_follow(session)  # before the counter: it knows the switch
            lines = ChangeLines(session, read_counter(session))
            self._catch_up(lines, arrived)
        self._level_at = asked
        self._obey(wanted, lines.counter.seq)
        self._tend(wanted)
        active = wanted[0][0].generation_id if wanted else None
        if active is None or active == self._published.held.answering:
            return None
        return self._loader.failure_of(active)

    def _load_first(self) -> None:
        """Load the active generation, with nothing to answer from meanwhile."""
        with self._reads() as session:
            active = active_generation(session)
            wanted = _ids(generations_to_follow(session))
            self._seen_seq = read_counter(session).seq
        if self._published.ready_at is None:
            self._published.ready_at = self._seen_seq
        followed = self._loader.load(active, trusts_snapshots=self._trusts_snapshots)
        self._followed = {active.generation_id: followed}
        self._published.put(
            Held(
                servings={active.generation_id: followed.serving},
                answering=active.generation_id,
                wanted=wanted | {active.generation_id},
            )
        )

    def _catch_up(self, lines: ChangeLines, arrived: Follower | None) -> None:
        """Bring what answers up to the counter, then the others, then what was just loaded."""
        answering = self._published.held.answering
        for generation_id in sorted(self._followed, key=lambda one: one != answering):
            followed = self._followed[generation_id]
            try:
                while followed.advance(lines) and not self._is_stopping:
                    self._publish(followed)
            except (OutOfStepError, BrokenChangeLogError) as error:
                if generation_id == answering:
                    raise
                self._give_up(followed, error)
                return
        if arrived is not None:
            try:
                while arrived.advance(lines) and not self._is_stopping:
                    pass
            except (OutOfStepError, BrokenChangeLogError) as error:
                self._give_up(arrived, error)
                return
            self._followed[arrived.view.generation_id] = arrived
            self._publish(arrived)
        self._trusts_snapshots = True

    def _give_up(self, followed: Follower, error: Exception) -> None:
        """Forget one that does not answer; it is loaded again in the background."""
        log.warning("replica_out_of_step", error=str(error), seq=followed.view.seq)
        self._trusts_snapshots = False
        self._forget({followed.view.generation_id})

    def _obey(self, wanted: Wanted, seq: int) -> None:
        """Answer from what was promoted as soon as it is here; forget what is not wanted."""
        held = self._published.held
        ids = _ids(wanted)
        answering, behind_after = held.answering, held.behind_after
        for generation, state in wanted:
            if state is not GenerationState.ACTIVE:
                continue
            if generation.generation_id in held.servings:
                answering, behind_after = generation.generation_id, None
            elif behind_after is None:
                behind_after = self._seen_seq  # it was promoted after this
        if answering != held.answering:
            log.info("replica_switched", generation=str(answering), seq=seq)
        if (answering, behind_after, ids) != (held.answering, held.behind_after, held.wanted):
            self._published.put(
                replace(held, answering=answering, behind_after=behind_after, wanted=ids)
            )
        self._seen_seq = seq
        self._forget({one for one in self._followed if one not in ids and one != answering})

    def _tend(self, wanted: Wanted) -> None:
        """Load what is missing, renew bases, close encoders, and say how far all that is."""
        servings = self._published.held.servings
        for generation, _state in wanted:
            followed = self._followed.get(generation.generation_id)
            if followed is None:
                self._loader.order(generation, trusts_snapshots=self._trusts_snapshots)
            else:  # not one that was retired: its embeddings may be gone
                followed.tend_base()
                self._publish(followed)
        needed = {generation.bundle_digest for generation, _state in wanted}
        self._encoders.keep_only(needed | {one.encoder.digest for one in servings.values()})
        reports = []
        for generation, state in wanted:
            if state is GenerationState.BUILDING:
                warm = servings.get(generation.generation_id)
                seq = 0 if warm is None else warm.view.seq
                reports.append(Report(generation.generation_id, seq, warm is not None))
        self._reporter.tell(reports)

    def _publish(self, followed: Follower) -> None:
        """Let searches see how far a generation is now."""
        held, serving = self._published.held, followed.serving
        generation_id = serving.view.generation_id
        if held.servings.get(generation_id) is not serving:
            self._published.put(replace(held, servings={**held.servings, generation_id: serving}))

    def _forget(self, generation_ids: set[UUID]) -> None:
        if not generation_ids:
            return
        for generation_id in generation_ids:
            self._followed.pop(generation_id, None)
        left = {
            key: one
            for key, one in self._published.held.servings.items()
            if key not in generation_ids
        }
        self._published.put(replace(self._published.held, servings=left))

    def _drop_all(self) -> None:
        self._followed = {}
        self._published.put(Held())


def _ids(wanted: Wanted) -> frozenset[UUID]:
    return frozenset(generation.generation_id for generation, _state in wanted)
