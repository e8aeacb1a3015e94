"""What the installations that are harmed run on."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest


@pytest.fixture(scope="module", params=["embedded", "production"])
def engines(request) -> Iterator[dict[str, str]]:
    """Settings of SQLite and a folder for messages, or of a new PostgreSQL database and Redis."""
    if request.param == "embedded":
        yield {}
        return
    server, name = request.getfixturevalue("postgres_server"), f"faults_{uuid4().hex}"
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield {
            "REELSEEK_DATABASE_URL": f"{server}{name}",
            "REELSEEK_BROKER_URL": request.getfixturevalue("redis_server"),
        }
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
