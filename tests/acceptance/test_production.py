"""The processes of docker-compose.yml, with its own command lines, on PostgreSQL and Redis."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
import yaml

from tests.acceptance.live import free_port, upload, wait_for, wait_until_processed
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
ADMIN_KEY = "rsk_production_test_admin_key_0123456789"
STOP_S = 60.0
READY_S = 120.0


def command_of(service: str) -> list[str]:
    """Return a command line of the composition."""
    program, *arguments = COMPOSE["services"][service]["command"]
    return [str(Path(sys.executable).parent / program), *arguments]


@contextmanager
def running(service: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Run one service of the composition."""
    process = subprocess.Popen(command_of(service), env=environment, start_new_session=True)
    try:
        yield
        assert process.poll() is None, f"{service} ended"
        process.terminate()
        process.wait(STOP_S)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def database(postgres_server) -> Iterator[str]:
    """URL of an empty database."""
    name = f"production_{uuid4().hex}"
    with psycopg.connect(f"{postgres_server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{postgres_server}{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def client(tmp_path_factory, database, redis_server) -> Iterator[httpx.Client]:
    """A client of the running composition."""
    port = free_port()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("REELSEEK_")},
        **COMPOSE["services"]["api"]["environment"],
        "OMP_NUM_THREADS": "1",
        "REELSEEK_ADMIN_KEY": ADMIN_KEY,
        "REELSEEK_BROKER_URL": redis_server,
        "REELSEEK_BUNDLE": str(make_tiny_bundle(tmp_path_factory.mktemp("bundle"))),
        "REELSEEK_DATABASE_URL": database,
        "REELSEEK_DATA_DIR": str(tmp_path_factory.mktemp("production")),
        "REELSEEK_METRICS_HOST": "127.0.0.1",
        "REELSEEK_METRICS_PORT": "0",
        "REELSEEK_PORT": str(port),
    }
    subprocess.run(command_of("migrate"), env=environment, check=True)
    with ExitStack() as stack:
        stack.enter_context(running("api", environment))
        stack.enter_context(running("ingest", environment))
        client = stack.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {ADMIN_KEY}"},
                timeout=60,
            )
        )
        wait_for(lambda: is_ready(client), within_s=READY_S, what="the start")
        yield client


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def test_a_video_that_was_uploaded_is_found(client, tmp_path):
    video_id = upload(client, make_video(tmp_path / "clip.mp4"))["id"]

    assert wait_until_processed(client, video_id)["state"] == "ready"

    def found() -> list[object]:
        answer = client.post("/v1/search", json={"text": "a red circle"}).json()
        return [moment["video_id"] for moment in answer["moments"]]

    assert wait_for(found, within_s=30, what="the moment") == [video_id]


def test_metrics_need_a_key_where_others_can_ask(client):
    assert client.get("/metrics", headers={"Authorization": ""}).status_code == 401
    assert client.get("/metrics").status_code == 200
