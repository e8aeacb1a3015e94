"""Generations whose time is over give back what they hold, and nothing that is still needed."""

import pytest
from sqlalchemy import func, select

from service import housekeeping
from service.activations import roll_back
from service.catalog import retired_queries
from service.catalog.activation_queries import MOST_KEPT
from service.catalog.activation_tables import Trigger
from service.catalog.tables import Embedding, Generation, GenerationState, utc_now
from service.catalog.tuning_queries import add_tuning, cancel_tuning
from service.catalog.tuning_tables import Policy, Tuning
from service.errors import ConflictError
from service.models import keep_bundle
from tests.factories_model import make_tiny_bundle


def states(switching):
    found = switching.query(select(Generation.state, func.count()).group_by(Generation.state))
    return {row[0]: row[1] for row in found}


def count_embeddings(switching, generation_id):
    (row,) = switching.query(
        select(func.count()).select_from(Embedding).where(Embedding.generation_id == generation_id)
    )
    return row[0]


def test_a_retired_generation_is_emptied_over_several_sweeps(
    switching, gallery, generation, other_dir, monkeypatch
):
    monkeypatch.setattr(retired_queries, "VIDEOS_AT_ONCE", 1)
    monkeypatch.setattr(housekeeping, "STEPS_OF_A_SWEEP", 2)
    switching.work(switching.request(switching.register(other_dir)))
    with switching.sessions.begin() as session:
        session.get_one(Generation, generation.generation_id).kept_until = utc_now()

    switching.sweep()
    assert count_embeddings(switching, generation.generation_id) > 0

    switching.sweep()
    assert count_embeddings(switching, generation.generation_id) == 0
    assert gallery


def test_of_many_models_in_a_row_the_last_ones_are_kept(
    switching, gallery, other_dir, tmp_path, generation
):
    more = [make_tiny_bundle(tmp_path / f"bundle-{seed}", seed=seed) for seed in (2, 3)]
    folders = [other_dir, *more]
    for number, folder in enumerate(folders):
        switching.work(switching.request(switching.register(folder, name=f"model-{number}")))
    switching.sweep()

    assert states(switching) == {
        GenerationState.ACTIVE: 1,
        GenerationState.KEPT: MOST_KEPT,
        GenerationState.RETIRED: 1,
    }
    assert count_embeddings(switching, generation.generation_id) == 0
    switching.assert_consistent()
    assert gallery


def test_after_the_window_the_old_embeddings_go_and_going_back_embeds_again(
    switching, gallery, generation, other_dir
):
    requested = switching.request(switching.register(other_dir), rollback_window_s=0.0)
    switching.resources.settings = switching.settings.model_copy(update={"rollback_window_s": 0.0})
    switching.work(requested)
    switching.sweep()

    assert count_embeddings(switching, generation.generation_id) == 0
    assert states(switching) == {GenerationState.ACTIVE: 1, GenerationState.RETIRED: 1}
    with pytest.raises(ConflictError, match="No model is kept"):
        roll_back(switching.sessions, switching.sender, switching.registry, trigger=Trigger.PERSON)
    switching.assert_consistent(grace_s=0.0)

    again = switching.request(generation.model_version_id)
    switching.work(again)
    assert switching.active.bundle_digest == generation.bundle_digest
    assert switching.active.generation_id != generation.generation_id
    switching.assert_consistent()
    assert gallery


def test_a_copy_of_a_bundle_stays_while_a_tuning_starts_from_it(
    switching, gallery, generation, other_dir, bundle_dir
):
    keep_bundle(switching.registry, digest=generation.bundle_digest, folder=bundle_dir)
    copy = switching.registry.kept / generation.bundle_digest
    with switching.sessions.begin() as session:
        base_id = generation.model_version_id
        tuning = Tuning(base_version_id=base_id, policy=Policy.MANUAL, request={})
        add_tuning(session, tuning, [])
    switching.resources.settings = switching.settings.model_copy(update={"rollback_window_s": 0.0})
    switching.work(switching.request(switching.register(other_dir)))

    switching.sweep()
    assert copy.is_dir()

    with switching.sessions.begin() as session:
        cancel_tuning(session, tuning.id)
    switching.sweep()
    assert not copy.exists()
    assert gallery
