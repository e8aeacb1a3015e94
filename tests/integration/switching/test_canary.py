"""A model that is not what it was, or says the same of everything, never takes over."""

import zlib
from uuid import UUID

import numpy as np
import pytest
import torch
from sqlalchemy import select

from model.bundle import load_bundle, save_bundle
from service.catalog.activation_tables import Activation, GenerationVideo
from service.catalog.index_queries import SegmentKey
from service.catalog.tables import Embedding, Generation, GenerationState, Job, JobKind, JobState
from tests.factories_model import (
    TINY,
    TINY_PREPROCESSING,
    make_tiny_network,
    make_tokenizer,
)
from workers.canary import mean_cosine, pin
from workers.shadow import overlap, rank_biased_overlap


@pytest.fixture
def collapsed_dir(tmp_path):
    """A bundle that says the same of every clip."""
    network = make_tiny_network(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "patch" in name:
                parameter.zero_()
    folder = tmp_path / "collapsed"
    save_bundle(
        folder,
        network=network,
        dims=TINY,
        preprocessing=TINY_PREPROCESSING,
        tokenizer_json=make_tokenizer().to_str(),
        card={"name": "collapsed"},
    )
    return folder


def state_of(switching, generation_id):
    return switching.query(select(Generation.state).where(Generation.id == generation_id))[0][0]


def test_a_model_that_collapsed_does_not_take_over(switching, gallery, generation, collapsed_dir):
    requested = switching.request(switching.register(collapsed_dir, name="collapsed"))
    record = switching.work(requested)

    assert (record.job.state, record.job.reason) == (JobState.FAILED, "canary_failed")
    assert "collapsed" in record.job.detail
    assert not record.activation.report["canary"]["is_passed"]
    assert record.activation.report["canary"]["mean_cosine"] > 0.999
    assert switching.active.generation_id == generation.generation_id
    assert state_of(switching, record.activation.generation_id) is GenerationState.RETIRED
    switching.sweep()
    left = {row[0] for row in switching.query(select(GenerationVideo.generation_id))}
    assert left == {generation.generation_id}
    switching.assert_consistent(grace_s=0.0)
    assert gallery


def test_who_insists_gets_it_all_the_same(switching, gallery, collapsed_dir):
    requested = switching.request(switching.register(collapsed_dir, name="c"), force=True)
    record = switching.work(requested)
    assert record.job.state is JobState.DONE
    assert not record.activation.report["canary"]["is_passed"]
    assert switching.active.name == "c"
    assert gallery


def test_embeddings_that_are_not_those_of_their_clips_stop_the_switch(
    switching, gallery, make_video, generation, other_dir
):
    requested = switching.request(switching.register(other_dir))
    during = switching.ingest(make_video("during.mp4", duration_s=5))
    of_video = (Job.subject_id == during.video_id) & (Job.kind == JobKind.EMBED)
    switching.embed(switching.query(select(Job.id).where(of_video))[0][0])
    target = switching.record(requested.activation_id).activation.generation_id
    with switching.sessions.begin() as session:
        for row in session.scalars(select(Embedding).where(Embedding.generation_id == target)):
            row.vector = np.roll(np.frombuffer(row.vector, "<f2"), 1).tobytes()
            row.crc = zlib.crc32(row.vector)

    record = switching.work(requested)

    assert (record.job.state, record.job.reason) == (JobState.FAILED, "canary_failed")
    assert "not those of their clips" in record.job.detail
    assert switching.active.generation_id == generation.generation_id
    assert gallery


def test_a_model_that_embeds_otherwise_than_when_it_began_does_not_take_over(
    switching, gallery, generation, other_dir, larger_dir
):
    requested = switching.request(switching.register(other_dir))
    others = pin(load_bundle(larger_dir))
    with switching.sessions.begin() as session:
        activation = session.get_one(Activation, requested.activation_id)
        activation.report = {**activation.report, "pins": others}

    record = switching.work(requested)

    assert (record.job.state, record.job.reason) == (JobState.FAILED, "canary_failed")
    assert "pinned clips" in record.job.detail
    assert switching.active.generation_id == generation.generation_id
    assert gallery


def test_the_mean_cosine_of_pairs_leaves_each_with_itself_out():
    assert mean_cosine(np.eye(4)) == 0
    assert mean_cosine(np.ones((3, 4)) / 2) == pytest.approx(1)
    assert mean_cosine(np.ones((1, 4)) / 2) == 0


def test_rankings_are_compared_by_what_they_share_and_where():
    first, second, third = (SegmentKey(UUID(int=1), ordinal) for ordinal in range(3))
    assert overlap([first, second], [second, first]) == 1
    assert overlap([first, second], [second, third]) == 0.5
    assert rank_biased_overlap([first, second], [first, second]) == pytest.approx(1)
    assert rank_biased_overlap([first], [second]) == 0
    near = rank_biased_overlap([first, second, third], [first, third, second])
    far = rank_biased_overlap([first, second, third], [third, second, first])
    assert 0 < far < near < 1
