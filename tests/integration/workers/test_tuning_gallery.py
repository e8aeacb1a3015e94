"""Which stored clips a tuning run compares its models on."""

from uuid import uuid4

import numpy as np
import pytest
import torch

from model.bundle import bundle_digest, load_bundle
from model.gate.gallery import open_shelf, read_gallery
from service.catalog.activation_tables import GenerationVideo
from service.catalog.gallery_queries import sample_gallery
from tests.factories_gallery import Gallery
from workers.tuning.folder import GALLERY
from workers.tuning.gallery import write_live_gallery


@pytest.fixture
def gallery(sessions, storage, bundle_dir):
    spec = load_bundle(bundle_dir).spec
    return Gallery(sessions, storage, bundle_dir, digest=bundle_digest(bundle_dir), spec=spec)


@pytest.fixture
def add(gallery, sessions):
    """Add a video of so many segments with stored clips: `add(3)`."""

    def add(count, *, derived=None):
        vectors = np.eye(gallery.spec.embedding_dim, dtype=np.float32)[:count]
        video_id = gallery.add(vectors, has_clips=True)
        with sessions.begin() as session:
            session.merge(
                GenerationVideo(
                    generation_id=gallery.generation.generation_id,
                    video_id=video_id,
                    video_version=1,
                    num_segments=count,
                    derived=derived,
                )
            )
        return video_id

    return add


@pytest.fixture
def sample(gallery, read_sessions):
    """Draw segments: `sample(wanted, most=5)`."""

    def sample(wanted=(), **options):
        with read_sessions() as session:
            generation_id = gallery.generation.generation_id
            return sample_gallery(session, generation_id, set(wanted), **options)

    return sample


def test_a_small_gallery_is_taken_whole(add, sample):
    one, two = add(2), add(3)
    found = sample()
    assert {(row.video_id, row.ordinal) for row in found} == {
        *((one, ordinal) for ordinal in range(2)),
        *((two, ordinal) for ordinal in range(3)),
    }
    assert [(row.start_s, row.end_s) for row in found if row.video_id == one] == [(0, 4), (4, 8)]


def test_of_a_large_one_whole_videos_are_drawn_those_asked_about_first(add, sample):
    videos = [add(2) for _ in range(8)]
    asked = videos[3]
    found = sample([asked], most=5)
    assert len(found) == 4
    assert sum(row.video_id == asked for row in found) == 2


def test_equal_seeds_draw_equal_videos(add, sample):
    for _ in range(8):
        add(1)
    first = {row.video_id for row in sample(most=3, seed=1)}
    assert first == {row.video_id for row in sample(most=3, seed=1)}
    assert any(first != {row.video_id for row in sample(most=3, seed=n)} for n in range(2, 10))


def test_a_video_longer_than_the_sample_is_taken_all_the_same(add, sample):
    video_id = add(5)
    assert [row.video_id for row in sample(most=2)] == [video_id] * 5


def test_deleted_videos_are_not_drawn(add, sample, gallery):
    gone, stays = add(1), add(1)
    gallery.delete(gone)
    assert [row.video_id for row in sample([gone])] == [stays]


def test_clips_decoded_for_the_generation_are_the_ones_named(add, sample):
    folder = f"derived/{uuid4()}/{uuid4()}-1"
    add(1, derived=folder)
    (row,) = sample()
    assert row.derived == folder


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_gallery_of_a_run_can_be_opened(add, gallery, read_sessions, storage, tmp_path):
    video_id = add(3)
    count = write_live_gallery(tmp_path, reads=read_sessions, storage=storage, held_out={video_id})
    shelf = open_shelf(read_gallery(tmp_path / GALLERY), tmp_path)
    assert count == len(shelf.segments) == 3
    assert shelf.clips_for(gallery.spec) is shelf.clips
    first = storage.read_clip(
        shelf.segments[0].clips_path.parent.relative_to(storage.root).as_posix(), 0
    )
    assert np.array_equal(shelf.clips[torch.tensor([0])][0].numpy(), first)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_empty_index_has_no_gallery(gallery, read_sessions, storage, tmp_path):
    del gallery
    assert write_live_gallery(tmp_path, reads=read_sessions, storage=storage, held_out=()) == 0
    assert not (tmp_path / GALLERY).exists()
