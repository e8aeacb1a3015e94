"""The API as its clients meet it: a real server on a free loopback port."""

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import httpx
import uvicorn

from service import log as logs
from service.api.connections import server_config
from service.main import create_app
from service.settings import Settings
from tests import factories

T = TypeVar("T")
ADMIN_KEY = "rsk_admin_key_of_the_tests_0123456789"
START_S = 60.0
TINY_DIM = 32
CLIPS = Path(__file__).parents[1] / "data" / "clips"


def poll(look: Callable[[], T | None], *, within_s: float = 60.0) -> T:
    """Look again and again until there is an answer."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing came within {within_s:.0f} s")
        time.sleep(0.02)
    return found


class ApiServer:
    """A server in a thread of this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        logs.configure(as_json=True)
        self.app = create_app(settings)
        config = server_config(
            settings, app=self.app, host="127.0.0.1", port=0, timeout_graceful_shutdown=5
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        poll(lambda: self._server.started or not self._thread.is_alive(), within_s=START_S)
        if not self._server.started:
            raise RuntimeError("the server did not start")
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def state(self):
        """What the routes share."""
        return self.app.state.shared

    def client(self, key: str | None = ADMIN_KEY, headers=None, **options) -> httpx.Client:
        """Return a client that sends this key."""
        headers = {**(headers or {}), **({"Authorization": f"Bearer {key}"} if key else {})}
        return httpx.Client(
            base_url=self.url, headers=headers, timeout=60, trust_env=False, **options
        )

    def wait_until_ready(self) -> None:
        """Wait until searches are answered."""
        with self.client() as client:
            poll(lambda: client.get("/readyz").is_success, within_s=START_S)

    def ingest(self, upload: dict, *, count: int = 2, seed: int = 0) -> None:
        """Do what a worker does with an upload."""
        factories.ingest(
            self.state.sessions,
            self.state.storage,
            UUID(upload["job_id"]),
            count=count,
            vectors=factories.unit_vectors(count, seed=seed, dim=TINY_DIM),
        )

    def staged_files(self) -> list[Path]:
        """Return what lies in the staging folder."""
        return list(self.state.storage.staging.glob("upload-*"))

    def stop(self) -> None:
        """Stop it as a signal would."""
        self.state.feed.close_streams()
        self._server.should_exit = True
        self._thread.join(30)
        if self._thread.is_alive():
            raise TimeoutError("the server did not stop")


def send_video(client: httpx.Client, content: bytes, *, name: str = "clip.mp4", **options):
    """Upload bytes."""
    return client.post("/v1/videos", files={"file": (name, io.BytesIO(content))}, **options)
