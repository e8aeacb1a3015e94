"""A real S3-compatible server for tests, on a free loopback port, gone with the test run."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from service.settings import Settings
from tests.servers import free_port

START_DEADLINE_S = 120
STOP_DEADLINE_S = 30


@contextlib.contextmanager
def running_object_store() -> Iterator[str]:
    """Yield the address of a new object store without a bucket."""
    url, port = "", free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1"]
    server = subprocess.Popen(
        [*command, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not _answers(url):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail("the object store did not start")
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def make_bucket(url: str) -> str:
    """Make an empty bucket and return its name."""
    name = f"bucket-{uuid4().hex}"
    httpx.put(f"{url}/{name}", trust_env=False, timeout=60).raise_for_status()
    return name


def with_bucket(settings: Settings, url: str, bucket: str | None = None) -> Settings:
    """Return settings of an installation that keeps its files in a bucket of its own."""
    values = settings.model_dump() | {
        "storage_url": f"s3://{bucket or make_bucket(url)}/some/prefix",
        "s3_endpoint": url,
        "s3_region": "us-east-1",
        "s3_access_key": "tests",
        "s3_secret_key": "secret-of-the-tests",
    }
    return Settings(**values)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2).is_success
    except httpx.HTTPError:
        return False
