"""Backups of a real installation, and the way back: also to the other kind of database."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import inspect, update

from service import backup as backups
from service.backup.copying import digest_file
from service.backup.manifest import list_backups
from service.backup.restoring import NOTE
from service.catalog import audit, dump, process_queries
from service.catalog.change_queries import read_counter
from service.catalog.generation_queries import active_generation
from service.catalog.ingest_queries import delete_video
from service.catalog.job_queries import claim_job
from service.catalog.session import (
    in_transaction,
    make_engine,
    make_read_sessions,
    make_sessions,
    upgrade,
)
from service.catalog.tables import JobState, Video, VideoState
from service.errors import ConflictError, InvalidInputError, NotFoundError
from service.storage import Storage
from service.storage.names import blob_name
from tests import factories
from tests.factories_ingest import get_job, get_video, wait_for

MIB = 1024 * 1024


@pytest.fixture
def filled(upload, sessions, storage):
    """An installation with a video that is ready, one that is deleted, one in work, and a model."""
    ready, deleted, running = (upload(b"content %d" % n, tags=["t"]) for n in range(3))
    for accepted in (ready, deleted):
        factories.ingest(sessions, storage, accepted.job_id)
    in_transaction(sessions, lambda session: delete_video(session, deleted.video_id))
    in_transaction(sessions, lambda session: claim_job(session, running.job_id, lease_s=600))
    model = storage.root / "models" / "mine"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    (storage.root / "models" / ".adding-x").mkdir()
    (storage.root / "models" / ".adding-x" / "half").write_bytes(b"half")
    return ready, deleted, running


@pytest.fixture
def folder(tmp_path):
    """Where backups go."""
    return tmp_path / "backups"


@pytest.fixture
def make_backup(folder, engine, storage):
    """Make a backup: `make_backup(keep=2)`; no two have the same name."""

    def make_backup(**options):
        names = list_backups(folder)
        while names and time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) <= names[-1]:
            time.sleep(0.05)
        return backups.make_backup(folder, engine=engine, storage=storage, **options)

    return make_backup


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request, tmp_path):
    """Engine and files of a new installation, on either database: nothing was migrated yet."""
    data = tmp_path / "restored"
    if request.param == "sqlite":
        data.mkdir()
        engine = make_engine(f"sqlite:///{data / 'reelseek.sqlite'}")
        yield engine, Storage(data, limit_bytes=MIB)
        engine.dispose()
        return
    server, name = request.getfixturevalue("postgres_server"), f"restored_{uuid4().hex}"
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        engine = make_engine(f"{server}{name}")
        yield engine, Storage(data, limit_bytes=MIB)
        engine.dispose()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def rows(engine):
    """Return all rows but those that a restore changes."""
    changing = {"change_counter", "jobs", "last_runs"}
    tables, name = {}, ""
    with dump.snapshot(engine) as connection:
        for line in map(json.loads, dump.dump_rows(connection)):
            if isinstance(line, list):
                tables[name].append(line)
            elif "table" in line:
                name = line["table"]
                tables[name] = []
    return {name: sorted(map(str, found)) for name, found in tables.items() if name not in changing}


def test_what_is_restored_is_what_was_backed_up(
    *, filled, make_backup, folder, engine, sessions, empty
):
    ready, deleted, running = filled
    made = make_backup()
    target, files = empty

    done = backups.restore(folder, engine=target, storage=files)

    assert (done.name, made.num_videos) == (made.name, 2)
    there, here = rows(target), rows(engine)
    here["videos"] = [line.replace("processing", "queued") for line in here["videos"]]
    assert there == here
    restored = make_sessions(target)
    assert get_video(restored, ready.video_id).state is VideoState.READY
    assert get_video(restored, deleted.video_id).state is VideoState.DELETED
    job = get_job(restored, running.job_id)
    assert (job.state, job.attempts, job.lease_until) == (JobState.QUEUED, 0, None)
    with make_read_sessions(target)() as session, sessions() as before:
        assert audit.audit(session, files, grace_s=3600) == []
        new, old = read_counter(session), read_counter(before)
        assert (new.seq, new.chain) == (old.seq, old.chain)
        assert new.epoch != old.epoch
        assert active_generation(session).name == "tiny"
    assert (files.root / "models" / "mine" / "model.safetensors").read_bytes() == b"weights"
    assert not (files.root / "models" / ".adding-x").exists()
    assert not (files.root / NOTE).exists()


sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@sqlite_only
def test_another_backup_copies_only_what_is_new(*, filled, upload, make_backup, folder):
    assert filled
    first = make_backup()
    assert first.num_copied > 2
    assert make_backup().num_copied == 0
    upload(b"one more")
    third = make_backup(keep=2)
    assert (third.num_copied, third.num_videos) == (1, 3)
    assert third.removed == [first.name]
    for name in list_backups(folder):
        assert backups.check_backup(folder, name).name == name
    with pytest.raises(NotFoundError, match=first.name):
        backups.check_backup(folder, first.name)


@sqlite_only
def test_files_that_only_a_removed_backup_named_are_removed(
    *, filled, sessions, make_backup, folder
):
    make_backup()
    in_transaction(sessions, lambda session: delete_video(session, filled[0].video_id))
    make_backup(keep=1)
    assert len([path for path in (folder / "blobs").rglob("*") if path.is_file()]) == 1
    backups.check_backup(folder)


@sqlite_only
def test_a_backup_says_when_it_was_made(filled, make_backup, sessions, folder):  # noqa: ARG001
    made = make_backup()
    with sessions() as session:
        run = process_queries.last_run(session, "backup")
    assert run.result["name"] == made.name
    assert run.result["folder"] == str(folder)


@sqlite_only
def test_a_file_that_is_damaged_fails_the_backup(*, filled, sessions, storage, make_backup, folder):
    blob = blob_name(get_video(sessions, filled[0].video_id).sha256)
    (storage.root / blob).write_bytes(b"damaged!!")
    with pytest.raises(NotFoundError, match="reelseek audit"):
        make_backup()
    assert list_backups(folder) == []


@sqlite_only
@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
def test_videos_deleted_and_swept_meanwhile_are_deleted_after_a_restore(
    *, filled, sessions, storage, engine, folder, empty
):
    def delete_all(sentence):
        if sentence.startswith("Copying"):
            in_transaction(sessions, lambda session: delete_video(session, filled[0].video_id))
            shutil.rmtree(storage.root / "blobs")
            shutil.rmtree(storage.root / "derived")
            in_transaction(sessions, lambda session: delete_video(session, filled[2].video_id))

    made = backups.make_backup(folder, engine=engine, storage=storage, progress=delete_all)
    target, files = empty
    backups.restore(folder, engine=target, storage=files)

    assert made.num_videos == 0
    assert get_video(make_sessions(target), filled[0].video_id).state is VideoState.DELETED
    with make_read_sessions(target)() as session:
        assert audit.audit(session, files, grace_s=3600) == []


@sqlite_only
@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
def test_clips_of_which_a_sweep_took_the_first_are_gone(
    *, filled, sessions, storage, engine, folder, empty
):
    named = get_video(sessions, filled[0].video_id).derived

    def delete_some(sentence):
        if sentence.startswith("Copying"):
            in_transaction(sessions, lambda session: delete_video(session, filled[0].video_id))
            (storage.root / named / "clips.npy").unlink()

    backups.make_backup(folder, engine=engine, storage=storage, progress=delete_some)
    target, files = empty
    backups.restore(folder, engine=target, storage=files)

    assert get_video(make_sessions(target), filled[0].video_id).state is VideoState.DELETED


@sqlite_only
def test_a_video_whose_clips_went_with_a_retired_model_is_not_lost(
    *, filled, sessions, storage, engine, folder
):
    def replace_clips(sentence):
        if sentence.startswith("Copying"):
            in_transaction(
                sessions, lambda session: session.execute(update(Video).values(derived=None))
            )
            shutil.rmtree(storage.root / "derived")

    with pytest.raises(ConflictError, match="make the backup again"):
        backups.make_backup(folder, engine=engine, storage=storage, progress=replace_clips)
    assert list_backups(folder) == []
    assert filled


@sqlite_only
@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
@pytest.mark.parametrize("part", ["databases", "blobs", "derived", "objects"])
def test_a_damaged_backup_is_refused_and_leaves_no_rows(
    *, filled, make_backup, folder, empty, part
):
    assert filled
    make_backup()
    path = next(path for path in (folder / part).rglob("*") if path.is_file())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="is damaged"):
        backups.check_backup(folder)
    target, files = empty
    with pytest.raises(InvalidInputError, match="is damaged"):
        backups.restore(folder, engine=target, storage=files)
    with dump.snapshot(target) as connection:
        assert dump.is_empty(connection)


@sqlite_only
@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
def test_a_restore_overwrites_nothing(*, filled, make_backup, folder, engine, storage, empty):
    make_backup()
    with pytest.raises(ConflictError, match="database is not empty"):
        backups.restore(folder, engine=engine, storage=storage)
    target, _ = empty
    with pytest.raises(ConflictError, match="files of videos"):
        backups.restore(folder, engine=target, storage=storage)
    assert get_video(make_sessions(engine), filled[0].video_id).state is VideoState.READY


@sqlite_only
def test_a_restore_into_a_migrated_empty_database_works(filled, make_backup, folder, empty):
    assert filled
    make_backup()
    target, files = empty
    upgrade(target.url.render_as_string(hide_password=False))
    assert backups.restore(folder, engine=target, storage=files).num_rows > 0


@sqlite_only
@pytest.mark.parametrize("empty", ["sqlite", "postgresql"], indirect=True)
def test_a_restore_that_is_killed_goes_on_where_it_was(
    *, upload, sessions, storage, make_backup, folder, empty
):
    for number in range(30):
        accepted = upload(b"content %d" % number)
        factories.ingest(sessions, storage, accepted.job_id)
    make_backup()
    target, files = empty
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("REELSEEK_")},
        "REELSEEK_DATA_DIR": str(files.root),
        "REELSEEK_DATABASE_URL": target.url.render_as_string(hide_password=False),
    }
    command = [sys.executable, "-m", "service.cli", "restore", str(folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: any((files.root / "blobs").rglob("*")), every_s=0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (files.root / NOTE).exists()
    refused = subprocess.run(
        [sys.executable, "-m", "service.cli", "migrate"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "was not finished" in refused.stderr

    done = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert not (files.root / NOTE).exists()
    with make_read_sessions(target)() as session:
        assert audit.audit(session, files, grace_s=3600) == []


@sqlite_only
@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
def test_a_restore_killed_right_after_its_commit_is_known_as_done(
    *, filled, make_backup, folder, empty
):
    assert filled
    make_backup()
    target, files = empty
    backups.restore(folder, engine=target, storage=files)
    digest = backups.check_backup(folder).database.sha256
    (files.root / NOTE).write_text(json.dumps({"sha256": digest}))
    done = backups.restore(folder, engine=target, storage=files)
    assert (done.num_rows, done.num_files) == (0, 0)
    assert not (files.root / NOTE).exists()


@sqlite_only
@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
def test_a_backup_of_an_earlier_release_is_restored_into_this_one(
    *, folder, empty, upload, make_backup, tmp_path
):
    accepted = upload(b"of the past")
    name = make_backup().name
    make_older(folder, name, "0005", make_engine(f"sqlite:///{tmp_path / 'older.sqlite'}"))
    target, files = empty

    assert backups.restore(folder, engine=target, storage=files).num_rows > 0

    assert get_video(make_sessions(target), accepted.video_id).state is VideoState.QUEUED
    with target.connect() as connection:
        assert dump.require_newest(connection)


def make_older(folder, name, revision, engine):
    """Rewrite a backup as a release with an earlier schema would have written it."""
    with engine.begin() as connection:
        dump.upgrade_to(connection, revision)
        tables = {
            table: {column["name"] for column in inspect(connection).get_columns(table)}
            for table in inspect(connection).get_table_names()
        }
    engine.dispose()
    path = folder / "databases" / f"{name}.jsonl.gz"
    kept, columns, count = [], None, 0
    for line in map(json.loads, gzip.decompress(path.read_bytes()).splitlines()):
        if isinstance(line, list):
            if columns is not None:
                count += 1
                kept.append([value for value, is_old in zip(line, columns, strict=True) if is_old])
        elif "rows" in line:
            kept.append({"rows": count})
        elif line["table"] in tables:
            columns = [column in tables[line["table"]] for column in line["columns"]]
            old = [
                one for one, is_old in zip(line["columns"].items(), columns, strict=True) if is_old
            ]
            kept.append({**line, "columns": dict(old)})
        else:
            columns = None
    path.write_bytes(gzip.compress("".join(f"{json.dumps(one)}\n" for one in kept).encode()))
    manifest = folder / "manifests" / f"{name}.json"
    database = [f"databases/{path.name}", path.stat().st_size, digest_file(path)]
    changed = {**json.loads(manifest.read_text()), "revision": revision, "database": database}
    manifest.write_text(json.dumps(changed))
