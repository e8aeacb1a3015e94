"""Imports from folders: all that is in them, and nothing that links lead to."""

import os

import pytest
from sqlalchemy import select

from service.catalog import import_queries
from service.catalog.import_queries import NewItem
from service.catalog.import_tables import ItemState
from service.catalog.job_queries import claim_job
from service.catalog.session import in_transaction
from service.catalog.tables import Job, JobKind, JobState, Video
from service.errors import InvalidInputError
from service.imports.requesting import Wanted, request_import
from tests.factories_ingest import get_job
from workers.importing import import_videos
from workers.resources import Resources
from workers.runner import run_job

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def last_job(sessions):
    """Return the job of the one import."""

    def last_job():
        with sessions() as session:
            return session.scalars(select(Job).where(Job.kind == JobKind.IMPORT)).one()

    return last_job


@pytest.fixture
def root(settings, make_video):
    """The import folder with one video."""
    make_video("v.mp4", duration_s=1).rename(settings.import_dir / "a.mp4")
    return settings.import_dir


@pytest.fixture
def run_listed(request_import, sessions, resources):
    """Do an import whose files were listed before, by a worker that is gone."""

    def run_listed(*sources):
        record = request_import(folder=".")
        job = in_transaction(sessions, lambda s: claim_job(s, record.job.id, lease_s=-1))
        found = [NewItem(source=source) for source in sources]
        in_transaction(sessions, lambda s: import_queries.list_items(s, job.id, job.fence, found))
        run_job(job.id, import_videos, resources)
        with sessions() as session:
            return import_queries.items_of(session, record.request.id, after=-1, limit=99)

    return run_listed


def test_a_folder_is_imported_with_all_that_is_in_it_and_nothing_else(
    run_import, settings, tmp_path, make_video
):
    root = settings.import_dir
    outside = tmp_path / "outside"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / ".hidden").mkdir()
    outside.mkdir()
    for number, name in enumerate(["sub/b.mp4", "sub/deep/a.MP4", "sub/.hidden/x.mp4", "c.mp4"]):
        make_video("v.mp4", duration_s=1 + number / 10).rename(root / name)
    make_video("v.mp4", duration_s=2).rename(outside / "secret.mp4")
    (root / "sub" / "notes.txt").write_text("none")
    (root / "sub" / "link.mp4").symlink_to(outside / "secret.mp4")
    (root / "sub" / "folder").symlink_to(outside)
    os.mkfifo(root / "sub" / "pipe.mp4")

    items = run_import(folder="sub")

    assert [(item.source, item.state) for item in items] == [
        ("b.mp4", ItemState.ACCEPTED),
        ("deep/a.MP4", ItemState.ACCEPTED),
    ]


@SQLITE
@pytest.mark.parametrize("folder", ["link", "link/inner", "missing", "file.mp4"])
def test_a_folder_that_is_none_or_a_link_is_refused(run_import, last_job, settings, folder):
    outside = settings.data_dir / "outside"
    (outside / "inner").mkdir(parents=True)
    (settings.import_dir / "link").symlink_to(outside)
    (settings.import_dir / "file.mp4").write_bytes(b"x")

    run_import(folder=folder)

    assert (last_job().state, last_job().reason) == (JobState.FAILED, "no_folder")


@SQLITE
@pytest.mark.parametrize("swap", ["link", "gone", "pipe"])
def test_a_file_that_becomes_something_else_is_not_read(sessions, run_listed, root, swap):
    secret = root.parent / "secret.mp4"
    secret.write_bytes((root / "a.mp4").read_bytes())
    (root / "a.mp4").unlink()
    if swap == "link":
        (root / "a.mp4").symlink_to(secret)
    elif swap == "pipe":
        os.mkfifo(root / "a.mp4")

    (item,) = run_listed("a.mp4")

    assert (item.state, item.reason) == (ItemState.REFUSED, "file_gone")
    with sessions() as session:
        assert session.scalars(select(Video)).all() == []


@SQLITE
def test_a_folder_with_too_much_in_it_is_refused(request_import, settings, sessions, generation):
    assert generation
    for number in range(3):
        (settings.import_dir / f"{number}.mp4").write_bytes(b"x")
    record = request_import(folder=".")

    with Resources(settings.model_copy(update={"import_limit_items": 2})) as resources:
        run_job(record.job.id, import_videos, resources)

    job = get_job(sessions, record.job.id)
    assert (job.state, job.reason) == (JobState.FAILED, "too_many_items")


@SQLITE
def test_without_an_import_folder_there_are_no_folders(sessions, sender, settings):
    closed = settings.model_copy(update={"import_dir": None})
    with pytest.raises(InvalidInputError) as refusal:
        request_import(sessions, sender, closed, Wanted(folder="."), owner="tests")

    assert refusal.value.reason == "no_import_folder"
