"""The API as a process: killed in the middle, stopped with streams open, under a large upload."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil
import pytest

from service.catalog.session import make_engine, make_sessions, upgrade
from service.housekeeping import sweep_files
from service.settings import Settings
from service.storage import Storage
from tests.acceptance.api_server import ADMIN_KEY, poll, send_video
from tests.stored_files import blob_paths

MIB = 1024 * 1024
LARGE_BYTES = 300 * MIB
MORE_MEMORY_BYTES = 64 * MIB
BOUNDARY = "process"
HEAD = b'--process\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'


class ApiProcess:
    """`reelseek api`, as a production host starts it."""

    def __init__(
        self, folder: Path, bundle_dir: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self.settings = Settings(data_dir=folder)
        upgrade(self.settings.sqlalchemy_url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.log = folder / "api.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "service.cli", "api"),
                    *("--fd", str(self._listener.fileno())),
                ],
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith("REELSEEK_")},
                    "REELSEEK_DATA_DIR": str(folder),
                    "REELSEEK_ADMIN_KEY": ADMIN_KEY,
                    "REELSEEK_BUNDLE": str(bundle_dir),
                    "REELSEEK_DISK_RESERVE_BYTES": "0",
                    "REELSEEK_TORCH_THREADS": "1",
                    **(environment or {}),
                },
                stdout=output,
                stderr=output,
                pass_fds=[self._listener.fileno()],
            )
        self._listener.close()

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            timeout=120,
            trust_env=False,
        )

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False).is_success
            except httpx.TransportError:
                return False

        poll(is_ready, within_s=90)

    def end(self, kind: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(kind)
        try:
            return self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def process(tmp_path, bundle_dir):
    folder = tmp_path / "data"
    folder.mkdir()
    started = ApiProcess(folder, bundle_dir)
    started.wait_until_ready()
    yield started
    started.end(signal.SIGKILL)


def test_a_kill_in_the_middle_of_an_upload_leaves_nothing_half_visible(process, bundle_dir):
    staging = process.settings.data_dir / "staging"
    with socket.create_connection(("127.0.0.1", process.port)) as connection:
        connection.sendall(
            f"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
            f"Content-Length: {LARGE_BYTES}\r\n\r\n".encode()
            + HEAD
            + bytes(5 * MIB)
        )
        poll(lambda: any(path.stat().st_size > MIB for path in staging.iterdir()))
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    assert list(staging.iterdir()), "a killed process cannot tidy up"

    again = ApiProcess(process.settings.data_dir, bundle_dir)
    try:
        again.wait_until_ready()
        with again.client() as client:
            assert client.get("/v1/videos").json()["videos"] == []
            assert client.get("/v1/system").json()["stored_bytes"] == 0
        engine = make_engine(process.settings.sqlalchemy_url)
        storage = Storage(process.settings.data_dir, limit_bytes=LARGE_BYTES)
        sweep_files(make_sessions(engine), storage, grace_s=0)
        engine.dispose()
        assert list(staging.iterdir()) == []
        assert blob_paths(storage) == []
    finally:
        assert again.end(signal.SIGTERM) in {0, -signal.SIGTERM}


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_open_streams_and_closes_everything(process, video_file, kind):
    with process.client() as client:
        upload = send_video(client, video_file.read_bytes()).json()
        with client.stream("GET", f"/v1/jobs/{upload['job_id']}/events") as response:
            lines = response.iter_lines()
            assert next(lines) == "event: progress"
            process.process.send_signal(kind)
            rest = list(lines)  # the stream ends properly: no error is raised

    assert "event: end" not in rest
    # A second SIGINT would mean: at once. Shells know 128 + kind for whoever was stopped by it.
    assert process.process.wait(30) in {0, -kind, 128 + kind}
    log = process.log.read_text()
    assert "Traceback" not in log
    assert "exceeded" not in log


def test_a_large_upload_takes_no_more_memory_than_a_small_one(process, video_file):
    with process.client() as client:
        send_video(client, video_file.read_bytes())
        api = psutil.Process(process.process.pid)
        before, most, is_over = api.memory_info().rss, 0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not is_over.wait(0.02):
                most = max(most, api.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()

        def body():
            yield HEAD
            for _ in range(LARGE_BYTES // MIB):
                yield bytes(MIB)
            yield b"\r\n--process--\r\n"

        response = client.post(
            "/v1/videos",
            content=body(),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        )
        is_over.set()
        watcher.join()

    assert (response.status_code, response.json()["reason"]) == (422, "not_a_video")
    assert most - before < MORE_MEMORY_BYTES
    assert not list((process.settings.data_dir / "staging").iterdir())


@pytest.fixture
def video_file(make_video):
    return make_video("small.mp4", duration_s=1)
