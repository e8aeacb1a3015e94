"""kill -9 of the courier in the middle of an import: each file becomes one video, once.

`make faults` kills more often; `make test` a few times (REELSEEK_FAULT_IMPORT_KILLS).
"""

import os
import random
import time

import pytest
from sqlalchemy import func, select

from service.catalog.import_tables import ImportItem, ItemState
from service.catalog.tables import JobState, Video
from service.imports import requesting
from service.imports.requesting import Address, Wanted
from tests.factories_ingest import get_job, running_worker, wait_for
from tests.factories_video import make_video
from tests.hostile_servers import running_server

KILLS = int(os.environ.get("REELSEEK_FAULT_IMPORT_KILLS", "3"))
SEED = int(os.environ.get("REELSEEK_FAULT_SEED", "1"))
FILES = 4 * KILLS + 1
"""No courier settles more than four before it is killed."""
PIECES = 10

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300 + 60 * KILLS),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]


def slowly(body):
    """Serve a body in pieces, so that a kill meets it half way."""

    def route(exchange):
        exchange.send_response(200)
        exchange.send_header("Content-Length", str(len(body)))
        exchange.end_headers()
        size = len(body) // PIECES + 1
        for start in range(0, len(body), size):
            exchange.wfile.write(body[start : start + size])
            exchange.server.stopped.wait(0.03)

    return route


@pytest.mark.usefixtures("generation")
def test_an_import_that_is_killed_takes_each_file_once(sessions, sender, settings, tmp_path):
    settings = settings.model_copy(
        update={
            "outbound_allow": "127.0.0.1",
            "job_lease_s": 2,
            "sweep_every_s": 0.5,
            "torch_threads": 1,
        }
    )
    draw = random.Random(SEED)
    with running_server() as server:
        for number in range(FILES):
            body = make_video(tmp_path / f"{number}.mp4", seconds=1 + number / 10).read_bytes()
            server.routes[f"/{number}"] = slowly(body)
        addresses = [Address(url=f"{server.url}/{number}") for number in range(FILES)]
        record = requesting.request_import(
            sessions, sender, settings, Wanted(addresses=addresses), owner="tests"
        )
        for number in range(KILLS):
            before = count_settled(sessions)
            with running_worker(settings, tmp_path / f"{number}.log"):
                wait_for(lambda n=before: count_settled(sessions) > n)
                time.sleep(draw.uniform(0, 0.8))
        with running_worker(settings, tmp_path / "last.log"):
            wait_for(lambda: is_done(sessions, record))
        fetched = len(server.seen)

    with sessions() as session:
        items = session.scalars(select(ImportItem)).all()
        num_videos = session.scalar(select(func.count()).select_from(Video))
    assert {item.state for item in items} == {ItemState.ACCEPTED}
    assert len({item.video_id for item in items}) == num_videos == FILES
    print(f"killed {KILLS} couriers; {FILES} files were fetched {fetched} times")  # noqa: T201


def is_done(sessions, record):
    return get_job(sessions, record.job.id).state is JobState.DONE


def count_settled(sessions):
    with sessions() as session:
        settled = ImportItem.state != ItemState.WAITING
        return session.scalar(select(func.count()).select_from(ImportItem).where(settled))
