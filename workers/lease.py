"""The right to work on one job, kept alive by a thread while the work goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.catalog import job_queries
from service.catalog.session import Sessions
from service.catalog.tables import Job

HEARTBEAT_S = 1.0
"""A cancelled job is noticed, and its percent shown, this often."""

log = structlog.get_logger(__name__)


class JobStoppedError(Exception):
    """The work must stop now, and write nothing more."""


class Lease:
    """Renew the lease of a claimed job every second, and write how far the work is.

    Use it as a context manager around the work. The work must stop when the lease is
    *lost* (the job was cancelled or given to another worker, or the database did not
    answer until the lease was over), or when this worker shuts down: then `check`
    raises, and what was registered with `stopping` is stopped at once.

    Args:
        sessions: makes write transactions.
        job: as it was claimed.
        lease_s: how long the claim and each renewal hold, seconds.
        must_stop: says whether this worker may work no longer.
    """

    def __init__(
        self, sessions: Sessions, job: Job, *, lease_s: float, must_stop: Callable[[], bool]
    ) -> None:
        self.is_lost = False
        self._sessions = sessions
        self._job_id, self._fence = job.id, job.fence
        self._lease_s = lease_s
        self._must_stop = must_stop
        self._stage: str | None = None
        self._progress = 0.0
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._stops: list[Callable[[], None]] = []
        self._stops_lock = threading.Lock()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{job.id}", daemon=True)

    def __enter__(self) -> Self:
        """Start the heartbeat."""
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop the heartbeat."""
        self._ended.set()
        self._thread.join()

    def report(self, stage: str, progress: float) -> None:
        """Say how far the work is; it is written with the next heartbeat.

        Args:
            stage: what is being done, one word.
            progress: share of the whole job that is done, 0 to 1.
        """
        self._stage, self._progress = stage, min(max(progress, 0.0), 1.0)

    def check(self) -> None:
        """Raise JobStoppedError if the work must stop; call it between steps of the work."""
        if self._stopped.is_set():
            raise JobStoppedError("lost" if self.is_lost else "the worker shuts down")

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` from the heartbeat's thread if the work must stop meanwhile.

        A failure that follows from the stop comes out as JobStoppedError.
        """
        with self._stops_lock:
            self._stops.append(stop)
        try:
            self.check()
            yield
        except Exception:
            self.check()
            raise
        finally:
            with self._stops_lock:
                self._stops.remove(stop)

    def _beat(self) -> None:
        held_until = time.monotonic() + self._lease_s
        every_s = min(HEARTBEAT_S, self._lease_s / 3)
        while not self._ended.wait(every_s):
            if self._must_stop():
                self._stop()
                return
            asked = time.monotonic()
            try:
                is_ours = self._renew()
            except SQLAlchemyError as error:  # also that no connection was free in time
                why = str(getattr(error, "orig", None) or error)
                log.warning("lease_not_renewed", job_id=str(self._job_id), error=why)
                is_ours = time.monotonic() < held_until
            else:
                held_until = asked + self._lease_s
            if not is_ours:
                self.is_lost = True
                self._stop()
                return

    def _renew(self) -> bool:
        with self._sessions.begin() as session:
            return job_queries.renew_lease(
                session,
                self._job_id,
                self._fence,
                lease_s=self._lease_s,
                progress=self._progress,
                stage=self._stage,
            )

    def _stop(self) -> None:
        with self._stops_lock:
            self._stopped.set()
            for stop in self._stops:
                stop()
