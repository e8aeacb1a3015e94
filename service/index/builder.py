"""Builds new bases in the background, and publishes them as snapshots."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from service.catalog.generation_queries import generation_bundle
from service.catalog.session import Sessions
from service.index.faiss_index import IndexKind
from service.index.loading import load_view
from service.index.snapshots import SnapshotStore
from service.index.view import IndexView

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RebuildPolicy:
    """When a base is worth building again, and when it is worth a file.

    Attributes:
        dead_share: share of the base that is dead (up to 10 % costs nothing measurable).
        delta_share: size of the delta relative to the base.
        delta_floor: a delta smaller than this stays, however small the base is.
        snapshot_floor: a smaller base is read from SQL as quickly as from a file.
    """

    dead_share: float = 0.15
    delta_share: float = 0.25
    delta_floor: int = 4_096
    snapshot_floor: int = 4_096

    def is_due(self, view: IndexView) -> bool:
        """Tell whether a new base would pay."""
        is_rotten = view.num_dead > self.dead_share * len(view.base)
        is_grown = len(view.delta) > max(self.delta_floor, self.delta_share * len(view.base))
        return is_rotten or is_grown


class BaseBuilder:
    """One background thread at a time that loads a base or publishes one.

    Args:
        reads: transactions that only read.
        snapshots: where bases are published.
        kind: of the index.
        policy: when it is time.
    """

    def __init__(
        self, *, reads: Sessions, snapshots: SnapshotStore, kind: IndexKind, policy: RebuildPolicy
    ) -> None:
        self._reads = reads
        self._snapshots = snapshots
        self._kind = kind
        self._policy = policy
        self._fresh: IndexView | None = None
        self._thread: threading.Thread | None = None

    def loaded(self, view: IndexView, *, is_from_sql: bool) -> None:
        """Take note of a first base; publish it if it had to be built from SQL."""
        self._fresh = None
        if is_from_sql and len(view.base) >= self._policy.snapshot_floor:
            self._begin(lambda: self._publish(view))

    def order_if_due(self, view: IndexView) -> None:
        """Begin to build a new base if it is time."""
        if self._fresh is None and self._policy.is_due(view):
            self._begin(lambda: self._build(view))

    def take(self, view: IndexView) -> IndexView | None:
        """Return the new base once, when a view has caught up with it."""
        fresh = self._fresh
        if fresh is None or fresh.seq > view.seq:
            return None
        self._fresh = None
        mine, its = (view.generation_id, view.epoch), (fresh.generation_id, fresh.epoch)
        return fresh if mine == its else None

    def join(self, timeout_s: float) -> None:
        """Wait for what is being built."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _begin(self, work: Callable[[], None]) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(
            target=self._guarded, args=(work,), name="index-builder", daemon=True
        )
        self._thread.start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("base_not_built")  # the base in use goes on; ordered again when due

    def _build(self, view: IndexView) -> None:
        with self._reads() as session:
            generation = generation_bundle(session, view.generation_id)
            fresh = load_view(session, generation, kind=self._kind)
        self._fresh = fresh
        self._publish(fresh)

    def _publish(self, view: IndexView) -> None:
        if len(view.base) >= self._policy.snapshot_floor:
            self._snapshots.save(view)
