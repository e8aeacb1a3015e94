"""What the installations that are harmed run on."""

from collections.abc import Iterator

import pytest

from tests.servers import empty_database


@pytest.fixture(scope="module", params=["embedded", "production"])
def engines(request) -> Iterator[dict[str, str]]:
    """Settings of SQLite and a folder for messages, or of a new PostgreSQL database and Redis."""
    if request.param == "embedded":
        yield {}
        return
    with empty_database(request.getfixturevalue("postgres_server")) as url:
        yield {
            "REELSEEK_DATABASE_URL": url,
            "REELSEEK_BROKER_URL": request.getfixturevalue("redis_server"),
        }
