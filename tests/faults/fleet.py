"""An installation of several API processes and workers, each of which may be killed at any time.

What `docker compose` or systemd do on servers, the fleet does here: whatever ends is started again
at once.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from tests.acceptance.live import wait_for
from tests.servers import free_port

ADMIN_KEY = "rsk_fault_test_admin_key_0123456789abcd"
START_S = 180.0
STOP_S = 60.0
WATCH_EVERY_S = 0.05


@dataclass
class Member:
    """One process that is kept running."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    is_frozen: bool = False

    def start(self, log: Path) -> None:
        """Start it; its log goes on where the one before ended."""
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> bool:
        """Kill it and all of its session; return whether it lived."""
        process = self.process
        if process is None or process.poll() is not None:
            return False
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


@dataclass
class Fleet:
    """Several processes on one database, one broker and one folder of files.

    Args:
        folder: where logs go; the data folder is `folder/data`.
        settings: environment variables of every process.
        apis: how many API processes.
        workers: how many workers that ingest.
        couriers: how many workers that fetch and tell.
        starts: processes that were started so far.
    """

    folder: Path
    settings: Mapping[str, str]
    apis: int = 2
    workers: int = 2
    couriers: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    ports: list[int] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    _is_stopping: bool = False

    @property
    def data_dir(self) -> Path:
        """Where the files are."""
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """What every process is told."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("REELSEEK_")},
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "PYTHONUNBUFFERED": "1",
            "REELSEEK_ADMIN_KEY": ADMIN_KEY,
            "REELSEEK_DATA_DIR": str(self.data_dir),
            "REELSEEK_JOB_LEASE_S": "5",
            "REELSEEK_LOG_LEVEL": "info",
            "REELSEEK_ORPHAN_GRACE_S": "5",
            "REELSEEK_SWEEP_EVERY_S": "1",
            **self.settings,
        }

    def __enter__(self) -> Self:
        """Start everything and wait until searches are answered."""
        self.run("migrate")
        self.ports = [free_port() for _ in range(self.apis)]
        for number, port in enumerate(self.ports):
            command = [sys.executable, "-m", "service.cli", "api"]
            self._add(f"api-{number}", command, {"REELSEEK_PORT": str(port)})
        for number in range(self.workers):
            self._add(f"worker-{number}", [sys.executable, "-m", "service.cli", "worker"], {})
        for number in range(self.couriers):
            command = [sys.executable, "-m", "service.cli", "worker", "--courier"]
            self._add(f"courier-{number}", command, {})
        for name in self.members:
            self._start(name)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self.wait_until_ready()
        return self

    def __exit__(self, *_error: object) -> None:
        """Ask everything to stop, and kill what does not."""
        self._is_stopping = True
        self._watcher.join()
        for member in self.members.values():
            if member.process is not None and member.process.poll() is None:
                member.process.send_signal(signal.SIGCONT)
                member.process.terminate()
        deadline = time.monotonic() + STOP_S
        for member in self.members.values():
            if member.process is None:
                continue
            try:
                member.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                member.kill()

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command of `reelseek` and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def log_of(self, name: str) -> Path:
        """Where a process writes its log."""
        return self.folder / f"{name}.log"

    def logs(self) -> str:
        """What all of them wrote."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def url(self, number: int = 0) -> str:
        """Address of an API process."""
        return f"http://127.0.0.1:{self.ports[number]}"

    def client(self, number: int = 0, *, timeout: float = 60.0) -> httpx.Client:
        """Return a client of one API process, with the admin key."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        return httpx.Client(
            base_url=self.url(number), headers=headers, timeout=timeout, trust_env=False
        )

    def kill_one(self, draw: random.Random, names: list[str] | None = None) -> str | None:
        """Kill a process chosen at random; return its name if it lived."""
        name = draw.choice(names or sorted(self.members))
        if not self.members[name].kill():
            return None
        self.killed[name.split("-")[0]] += 1
        return name

    def wait_until_ready(self, within_s: float = START_S) -> None:
        """Wait until every API process answers searches."""
        for number in range(self.apis):
            with self.client(number, timeout=5) as client:
                wait_for(lambda: _is_ready(client), within_s=within_s, what=f"API {number}")

    def audit(self) -> None:
        """Check every promise: database, files, and what each API process would find."""
        replicas = [word for n in range(self.apis) for word in ("--replica", self.url(n))]
        self.run("audit", "--key", ADMIN_KEY, *replicas)

    def _add(self, name: str, command: list[str], more: Mapping[str, str]) -> None:
        self.members[name] = Member(name, command, {**self.environment, **more})

    def _start(self, name: str) -> None:
        self.members[name].start(self.log_of(name))
        self.starts += 1

    def _watch(self) -> None:
        while not self._is_stopping:
            for name, member in self.members.items():
                if member.process is not None and member.process.poll() is not None:
                    self._start(name)
            time.sleep(WATCH_EVERY_S)


def insist(ask: Callable[[], httpx.Response], *, within_s: float, what: str) -> httpx.Response:
    """Ask again while nobody answers, or the answer is "not now"."""

    def look() -> httpx.Response | None:
        try:
            response = ask()
        except httpx.TransportError:
            time.sleep(0.1)
            return None
        return None if response.status_code in {429, 503} else response

    return wait_for(look, within_s=within_s, what=what)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False
