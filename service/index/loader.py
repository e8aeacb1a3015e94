"""Loads what is to be followed: encoder and view, the first at once, others in the background."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog

from service.catalog.change_queries import read_counter
from service.catalog.generation_queries import ActiveGeneration
from service.catalog.session import Sessions, allow_idling
from service.encoder import Encoder
from service.errors import UnavailableError
from service.index.builder import BaseBuilder, IndexWish, RebuildPolicy
from service.index.followed import Followed
from service.index.kinds import flat_kind
from service.index.loading import load_view
from service.index.outer import Outer, OuterFollowed
from service.index.serving import Serving
from service.index.snapshots import SnapshotStore
from service.settings import Settings

log = structlog.get_logger(__name__)

OpenEncoder = Callable[[ActiveGeneration], Encoder]
Follower = Followed | OuterFollowed

GRACE_S = 120.0
"""An encoder that no generation needs is closed after this: searches that began with it end first
(none takes longer than a minute)."""
RETRY_S = 10.0
"""What could not be loaded in the background is tried again after this."""


class Encoders:
    """The open encoders by the digest of their bundle; safe to use from several threads.

    Args:
        open_encoder: opens the encoder of a generation; it is closed here.
        grace_s: how long one that is not needed any more stays open.
    """

    def __init__(self, open_encoder: OpenEncoder, *, grace_s: float = GRACE_S) -> None:
        self._open_encoder = open_encoder
        self._grace_s = grace_s
        self._opened: dict[str, Encoder] = {}
        self._ends_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def of(self, generation: ActiveGeneration) -> Encoder:
        """Return the encoder of a generation, opened if it is not open yet.

        Raises:
            UnavailableError: the bundle is another one than the videos were embedded with.
        """
        digest = generation.bundle_digest
        found = self._opened.get(digest)
        if found is not None:
            return found
        with self._lock:
            if digest not in self._opened:
                encoder = self._open_encoder(generation)
                if encoder.digest != digest:
                    encoder.close()
                    raise UnavailableError(
                        f"Bundle {generation.name} is not the one that the videos were embedded "
                        "with."
                    )
                self._opened[digest] = encoder
            return self._opened[digest]

    def keep_only(self, digests: Collection[str]) -> None:
        """Close the others once they were not needed for a while."""
        now = time.monotonic()
        for digest in list(self._opened):
            if digest in digests:
                self._ends_at.pop(digest, None)
            elif now >= self._ends_at.setdefault(digest, now + self._grace_s):
                del self._ends_at[digest]
                self._opened.pop(digest).close()

    def close(self) -> None:
        """Close all."""
        for encoder in self._opened.values():
            encoder.close()


@dataclass(frozen=True)
class Failed:
    """Why a generation could not be loaded in the background, and when to try again."""

    sentence: str
    retry_at: float


class Loader:
    """Load generations; one at a time in a thread of its own, or at once.

    Args:
        reads: transactions that only read.
        sessions: transactions that write (the rows of snapshots).
        settings: which index, where snapshots are.
        encoders: where encoders come from.
        policy: when to build a new base and to publish it.
        on_done: called when something was loaded in the background.
        outer: holds the indexes in place of this process.
    """

    def __init__(
        self,
        *,
        reads: Sessions,
        sessions: Sessions,
        settings: Settings,
        encoders: Encoders,
        policy: RebuildPolicy,
        on_done: Callable[[], None],
        outer: Outer | None = None,
    ) -> None:
        self._reads = reads
        self._wish = IndexWish(
            kind=settings.index_kind,
            recall=settings.index_recall,
            flat_below=settings.index_flat_below,
        )
        self._snapshots = SnapshotStore(Path(settings.data_dir) / "snapshots", sessions)
        self._encoders = encoders
        self._policy = policy
        self._on_done = on_done
        self._outer = outer
        self._thread: threading.Thread | None = None
        self._loaded: Follower | None = None
        self._failed: dict[UUID, Failed] = {}

    def load(self, generation: ActiveGeneration, *, trusts_snapshots: bool) -> Follower:
        """Load a generation with its encoder, from a snapshot or from SQL.

        Raises:
            UnavailableError: its bundle is not there, or another one; or Milvus is being filled.
        """
        began = time.monotonic()
        encoder = self._encoders.of(generation)
        if self._outer is not None:
            return self._outer.follow(generation, encoder)
        view = None
        with self._reads() as session:
            allow_idling(session)  # a snapshot is read and checked meanwhile
            if trusts_snapshots:
                counter = read_counter(session)
                view = self._snapshots.load(session, generation, counter, kind=self._wish.kind)
            source = "snapshot" if view else "sql"
            view = view or load_view(session, generation, kind=flat_kind(self._wish.kind))
        log.info(
            "replica_loaded",
            generation=str(generation.generation_id),
            source=source,
            seq=view.seq,
            segments=view.num_segments,
            took_s=round(time.monotonic() - began, 3),
        )
        builder = BaseBuilder(
            reads=self._reads,
            snapshots=self._snapshots,
            wish=self._wish,
            policy=self._policy,
            texts=encoder.recent_queries,
        )
        builder.loaded(view, is_from_sql=source == "sql")
        return Followed(Serving(encoder=encoder, view=view), view, builder)

    def order(self, generation: ActiveGeneration, *, trusts_snapshots: bool) -> None:
        """Begin to load a generation, unless another is being loaded or this one just failed."""
        failed = self._failed.get(generation.generation_id)
        is_too_early = failed is not None and time.monotonic() < failed.retry_at
        is_busy = self._thread is not None and self._thread.is_alive()
        if is_busy or self._loaded is not None or is_too_early:
            return
        self._thread = threading.Thread(
            target=self._load_aside,
            args=(generation, trusts_snapshots),
            name="index-loader",
            daemon=True,
        )
        self._thread.start()

    def take(self) -> Follower | None:
        """Return what was loaded in the background, once."""
        loaded, self._loaded = self._loaded, None
        return loaded

    def failure_of(self, generation_id: UUID) -> str | None:
        """Return why a generation could not be loaded in the background, if it could not."""
        failed = self._failed.get(generation_id)
        return None if failed is None else failed.sentence

    def join(self, timeout_s: float) -> None:
        """Wait for what is being loaded."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _load_aside(self, generation: ActiveGeneration, trusts_snapshots: bool) -> None:  # noqa: FBT001 (a thread's arguments have no names)
        try:
            loaded = self.load(generation, trusts_snapshots=trusts_snapshots)
            loaded.serving.encoder.warm_up()
        except Exception as error:
            # what is held goes on; it is tried again
            log.exception("generation_not_loaded", generation=str(generation.generation_id))
            sentence = f"The model {generation.name} could not be loaded: {error}"
            self._failed[generation.generation_id] = Failed(sentence, time.monotonic() + RETRY_S)
            return
        self._failed.pop(generation.generation_id, None)
        self._loaded = loaded
        self._on_done()
