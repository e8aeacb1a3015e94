"""A snapshot makes a start quick, and a damaged one is never trusted."""

import fcntl
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from service.catalog.change_queries import begin_epoch, read_counter
from service.catalog.generation_queries import active_generation
from service.catalog.tables import Snapshot
from service.index.builder import RebuildPolicy
from service.index.loading import load_view
from service.index.snapshots import KEPT, SnapshotStore
from tests.factories import unit_vectors
from tests.factories_gallery import until
from tests.factories_indexes import near_index

POISON = Path(__file__).parents[2] / "data" / "faiss_ntotal_2e40.faiss"
PUBLISHING = RebuildPolicy(snapshot_floor=1)


@pytest.fixture
def store(settings, sessions):
    """The snapshots of the test's data folder."""
    return SnapshotStore(settings.data_dir / "snapshots", sessions)


@pytest.fixture
def folder(settings):
    """Where the files are."""
    return settings.data_dir / "snapshots"


@pytest.fixture
def save(store, gallery, read_sessions):
    """Load the gallery as it is now, and publish it; `save(kind="flat_fp32")`."""

    def save(kind="flat_fp16"):
        with read_sessions() as session:
            view = load_view(session, gallery.generation, kind=kind)
        assert store.save(view)
        return view

    return save


@pytest.fixture
def load(store, read_sessions):
    """Return the view of the newest good snapshot, or None."""

    def load(kind="flat_fp16"):
        with read_sessions() as session:
            counter = read_counter(session)
            return store.load(session, active_generation(session), counter, kind=kind)

    return load


@pytest.fixture
def fill(gallery, encoder):
    """Add videos of three segments each."""

    def fill(count, *, seed=0):
        dim = encoder.spec.embedding_dim
        return [
            gallery.add(unit_vectors(3, seed=seed + number, dim=dim)) for number in range(count)
        ]

    return fill


@pytest.fixture
def twenty_videos(fill):
    """Twenty videos."""
    fill(20)


@pytest.fixture
def query(encoder):
    """A query."""
    return unit_vectors(1, seed=99, dim=encoder.spec.embedding_dim)[0]


@pytest.mark.parametrize("kind", ["flat_fp16", "flat_fp32", "flat_int8"])
def test_a_snapshot_brings_back_what_was_saved(fill, save, load, query, kind):
    fill(4)
    saved = save(kind)
    loaded = load(kind)
    assert loaded.search(query, 100) == saved.search(query, 100)
    assert (loaded.seq, loaded.epoch, loaded.chain) == (saved.seq, saved.epoch, saved.chain)


def test_a_replica_starts_from_a_snapshot_and_catches_up(make_replica, gallery, fill, save, query):
    ids = fill(4)
    save()
    gallery.delete(ids[0])
    late = fill(1, seed=50)
    with capture_logs() as logs:
        replica = make_replica()
    assert [one["source"] for one in logs if one["event"] == "replica_loaded"] == ["snapshot"]
    found = {hit.video_id for hit in replica.view().search(query, 100)}
    assert found == {*ids[1:], *late}


def test_a_replica_that_loaded_from_sql_publishes_a_snapshot_for_the_next(make_replica, fill, load):
    fill(3)
    make_replica(policy=PUBLISHING)
    until(lambda: load() is not None, what="the snapshot")


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-9])


def put_poison_there(path):
    """Put a file there that claims 2**40 embeddings: FAISS would try to allocate them."""
    shutil.copyfile(POISON, path)


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short, put_poison_there, Path.unlink])
def test_a_damaged_snapshot_is_skipped_for_the_older_one(fill, save, load, folder, damage):
    fill(2)
    older = save()
    fill(1, seed=9)
    newer = save()
    (path,) = folder.glob(f"*-{newer.seq}-*.snapshot")
    damage(path)
    with capture_logs() as logs:
        assert load().seq == older.seq
    assert [one["event"] for one in logs] == ["snapshot_skipped"]


def test_without_a_good_snapshot_a_replica_loads_from_sql(make_replica, fill, save, folder, query):
    fill(2)
    save()
    for path in folder.glob("*.snapshot"):
        put_poison_there(path)
    assert len(make_replica().view().search(query, 100)) == 6


def test_a_snapshot_of_another_history_is_not_used(fill, save, load, sessions):
    fill(1)
    save()
    with sessions.begin() as session:
        begin_epoch(session)
    assert load() is None


def test_a_snapshot_of_another_kind_of_index_is_not_used(fill, save, load):
    fill(1)
    save("flat_fp16")
    assert load("flat_fp32") is None


@pytest.mark.parametrize("kind", ["hnsw", "ivf_flat", "ivf_pq"])
@pytest.mark.usefixtures("twenty_videos")
def test_a_near_base_comes_back_with_how_it_is_searched(save, store, load, query, kind):
    flat = save()
    assert load(kind).kind == "flat_fp16"  # it is begun with, and made near in the background
    near = near_index(flat.base, kind, threading.Event())
    store.save(replace(flat, base=near))
    loaded = load(kind)
    assert (loaded.base.kind, loaded.base.near) == (kind, near.near)
    assert loaded.search(query, 5) == replace(flat, base=near).search(query, 5)
    assert loaded.search(query, 60) == flat.search(query, 60)
    assert load("flat_fp16").kind == "flat_fp16"  # the older one


def test_a_row_that_names_a_file_elsewhere_is_not_followed(fill, save, load, sessions):
    fill(1)
    save()
    with sessions.begin() as session:
        session.execute(update(Snapshot).values(path="../../etc/passwd"))
    assert load() is None


def test_only_the_newest_snapshots_are_kept(fill, save, folder, sessions):
    for number in range(KEPT + 2):
        fill(1, seed=number)
        save()
    with sessions() as session:
        named = set(session.scalars(select(Snapshot.path)))
    assert len(named) == KEPT
    assert {path.name for path in folder.glob("*.snapshot*")} == named


def test_only_one_process_builds_at_a_time(fill, save, store, folder, load):
    fill(1)
    view = save()
    fill(1, seed=5)
    with (folder / ".builder").open("w") as lock:  # as another process would hold it
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not store.save(view)
    assert load() is not None
    assert store.save(view)
