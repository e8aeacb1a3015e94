"""This process's copy of the active generation: follows the change log, can be thrown away."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.catalog.change_queries import (
    BrokenChangeLogError,
    Counter,
    read_changes,
    read_counter,
    verify_chain,
)
from service.catalog.generation_queries import ActiveGeneration, active_generation
from service.catalog.session import Sessions
from service.catalog.tables import Change, ChangeOp
from service.encoder import Encoder
from service.errors import ServiceError, UnavailableError
from service.index.builder import BaseBuilder, RebuildPolicy
from service.index.loading import apply_changes, load_view
from service.index.snapshots import SnapshotStore
from service.index.view import IndexView
from service.settings import Settings

log = structlog.get_logger(__name__)

CHANGES_AT_ONCE = 1000
LONGEST_WAIT_S = 2.0
"""How long a search waits for a change that this process has not applied yet."""
STOP_TIMEOUT_S = 30.0

OpenEncoder = Callable[[ActiveGeneration], Encoder]


class OutOfStepError(Exception):
    """What is held does not fit the change log any more; it must be loaded again."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What one search uses from beginning to end: an index and the encoder of its embeddings."""

    encoder: Encoder
    view: IndexView


class IndexReplica:
    """Follow the change log in a thread, and hand out immutable views.

    Args:
        reads: transactions that only read.
        sessions: transactions that write (the rows of snapshots).
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
        self._kind = settings.index_kind
        self._poll_s = settings.replica_poll_ms / 1000
        self._open_encoder = open_encoder
        snapshots = SnapshotStore(Path(settings.data_dir) / "snapshots", sessions)
        self._snapshots = snapshots
        self._builder = BaseBuilder(
            reads=reads, snapshots=snapshots, kind=self._kind, policy=policy or RebuildPolicy()
        )
        self._serving: Serving | None = None
        self._encoders: dict[str, Encoder] = {}
        self._trusts_snapshots = True
        self._ready_at: int | None = None
        self._failure: str | None = None
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="index-replica", daemon=True)

    def start(self) -> None:
        """Begin to load and to follow; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the threads and close the encoders; views that were handed out stay usable."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)
        self._builder.join(STOP_TIMEOUT_S)
        for encoder in self._encoders.values():
            encoder.close()

    def wake(self) -> None:
        """Read the change log now rather than at the next poll."""
        self._wake.set()

    @property
    def is_ready(self) -> bool:
        """Whether searches may be answered: everything committed before the start is here."""
        return self._serving_if_ready() is not None

    @property
    def applied_seq(self) -> int:
        """Number of the last change that searches see; 0 while nothing is served."""
        serving = self._serving
        return serving.view.seq if serving else 0

    @property
    def failure(self) -> str | None:
        """Why nothing is served, if that is known."""
        return self._failure

    def view(self) -> IndexView:
        """Return what searches see now.

        Raises:
            UnavailableError: not ready.
        """
        return self.serving().view

    def serving(self, *, min_seq: int = 0) -> Serving:
        """Return index and encoder, to be used together for one whole search.

        Args:
            min_seq: a change that the view must contain; waited for, 2 s at most.

        Raises:
            UnavailableError: not ready, or the change was not applied in time.
        """
        serving = self._serving_if_ready()
        if serving is None:
            raise UnavailableError(
                "The index is being loaded; try again in a moment.",
                reason="index_loading",
                retry_after_s=1,
            )
        return serving if serving.view.seq >= min_seq else self._wait_for(min_seq)

    def _serving_if_ready(self) -> Serving | None:
        serving, ready_at = self._serving, self._ready_at
        if serving is None or ready_at is None or serving.view.seq < ready_at:
            return None
        return serving

    def _wait_for(self, seq: int) -> Serving:
        until = time.monotonic() + LONGEST_WAIT_S
        with self._changed:
            while (left_s := until - time.monotonic()) > 0:
                serving = self._serving_if_ready()
                if serving is not None and serving.view.seq >= seq:
                    return serving
                self._wake.set()
                self._changed.wait(min(left_s, self._poll_s))
        raise UnavailableError(
            f"Change {seq} is not searchable here yet; try again in a moment.",
            reason="index_behind",
            retry_after_s=1,
        )

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self._follow()
                self._failure = None
            except (OutOfStepError, BrokenChangeLogError) as error:
                log.warning("replica_out_of_step", error=str(error), seq=self.applied_seq)
                self._publish(None)
                self._ready_at = None
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
                self._publish(None)
            self._wake.wait(self._poll_s)
            self._wake.clear()

    def _follow(self) -> None:
        """Apply what was committed since the last time; load first if there is nothing."""
        with self._reads() as session:
            counter = read_counter(session)
            if self._ready_at is None:
                self._ready_at = counter.seq
            serving = self._serving
            if serving is not None and serving.view.seq > counter.seq:
                raise OutOfStepError("the change log has become shorter")
            serving = serving or self._load(session, counter)
            self._catch_up(session, serving, counter)
        self._tend_base()

    def _load(self, session: Session, counter: Counter) -> Serving:
        """Load the active generation with its encoder, from a snapshot or from SQL."""
        began = time.monotonic()
        generation = active_generation(session)
        encoder = self._encoder_of(generation)
        view = None
        if self._trusts_snapshots:
            view = self._snapshots.load(session, generation, counter, kind=self._kind)
        source = "snapshot" if view else "sql"
        view = view or load_view(session, generation, kind=self._kind)
        log.info(
            "replica_loaded",
            source=source,
            seq=view.seq,
            segments=view.num_segments,
            took_s=round(time.monotonic() - began, 3),
        )
        self._builder.loaded(view, is_from_sql=source == "sql")
        serving = Serving(encoder=encoder, view=view)
        self._publish(serving)
        return serving

    def _encoder_of(self, generation: ActiveGeneration) -> Encoder:
        encoder = self._encoders.get(generation.bundle_digest)
        if encoder is None:
            encoder = self._open_encoder(generation)
            if encoder.digest != generation.bundle_digest:
                encoder.close()
                raise UnavailableError(
                    f"Bundle {generation.name} is not the one that the videos were embedded with."
                )
            self._encoders[generation.bundle_digest] = encoder
        return encoder

    def _catch_up(self, session: Session, serving: Serving, counter: Counter) -> None:
        if serving.view.epoch != counter.epoch:
            raise OutOfStepError("the database has another history")
        while serving.view.seq < counter.seq and not self._is_stopping:
            view = serving.view
            wanted = min(CHANGES_AT_ONCE, counter.seq - view.seq)
            changes = read_changes(session, view.seq, wanted)
            if len(changes) < wanted:
                raise OutOfStepError(f"change {view.seq + len(changes) + 1} is missing")
            seq, chain = verify_chain(view.seq, view.chain, changes)
            if _promotes_another(changes, view.generation_id):
                self._trusts_snapshots = False  # they may end before the same switch
                serving = self._load(session, counter)
                continue
            view = apply_changes(session, view, changes, seq=seq, chain=chain)
            serving = replace(serving, view=view)
            self._publish(serving)
        view = serving.view
        if view.seq == counter.seq and view.chain != counter.chain:
            raise OutOfStepError("the chain of changes is another")
        self._trusts_snapshots = True

    def _tend_base(self) -> None:
        """Put the view on a new base when there is one; order one when it is time."""
        serving = self._serving
        if serving is None:
            return
        fresh = self._builder.take(serving.view)
        if fresh is not None:
            view = serving.view.rebased(fresh)
            self._publish(replace(serving, view=view))
            log.info("replica_rebased", seq=view.seq, segments=view.num_segments)
        self._builder.order_if_due(serving.view)

    def _publish(self, serving: Serving | None) -> None:
        with self._changed:
            self._serving = serving
            self._changed.notify_all()


def _promotes_another(changes: Sequence[Change], generation_id: UUID) -> bool:
    return any(
        change.op == ChangeOp.PROMOTE and change.generation_id != generation_id
        for change in changes
    )
