"""The whole product as its user starts it: `reelseek serve` in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx

from tests.servers import free_port

T = TypeVar("T")
START_S = 120.0
STOP_S = 60.0


def wait_for(look: Callable[[], T | None], *, within_s: float, what: str) -> T:
    """Look again and again until there is an answer.

    Raises:
        TimeoutError: `what` did not come in time.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not happen within {within_s:.0f} s")


class LiveService:
    """A running `reelseek serve` with its own data folder and port."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.admin_key = "rsk_acceptance_test_admin_key_0123456789"
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve"],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("REELSEEK_")},
                "OMP_NUM_THREADS": "1",
                "REELSEEK_DATA_DIR": str(data_dir),
                "REELSEEK_PORT": str(self.port),
                "REELSEEK_ADMIN_KEY": self.admin_key,
                "REELSEEK_SWEEP_EVERY_S": "1",
                "NO_COLOR": "1",
                **(environment or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def output(self) -> str:
        """What it printed so far."""
        return "".join(self._lines)

    @property
    def login_link(self) -> str:
        """The one-time link that it printed."""
        found = wait_for(
            lambda: re.search(r"http://\S+/#login=\S+", self.output),
            within_s=START_S,
            what=f"the login link in:\n{self.output}",
        )
        return found.group()

    def client(self) -> httpx.Client:
        """Return a client with the admin key."""
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.admin_key}"}, timeout=60
        )

    def wait_until_ready(self) -> None:
        """Wait for the sentence that says so."""
        wait_for(
            lambda: "Reelseek is ready" in self.output or self._process.poll() is not None,
            within_s=START_S,
            what=f"the start; it printed:\n{self.output}",
        )
        if self._process.poll() is not None:
            raise RuntimeError(f"reelseek serve ended:\n{self.output}")

    def stop(self) -> int:
        """Press Ctrl-C; return the exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(STOP_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._reader.join()
            if self._process.stdout:
                self._process.stdout.close()
        return code

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.append(line)


def upload(client: httpx.Client, path: Path, **metadata: object) -> dict[str, object]:
    """Upload one file and return the answer."""
    with path.open("rb") as file:
        response = client.post(
            "/v1/videos", files={"file": (path.name, file)}, data={"metadata": json.dumps(metadata)}
        )
    response.raise_for_status()
    answer: dict[str, object] = response.json()
    return answer


def wait_until_processed(client: httpx.Client, video_id: object, *, within_s: float = 120) -> dict:
    """Wait until a video is neither queued nor processing; return it."""

    def look() -> dict | None:
        video = client.get(f"/v1/videos/{video_id}").json()
        return video if video["state"] not in {"queued", "processing"} else None

    return wait_for(look, within_s=within_s, what=f"the processing of {video_id}")
