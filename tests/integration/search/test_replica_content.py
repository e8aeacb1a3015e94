"""What a replica holds can be compared with SQL, and with other replicas."""

import zlib

import pytest
from sqlalchemy import update

from service.catalog.change_queries import read_counter
from service.catalog.generation_queries import active_generation
from service.catalog.tables import Embedding
from service.index.content import content_of
from service.index.loading import load_view
from tests.factories import unit_vectors
from tests.factories_gallery import until


@pytest.fixture
def vectors(encoder):
    return lambda count, seed=0: unit_vectors(count, seed=seed, dim=encoder.spec.embedding_dim)


def stored(sessions):
    with sessions() as session:
        return content_of(load_view(session, active_generation(session), kind="flat_fp16"))


def followed(replica, sessions):
    with sessions() as session:
        seq = read_counter(session).seq
    until(lambda: replica.applied_seq >= seq, what=f"change {seq}")
    return content_of(replica.view())


def test_what_followed_uploads_and_deletes_equals_what_is_stored(
    make_replica, gallery, vectors, sessions
):
    first = gallery.add(vectors(3, seed=1))
    replica = make_replica()
    gallery.add(vectors(2, seed=2))
    gallery.add(vectors(4, seed=3))
    gallery.delete(first)

    held = followed(replica, sessions)

    assert held == stored(sessions)
    assert held.num_segments == 6


@pytest.mark.usefixtures("gallery")
def test_an_empty_gallery_has_a_content_too(make_replica, sessions):
    held = followed(make_replica(), sessions)

    assert held == stored(sessions)
    assert held.num_segments == 0


def test_an_embedding_that_was_changed_behind_the_log_shows(
    make_replica, gallery, vectors, sessions
):
    gallery.add(vectors(3))
    replica = make_replica()
    other = vectors(1, seed=9)[0].astype("<f2").tobytes()
    with sessions.begin() as session:
        change = update(Embedding).where(Embedding.ordinal == 1)
        session.execute(change.values(vector=other, crc=zlib.crc32(other)))

    held, now = followed(replica, sessions), stored(sessions)

    assert held.keys_digest == now.keys_digest
    assert held.vectors_digest != now.vectors_digest


def test_a_segment_that_only_the_replica_has_shows(make_replica, gallery, vectors, sessions):
    video_id = gallery.add(vectors(3))
    replica = make_replica()
    with sessions.begin() as session:
        gone = session.get(Embedding, (active_generation(session).generation_id, video_id, 2))
        session.delete(gone)

    held, now = followed(replica, sessions), stored(sessions)

    assert (held.num_segments, now.num_segments) == (3, 2)
    assert held.keys_digest != now.keys_digest
