"""Fixtures of all tests: a catalog on SQLite and on a real PostgreSQL, files, a broker.

A test that asks for `sessions` runs on both databases; one for which the database does not matter
says `@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)`.
"""

import gc
import shutil
import time
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from service.catalog.session import make_engine, make_read_sessions, make_sessions, upgrade
from service.jobs import JobSender
from service.settings import Settings
from service.storage import Storage
from tests import factories
from tests.object_store import running_object_store
from tests.servers import running_postgres, running_redis

MIB = 1024 * 1024
PATIENCE_S = 60
FAULTS = Path(__file__).parent / "faults"

hypothesis_settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("tests")


def pytest_addoption(parser):
    parser.addoption(
        "--parity-fixtures",
        default="tests/data/parity",
        help="folder with fixture-*.npz (All-in-One) and fixture.npz (Clover), or with subfolders "
        "all_in_one and clover that hold them",
    )


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a GPU where there is none: chosen by machine, not skipped."""
    for item in items:
        if item.path.is_relative_to(FAULTS):
            item.add_marker("alone")
    needs_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if needs_gpu and not _has_cuda():
        items[:] = [item for item in items if item not in needs_gpu]
        config.hook.pytest_deselected(items=needs_gpu)


def pytest_collection_finish():
    """Leave what was imported and collected out of every collection of garbage.

    Each takes seconds otherwise, in which no thread of a test runs.
    """
    gc.collect()
    gc.freeze()


def _has_cuda() -> bool:
    import torch  # noqa: PLC0415 (slow, and needed only by tests that are marked)

    return torch.cuda.is_available()


@pytest.fixture(scope="session", autouse=True)
def _patient_connections():
    """A shared machine that stands still for seconds is no server that is away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.catalog.session.CONNECT_TIMEOUT_S", PATIENCE_S)
        yield


@pytest.fixture
def within_one_minute():
    """Rates are counted in minutes of the clock, so begin where none ends soon."""
    left_s = 60 - time.time() % 60
    if left_s < 20:
        time.sleep(left_s + 0.1)


@pytest.fixture(scope="session")
def postgres_server():
    """URL of a real PostgreSQL, without the name of a database."""
    with running_postgres() as url:
        _create(url, "template_reelseek")
        upgrade(f"{url}template_reelseek")
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """Path of a migrated, empty SQLite file."""
    path = tmp_path_factory.mktemp("template") / "reelseek.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def redis_server():
    """URL of a real Redis."""
    with running_redis() as url:
        yield url


@pytest.fixture(scope="session")
def object_store():
    """Address of a real object store."""
    with running_object_store() as url:
        yield url


@pytest.fixture
def redis_url(redis_server):
    """URL of a real Redis that is empty."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """URL of a migrated, empty database: each test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "data" / "reelseek.sqlite"
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server = request.getfixturevalue("postgres_server")
    name = f"test_{uuid4().hex}"
    _create(server, name, template="template_reelseek")
    yield f"{server}{name}"
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(database_url):
    """An engine on the database of this test."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine):
    """Sessions that write."""
    return make_sessions(engine)


@pytest.fixture
def read_sessions(engine):
    """Sessions that only read."""
    return make_read_sessions(engine)


@pytest.fixture
def settings(tmp_path, database_url):
    """Settings of an installation of its own, whatever the environment says."""
    return Settings(data_dir=tmp_path / "data", database_url=database_url, disk_reserve_bytes=0)


@pytest.fixture
def storage(settings):
    """The files of this test."""
    return Storage(settings.data_dir, limit_bytes=64 * MIB)


@pytest.fixture
def sender(settings):
    """The writer to the broker of this test."""
    sender = JobSender(settings)
    yield sender
    sender.close()


@pytest.fixture
def generation(sessions):
    """An active generation of 8-d embeddings."""
    return factories.register_bundle(sessions)


@pytest.fixture
def upload(sessions, storage, sender, generation):  # noqa: ARG001 (uploads need one)
    """Accept a file with this content: `upload(b"...")`."""

    def upload(content=None, **options):
        return factories.upload(sessions, storage, sender, content, **options)

    return upload


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory):
    """A bundle of a tiny network with random weights."""
    from tests.factories_model import make_tiny_bundle  # noqa: PLC0415 (needs torch)

    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    make_tiny_bundle(folder)
    return folder


@pytest.fixture
def make_video(tmp_path):
    """Write a real video: `make_video("name.mp4", duration_s=2)`."""

    def make_video(name="video.mp4", **options):
        return factories.write_video(tmp_path / name, **options)

    return make_video


def _create(server: str, name: str, *, template: str = "template0") -> None:
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
