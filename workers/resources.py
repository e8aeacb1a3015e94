"""What one worker process holds, shared by its threads."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from service.catalog.generation_queries import ActiveGeneration
from service.catalog.session import make_engine, make_read_sessions, make_sessions
from service.jobs import JobSender
from service.observing.worker_metrics import WorkerMetrics
from service.settings import Settings
from service.storage import open_storage

if TYPE_CHECKING:  # torch is imported only when a bundle is loaded, after the last fork
    from workers.embedder import EmbeddedPass, Embedder

KEPT_BUNDLES = 2
"""While a gallery is embedded anew both the old and the new bundle are in use."""

log = structlog.get_logger(__name__)


@dataclass
class _Loaded:
    embedder: "Embedder"
    users: int = 0


class Resources:
    """The database, the files, the broker and the loaded bundles of one process.

    Bundles are loaded when their first clip comes. Make it only after the process has
    forked for the last time: connections and CUDA contexts do not survive a fork.

    Args:
        settings: of this process.
        on_pass: told of each forward pass over clips.
    """

    def __init__(
        self, settings: Settings, *, on_pass: "Callable[[EmbeddedPass], None] | None" = None
    ) -> None:
        self.settings = settings
        self.metrics = WorkerMetrics()
        self._stop_at = float("inf")  # time.monotonic()
        self.storage = open_storage(settings)
        self.sender = JobSender(settings)
        self._engine = make_engine(settings.sqlalchemy_url)
        self.sessions = make_sessions(self._engine)
        self.reads = make_read_sessions(self._engine)
        self._on_pass = on_pass or self._count_pass
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Give everything back."""
        self.close()

    @property
    def must_stop(self) -> bool:
        """Whether this worker may work no longer: running jobs are then given back."""
        return time.monotonic() >= self._stop_at

    @property
    def is_stopping(self) -> bool:
        """Whether this worker was told to stop: work that can be gone on with ends now."""
        return self._stop_at < float("inf")

    def stop_work_in(self, seconds: float) -> None:
        """Allow running jobs so much longer. Safe in a signal handler."""
        self._stop_at = time.monotonic() + seconds

    @contextmanager
    def embedder(self, generation: ActiveGeneration) -> "Iterator[Embedder]":
        """Hold the loaded bundle of a generation while clips are embedded with it.

        Raises:
            BundleError: the bundle is not on this machine.
        """
        loaded = self._take(generation)
        try:
            yield loaded.embedder
        finally:
            with self._lock:
                loaded.users -= 1
                self._let_go_of_unused()

    def close(self) -> None:
        """Give everything back; all jobs must have ended."""
        with self._lock:
            for loaded in self._loaded.values():
                loaded.embedder.close()
            self._loaded.clear()
        self.sender.close()
        self._engine.dispose()

    def _take(self, generation: ActiveGeneration) -> _Loaded:
        from workers.embedder import load_embedder  # noqa: PLC0415 (torch, see above)

        with self._lock:  # also while it loads: the others would need the same bundle
            loaded = self._loaded.get(generation.bundle_digest)
            if loaded is None:
                embedder = load_embedder(generation, self.settings, on_pass=self._on_pass)
                loaded = self._loaded[generation.bundle_digest] = _Loaded(embedder)
            self._loaded.move_to_end(generation.bundle_digest)
            loaded.users += 1
            return loaded

    def _let_go_of_unused(self) -> None:
        for digest, loaded in list(self._loaded.items()):  # the least recently used first
            if len(self._loaded) > KEPT_BUNDLES and not loaded.users:
                del self._loaded[digest]
                loaded.embedder.close()

    def _count_pass(self, embedded: "EmbeddedPass") -> None:
        self.metrics.count_pass(embedded.clips)
        log.debug("clips_embedded", clips=embedded.clips, videos=embedded.videos)
