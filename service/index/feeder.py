"""Feeds an index outside our processes from the change log: one process at a time does it."""

import threading
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.catalog.applier_queries import (
    LostFeedError,
    Standing,
    count_embeddings,
    forget_others,
    keep_feed,
    places_in_use,
    read_standing,
    take_feed,
)
from service.catalog.change_queries import (
    BrokenChangeLogError,
    Counter,
    read_changes,
    read_counter,
    verify_chain,
)
from service.catalog.clock import database_time
from service.catalog.generation_queries import ActiveGeneration
from service.catalog.replica_queries import generations_to_follow
from service.catalog.session import Sessions, allow_idling, in_transaction
from service.errors import ServiceError
from service.index.loading import read_all, read_effects
from service.index.milvus_store import MilvusStore
from service.index.view import Upserted

log = structlog.get_logger(__name__)

LEASE_S = 30.0
RENEW_S = 10.0
CHANGES_AT_ONCE = 1000
COMPARE_EVERY_S = 600.0
UNUSED_S = 120.0
"""A collection that nothing names is dropped after this: searches that began with it end first."""


class Feeder:
    """Keep Milvus in step with the change log, in a thread.

    Every API process has one. For each generation one of them holds the lease and works, the
    others wait for it to fall silent. How far it is stands in SQL, and is written after Milvus
    has acknowledged: what was begun and not written is done again, which changes nothing.

    Args:
        reads: transactions that only read.
        sessions: transactions that write.
        store: the server.
        name: of the index, in SQL.
        poll_s: how often to look for changes.
        lease_s: a silent process loses its lease after this.
    """

    def __init__(
        self,
        *,
        reads: Sessions,
        sessions: Sessions,
        store: MilvusStore,
        name: str,
        poll_s: float,
        lease_s: float = LEASE_S,
    ) -> None:
        self._reads, self._sessions, self._store = reads, sessions, store
        self._name, self._poll_s, self._lease_s = name, poll_s, lease_s
        self._fences: dict[UUID, int] = {}
        self._renewed_at: dict[UUID, float] = {}
        self._compare_at: dict[UUID, float] = {}
        self._unused_since: dict[str, float] = {}
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="index-feeder", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread, and let another process go on at once."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        for generation_id in list(self._fences):
            try:
                self._keep(generation_id, lease_until=None)
            except (LostFeedError, SQLAlchemyError):
                log.info("feed_not_handed_on", generation=str(generation_id))
        self._fences.clear()

    def wake(self) -> None:
        """Look for changes now."""
        self._wake.set()

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self._work()
            except LostFeedError as error:
                log.warning("feed_lost", error=str(error))
                self._fences.clear()
            except (ServiceError, SQLAlchemyError) as error:
                log.warning("feed_waits", error=str(getattr(error, "orig", None) or error))
                self._wake.wait(1.0)
            except Exception:
                log.exception("feed_failed")
                self._wake.wait(1.0)
            self._wake.wait(self._poll_s)
            self._wake.clear()

    def _work(self) -> None:
        with self._reads() as session:
            wanted = [generation for generation, _state in generations_to_follow(session)]
        for place, generation in enumerate(wanted):
            if self._is_mine(generation.generation_id):
                self._feed(generation)
                if place == 0:
                    self._tidy(generation, {one.generation_id for one in wanted})

    def _is_mine(self, generation_id: UUID) -> bool:
        """Tell whether this process feeds a generation; take it if nobody does."""
        if generation_id in self._fences:
            if time.monotonic() - self._renewed_at[generation_id] > RENEW_S:
                self._keep(generation_id)
            return True
        with self._reads() as session:
            standing = read_standing(session, self._name, generation_id)
        if standing is not None and not standing.is_free:
            return False
        fence = in_transaction(
            self._sessions,
            lambda session: take_feed(session, self._name, generation_id, lease_s=self._lease_s),
        )
        if fence is None:
            return False
        log.info("feed_taken", generation=str(generation_id), fence=fence)
        self._fences[generation_id] = fence
        self._renewed_at[generation_id] = time.monotonic()
        self._compare_at[generation_id] = 0.0
        return True

    def _feed(self, generation: ActiveGeneration) -> None:
        """Bring one generation up to the counter."""
        while not self._is_stopping:
            with self._reads() as session:
                standing = read_standing(session, self._name, generation.generation_id)
                counter = read_counter(session)
            if standing is None or not self._can_go_on(standing, counter):
                self._fill(generation)
            elif standing.seq == counter.seq:
                self._compare(generation, standing)
                return
            else:
                try:
                    self._apply(generation, standing, counter)
                except BrokenChangeLogError as error:
                    log.warning("feed_out_of_step", error=str(error), seq=standing.seq)
                    self._fill(generation)

    def _can_go_on(self, standing: Standing, counter: Counter) -> bool:
        is_ours = standing.epoch == counter.epoch and standing.seq <= counter.seq
        is_same = standing.seq != counter.seq or standing.chain == counter.chain
        place = standing.place
        return is_ours and is_same and place is not None and self._store.has(place)

    def _apply(self, generation: ActiveGeneration, standing: Standing, counter: Counter) -> None:
        """Apply some more lines: first what comes, then what goes, so that nothing is missing."""
        generation_id, place = generation.generation_id, standing.place or ""
        with self._reads() as session:
            wanted = min(CHANGES_AT_ONCE, counter.seq - standing.seq)
            changes = read_changes(session, standing.seq, wanted)
            if len(changes) < wanted:
                raise BrokenChangeLogError(f"change {standing.seq + len(changes) + 1} is missing")
            seq, chain = verify_chain(standing.seq, standing.chain, changes)
            gone, upserts = read_effects(session, generation_id, changes)
        self._store.add(place, upserts)
        newest = {one.slot.video_id: one.slot.seq for one in upserts}
        for video_id, upserted_at in newest.items():
            self._store.remove(place, {video_id}, before=upserted_at)
        self._store.remove(place, gone - newest.keys(), before=seq + 1)
        self._keep(generation_id, seq=seq, chain=chain)

    def _fill(self, generation: ActiveGeneration) -> None:
        """Fill a new collection from SQL, and let it take the place of the one before.

        Its name has our fence: whoever fed the one before, and does not know yet that it lost the
        lease, writes elsewhere.
        """
        generation_id = generation.generation_id
        fence = self._fences[generation_id]
        place = f"{self._store.prefix}_{generation_id.hex}_{fence}_{uuid4().hex[:8]}"
        began = time.monotonic()
        self._store.create(place, int(generation.spec["embedding_dim"]))
        with self._reads() as session:
            allow_idling(session)  # between two reads as much is sent
            counter = read_counter(session)
            loaded = read_all(session, generation_id, up_to_seq=counter.seq)
            self._store.add(place, self._renewing(generation_id, loaded))
        self._keep(
            generation_id, place=place, epoch=counter.epoch, seq=counter.seq, chain=counter.chain
        )
        took_s = round(time.monotonic() - began, 1)
        log.info("feed_filled", generation=str(generation_id), seq=counter.seq, took_s=took_s)

    def _renewing(self, generation_id: UUID, loaded: Iterator[Upserted]) -> Iterator[Upserted]:
        for one in loaded:
            if time.monotonic() - self._renewed_at[generation_id] > RENEW_S:
                self._keep(generation_id)
            if self._is_stopping:
                raise LostFeedError("this process ends")
            yield one

    def _compare(self, generation: ActiveGeneration, standing: Standing) -> None:
        """Fill it anew if Milvus lost or kept something, as after a restore of its own."""
        generation_id = generation.generation_id
        if time.monotonic() < self._compare_at[generation_id]:
            return
        with self._reads() as session:
            stored = count_embeddings(session, generation_id)
            if read_counter(session).seq != standing.seq:
                return  # compared when less is going on
        self._compare_at[generation_id] = time.monotonic() + COMPARE_EVERY_S
        held = self._store.count(standing.place or "")
        if held != stored:
            log.warning("feed_differs", generation=str(generation_id), held=held, stored=stored)
            self._fill(generation)

    def _tidy(self, active: ActiveGeneration, wanted: set[UUID]) -> None:
        """Drop what nobody searches any more, and name what answers."""
        now = time.monotonic()
        if now < self._unused_since.get("", 0.0):
            return
        self._unused_since[""] = now + RENEW_S
        with self._reads() as session:
            standing = read_standing(session, self._name, active.generation_id)
        if standing is not None and standing.place is not None:
            self._store.name_active(standing.place)
        in_transaction(self._sessions, lambda session: forget_others(session, self._name, wanted))
        with self._reads() as session:
            used = places_in_use(session, self._name)
        for place in self._store.places():
            if place in used:
                self._unused_since.pop(place, None)
            elif now - self._unused_since.setdefault(place, now) > UNUSED_S:
                self._store.drop(place)
                del self._unused_since[place]

    def _keep(self, generation_id: UUID, **values: object) -> None:
        values = {"lease_until": database_time(self._lease_s), **values}
        fence = self._fences[generation_id]
        in_transaction(
            self._sessions,
            lambda session: keep_feed(session, self._name, generation_id, fence, **values),
        )
        self._renewed_at[generation_id] = time.monotonic()
