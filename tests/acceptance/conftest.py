"""Fixtures of the tests that speak HTTP to the API."""

import itertools
import shutil
from uuid import uuid4

import psycopg
import pytest

from service.settings import Settings
from tests import factories
from tests.acceptance.api_server import ADMIN_KEY, ApiServer, send_video

_numbers = itertools.count()


def _make_settings(folder, bundle_dir, database_url=None, **options) -> Settings:
    given = {
        "database_url": database_url,
        "bundle": bundle_dir,
        "admin_key": ADMIN_KEY,
        "disk_reserve_bytes": 0,
        "torch_threads": 1,
        "device": "cpu",
        **options,
    }
    return Settings(data_dir=folder, **given)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def api(request, tmp_path_factory, bundle_dir):
    """A running API on SQLite and on PostgreSQL, shared by all tests; nobody ingests."""
    folder = tmp_path_factory.mktemp("api")
    url = None
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), folder / "reelseek.sqlite")
    else:
        server, name = request.getfixturevalue("postgres_server"), f"api_{uuid4().hex}"
        with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template_reelseek")
        url = f"{server}{name}"
    running = ApiServer(_make_settings(folder, bundle_dir, url))
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture
def make_api(tmp_path, bundle_dir, sqlite_template):
    """Start an API of its own with other settings: `make_api(upload_limit_bytes=1000)`."""
    started = []

    def make_api(**options) -> ApiServer:
        folder = tmp_path / f"api-{next(_numbers)}"
        folder.mkdir()
        shutil.copyfile(sqlite_template, folder / "reelseek.sqlite")
        started.append(ApiServer(_make_settings(folder, bundle_dir, **options)))
        return started[-1]

    yield make_api
    for running in started:
        running.stop()


@pytest.fixture
def client(api):
    """A client with the admin key."""
    with api.client() as client:
        yield client


@pytest.fixture
def video_bytes(tmp_path):
    """Bytes of a real video that no other test has uploaded."""
    number = next(_numbers)
    width = 32 + 2 * (number % 200)
    path = factories.write_video(
        tmp_path / "unique.mp4", duration_s=0.5 + number // 200, size=(width, 34)
    )
    return path.read_bytes()


@pytest.fixture
def queued(client, video_bytes):
    """The answer to an upload that waits for its ingest."""
    return send_video(client, video_bytes).json()


@pytest.fixture
def ready(api, queued):
    """The answer to an upload that was ingested since: two segments of 4 s."""
    api.ingest(queued)
    return queued
