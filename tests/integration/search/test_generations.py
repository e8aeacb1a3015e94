"""Several generations at once: what is loaded before a switch, what answers, and what is gone."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import select, update

from model.bundle import bundle_digest
from service.catalog.activation_tables import ReplicaReport
from service.catalog.change_queries import append_change, read_counter
from service.catalog.tables import Change, ChangeOp
from service.encoder import Encoder
from service.errors import ConflictError, UnavailableError
from service.index.loader import Encoders
from service.index.replica import IndexReplica
from tests.factories_gallery import like, until
from tests.factories_generations import build_generation, make_ready, promote, retire
from tests.factories_model import make_tiny_bundle

TEXT = "a red circle"


def reports(sessions):
    with sessions() as session:
        return list(session.scalars(select(ReplicaReport)))


def generation_of(answer):
    return answer.receipt.generation_id


def found(answer):
    return {moment.video_id: moment.similarity for moment in answer.moments}


def test_what_will_take_over_is_loaded_beside_what_answers(
    make_replica, add_to_both, ask, *, sessions, first, second
):
    video_id = add_to_both(0.9, 0.4)
    replica = make_replica()
    until(lambda: replica.generation_ids == {first, second}, what="the second generation")
    assert generation_of(ask(replica, TEXT)) == first
    assert found(ask(replica, TEXT))[video_id] == pytest.approx(0.9, abs=0.01)
    promote(sessions, second)
    until(lambda: replica.view().generation_id == second, what="the switch")
    assert found(ask(replica, TEXT))[video_id] == pytest.approx(0.4, abs=0.01)
    assert replica.serving(generation_id=first).view.num_segments == 1


def test_what_is_still_being_filled_is_not_loaded(
    make_replica, gallery, sessions, first, other_bundle
):
    filled = build_generation(sessions, other_bundle, gallery.spec, is_ready=False).generation_id
    replica = make_replica()
    with pytest.raises(ConflictError) as refused:
        replica.serving(generation_id=filled)
    assert refused.value.reason == "generation_gone"
    assert replica.generation_ids == {first}
    make_ready(sessions, filled)
    until(lambda: filled in replica.generation_ids, what="the generation")


@pytest.mark.usefixtures("patience")
def test_changes_reach_every_generation_that_is_followed(
    make_replica, add_to_both, gallery, *, sessions, first, second
):
    replica = make_replica()
    promote(sessions, second)
    until(lambda: replica.view().generation_id == second, what="the switch")
    gone, stays = add_to_both(0.9, 0.4), add_to_both(0.8, 0.3)
    seq = gallery.delete(gone)
    for generation_id in (first, second):
        view = replica.serving(min_seq=seq, generation_id=generation_id).view
        hits = view.search(like(gallery_query(replica, generation_id), 1.0), 10)
        assert {hit.video_id for hit in hits} == {stays}


def gallery_query(replica, generation_id):
    return replica.serving(generation_id=generation_id).encoder.embed_text(TEXT)


def test_replicas_report_until_the_switch_and_take_it_back(make_replica, sessions, second):
    one, two = make_replica(), make_replica()

    def are_warm():
        found = reports(sessions)
        return len(found) == 2 and all(report.is_warm for report in found)

    until(are_warm, what="two warm processes")
    assert {report.generation_id for report in reports(sessions)} == {second}
    two.stop()
    until(lambda: len(reports(sessions)) == 1, what="the end of one process")
    promote(sessions, second)
    until(lambda: reports(sessions) == [], what="the end of reporting")
    assert one.is_ready


@pytest.fixture
def held_back(read_sessions, sessions, settings, gallery, first):  # noqa: ARG001 (registered first)
    """A replica that cannot load a second bundle before `may_load` is set."""
    may_load = threading.Event()

    def open_encoder(generation):
        if generation.generation_id != first:
            may_load.wait()
        return Encoder(Path(generation.bundle_path), settings)

    replica = IndexReplica(
        reads=read_sessions, sessions=sessions, settings=settings, open_encoder=open_encoder
    )
    replica.may_load = may_load
    replica.start()
    until(lambda: replica.is_ready, what="the replica")
    yield replica
    may_load.set()
    replica.stop()


def test_until_what_was_promoted_is_loaded_the_one_before_answers(
    held_back, add_to_both, ask, *, sessions, first, second
):
    until(lambda: len(reports(sessions)) == 1, what="a report")
    assert not reports(sessions)[0].is_warm
    seq = promote(sessions, second)
    early = add_to_both(0.9, 0.4)
    until(lambda: held_back.applied_seq > seq, what="the changes after the switch")
    answer = ask(held_back, TEXT)
    assert generation_of(answer) == first
    assert early in found(answer)
    with pytest.raises(UnavailableError) as refused:  # nobody promised it in the old one
        held_back.serving(min_seq=seq + 1)
    assert refused.value.reason == "index_behind"
    held_back.may_load.set()
    until(lambda: held_back.view().generation_id == second, what="the switch")
    assert held_back.serving(min_seq=seq + 1).view.generation_id == second


def test_loading_does_not_delay_changes(held_back, add_to_both, ask, sessions, second):
    until(lambda: second in {report.generation_id for report in reports(sessions)}, what="a load")
    late = add_to_both(0.9, 0.4)
    with sessions() as session:
        seq = read_counter(session).seq
    until(lambda: held_back.applied_seq >= seq, what="the change")
    assert late in found(ask(held_back, TEXT))


def test_a_promoted_bundle_that_is_missing_leaves_the_one_before_answering(
    make_replica, ask, gallery, *, sessions, first, encoder, tmp_path
):
    bundle = make_tiny_bundle(tmp_path / "lost", seed=6)
    lost = build_generation(sessions, bundle, gallery.spec, is_ready=False).generation_id
    replica = make_replica()
    bundle.rename(tmp_path / "elsewhere")
    promote(sessions, lost)
    until(lambda: replica.failure is not None, what="the failure")
    assert "could not be loaded" in replica.failure
    video_id = gallery.add([like(encoder.embed_text(TEXT), 0.9)])
    until(lambda: video_id in found(ask(replica, TEXT)), what="the video")
    assert generation_of(ask(replica, TEXT)) == first


def test_what_is_retired_is_given_back(make_replica, sessions, first, second):
    replica = make_replica()
    until(lambda: second in replica.generation_ids, what="the second generation")
    promote(sessions, second)
    until(lambda: replica.view().generation_id == second, what="the switch")
    retire(sessions, first)
    until(lambda: replica.generation_ids == {second}, what="the end of the first")
    with pytest.raises(ConflictError) as refused:
        replica.serving(generation_id=first)
    assert refused.value.reason == "generation_gone"


def test_a_rollback_window_that_is_over_ends_a_generation(make_replica, sessions, second):
    replica = make_replica()
    until(lambda: second in replica.generation_ids, what="the second generation")
    promote(sessions, second, keep_s=-1)
    until(lambda: replica.generation_ids == {second}, what="the end of the first")


def test_damage_in_the_log_brings_all_generations_back(
    make_replica, add_to_both, sessions, first, second
):
    add_to_both(0.9, 0.4)
    replica = make_replica()
    until(lambda: replica.generation_ids == {first, second}, what="both generations")
    stale = {key: replica.serving(generation_id=key).view.base for key in (first, second)}
    with sessions.begin() as session:
        seq = append_change(session, ChangeOp.DELETE, video_id=first, video_version=2)
        session.execute(update(Change).where(Change.seq == seq).values(video_version=3))
    until(
        lambda: (
            replica.generation_ids == {first, second}
            and all(replica.serving(generation_id=key).view.base is not stale[key] for key in stale)
        ),
        what="both generations again",
    )


def test_encoders_are_shared_by_their_bundle_and_closed_when_no_one_needs_them(
    gallery, sessions, bundle_dir, *, other_bundle, settings
):
    def open_encoder(generation):
        return Encoder(Path(generation.bundle_path), settings)

    patient, strict = Encoders(open_encoder), Encoders(open_encoder, grace_s=0)
    same = build_generation(sessions, bundle_dir, gallery.spec)
    other = build_generation(sessions, other_bundle, gallery.spec)
    for encoders in (patient, strict):
        opened, kept = encoders.of(gallery.generation), encoders.of(other)
        assert encoders.of(same) is opened
        encoders.keep_only({bundle_digest(other_bundle)})
        assert encoders.of(other) is kept
        if encoders is patient:  # searches that began with it go on
            assert opened.embed_text(TEXT).any()
            assert encoders.of(same) is opened
        else:
            with pytest.raises(UnavailableError):
                opened.embed_text(TEXT)
            assert encoders.of(same) is not opened
        encoders.close()
