"""Another model takes over whole: what is embedded, what waits, and what is searched agree."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from service.catalog.audit import audit
from service.catalog.generation_queries import (
    ensure_active_generation,
    find_active_generation,
    switch_generation,
)
from service.catalog.job_queries import claim_job, get_job
from service.catalog.session import in_transaction, make_read_sessions
from service.catalog.tables import Change, ChangeOp, Embedding, Job, JobState, Video, VideoState
from service.errors import ConflictError
from service.models import find_bundle, is_anything_embedded, use_model
from service.registry import BUNDLED_PATH, Facts, Model, Registry
from service.videos import delete_video
from tests import factories

OTHER = "cd" * 32


def make_model(digest=OTHER, *, name="other", can_search=True, can_match=True):
    facts = Facts(
        family="all_in_one",
        digest=digest,
        can_search=can_search,
        can_match=can_match,
        spec={"frames_per_clip": 3},
    )
    return Model(name=name, path=Path("/models") / name, source="", added_at=None, facts=facts)


@pytest.fixture
def use(sessions, sender):
    def use(model, *, reembed=False):
        return use_model(sessions, sender, model, model.facts, reembed=reembed)

    return use


@pytest.fixture
def ingested(sessions, storage, upload):
    """Three videos: two that are embedded, one that waits."""
    accepted = [upload() for _ in range(3)]
    for each in accepted[:2]:
        factories.ingest(sessions, storage, each.job_id)
    return accepted


def active(sessions):
    with sessions() as session:
        return find_active_generation(session)


def states(sessions):
    with sessions() as session:
        return sorted(str(state) for state in session.scalars(select(Video.state)))


def assert_promises_are_kept(engine, storage):
    with make_read_sessions(engine)() as session:
        assert audit(session, storage, grace_s=3600) == []


def test_the_first_model_is_used_at_once(sessions, use):
    used = use(make_model())

    assert (used.was_active, used.num_queued) == (False, 0)
    assert active(sessions).bundle_digest == OTHER
    assert active(sessions).bundle_path == "/models/other"


def test_using_what_is_used_changes_nothing(sessions, use):
    use(make_model())
    before = active(sessions)

    assert use(make_model(), reembed=True).was_active
    assert active(sessions) == before


def test_a_model_that_cannot_search_is_refused_with_what_to_do(sessions, use, generation):
    with pytest.raises(ConflictError, match=r"matcher only.*--matcher other"):
        use(make_model(can_search=False))
    with pytest.raises(ConflictError, match=r"never trained.*reelseek train"):
        use(make_model(can_search=False, can_match=False))

    assert active(sessions) == generation


def test_while_nothing_is_embedded_a_model_takes_what_waits_over(sessions, use, upload):
    waiting = upload()
    with sessions() as session:
        assert not is_anything_embedded(session)

    assert use(make_model()).num_queued == 0
    generation = active(sessions)
    with sessions() as session:
        assert get_job(session, waiting.job_id).generation_id == generation.generation_id


def test_embedded_videos_are_not_given_up_unasked(sessions, use, ingested, generation):
    with pytest.raises(ConflictError, match=r"2 videos were .*models use other --reembed"):
        use(make_model())

    assert active(sessions) == generation
    assert states(sessions) == ["queued", "ready", "ready"]
    assert len(ingested) == 3


def test_embedding_again_queues_every_video_once(sessions, engine, storage, use, ingested):
    used = use(make_model(), reembed=True)

    assert used.num_queued == 3
    assert states(sessions) == ["queued"] * 3
    generation = active(sessions)
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Embedding)) == 0
        jobs = session.scalars(select(Job).where(Job.state == JobState.QUEUED)).all()
        assert {job.subject_id for job in jobs} == {each.video_id for each in ingested}
        assert {job.generation_id for job in jobs} == {generation.generation_id}
        last = session.scalars(select(Change).order_by(Change.seq.desc()).limit(1)).one()
    assert (last.op, last.generation_id) == (ChangeOp.PROMOTE, generation.generation_id)
    assert_promises_are_kept(engine, storage)


def test_videos_are_found_again_as_they_are_done(sessions, engine, storage, use, ingested):
    use(make_model(), reembed=True)
    with sessions() as session:
        job_ids = session.scalars(select(Job.id).where(Job.state == JobState.QUEUED)).all()

    for done, job_id in enumerate(job_ids, start=1):
        factories.ingest(sessions, storage, job_id)
        assert states(sessions).count("ready") == done
        assert_promises_are_kept(engine, storage)
    assert len(job_ids) == len(ingested)


def test_a_job_that_runs_is_taken_from_its_worker_and_starts_afresh(sessions, use, ingested):
    running = ingested[2].job_id
    claimed = in_transaction(sessions, lambda session: claim_job(session, running, lease_s=60))

    use(make_model(), reembed=True)

    generation = active(sessions)
    with sessions() as session:
        job = get_job(session, running)
        assert (job.state, job.attempts) == (JobState.QUEUED, 0)
        assert job.fence > claimed.fence
        assert job.generation_id == generation.generation_id


def test_deleted_videos_stay_deleted(sessions, engine, storage, use, ingested):
    delete_video(sessions, ingested[0].video_id)

    assert use(make_model(), reembed=True).num_queued == 2
    assert states(sessions) == ["deleted", "queued", "queued"]
    assert_promises_are_kept(engine, storage)


def test_going_back_makes_a_generation_of_its_own(sessions, use, ingested, generation):
    use(make_model(), reembed=True)
    back = make_model(generation.bundle_digest, name=generation.name)

    assert use(back).num_queued == 0  # nothing was embedded by the other one yet
    assert active(sessions).bundle_digest == generation.bundle_digest
    assert active(sessions).generation_id != generation.generation_id
    assert len(ingested) == 3


def test_a_failed_video_is_tried_again(sessions, use, ingested):
    with sessions.begin() as session:
        video = session.get_one(Video, ingested[0].video_id)
        video.state, video.reason, video.detail = VideoState.FAILED, "odd", "It was odd."

    use(make_model(), reembed=True)

    with sessions() as session:
        video = session.get_one(Video, ingested[0].video_id)
        assert (video.state, video.reason, video.detail) == (VideoState.QUEUED, None, None)


def test_a_switch_that_is_undone_leaves_no_trace(sessions, ingested, generation):
    class StoppedError(Exception):
        pass

    def work(session):
        switch_generation(session, generation, name="x", digest=OTHER, path="/x", spec={})
        raise StoppedError

    with pytest.raises(StoppedError):
        in_transaction(sessions, work)
    assert active(sessions) == generation
    assert states(sessions) == ["queued", "ready", "ready"]
    assert len(ingested) == 3


def test_a_changed_bundled_checkpoint_names_the_command_that_mends(sessions, ingested):
    assert ingested

    with pytest.raises(ConflictError, match="`reelseek models use bundled --reembed`"):
        in_transaction(
            sessions,
            lambda session: ensure_active_generation(
                session, name="bundled", digest=OTHER, path=str(BUNDLED_PATH), spec={}
            ),
        )


def test_the_service_starts_with_what_is_configured_else_searched_else_bundled(
    tmp_path, generation
):
    registry, bundle = Registry(tmp_path), tmp_path / "a-bundle"
    bundle.mkdir()

    there = replace(generation, bundle_path=str(bundle))
    assert find_bundle(there, registry, tmp_path / "configured") == tmp_path / "configured"
    assert find_bundle(there, registry, None) == bundle
    assert find_bundle(None, registry, None) == BUNDLED_PATH
    gone = replace(generation, bundle_path=str(tmp_path / "gone"))
    assert find_bundle(gone, registry, None) == BUNDLED_PATH
