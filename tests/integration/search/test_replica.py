"""Replicas follow the change log, notice damage, and agree with SQL and with each other."""

import threading
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import delete, update
from structlog.testing import capture_logs

from model.bundle import bundle_digest
from service.catalog.change_queries import append_change, begin_epoch, read_counter
from service.catalog.replica_queries import read_chain
from service.catalog.tables import Change, ChangeCounter, ChangeOp, Embedding
from service.errors import UnavailableError
from service.index.builder import RebuildPolicy
from service.index.replica import IndexReplica
from tests.factories import unit_vectors
from tests.factories_gallery import Gallery, until
from tests.factories_model import make_tiny_bundle

EAGER = RebuildPolicy(delta_share=0.0, delta_floor=8, snapshot_floor=10**9)


@pytest.fixture
def vectors(encoder):
    """Return random embeddings: `vectors(3, seed=1)`."""
    return lambda count, seed=0: unit_vectors(count, seed=seed, dim=encoder.spec.embedding_dim)


def seq_now(sessions):
    with sessions() as session:
        return read_counter(session).seq


def contents(replica, query):
    return replica.view().search(query, 10_000)


def follow(replica, sessions):
    """Wait until a replica has applied everything."""
    seq = seq_now(sessions)
    until(lambda: replica.applied_seq >= seq, what=f"change {seq}")


def test_a_replica_of_an_empty_gallery_is_ready_and_finds_nothing(make_replica, vectors):
    assert contents(make_replica(), vectors(1)[0]) == []


def test_before_it_is_ready_a_replica_refuses_instead_of_finding_nothing(
    gallery, vectors, read_sessions, sessions, settings
):
    gallery.add(vectors(3))
    replica = IndexReplica(
        reads=read_sessions, sessions=sessions, settings=settings, open_encoder=lambda _: None
    )
    assert not replica.is_ready
    with pytest.raises(UnavailableError) as refused:
        replica.serving()
    assert refused.value.retry_after_s


def test_uploads_and_deletes_arrive_in_order(make_replica, gallery, vectors, sessions):
    first = gallery.add(vectors(3, seed=1))
    replica = make_replica()
    second = gallery.add(vectors(2, seed=2))
    gallery.delete(first)
    follow(replica, sessions)
    hits = contents(replica, vectors(1)[0])
    assert {(hit.video_id, hit.ordinal) for hit in hits} == {(second, 0), (second, 1)}
    assert {hit.seq for hit in hits} == {seq_now(sessions) - 1}


def test_two_replicas_agree_though_one_followed_and_one_loaded(
    make_replica, gallery, vectors, sessions
):
    early = make_replica(policy=EAGER)
    ids = [gallery.add(vectors(5, seed=seed)) for seed in range(6)]
    gallery.delete(ids[2])
    late = make_replica()
    gallery.add(vectors(4, seed=9))
    for replica in (early, late):
        follow(replica, sessions)
    query = vectors(1, seed=77)[0]
    assert contents(early, query) == contents(late, query)
    assert len(contents(early, query)) == 29


def test_the_base_is_rebuilt_in_the_background_with_the_same_contents(
    make_replica, gallery, vectors, sessions
):
    replica = make_replica(policy=EAGER)
    for seed in range(5):
        gallery.add(vectors(4, seed=seed))
    follow(replica, sessions)
    until(lambda: len(replica.view().base) >= 9, what="the new base")
    assert len(contents(replica, vectors(1)[0])) == 20 == replica.view().num_segments


def test_a_base_with_many_dead_segments_is_rebuilt(make_replica, gallery, vectors):
    ids = [gallery.add(vectors(4, seed=seed)) for seed in range(5)]
    replica = make_replica()
    gallery.delete(ids[0])
    until(lambda: len(replica.view().base) == 16, what="the base without the dead")
    assert replica.view().num_dead == 0


def test_searches_go_on_while_changes_are_applied(make_replica, gallery, vectors, sessions):
    replica = make_replica(policy=EAGER)
    stays = gallery.add(vectors(8, seed=1))
    follow(replica, sessions)
    query = vectors(1, seed=5)[0]
    failures, is_over = [], threading.Event()

    def search_on():
        while not is_over.is_set():
            hits = contents(replica, query)
            if sum(hit.video_id == stays for hit in hits) != 8:
                failures.append(hits)

    searchers = [threading.Thread(target=search_on) for _ in range(4)]
    for searcher in searchers:
        searcher.start()
    for seed in range(15):
        video_id = gallery.add(vectors(3, seed=seed))
        if seed % 2:
            gallery.delete(video_id)
    follow(replica, sessions)
    is_over.set()
    for searcher in searchers:
        searcher.join()
    assert not failures
    assert len(contents(replica, query)) == 8 + 8 * 3


def lose_a_line(session):
    """Commit two changes at once, and lose the first of them."""
    for _ in range(2):
        seq = append_change(session, ChangeOp.DELETE, video_id=uuid4(), video_version=2)
    session.execute(delete(Change).where(Change.seq == seq - 1))


def lose_the_last_line(session):
    seq = append_change(session, ChangeOp.DELETE, video_id=uuid4(), video_version=2)
    session.execute(delete(Change).where(Change.seq == seq))


def alter_a_line(session):
    seq = append_change(session, ChangeOp.DELETE, video_id=uuid4(), video_version=2)
    session.execute(update(Change).where(Change.seq == seq).values(video_version=3))


def go_back(session):
    """Restore an older counter, as a careless restore of the database would."""
    seq = read_counter(session).seq - 1
    session.execute(delete(Change).where(Change.seq > seq))
    session.execute(update(ChangeCounter).values(seq=seq, chain=read_chain(session, seq)))


@pytest.mark.parametrize(
    "damage", [lose_a_line, lose_the_last_line, alter_a_line, go_back, begin_epoch]
)
def test_a_damaged_log_or_another_history_makes_the_replica_load_again(
    make_replica, gallery, vectors, sessions, damage
):
    gallery.add(vectors(2, seed=1))
    gallery.add(vectors(1, seed=2))
    replica = make_replica()
    stale = replica.view().base
    with capture_logs() as logs:
        with sessions.begin() as session:
            damage(session)
        until(lambda: replica.is_ready and replica.view().base is not stale, what="a new load")
    assert [one["event"] for one in logs][:2] == ["replica_out_of_step", "replica_loaded"]
    with sessions() as session:
        counter = read_counter(session)
    view = replica.view()
    assert (view.epoch, view.seq, view.chain) == counter
    assert len(contents(replica, vectors(1)[0])) == (3 if damage is not go_back else 2)
    gallery.add(vectors(4, seed=3))
    follow(replica, sessions)
    assert replica.view().num_segments == len(view.search(vectors(1)[0], 99)) + 4


@pytest.mark.usefixtures("patience")
def test_a_change_that_comes_is_waited_for(make_replica, gallery, vectors, sessions):
    replica = make_replica()
    gallery.add(vectors(1))
    seq = seq_now(sessions)
    assert replica.serving(min_seq=seq).view.seq >= seq


def test_a_change_that_does_not_come_is_refused(make_replica, sessions):
    replica, seq = make_replica(), seq_now(sessions)
    with pytest.raises(UnavailableError) as refused:
        replica.serving(min_seq=seq + 1)
    assert refused.value.retry_after_s


def test_an_embedding_that_was_altered_is_left_out(make_replica, gallery, vectors, sessions):
    gallery.add(vectors(3))
    with sessions.begin() as session:
        session.execute(
            update(Embedding)
            .where(Embedding.ordinal == 1)
            .values(vector=np.ones(32, "<f2").tobytes())
        )
    hits = contents(make_replica(), vectors(1)[0])
    assert sorted(hit.ordinal for hit in hits) == [0, 2]


def test_a_promoted_generation_switches_index_and_encoder_together(
    make_replica, gallery, sessions, tmp_path
):
    replica = make_replica()
    before = replica.serving()
    bundle = make_tiny_bundle(tmp_path / "other", seed=5)
    other = Gallery(
        sessions, gallery.storage, bundle, digest=bundle_digest(bundle), spec=gallery.spec
    )
    promoted = other.generation.generation_id
    until(lambda: replica.view().generation_id == promoted, what="the switch")
    after = replica.serving()
    assert after.encoder.digest == other.generation.bundle_digest != before.encoder.digest
    assert before.view.generation_id == gallery.generation.generation_id


def test_a_bundle_that_changed_on_disk_is_not_searched_with(
    make_replica, gallery, sessions, bundle_dir
):
    Gallery(sessions, gallery.storage, bundle_dir, digest="ab" * 32, spec=gallery.spec)
    replica = make_replica(is_awaited=False)
    until(lambda: replica.failure is not None, what="the refusal")
    assert "is not the one" in replica.failure
    assert not replica.is_ready
