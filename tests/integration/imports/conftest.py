"""An installation that may import from this machine."""

import pytest
from sqlalchemy import select

from service.catalog.import_tables import ImportItem
from service.imports import requesting
from service.imports.requesting import Address, Wanted
from tests.hostile_servers import running_server
from workers import importing
from workers.importing import import_videos
from workers.resources import Resources
from workers.runner import run_job


@pytest.fixture
def settings(settings, tmp_path):
    folder = tmp_path / "imports"
    folder.mkdir()
    return settings.model_copy(
        update={
            "outbound_allow": "127.0.0.1",
            "import_dir": folder,
            "import_idle_s": 60.0,
            "upload_limit_bytes": 1_000_000,
        }
    )


@pytest.fixture
def resources(settings, generation):  # noqa: ARG001 (uploads need one)
    with Resources(settings) as resources:
        yield resources


@pytest.fixture
def server():
    with running_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(importing, "WAITS_S", (0.0, 0.0))


@pytest.fixture
def request_import(sessions, sender, settings):
    """Ask for an import: `request_import(folder=".")`."""

    def request_import(*urls, **wanted):
        addresses = [one if isinstance(one, Address) else Address(url=one) for one in urls]
        return requesting.request_import(
            sessions, sender, settings, Wanted(addresses=addresses, **wanted), owner="tests"
        )

    return request_import


@pytest.fixture
def run_import(request_import, resources, sessions):
    """Ask for an import, do it, and return what became of its items."""

    def run_import(*urls, **wanted):
        record = request_import(*urls, **wanted)
        run_job(record.job.id, import_videos, resources)
        return items_of(sessions, record.request.id)

    return run_import


def items_of(sessions, import_id):
    with sessions() as session:
        found = select(ImportItem).where(ImportItem.import_id == import_id)
        return session.scalars(found.order_by(ImportItem.ordinal)).all()
