"""Tells whoever prepares a switch how far this process is: a row about every second."""

import threading
from collections.abc import Sequence
from uuid import uuid4

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.catalog.replica_queries import Report, write_reports
from service.catalog.session import Sessions, in_transaction

log = structlog.get_logger(__name__)

EVERY_S = 1.0


class Reporter:
    """Write reports in a thread of its own: a writer may wait for the lock of the database.

    Args:
        sessions: transactions that write.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.process_id = uuid4()
        self._sessions = sessions
        self._reports: Sequence[Report] = ()
        self._has_rows = False
        self._is_wanted = threading.Event()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replica-reporter", daemon=True)

    def start(self) -> None:
        """Begin; nothing is written before there is something to tell."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Take back what was told, and end the thread."""
        self._reports = ()
        self._is_stopping.set()
        self._is_wanted.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def tell(self, reports: Sequence[Report]) -> None:
        """Have this told from now on; nothing, if it is empty."""
        self._reports = reports
        if reports or self._has_rows:
            self._is_wanted.set()

    def _run(self) -> None:
        while True:
            self._is_wanted.wait()
            self._is_wanted.clear()
            self._write()
            if self._is_stopping.wait(EVERY_S):
                if self._has_rows:
                    self._write()
                return

    def _write(self) -> None:
        reports = () if self._is_stopping.is_set() else self._reports
        if not reports and not self._has_rows:
            return
        try:
            in_transaction(
                self._sessions, lambda session: write_reports(session, self.process_id, reports)
            )
        except SQLAlchemyError as error:
            log.warning("replica_cannot_report", error=str(error))
        else:
            self._has_rows = bool(reports)
