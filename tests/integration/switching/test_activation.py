"""Another model takes over, and goes back again: nothing is lost, mixed or searched half."""

import numpy as np
import pytest
from sqlalchemy import func, select

from model.bundle import load_bundle
from model.retrieval import clips_to_tensor
from service import videos
from service.activations import cancel, roll_back
from service.catalog.activation_tables import GenerationVideo, Trigger
from service.catalog.caption_tables import Caption, CaptionSource
from service.catalog.check_queries import sample_segments
from service.catalog.evaluation_queries import NewQuery, add_set
from service.catalog.generation_queries import generation_bundle
from service.catalog.job_queries import claim_job
from service.catalog.session import in_transaction
from service.catalog.stored_queries import missing_videos
from service.catalog.tables import (
    Change,
    ChangeOp,
    Embedding,
    Generation,
    GenerationState,
    Job,
    JobKind,
    JobState,
    VideoState,
)
from service.catalog.webhook_queries import Event
from service.catalog.webhook_tables import WebhookDelivery
from service.errors import ConflictError
from service.outbound import Policy
from service.webhooks import managing
from tests import factories_ingest
from workers.evaluating import evaluate
from workers.ingest import ingest
from workers.lease import Lease
from workers.reembed import Reembedder
from workers.runner import WorkError, run_job


def states(switching):
    found = switching.query(select(Generation.state, func.count()).group_by(Generation.state))
    return {row[0]: row[1] for row in found}


def count_embeddings(switching, generation_id):
    (row,) = switching.query(
        select(func.count()).select_from(Embedding).where(Embedding.generation_id == generation_id)
    )
    return row[0]


def open_embed_jobs(switching):
    found = switching.query(
        select(Job.id).where(Job.kind == JobKind.EMBED, Job.state == JobState.QUEUED)
    )
    return [row[0] for row in found]


def test_another_model_takes_over_when_every_video_is_embedded_by_it(
    switching, gallery, generation, other_dir
):
    requested = switching.request(switching.register(other_dir))
    assert switching.active.generation_id == generation.generation_id
    assert not requested.is_switched

    record = switching.work(requested)

    assert (record.job.state, record.job.progress) == (JobState.DONE, 1.0)
    assert record.activation.switched_at is not None
    active = switching.active
    assert active.name == "other"
    assert active.spec["frames_per_clip"] == load_bundle(other_dir).spec.frames_per_clip
    assert count_embeddings(switching, active.generation_id) == 9
    assert states(switching) == {GenerationState.ACTIVE: 1, GenerationState.KEPT: 1}
    last = switching.query(select(Change).order_by(Change.seq.desc()).limit(1))[0][0]
    assert (last.op, last.generation_id) == (ChangeOp.PROMOTE, active.generation_id)
    assert record.activation.report["embedding"]["decoded_again"] == 0
    assert record.activation.report["canary"]["is_passed"]
    switching.assert_consistent()
    assert len(gallery) == 3


def test_a_switch_is_told_to_webhooks(switching, generation, other_dir):
    assert generation
    url = "https://hooks.example.com/models"
    managing.create_webhook(
        switching.sessions, Policy(), url=url, events=[Event.MODEL_ACTIVATED], created_by="tests"
    )
    version_id = switching.register(other_dir)
    requested = switching.request(version_id)
    if not requested.is_switched:
        assert switching.query(select(WebhookDelivery)) == []
        switching.work(requested)

    (told,) = switching.query(select(WebhookDelivery))[0]
    assert told.payload["type"] == "model.activated"
    assert told.payload["data"] == {
        "activation_id": str(requested.activation_id),
        "generation_id": str(switching.active.generation_id),
        "model_version_id": str(version_id),
    }


def test_its_embeddings_are_those_of_the_stored_clips(switching, gallery, other_dir):
    switching.work(switching.request(switching.register(other_dir)))

    network = load_bundle(other_dir)
    with switching.sessions() as session:
        sampled = sample_segments(session, switching.active.generation_id, 9)
    assert len(sampled) == 9
    for one in sampled:
        clip = switching.storage.read_clip(one.derived, one.position)
        (again,) = network.embed_video(clips_to_tensor([clip])).numpy()
        assert float(again @ one.vector) > 0.999
    assert gallery


def test_a_model_that_reads_other_clips_has_the_videos_decoded_again(
    switching, gallery, generation, larger_dir
):
    record = switching.work(switching.request(switching.register(larger_dir)))

    assert record.job.state is JobState.DONE, record.job.detail
    assert record.activation.report["embedding"]["decoded_again"] == 3
    rows = switching.query(select(GenerationVideo.generation_id, GenerationVideo.derived))
    folders = {row.derived for row in rows if row.generation_id != generation.generation_id}
    assert {row.derived for row in rows if row.generation_id == generation.generation_id} == {None}
    assert len(folders) == 3
    for folder in folders:
        assert switching.storage.read_clip(folder, 0).shape == (4, 32, 32, 3)
    switching.assert_consistent()
    assert gallery


def test_uploads_while_a_generation_is_built_or_kept_land_in_both(
    switching, gallery, make_video, generation, other_dir
):
    requested = switching.request(switching.register(other_dir))
    during = switching.ingest(make_video("during.mp4", duration_s=5))
    (job_id,) = open_embed_jobs(switching)
    switching.embed(job_id)
    switching.embed(job_id)  # delivered twice
    assert factories_ingest.get_job(switching.sessions, job_id).state is JobState.DONE
    target = switching.record(requested.activation_id).activation.generation_id
    assert count_embeddings(switching, target) == 5

    switching.work(requested)
    switching.ingest(make_video("after.mp4", duration_s=6))
    (job_id,) = open_embed_jobs(switching)
    switching.embed(job_id)

    assert count_embeddings(switching, generation.generation_id) == 20
    assert count_embeddings(switching, target) == 20
    upserts = select(Change).where(Change.video_id == during.video_id)
    assert len(switching.query(upserts)) == 2  # one for each generation
    switching.assert_consistent()
    assert gallery


def test_an_upload_that_waits_goes_to_the_model_that_took_over(
    switching, gallery, make_video, other_dir
):
    waiting = switching.upload(make_video("waiting.mp4", duration_s=5))
    switching.work(switching.request(switching.register(other_dir)))
    job = factories_ingest.get_job(switching.sessions, waiting.job_id)
    assert job.generation_id == switching.active.generation_id

    run_job(waiting.job_id, ingest, switching.resources)

    video = factories_ingest.get_video(switching.sessions, waiting.video_id)
    assert video.state is VideoState.READY
    (kept,) = open_embed_jobs(switching)
    switching.embed(kept)
    switching.assert_consistent()
    assert gallery


def test_videos_deleted_meanwhile_are_in_no_generation(switching, gallery, other_dir):
    requested = switching.request(switching.register(other_dir))
    videos.delete_video(switching.sessions, gallery[0].video_id)
    switching.work(requested)
    videos.delete_video(switching.sessions, gallery[1].video_id)

    left = {row[0] for row in switching.query(select(GenerationVideo.video_id))}
    assert left == {gallery[2].video_id}
    switching.assert_consistent()


def test_a_video_whose_files_went_while_others_were_embedded_is_passed_over(
    switching, gallery, larger_dir
):
    requested = switching.request(switching.register(larger_dir))
    job = claim(switching, requested)
    with switching.sessions() as session:
        target = generation_bundle(session, job.generation_id)
        listed = missing_videos(session, job.generation_id, after=None, limit=10)
    gone, *left = [one.video_id for one in listed]
    videos.delete_video(switching.sessions, gone)
    switching.storage.remove_blob(listed[0].sha256)

    assert embed(switching, job, target, listed) == left

    switching.storage.remove_blob(listed[1].sha256)
    with pytest.raises(WorkError, match="restore it"):
        embed(switching, job, target, listed)
    assert gallery


def claim(switching, requested):
    return in_transaction(
        switching.sessions, lambda session: claim_job(session, requested.job_id, lease_s=60)
    )


def embed(switching, job, generation, listed):
    """Embed videos that were listed a while ago, and return those that were."""
    resources = switching.resources
    lease = Lease(switching.sessions, job, lease_s=60, must_stop=lambda: False)
    with resources.embedder(generation) as embedder:
        done = list(Reembedder(job, lease, resources, embedder).embed(listed))
    return [one.video.video_id for one in done]


def test_going_back_is_one_commit(switching, gallery, make_video, generation, other_dir):
    switching.work(switching.request(switching.register(other_dir)))
    after = switching.ingest(make_video("after.mp4", duration_s=6))
    for job_id in open_embed_jobs(switching):
        switching.embed(job_id)

    version, requested = roll_back(
        switching.sessions, switching.sender, switching.registry, trigger=Trigger.PERSON
    )

    assert requested.is_switched
    assert version.id == generation.model_version_id
    assert switching.active.generation_id == generation.generation_id
    assert switching.record(requested.activation_id).job.state is JobState.DONE
    assert states(switching) == {GenerationState.ACTIVE: 1, GenerationState.KEPT: 1}
    switching.assert_consistent()
    assert gallery
    assert after


def test_every_switch_queues_the_evaluation_sets_in_its_transaction(switching, gallery, other_dir):
    query = NewQuery(text="a red circle", video_id=gallery[0].video_id)
    with switching.sessions.begin() as session:
        add_set(session, name="mine", queries=[query], created_by=None)
    switching.work(switching.request(switching.register(other_dir)))
    (job_id,) = queued_runs(switching)
    run_job(job_id, evaluate, switching.resources)

    roll_back(switching.sessions, switching.sender, switching.registry, trigger=Trigger.COMMAND)

    (of_rollback,) = queued_runs(switching)
    assert of_rollback != job_id


def queued_runs(switching):
    waiting = select(Job.id).where(Job.kind == JobKind.EVALUATE, Job.state == JobState.QUEUED)
    return [row[0] for row in switching.query(waiting)]


def test_a_kept_model_that_lacks_videos_embeds_them_first(
    switching, gallery, make_video, generation, other_dir
):
    switching.work(switching.request(switching.register(other_dir)))
    switching.ingest(make_video("after.mp4", duration_s=6))

    requested = switching.request(generation.model_version_id)
    assert not requested.is_switched
    record = switching.work(requested)

    assert record.job.state is JobState.DONE
    assert switching.active.generation_id == generation.generation_id
    assert count_embeddings(switching, generation.generation_id) == 15
    switching.assert_consistent()
    assert gallery


def test_one_model_at_a_time_takes_over_and_the_active_one_never(
    switching, gallery, generation, other_dir, larger_dir
):
    switching.request(switching.register(other_dir))
    with pytest.raises(ConflictError) as refused:
        switching.request(switching.register(larger_dir, name="larger"))
    assert refused.value.reason == "activation_running"
    with pytest.raises(ConflictError) as refused:
        switching.request(generation.model_version_id)
    assert refused.value.reason == "already_active"
    assert gallery


def test_a_cancelled_activation_leaves_what_was_searched(
    switching, gallery, make_video, generation, other_dir
):
    requested = switching.request(switching.register(other_dir))
    switching.ingest(make_video("during.mp4", duration_s=5))
    (embed_job,) = open_embed_jobs(switching)
    switching.embed(embed_job)
    switching.ingest(make_video("later.mp4", duration_s=6))

    record = cancel(switching.sessions, requested.activation_id)
    assert record.job.state is JobState.CANCELLED
    assert open_embed_jobs(switching) == []
    with pytest.raises(ConflictError, match="is over"):
        cancel(switching.sessions, requested.activation_id)
    switching.work(requested)
    switching.sweep()

    assert switching.active.generation_id == generation.generation_id
    assert count_embeddings(switching, record.activation.generation_id) == 0
    switching.assert_consistent(grace_s=0.0)
    assert gallery


def test_a_throttled_activation_ends_the_same(switching, gallery, other_dir):
    share = {"reembed_share": 0.5}
    switching.resources.settings = switching.settings.model_copy(update=share)
    record = switching.work(switching.request(switching.register(other_dir)))
    assert record.job.state is JobState.DONE
    assert switching.active.name == "other"
    assert gallery


def test_shadow_search_says_what_would_change(switching, gallery, other_dir):
    with switching.sessions.begin() as session:
        session.add_all(
            Caption(video_id=gallery[0].video_id, text=text, source=CaptionSource.TYPED)
            for text in ("a red ball", "a dog jumps")
        )
    record = switching.work(switching.request(switching.register(other_dir)))

    found = record.activation.report["shadow"]
    assert (found["texts"], found["overlap_at_10"]) == (2, 1.0)  # only nine segments
    assert 0 < found["rank_biased_overlap"] <= 1
    assert len(found["examples"]) == 2
    assert np.isfinite(found["same_first"])
