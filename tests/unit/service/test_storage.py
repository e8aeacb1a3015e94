"""Files are whole, durable and in their place, or not there at all."""

import hashlib
import os
import time
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest

from service.durable import full_disk_is_said
from service.errors import NotFoundError, PayloadTooLargeError, StorageFullError
from service.storage import Storage, age_s, work_name
from tests.stored_files import blob_path

EXABYTE = 10**18


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path, limit_bytes=1000)


def stage(storage, *chunks):
    with storage.open_staging() as staging:
        for chunk in chunks:
            staging.write(chunk)
        return staging.finish()


def test_a_received_file_is_found_by_its_content(storage):
    staged = stage(storage, b"con", b"tent")
    storage.publish(staged)

    digest = hashlib.sha256(b"content").hexdigest()
    assert (staged.sha256, staged.size_bytes) == (digest, 7)
    with storage.local_blob(digest) as path:
        assert path.read_bytes() == b"content"
        assert path.suffix == ""
    assert [(blob.sha256, blob.size_bytes) for blob in storage.stored_blobs()] == [(digest, 7)]
    assert storage.blob_size(digest) == 7
    assert list(storage.staging.iterdir()) == []


def test_a_file_is_not_visible_before_it_is_published(storage):
    stage(storage, b"content")
    assert list(storage.stored_blobs()) == []


def test_publishing_twice_is_harmless(storage):
    storage.publish(stage(storage, b"content"))
    again = stage(storage, b"content")
    storage.publish(again)
    assert len(list(storage.stored_blobs())) == 1
    again.discard()
    again.discard()
    assert list(storage.staging.iterdir()) == []


def test_publishing_heals_a_file_that_was_cut_short(storage):
    staged = stage(storage, b"content")
    storage.publish(staged)
    path = blob_path(storage, staged.sha256)
    path.write_bytes(b"con")
    storage.publish(stage(storage, b"content"))
    assert path.read_bytes() == b"content"


def test_what_was_not_finished_is_removed(storage):
    with storage.open_staging() as staging:
        staging.write(b"half of it")
        assert staging.path.exists()
    assert list(storage.staging.iterdir()) == []


def test_a_file_over_the_limit_is_refused_while_it_is_received(storage):
    with storage.open_staging() as staging:
        staging.write(b"x" * 1000)
        with pytest.raises(PayloadTooLargeError):
            staging.write(b"x")
        assert list(storage.staging.iterdir()) == []


def test_a_file_that_says_it_is_over_the_limit_is_refused_before_the_first_byte(storage):
    with pytest.raises(PayloadTooLargeError):
        storage.open_staging(expected_bytes=1001)
    assert list(storage.staging.iterdir()) == []


def test_a_full_disk_is_said_before_the_first_byte_and_while_it_is_received(tmp_path):
    full = Storage(tmp_path, limit_bytes=EXABYTE, reserve_bytes=EXABYTE)
    assert full.free_bytes() == 0
    with pytest.raises(StorageFullError):
        full.open_staging()
    roomy = Storage(tmp_path, limit_bytes=EXABYTE)
    with pytest.raises(StorageFullError):
        roomy.open_staging(expected_bytes=EXABYTE)
    with roomy.open_staging() as staging:
        roomy.disk.reserve_bytes = EXABYTE
        with pytest.raises(StorageFullError):
            staging.write(b"x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_the_systems_error_of_a_full_disk_is_translated():
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 (closed below)
    with full, pytest.raises(StorageFullError), full_disk_is_said():
        full.write(b"x")


def test_other_errors_of_the_system_are_not_called_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError), full_disk_is_said():
        (tmp_path / "missing").read_bytes()


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", "ab/../" + "a" * 58]
)
def test_a_name_that_is_no_digest_leads_nowhere(storage, name):
    with pytest.raises(ValueError, match="no SHA-256"):
        storage.blob_size(name)


@pytest.mark.parametrize(
    "name", ["", "derived/..", "/etc", "derived/../blobs", f"derived/{UUID(int=7)}/../../staging-1"]
)
def test_a_name_that_is_no_folder_of_clips_leads_nowhere(storage, name):
    with pytest.raises(ValueError, match="no folder"):
        storage.read_clip(name, 0)


def clip(value):
    return np.full((2, 3, 3, 3), value, dtype=np.uint8)


def test_clips_and_thumbnails_come_back_as_they_were(storage):
    video_id, job_id = uuid4(), uuid4()
    with storage.open_derived(video_id, job_id, 1) as draft:
        places = [draft.add(clip(value), b"j" * (value + 1)) for value in range(12)]
        name = draft.publish()

    assert name == f"derived/{video_id}/{job_id}-1"
    assert storage.count_clips(name) == 12
    for value, place in enumerate(places):
        assert np.array_equal(storage.read_clip(name, value), clip(value))
        thumbnail = storage.read_thumbnail(name, place.offset, place.num_bytes)
        assert thumbnail == b"j" * (value + 1)
    assert list(storage.staging.iterdir()) == []
    assert [folder.name for folder in storage.stored_derived()] == [name]


def test_a_video_without_a_clip_has_an_empty_file_of_clips(storage):
    with storage.open_derived(uuid4(), uuid4(), 1) as draft:
        name = draft.publish()
    assert storage.count_clips(name) == 0


def test_a_draft_that_is_not_published_leaves_nothing(storage):
    with storage.open_derived(uuid4(), uuid4(), 1) as draft:
        draft.add(clip(1), b"jpeg")
    assert list(storage.staging.iterdir()) == []
    assert list(storage.stored_derived()) == []


def test_an_attempt_that_is_begun_again_begins_afresh(storage):
    video_id, job_id = uuid4(), uuid4()
    killed = storage.open_derived(video_id, job_id, 1)
    killed.add(clip(1), b"old")
    for _round in range(2):
        with storage.open_derived(video_id, job_id, 1) as draft:
            draft.add(clip(2), b"new")
            name = draft.publish()
    killed.discard()
    assert storage.read_clip(name, 0).max() == 2


@pytest.mark.parametrize("wrong", [clip(1)[:1], clip(1).astype(np.float32)])
def test_clips_of_one_video_are_alike(storage, wrong):
    with storage.open_derived(uuid4(), uuid4(), 1) as draft:
        draft.add(clip(1), b"")
        with pytest.raises(ValueError, match="a clip"):
            draft.add(wrong, b"")


def test_clips_that_are_gone_are_not_found(storage):
    name = f"derived/{uuid4()}/{uuid4()}-1"
    with pytest.raises(NotFoundError):
        storage.read_clip(name, 0)
    with pytest.raises(NotFoundError):
        storage.read_thumbnail(name, 0, 1)


def test_removing_the_last_folder_of_a_video_removes_the_videos_own(storage):
    video_id = uuid4()
    for fence in (1, 2):
        with storage.open_derived(video_id, uuid4(), fence) as draft:
            draft.publish()
    for folder in list(storage.stored_derived()):
        assert (storage.root / "derived" / str(video_id)).is_dir()
        storage.remove_derived(folder)
    assert list((storage.root / "derived").iterdir()) == []


def test_a_folder_is_as_young_as_its_youngest_file(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").touch()
    then = time.time() - 1000
    os.utime(folder, (then, then))
    assert age_s(folder) < 500
    os.utime(folder / "file", (then, then))
    assert age_s(folder) > 900
    assert age_s(tmp_path / "missing") == 0


def test_work_that_goes_on_is_not_stale(storage):
    job_id = uuid4()
    for fence in (1, 2):
        path = storage.staging / work_name(job_id, fence)
        path.mkdir()
        then = time.time() - 1000
        os.utime(path, (then, then))
    stale = list(storage.stale_staging(older_than_s=500, keep={work_name(job_id, 2)}))
    assert [path.name for path in stale] == [work_name(job_id, 1)]
    assert list(storage.stale_staging(older_than_s=2000, keep=())) == []


def test_a_piece_of_an_upload_is_kept_until_it_is_removed(storage):
    name = f"{uuid4()}/0"
    for content in (b"first", b"second" * 1_000_000):
        path = storage.staging / "upload-part"
        path.write_bytes(content)
        storage.put_part(name, path)
        assert not path.exists()
        assert b"".join(storage.read_part(name)) == content

    storage.remove_part(name)
    storage.remove_part(name)

    with pytest.raises(NotFoundError):
        next(storage.read_part(name))
    assert not list((storage.root / "uploads").glob("*"))


@pytest.mark.parametrize("name", ["../0", f"{'0' * 36}/../../x", f"{'0' * 36}/-1"])
def test_a_piece_has_no_other_name(storage, tmp_path, name):
    with pytest.raises(ValueError, match="no piece"):
        storage.put_part(name, tmp_path / "file")


def test_a_file_that_is_in_use_is_not_stale_however_old_it_seems(storage):
    with storage.open_staging() as staging:
        staging.write(b"content")
        assert list(storage.stale_staging(older_than_s=-1, keep=())) == []
        staged = staging.finish()
    assert list(storage.stale_staging(older_than_s=-1, keep=())) == []

    staged.hold.release()

    assert list(storage.stale_staging(older_than_s=-1, keep=())) == [staged.path]
