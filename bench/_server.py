"""Runs the real processes for a bench: the API alone, or with its workers."""

import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.settings import Settings

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 40.0
API = ("-m", "service.cli", "api")
WORKER = ("-m", "service.cli", "worker")
TUNER = (*WORKER, "--tuner")


@dataclass(frozen=True)
class Server:
    """Where it listens, and a key that may do everything."""

    port: int
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """What every request sends."""
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def serving(
    settings: Settings,
    *,
    with_workers: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run the API, and a worker and a tuner if wanted, until the measurement is over.

    Args:
        settings: the data folder counts; everything else comes from the environment.
        with_workers: start a worker and a tuner as well.
        environment: settings of this measurement, as variables.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(port, "bench-" + secrets.token_hex(16))
    variables = {
        "OMP_WAIT_POLICY": "passive",  # as `reelseek serve` sets it
        **os.environ,
        "REELSEEK_DATA_DIR": str(settings.data_dir),
        "REELSEEK_ADMIN_KEY": server.key,
        "REELSEEK_LOG_LEVEL": "warning",
        "REELSEEK_PORT": str(port),
        **(environment or {}),
    }
    commands = [API]
    if with_workers:
        commands += [WORKER, TUNER]
    with ExitStack() as stack:
        started = [
            stack.enter_context(_process(command, variables, settings.data_dir / f"{number}.log"))
            for number, command in enumerate(commands)
        ]
        _wait_until_ready(port, started[0])
        yield server


@contextmanager
def _process(
    command: tuple[str, ...], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *command],
            env=dict(environment),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_until_ready(port: int, server: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.02)
    raise SystemExit("The server did not become ready.")
