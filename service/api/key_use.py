"""When each key was last used: collected, and written every so often by a thread of its own.

A write for each request would cost more than most requests, and on SQLite would wait for others.
"""

import threading
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service import access
from service.catalog.session import Sessions
from service.catalog.tables import utc_now

log = structlog.get_logger()

EVERY_S = 30.0
MAX_KEYS = 10_000


class KeyUse:
    """The keys that were used since the last write."""

    def __init__(self, sessions: Sessions, *, every_s: float = EVERY_S) -> None:
        self._sessions = sessions
        self._every_s = every_s
        self._used: set[UUID] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="key-use", daemon=True)

    def start(self) -> None:
        """Start to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and stop."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self.write()

    def note(self, key_id: UUID | None) -> None:
        """Remember that a key was used just now; None: a caller that has no row."""
        if key_id is not None and len(self._used) < MAX_KEYS:
            with self._lock:
                self._used.add(key_id)

    def write(self) -> None:
        """Write what was remembered; without a database it is forgotten."""
        with self._lock:
            used, self._used = self._used, set()
        if not used:
            return
        try:
            access.note_use(self._sessions, used, utc_now())
        except SQLAlchemyError as error:
            log.warning("key_use_not_written", error=type(error).__name__)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self.write()
