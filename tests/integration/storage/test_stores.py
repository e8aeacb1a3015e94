"""A folder and a bucket keep files alike."""

import hashlib
from uuid import uuid4

import numpy as np
import pytest

from service.errors import NotFoundError
from service.storage import bucket as buckets
from tests.factories import derive, stage

MIB = 1024 * 1024


@pytest.fixture
def put(files):
    """Put bytes under a name."""

    def put(name, content):
        path = files.staging / f"upload-{uuid4().hex}"
        path.write_bytes(content)
        files.store.put(name, path)

    return put


def test_what_was_put_is_there_until_it_is_removed(files, put):
    put("blobs/ab/c", b"content")

    assert files.store.size("blobs/ab/c") == 7
    with files.store.local("blobs/ab/c") as path:
        assert path.read_bytes() == b"content"
    for _time in range(2):
        files.store.remove("blobs/ab/c")
    assert files.store.size("blobs/ab/c") is None
    with pytest.raises(FileNotFoundError), files.store.local("blobs/ab/c"):
        pass


def test_a_file_that_is_put_again_is_replaced(files, put):
    put("uploads/x/0", b"first")
    put("uploads/x/0", b"another")
    assert files.store.read("uploads/x/0", 0, 100) == b"another"


@pytest.mark.parametrize("often", [False, True])
def test_a_part_is_read_as_far_as_the_file_goes(files, put, often):
    put("derived/v/j/clips.npy", b"0123456789")
    parts = {(0, 4): b"0123", (8, 4): b"89", (10, 4): b"", (50, 4): b"", (3, 0): b""}
    for _time in range(2):
        for (start, num_bytes), expected in parts.items():
            name = "derived/v/j/clips.npy"
            assert files.store.read(name, start, num_bytes, often=often) == expected
    with pytest.raises(FileNotFoundError):
        files.store.read("derived/v/j/none", 0, 4, often=often)


def test_an_empty_file_is_a_file(files, put):
    put("derived/v/j/thumbnails.bin", b"")
    assert files.store.size("derived/v/j/thumbnails.bin") == 0
    with files.store.local("derived/v/j/thumbnails.bin") as path:
        assert path.read_bytes() == b""


def test_all_files_below_a_prefix_are_listed(files, put, monkeypatch):
    monkeypatch.setattr(buckets, "NAMES_AT_ONCE", 2)  # so that there are several pages
    for number in range(7):
        put(f"blobs/a{number}/x", b"x" * number)
    put("uploads/a/0", b"other")

    found = {file.name: file.size_bytes for file in files.store.stored("blobs/")}
    assert found == {f"blobs/a{number}/x": number for number in range(7)}
    assert all(0 <= file.age_s < 60 for file in files.store.stored("blobs/"))
    assert list(files.store.stored("derived/")) == []


def test_a_large_file_comes_back_as_it_was(files, monkeypatch):
    monkeypatch.setattr(buckets, "PIECE_BYTES", 5 * MIB)  # the least that S3 takes
    monkeypatch.setattr(buckets, "WINDOW_BYTES", MIB)
    content = np.random.default_rng(0).bytes(12 * MIB + 7)
    staged = stage(files, content)
    files.send_ahead(staged)
    files.publish(staged)
    staged.discard()

    assert files.blob_size(staged.sha256) == len(content)
    with files.local_blob(staged.sha256) as path:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == staged.sha256
    middle = b"".join(files.open_blob_range(staged.sha256, MIB - 3, 4 * MIB + 5))
    assert middle == content[MIB - 3 : 4 * MIB + 5]
    assert [blob.sha256 for blob in files.stored_blobs()] == [staged.sha256]
    files.remove_blob(staged.sha256)
    with pytest.raises(FileNotFoundError):
        files.open_blob_range(staged.sha256, 0, 1)


def test_a_file_that_was_cut_short_is_healed(files):
    staged = stage(files, b"content")
    half = files.staging / "half"
    half.write_bytes(b"con")
    files.store.put(f"blobs/{staged.sha256[:2]}/{staged.sha256[2:]}", half)
    files.publish(staged)
    assert b"".join(files.open_blob_range(staged.sha256, 0, 7)) == b"content"


def test_clips_and_thumbnails_are_read_from_where_they_are_kept(files):
    video_id, job_id = uuid4(), uuid4()
    name = derive(files, video_id, job_id, 3, count=5).derived

    assert files.count_clips(name) == 5
    assert files.read_clip(name, 4).shape == (2, 4, 4, 3)
    assert files.read_clip(name, 4).max() == 4
    assert np.array_equal(files.map_clips(name)[3], files.read_clip(name, 3))
    assert files.read_thumbnail(name, 5, 5) == b"jpeg1"
    with pytest.raises(IndexError):
        files.read_clip(name, 5)
    (folder,) = files.stored_derived()
    assert (folder.name, folder.attempt) == (name, f"{job_id}-3")
    files.remove_derived(folder)
    assert list(files.stored_derived()) == []
    with pytest.raises(NotFoundError):
        files.read_clip(name, 4)


def test_pieces_of_an_upload_are_kept_until_they_are_removed(files):
    names = [f"{uuid4()}/{start}" for start in (0, 10, 20)]
    for name in names:
        path = files.staging / "upload-part"
        path.write_bytes(name.encode() * 50_000)
        files.put_part(name, path)
        assert not path.exists()

    assert sorted(part.name for part in files.stored_parts()) == sorted(names)
    assert b"".join(files.read_part(names[1])) == names[1].encode() * 50_000
    files.remove_part(names[1])
    with pytest.raises(NotFoundError):
        next(files.read_part(names[1]))


def test_what_must_stay_stays_when_it_is_removed_elsewhere(bucket):
    staged = stage(bucket, b"content")
    bucket.publish(staged)
    folder = bucket.tuning_folder(uuid4()) / "footage"
    path = bucket.stay_blob(staged.sha256, folder)
    assert bucket.stay_blob(staged.sha256, folder) == path
    bucket.remove_blob(staged.sha256)
    assert path.read_bytes() == b"content"
    assert not bucket.stay_blob("ab" * 32, folder).exists()
