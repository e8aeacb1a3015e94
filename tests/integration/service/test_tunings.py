"""Asking for tuning runs: what is written, what is refused and why, cancelling, sweeping."""

import json
import os
import time
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import select

from service.catalog import audit, caption_queries, tuning_progress_queries, tuning_queries
from service.catalog.ingest_queries import delete_video
from service.catalog.job_queries import LostLeaseError, claim_job, fail_job
from service.catalog.session import in_transaction
from service.catalog.tables import JobKind, JobState, ModelVersion
from service.catalog.tuning_queries import finish_tuning
from service.catalog.tuning_tables import Policy, TuningPair
from service.catalog.webhook_queries import Event
from service.catalog.webhook_tables import WebhookDelivery
from service.errors import ConflictError, InvalidInputError, NotFoundError
from service.housekeeping import sweep_files
from service.outbound import Policy as OutboundPolicy
from service.pairs import HoldOut, PairFilter
from service.registry import Registry
from service.tunings.request import TuningRequest
from service.tunings.requesting import cancel_tuning, look_ahead
from service.webhooks import managing
from tests.factories_captioned import add_caption, captioned_videos, job_of, read, request
from tests.factories_ingest import register


@pytest.fixture
def generation(sessions, bundle_dir):
    """The generation of the tiny bundle, whose folder is there."""
    return register(sessions, bundle_dir)


@pytest.fixture
def videos(sessions, storage, sender, generation, tmp_path):  # noqa: ARG001 (uploads need one)
    return captioned_videos(sessions, storage, sender, tmp_path)


@pytest.fixture
def ask(sessions, sender, settings):
    """Ask for a run: `ask(name="mine")`."""
    return lambda **asked: request(sessions, sender, settings, **asked)


def pairs_of(sessions, tuning_id) -> list[TuningPair]:
    with sessions() as session:
        return [row.pair for row in tuning_queries.pairs_of(session, tuning_id)]


def test_a_run_is_written_with_its_pairs_and_its_job(sessions, videos, ask, generation):
    requested = ask(choices={"steps": 3, "seed": 1}, held_out_share=0.3)

    record = read(sessions, requested.tuning_id)
    assert (record.job.kind, record.job.state) == (JobKind.TUNE, JobState.QUEUED)
    assert record.tuning.base_version_id == generation.model_version_id
    assert record.base_name == "tiny"
    assert record.tuning.request["steps"] == 3
    pairs = pairs_of(sessions, requested.tuning_id)
    assert [pair.ordinal for pair in pairs] == list(range(2 * len(videos)))
    train = {pair.video_id for pair in pairs if not pair.is_held_out}
    held_out = {pair.video_id for pair in pairs if pair.is_held_out}
    assert train
    assert held_out
    assert not train & held_out
    counts = record.tuning.plan["pairs"]
    assert (counts["train"], counts["held_out"]) == (2 * len(train), 2 * len(held_out))


def test_what_is_deleted_is_not_learned_from(sessions, videos, ask):
    requested = ask()
    pairs = pairs_of(sessions, requested.tuning_id)
    first = next(pair for pair in pairs if pair.video_id != videos[-1])

    in_transaction(
        sessions, lambda session: caption_queries.delete_caption(session, first.origin_id)
    )
    in_transaction(sessions, lambda session: delete_video(session, videos[-1]))

    left = pairs_of(sessions, requested.tuning_id)
    assert first.ordinal not in {pair.ordinal for pair in left}
    assert videos[-1] not in {pair.video_id for pair in left}
    assert len(left) == len(pairs) - 3


def test_captions_of_videos_that_are_seen_can_be_held_out(sessions, videos, ask):
    requested = ask(hold_out=HoldOut.CAPTIONS, held_out_share=0.5)

    record = read(sessions, requested.tuning_id)
    pairs = pairs_of(sessions, requested.tuning_id)
    assert {pair.video_id for pair in pairs if not pair.is_held_out} == set(videos)
    assert any(pair.is_held_out for pair in pairs)
    assert any("Other captions of the same videos" in one for one in record.tuning.plan["warnings"])


def test_without_captions_it_says_how_to_add_some(sessions, ask, generation):  # noqa: ARG001
    with pytest.raises(ConflictError, match="POST /v1/videos/ID/captions") as refused:
        ask()
    assert refused.value.reason == "no_pairs"


@pytest.mark.parametrize(
    ("asked", "error", "reason", "words"),
    [
        ({"pairs": PairFilter(tags=["nothing"])}, ConflictError, "no_pairs", "filter"),
        ({"model_id": uuid4()}, NotFoundError, "not_found", "GET /v1/models"),
        ({"choices": {"batch": 100}}, InvalidInputError, "invalid_input", "batch of 100"),
        ({"name": "bundled"}, InvalidInputError, "invalid_input", "comes along"),
        ({"name": "a/b"}, InvalidInputError, "invalid_input", "no name"),
    ],
)
@pytest.mark.usefixtures("videos")
def test_what_makes_no_sense_is_refused_with_the_reason(ask, asked, error, reason, words):
    with pytest.raises(error, match=words) as refused:
        ask(**asked)
    assert refused.value.reason == reason


def test_too_few_pairs_are_counted(videos, ask):
    with pytest.raises(ConflictError, match="leave 1 to train") as refused:
        ask(pairs=PairFilter(video_ids=videos[:1]), hold_out=HoldOut.CAPTIONS, held_out_share=0.9)
    assert refused.value.reason == "too_few_pairs"


@pytest.mark.usefixtures("videos")
def test_a_name_is_promised_once(sessions, ask):
    first = ask(name="mine")
    with pytest.raises(ConflictError, match="'mine'") as refused:
        ask(name="mine")
    assert refused.value.reason == "name_taken"

    cancel_tuning(sessions, first.tuning_id)
    ask(name="mine")


@pytest.mark.usefixtures("videos")
def test_a_model_that_is_not_trained_here_is_refused(sessions, ask, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"family": "image_text"}))

    def add(session, **values):
        version = ModelVersion(name="clip", spec={}, **values)
        session.add(version)
        session.flush()
        return version.id

    known = {"bundle_digest": "c" * 64, "bundle_path": str(folder)}
    model_id = in_transaction(sessions, lambda session: add(session, **known))
    with pytest.raises(ConflictError, match="image_text") as refused:
        ask(model_id=model_id)
    assert refused.value.reason == "not_trainable"

    gone = {"bundle_digest": "d" * 64, "bundle_path": str(tmp_path / "gone")}
    model_id = in_transaction(sessions, lambda session: add(session, **gone))
    with pytest.raises(ConflictError, match="any more") as refused:
        ask(model_id=model_id)
    assert refused.value.reason == "bundle_missing"


@pytest.mark.usefixtures("videos")
def test_looking_ahead_writes_nothing_and_warns(sessions, read_sessions, settings):
    asked = TuningRequest(policy=Policy.IF_BETTER)

    prepared = look_ahead(read_sessions, Registry(settings.data_dir), asked)

    counts = prepared.counts()
    assert counts["train"] + counts["held_out"] == 12
    (warning,) = prepared.warnings()
    assert "not enough to tell" in warning
    assert "will therefore not activate" in warning
    with sessions() as session:
        assert tuning_queries.list_tunings(session, limit=5) == []


@pytest.mark.usefixtures("videos")
def test_a_cancelled_run_cannot_be_claimed_nor_written_to(sessions, ask):
    requested = ask()
    job = in_transaction(sessions, lambda s: claim_job(s, requested.job_id, lease_s=60))

    cancel_tuning(sessions, requested.tuning_id)

    assert job_of(sessions, requested).state is JobState.CANCELLED
    assert job_of(sessions, requested).finished_at is not None
    assert in_transaction(sessions, lambda s: claim_job(s, requested.job_id, lease_s=60)) is None
    with pytest.raises(LostLeaseError):
        in_transaction(
            sessions, lambda s: tuning_progress_queries.add_points(s, job.id, job.fence, {1: {}})
        )
    with pytest.raises(ConflictError, match="cancelled"):
        cancel_tuning(sessions, requested.tuning_id)
    with pytest.raises(NotFoundError):
        cancel_tuning(sessions, uuid4())


@pytest.mark.usefixtures("videos")
def test_points_and_notices_told_twice_are_kept_once(sessions, ask):
    requested = ask()
    job = in_transaction(sessions, lambda s: claim_job(s, requested.job_id, lease_s=60))
    own = job.id, job.fence

    def tell(session):
        tuning_progress_queries.add_points(session, *own, {1: {"loss": 2.0}, 2: {"loss": 1.0}})
        tuning_progress_queries.add_notice(session, *own, reason="left_out", text="Pair 3.")

    in_transaction(sessions, tell)
    in_transaction(sessions, tell)
    in_transaction(
        sessions, lambda s: tuning_progress_queries.add_points(s, *own, {3: {"loss": 0.5}})
    )

    with sessions() as session:
        of_run = requested.tuning_id
        points = tuning_progress_queries.points_of(session, of_run, after_step=1)
        assert [point.step for point in points] == [2, 3]
        assert tuning_progress_queries.last_points(session, [of_run])[of_run].step == 3
        assert len(tuning_progress_queries.notices_of(session, of_run)) == 1


@pytest.mark.usefixtures("videos")
def test_runs_are_listed_newest_first_in_pages(sessions, ask):
    asked = [ask().tuning_id for _ in range(3)]

    with sessions() as session:
        first = tuning_queries.list_tunings(session, limit=2)
        last = first[-1].tuning
        rest = tuning_queries.list_tunings(session, limit=2, before=(last.created_at, last.id))

    assert [one.tuning.id for one in first + rest] == asked[::-1]


@pytest.mark.usefixtures("videos")
def test_folders_of_runs_that_ended_are_found_and_swept(sessions, storage, ask):
    waits, ended, unknown = ask().tuning_id, ask().tuning_id, uuid4()
    cancel_tuning(sessions, ended)
    long_ago = time.time() - 7200
    for tuning_id in (waits, ended, unknown):
        folder = storage.tuning_folder(tuning_id)
        folder.mkdir(parents=True)
        os.utime(folder, (long_ago, long_ago))
    time.sleep(0.02)  # the cancelled one has ended longer than the grace time ago

    with sessions() as session:
        found = audit.audit(session, storage, grace_s=0.01)
    assert {one.subject for one in found} == {
        str(storage.tuning_folder(each)) for each in (ended, unknown)
    }
    sweep_files(sessions, storage, grace_s=0.01)

    assert [tuning_id for tuning_id, _path in storage.tunings_on_disk()] == [waits]


def test_a_caption_that_is_added_later_is_not_part_of_the_run(sessions, videos, ask):
    requested = ask()
    num_pairs = len(pairs_of(sessions, requested.tuning_id))

    add_caption(sessions, videos[0], "something new")

    assert len(pairs_of(sessions, requested.tuning_id)) == num_pairs


def test_how_a_run_ended_is_told_to_webhooks(sessions, videos, ask):
    assert videos
    url = "https://hooks.example.com/tunings"
    managing.create_webhook(
        sessions, OutboundPolicy(), url=url, events=[Event.TUNING_FINISHED], created_by="tests"
    )
    done, failed, cancelled = (ask(name=name) for name in ("done", "failed", "cancelled"))
    for end, asked in ((finish_tuning, done), (partial(fail_job, reason="x", detail="X."), failed)):
        job_id = read(sessions, asked.tuning_id).job.id
        job = in_transaction(sessions, lambda s, id_=job_id: claim_job(s, id_, lease_s=60))
        in_transaction(sessions, lambda s, end=end, job=job: end(s, job.id, job.fence))
    cancel_tuning(sessions, cancelled.tuning_id)

    with sessions() as session:
        told = session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.created_at)).all()
    assert [one.payload["data"] for one in told] == [
        {"tuning_id": str(asked.tuning_id), "state": state, "candidate_version_id": None}
        for asked, state in ((done, "done"), (failed, "failed"), (cancelled, "cancelled"))
    ]
