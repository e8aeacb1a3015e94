"""Keep the processes of embedded mode alive, and stop them together.

Each child is the leader of a session of its own, so that Ctrl-C in a terminal reaches the
supervisor alone, which then stops the children in good order, and so that whatever a child leaves
behind can be killed with it. The kernel kills the children of a supervisor that was itself killed.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

POLL_S = 0.1
STEADY_S = 30.0
"""A child that lived so long counts as healthy: its next restart is immediate again."""
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Waits before a restart; a child that dies young more often than this is given up."""

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildGaveUpError(RuntimeError):
    """A child died again and again right after its start."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} exited with {code} again and again")
        self.name = name
        self.code = code


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies. Runs between fork and exec."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Child:
    """One process that is kept alive.

    Attributes:
        name: for messages, as `API`.
        command: program and arguments.
        pass_fds: descriptors that it inherits.
    """

    name: str
    command: Sequence[str]
    pass_fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _started: float = field(default=0.0, init=False)
    _restart_at: float = field(default=0.0, init=False)
    _early_deaths: int = field(default=0, init=False)

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the process."""
        self.process = subprocess.Popen(  # noqa: S603 (the command is ours)
            self.command,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=self.pass_fds,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 (the supervisor has one thread)
        )
        self._started = time.monotonic()
        self._restart_at = 0.0

    def keep_alive(self, environment: Mapping[str, str], report: Callable[[str], None]) -> None:
        """Start it again if it died, later each time that it dies young.

        Raises:
            ChildGaveUpError: it died young too often.
        """
        if self.is_running or self.process is None:
            return
        now = time.monotonic()
        if self._restart_at == 0.0:
            self.kill_rest()
            if now - self._started > STEADY_S:
                self._early_deaths = 0
            if self._early_deaths == len(BACKOFF_S):
                raise ChildGaveUpError(self.name, self.process.returncode)
            wait = BACKOFF_S[self._early_deaths]
            self._early_deaths += 1
            self._restart_at = now + wait
            report(f"{self.name} exited with {self.process.returncode}; starting it again.")
        elif now >= self._restart_at:
            self.start(environment)

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self.process is not None and self.is_running:
            self.process.terminate()

    def kill_rest(self) -> None:
        """Kill the process, if it lives, and everything of its session that outlived it."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # nothing is left
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Supervisor:
    """Start children, watch them, stop them on SIGINT or SIGTERM.

    Args:
        children: in the order of their start.
        environment: of every child.
        report: called with one sentence when something happens that a person should know.
        stop_within_s: children that have not stopped by then are killed.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        environment: Mapping[str, str],
        report: Callable[[str], None],
        stop_within_s: float,
    ) -> None:
        self._children = children
        self._stop_within_s = stop_within_s
        self._environment = environment
        self._report = report
        self._signals = 0

    def run(self, *, is_ready: Callable[[], bool], on_ready: Callable[[], None]) -> None:
        """Run until a signal asks to stop; then stop the children.

        Args:
            is_ready: asked again and again until it says True.
            on_ready: called once, then.

        Raises:
            ChildGaveUpError: a child cannot be kept alive; the others are stopped.
        """
        previous = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            for child in self._children:
                child.start(self._environment)
            was_ready = False
            while not self._signals:
                for child in self._children:
                    child.keep_alive(self._environment, self._report)
                if not was_ready and is_ready():
                    was_ready = True
                    on_ready()
                time.sleep(POLL_S)
            self._report("Stopping; once more Ctrl-C kills.")
        finally:
            self._stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _stop(self) -> None:
        """Ask every child to stop; kill what is left at the deadline or at a second signal."""
        asked = self._signals
        for child in self._children:
            child.ask_to_stop()
        deadline = time.monotonic() + self._stop_within_s
        while any(child.is_running for child in self._children):
            if time.monotonic() > deadline or self._signals > asked:
                break
            time.sleep(POLL_S)
        for child in self._children:
            child.kill_rest()
