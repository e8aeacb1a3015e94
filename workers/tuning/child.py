"""The parent's side of the process that trains: start it, hear it, stop it."""

import contextlib
import fcntl
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from workers.tuning.events import Event, read_event

LOG, LOCK = "process.log", ".lock"
GRACE_S = 20.0
"""After so long a process that was asked to stop is killed; a step and a checkpoint take less."""
LOCK_WAIT_S = 60.0
TAIL_BYTES = 4000
REPOSITORY = Path(__file__).parents[2]


class FolderInUseError(Exception):
    """The process of an earlier attempt still works in the folder."""


class TuningChild:
    """One process that trains in a folder. A context manager; at its end the process is gone.

    The folder is locked as long as this process or that one lives, so no two ever write to it.

    Args:
        folder: of the run.
        processes: that share the training; above one, `torchrun` starts them.
        environment: variables to add to those of this process.

    Raises:
        FolderInUseError: the process of an earlier attempt does not end.
    """

    def __init__(
        self, folder: Path, *, processes: int = 1, environment: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._asked_to_stop_at: float | None = None
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._has_ended = False
        with _locked(folder / LOCK) as lock, (folder / LOG).open("ab") as errors:
            self._log_start = errors.tell()
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                _command(folder, processes),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=REPOSITORY,
                env={**os.environ, **(environment or {})},
                pass_fds=(lock,),
                start_new_session=True,
            )
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), name="tuning-events", daemon=True
        )
        self._reader.start()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop the process if it still runs, by force if need be."""
        self.ask_to_stop()
        while self._process.poll() is None:
            self.kill_if_overdue()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The process; with several, that of `torchrun`."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it ended and all that it said was heard."""
        return self._has_ended

    def next_event(self, timeout_s: float) -> Event | None:
        """Return what it says next; None: nothing for so long, or it has ended."""
        if self._has_ended:
            return None
        try:
            event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if event is None:
            self._has_ended = True
        return event

    def ask_to_stop(self) -> None:
        """Ask it to write a checkpoint after the step in progress and end. From any thread."""
        if self._asked_to_stop_at is None:
            self._asked_to_stop_at = time.monotonic()
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)

    def kill_if_overdue(self) -> None:
        """Kill it if it was asked to stop and has not for long."""
        asked = self._asked_to_stop_at
        if asked is not None and time.monotonic() - asked > GRACE_S:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def exit_status(self) -> int:
        """Wait for its end and return how it exited; negative: by which signal."""
        return self._process.wait()

    def log_tail(self) -> str:
        """Return the end of what it wrote to its log this time."""
        with (self._folder / LOG).open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - TAIL_BYTES))
            return log.read().decode(errors="replace")

    def _read(self, lines: IO[bytes]) -> None:
        for line in lines:
            event = read_event(line.decode(errors="replace"))
            if event is not None:
                self._events.put(event)
        self._events.put(None)


def _command(folder: Path, processes: int) -> list[str]:
    if processes > 1:
        return [sys.executable, "-m", "workers.tuning.launch", str(processes), str(folder)]
    return [sys.executable, "-m", "workers.tuning.process", str(folder)]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Lock the folder and yield the lock: a process that inherits it holds it until it ends.

    Raises:
        FolderInUseError: another one holds it for too long.
    """
    with path.open("ab") as file:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise FolderInUseError(str(path)) from None
            time.sleep(0.1)
        yield file.fileno()
