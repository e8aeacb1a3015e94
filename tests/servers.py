"""Real PostgreSQL and Redis servers for tests, on free loopback ports, gone with the test run."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest
import redis

START_DEADLINE_S = 60
STOP_DEADLINE_S = 30
QUICK_AND_UNSAFE = (
    *("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"),
    *("-c", "autovacuum=off", "-c", "max_connections=300", "-c", "shared_buffers=32MB"),
)
UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root
PORTS = range(20_000, 32_000)  # no outgoing connection is given one of these, nor a file of ours
_given: set[int] = set()


def find_program(name: str) -> Path:
    """Return a server program; without it the test is skipped, in CI it fails."""
    found = shutil.which(name)
    if found is None:  # Debian keeps PostgreSQL's programs out of PATH
        places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        found = str(places[-1]) if places else None
    if found is None:
        message = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return Path(found)


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """Yield the URL of a new PostgreSQL cluster, up to and without the name of the database."""
    initdb, postgres = find_program("initdb"), find_program("postgres")
    with _folder_of_its_own() as folder:
        data = folder / "data"
        arguments = ["-U", "reelseek", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(
            [initdb, "-D", data, *arguments],
            check=True,
            capture_output=True,
            cwd=folder,
            **_as_unprivileged(),
        )
        port = free_port()
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
        command = [postgres, "-D", data, *options, *QUICK_AND_UNSAFE]
        url = f"postgresql://reelseek@127.0.0.1:{port}/"
        with _running(command, folder, is_up=lambda: _answers_sql(url)):
            yield url


@contextlib.contextmanager
def empty_database(server: str) -> Iterator[str]:
    """Make a database without tables on a PostgreSQL, yield its URL, and drop it."""
    name = f"empty_{uuid4().hex}"
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{server}{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def running_redis() -> Iterator[str]:
    """Yield the URL of a new Redis."""
    program = find_program("redis-server")
    port = free_port()
    with _folder_of_its_own() as folder:
        options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
        with _running([program, *options], folder, is_up=lambda: _answers_ping(port)):
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def running_milvus() -> Iterator[str]:
    """Yield the URI of a new Milvus Lite server, which lives in an environment of its own."""
    place = Path(__file__).parents[1] / ".venv-milvus" / "bin" / "milvus-lite"
    program = place if place.exists() else find_program("milvus-lite")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="reelseek-milvus-") as folder:
        options = ["server", "--data-dir", f"{folder}/data", "--host", "127.0.0.1"]
        command = [program, *options, "--port", str(port)]
        with _running(command, Path(folder), is_up=lambda: _accepts(port), user={}):
            yield f"http://127.0.0.1:{port}"


def free_port() -> int:
    """Return a loopback port that nothing uses, and that this process was never given before.

    The kernel's own choice could become the port of somebody's connection, or of another test,
    before the server that it is meant for listens.
    """
    while True:
        port = random.SystemRandom().choice(PORTS)  # tests fix the seed of the module's
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, whoever reaps it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def _running(
    command: list, folder: Path, *, is_up: Callable[[], bool], user: dict | None = None
) -> Iterator[None]:
    log = folder / "server.log"
    user = _as_unprivileged() if user is None else user
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, **user)
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not is_up():
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        server.send_signal(2)  # PostgreSQL: disconnect everyone and stop
        try:
            server.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextlib.contextmanager
def _folder_of_its_own() -> Iterator[Path]:
    """Make a folder that the unprivileged user owns; pytest's own are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="reelseek-test-"))
    if _as_unprivileged():
        shutil.chown(folder, UNPRIVILEGED)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_unprivileged() -> dict[str, str]:
    return {"user": UNPRIVILEGED} if os.geteuid() == 0 else {}


def _answers_sql(url: str) -> bool:
    try:
        psycopg.connect(f"{url}postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers_ping(port: int) -> bool:
    with redis.Redis(port=port, socket_connect_timeout=1) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
