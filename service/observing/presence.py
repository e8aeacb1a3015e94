"""A row that says that this process lives: what else could know that no worker runs?"""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.catalog.process_queries import remove_process, write_process
from service.catalog.process_tables import Process
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import utc_now

EVERY_S = 10.0
STOP_TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)


class Presence:
    """Write this process's row every few seconds, in a thread; remove it at the end.

    Args:
        sessions: transactions that write.
        kind: `api`, `worker`, `tuner` or `courier`.
        read_facts: what else is told.
        every_s: time between two writes, seconds.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        kind: str,
        read_facts: Callable[[], Mapping[str, Any]] = dict,
        every_s: float = EVERY_S,
    ) -> None:
        self.process_id = uuid4()
        self._sessions = sessions
        self._kind = kind
        self._read_facts = read_facts
        self._every_s = every_s
        self._began = utc_now()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Remove the row, and end the thread."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            self._try(self._write)
            if self._is_stopping.wait(self._every_s):
                self._try(self._remove)
                return

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except SQLAlchemyError as error:  # the next time will do
            log.warning("presence_not_written", error=str(getattr(error, "orig", None) or error))

    def _write(self) -> None:
        facts = dict(self._read_facts())
        in_transaction(self._sessions, lambda session: write_process(session, self._row(facts)))

    def _remove(self) -> None:
        in_transaction(self._sessions, lambda session: remove_process(session, self.process_id))

    def _row(self, facts: dict[str, Any]) -> Process:
        return Process(
            id=self.process_id,
            kind=self._kind,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("reelseek"),
            facts=facts,
            started_at=self._began,
            seen_at=utc_now(),
        )
