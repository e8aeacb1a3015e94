"""PostgreSQL and Redis servers that can be killed, started again, and replaced by a standby.

Unlike those of other tests they keep every promise about the disk, since that is what is tried.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import psycopg
import redis

from tests.servers import find_program, free_port

WITHIN_S = 60.0
UNPRIVILEGED = {"user": "nobody"} if os.geteuid() == 0 else {}
"""PostgreSQL refuses to run as root."""


class Engine(ABC):
    """One server process with a folder of its own, on a free loopback port."""

    program: str

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="reelseek-fault-"))
        if UNPRIVILEGED:
            shutil.chown(self.folder, UNPRIVILEGED["user"])
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.prepare()
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self) -> None:  # noqa: B027 (some need nothing)
        """Make what it needs to start."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return its command line."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves."""

    def start(self) -> None:
        """Start it, and wait until it serves."""
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(), stdout=output, stderr=output, cwd=self.folder, **UNPRIVILEGED
            )
        deadline = time.monotonic() + WITHIN_S
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"{self.program} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill it as a power cut would, or ask it to stop."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(WITHIN_S)


class Redis(Engine):
    """A Redis that keeps nothing on disk, as in docker-compose.yml."""

    program = "redis-server"

    def command(self) -> list[str]:
        """Return its command line."""
        options = ("--bind", "127.0.0.1", "--port", str(self.port), "--save", "")
        return [str(find_program(self.program)), *options, "--appendonly", "no"]

    def answers(self) -> bool:
        """Whether it serves."""
        with redis.Redis(port=self.port, socket_connect_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def flush(self) -> None:
        """Forget everything."""
        with redis.Redis(port=self.port) as client:
            client.flushall()


class Postgres(Engine):
    """A PostgreSQL cluster with durable commits, or a standby of another one.

    Args:
        primary: what it is a standby of.
    """

    program = "postgres"

    def __init__(self, primary: "Postgres | None" = None) -> None:
        super().__init__()
        self._primary = primary

    @property
    def url(self) -> str:
        """Its address, up to and without the name of a database."""
        return f"postgresql://reelseek@127.0.0.1:{self.port}/"

    @property
    def data(self) -> Path:
        """The folder of the cluster."""
        return self.folder / "data"

    def prepare(self) -> None:
        """Make a cluster, or copy the primary's."""
        if self._primary is None:
            arguments = ("-U", "reelseek", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
            self._do("initdb", "-D", str(self.data), *arguments)
            allow = "host replication all 127.0.0.1/32 trust\n"
            with (self.data / "pg_hba.conf").open("a") as rules:
                rules.write(allow)
        else:
            there = ("-h", "127.0.0.1", "-p", str(self._primary.port), "-U", "reelseek")
            # -R writes what makes it a standby of where it was copied from
            self._do("pg_basebackup", "-D", str(self.data), *there, "-R", "-X", "stream")

    def command(self) -> list[str]:
        """Return its command line."""
        options = ("-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder))
        limits = (
            "-c",
            "max_connections=200",
            "-c",
            "shared_buffers=32MB",
            "-c",
            "wal_level=replica",
        )
        return [str(find_program(self.program)), "-D", str(self.data), *options, *limits]

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            psycopg.connect(f"{self.url}postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill the server and all that serves its connections."""
        children = []
        if self.process is not None and number == signal.SIGKILL:
            path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            children = path.read_text().split() if path.exists() else []
        super().kill(number)
        for pid in children:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def execute(self, statement: str) -> None:
        """Run one statement as its administrator."""
        with psycopg.connect(f"{self.url}postgres", autocommit=True) as connection:
            connection.execute(statement)

    def wait_for_standby(self, standby: "Postgres") -> None:
        """From now on no commit is answered before the standby has it on disk."""
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + WITHIN_S
        with psycopg.connect(f"{self.url}postgres", autocommit=True) as connection:
            while True:
                found = connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
                if [state for (state,) in found] == ["sync"]:
                    return
                if time.monotonic() > deadline:
                    log = (standby.folder / "server.log").read_text()[-2000:]
                    raise RuntimeError(f"no standby follows: {found}; {log}")
                time.sleep(0.1)

    def promote(self) -> None:
        """Make a standby the primary; it waits for nobody."""
        self.execute("ALTER SYSTEM RESET synchronous_standby_names")
        self.execute("SELECT pg_promote(true, 60)")

    def _do(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [find_program(program), *arguments],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **UNPRIVILEGED,
        )
