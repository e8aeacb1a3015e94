"""Builds new bases in the background, makes them near ones, and publishes them as snapshots."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from service.catalog.generation_queries import generation_bundle
from service.catalog.session import Sessions
from service.index.faiss_index import FaissIndex, Near
from service.index.kinds import NEAR_KINDS, IndexKind, NearKind, flat_kind, near_kinds
from service.index.loading import load_view
from service.index.near import GivenUpError, build_near
from service.index.recall import Questions, tune
from service.index.snapshots import SnapshotStore
from service.index.view import IndexView

log = structlog.get_logger(__name__)

Texts = Callable[[], NDArray[np.float32]]
"""Gives embeddings of texts that people searched for lately, (t, E)."""


@dataclass(frozen=True, kw_only=True)
class RebuildPolicy:
    """When a base is worth building again, and when it is worth a file.

    Attributes:
        dead_share: share of the base that is dead (up to 10 % costs nothing measurable).
        delta_share: size of the delta relative to the base.
        delta_floor: a delta smaller than this stays, however small the base is.
        delta_ceiling: a larger one goes, however large the base is: each search scans it.
        snapshot_floor: a smaller base is read from SQL as quickly as from a file.
        near_floor: a smaller base stays flat.
        measure_every_s: how often the recall of a near base is measured again.
        speedup: a near base that is less quick is not used by `auto`.
        texts_floor: with fewer texts that were searched for it is not measured again.
    """

    dead_share: float = 0.15
    delta_share: float = 0.25
    delta_floor: int = 4_096
    delta_ceiling: int = 50_000
    snapshot_floor: int = 4_096
    near_floor: int = 4_096
    measure_every_s: float = 600.0
    speedup: float = 2.0
    texts_floor: int = 16

    def is_due(self, view: IndexView) -> bool:
        """Tell whether a new base would pay."""
        is_rotten = view.num_dead > self.dead_share * len(view.base)
        most = min(self.delta_ceiling, self.delta_share * len(view.base))
        return is_rotten or len(view.delta) > max(self.delta_floor, most)


class IndexWish(NamedTuple):
    """What the settings want of an index.

    Attributes:
        kind: of the base.
        recall: a near base that finds a smaller share is not used by `auto`.
        flat_below: `auto` keeps a base with fewer segments flat.
    """

    kind: IndexKind
    recall: float = 0.97
    flat_below: int = 300_000


GROWTH = 1.5
"""What found too little is tried again when the gallery has grown so much."""


class BaseBuilder:
    """One background thread at a time that loads a base, makes it near, or publishes it.

    Args:
        reads: transactions that only read.
        snapshots: where bases are published.
        wish: which index.
        policy: when it is time.
        texts: what recall is measured with, beside the gallery itself.
    """

    def __init__(
        self,
        *,
        reads: Sessions,
        snapshots: SnapshotStore,
        wish: IndexWish,
        policy: RebuildPolicy,
        texts: Texts,
    ) -> None:
        self._reads = reads
        self._snapshots = snapshots
        self._wish = wish
        self._policy = policy
        self._texts = texts
        self._fresh: IndexView | None = None
        self._measured: FaissIndex | None = None
        self._measured_at = time.monotonic()
        self._near_from = 0  # smaller bases were found not to do
        self._is_given_up = threading.Event()
        self._thread: threading.Thread | None = None

    def loaded(self, view: IndexView, *, is_from_sql: bool) -> None:
        """Take note of a first base; make it near and publish it, where that pays."""
        self._fresh = None
        if self._kinds_for(view.base):
            self._begin(lambda: self._finish(view))
        elif is_from_sql and len(view.base) >= self._policy.snapshot_floor:
            self._begin(lambda: self._publish(view))

    def order_if_due(self, view: IndexView) -> None:
        """Begin to build a new base, or to measure the one in use, if it is time."""
        if self._fresh is not None:
            return
        if self._policy.is_due(view) or self._kinds_for(view.base):
            self._begin(lambda: self._build(view))
        elif view.base.near is not None and self._is_time_to_measure():
            self._begin(lambda: self._measure(view.base))

    def take(self, view: IndexView) -> IndexView | None:
        """Return the new base once, when a view has caught up with it."""
        fresh = self._fresh
        if fresh is None or fresh.seq > view.seq:
            return None
        self._fresh = None
        mine, its = (view.generation_id, view.epoch), (fresh.generation_id, fresh.epoch)
        return fresh if mine == its else None

    def take_measured(self, base: FaissIndex) -> FaissIndex | None:
        """Return the base with another effort once, if it was measured again."""
        measured, self._measured = self._measured, None
        return measured if measured is not None and measured.index is base.index else None

    def give_up(self) -> None:
        """Let what is being built end soon."""
        self._is_given_up.set()

    def join(self, timeout_s: float) -> None:
        """Wait for what is being built."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _kinds_for(self, base: FaissIndex) -> tuple[NearKind, ...]:
        """Return what a flat base should become; nothing if it is good as it is."""
        if base.kind in NEAR_KINDS or len(base) < self._near_from:
            return ()
        return near_kinds(
            self._wish.kind,
            len(base),
            flat_below=self._wish.flat_below,
            near_floor=self._policy.near_floor,
        )

    def _is_time_to_measure(self) -> bool:
        is_late = time.monotonic() - self._measured_at > self._policy.measure_every_s
        return is_late and len(self._texts()) >= self._policy.texts_floor

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
        except GivenUpError:
            log.info("base_given_up")
        except Exception:
            log.exception("base_not_built")  # the base in use goes on; ordered again when due

    def _build(self, view: IndexView) -> None:
        with self._reads() as session:
            generation = generation_bundle(session, view.generation_id)
            fresh = load_view(session, generation, kind=flat_kind(self._wish.kind))
        self._finish(fresh)

    def _finish(self, flat: IndexView) -> None:
        """Make a base near where that pays, hand it out, and publish it."""
        fresh = replace(flat, base=self._nearer(flat.base))
        self._fresh = fresh
        self._measured_at = time.monotonic()
        self._publish(fresh)

    def _nearer(self, flat: FaissIndex) -> FaissIndex:
        """Return a near base that finds enough; the flat one if there is none."""
        kinds = self._kinds_for(flat)
        if not kinds:
            return flat
        questions = Questions.of(flat, self._texts())
        for kind in kinds:
            began = time.monotonic()
            index = build_near(flat.exact, kind, is_given_up=self._is_given_up)
            built = FaissIndex(index, flat.keys, kind=kind)
            tuned = tune(built, kind, questions, wanted=self._wish.recall)
            is_used = self._is_good(tuned)
            log.info(
                "near_base_built",
                kind=kind,
                segments=len(flat),
                recall=round(tuned.recall, 4),
                effort=tuned.effort,
                speedup=round(tuned.speedup, 1),
                is_used=is_used,
                took_s=round(time.monotonic() - began, 1),
            )
            if is_used:
                return built.used(tuned)
        self._near_from = int(GROWTH * len(flat))
        return flat

    def _measure(self, base: FaissIndex) -> None:
        """Measure a near base with what people search for now; scan it if it finds too little."""
        self._measured_at = time.monotonic()
        if base.near is None:
            return
        questions = Questions.of(base, self._texts())
        tuned = tune(base, base.near.kind, questions, wanted=self._wish.recall)
        is_used = self._is_good(tuned)
        log.info(
            "near_base_measured",
            recall=round(tuned.recall, 4),
            effort=tuned.effort,
            speedup=round(tuned.speedup, 1),
            is_used=is_used,
        )
        self._measured = base.used(tuned if is_used else None)

    def _is_good(self, tuned: Near) -> bool:
        """Tell whether a near base is used: always where its kind was named."""
        finds_enough = tuned.recall >= self._wish.recall
        is_quick = tuned.speedup >= self._policy.speedup
        return self._wish.kind != "auto" or (finds_enough and is_quick)

    def _publish(self, view: IndexView) -> None:
        if len(view.base) >= self._policy.snapshot_floor:
            self._snapshots.save(view)
