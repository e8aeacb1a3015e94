"""Which models there are, which is used first, and where their bundles lie."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from service.catalog.generation_queries import ensure_active_generation, find_active_generation
from service.catalog.ingest_queries import commit_ingest
from service.catalog.job_queries import add_ingest_jobs, claim_job, get_job
from service.catalog.session import in_transaction
from service.catalog.tables import Generation, GenerationState, Video
from service.errors import ConflictError, UnavailableError
from service.models import (
    find_bundle,
    is_anything_embedded,
    keep_bundle,
    list_models,
    sync_versions,
    use_if_first,
)
from service.registry import BUNDLED, BUNDLED_PATH, Facts, Model, Registry
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
def use(sessions):
    return lambda model: use_if_first(sessions, model, model.facts)


def active(sessions):
    with sessions() as session:
        return find_active_generation(session)


def test_the_first_model_is_used_at_once(sessions, use):
    assert use(make_model())
    assert active(sessions).bundle_digest == OTHER
    assert active(sessions).bundle_path == "/models/other"


def test_using_what_is_used_changes_nothing(sessions, use):
    use(make_model())
    before = active(sessions)

    assert use(make_model())
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

    assert use(make_model())
    generation = active(sessions)
    with sessions() as session:
        assert get_job(session, waiting.job_id).generation_id == generation.generation_id


def test_embedded_videos_are_not_given_up(sessions, storage, use, upload, generation):
    factories.ingest(sessions, storage, upload().job_id)

    assert not use(make_model())
    assert active(sessions) == generation


def test_a_video_that_is_just_being_embedded_is_not_given_up(
    sessions, storage, use, upload, generation
):
    job_id = upload().job_id
    job = in_transaction(sessions, lambda s: claim_job(s, job_id, lease_s=60))
    ingested = factories.derive(storage, job.subject_id, job.id, job.fence)
    with ThreadPoolExecutor() as pool:
        with sessions.begin() as embedding:
            commit_ingest(embedding, job.id, job.fence, ingested)
            used = pool.submit(use, make_model())
            time.sleep(0.5)  # it waits to look what is embedded
        assert not used.result()

    assert active(sessions) == generation


def test_a_changed_bundled_checkpoint_names_the_command_that_mends(sessions, storage, upload):
    factories.ingest(sessions, storage, upload().job_id)

    with pytest.raises(ConflictError, match="`reelseek models use bundled`"):
        in_transaction(
            sessions,
            lambda session: ensure_active_generation(
                session, name="bundled", digest=OTHER, path=str(BUNDLED_PATH), spec={}
            ),
        )


def test_no_video_waits_for_a_generation_that_is_not_there(sessions, upload, generation):
    waiting = upload()
    with sessions.begin() as session:
        session.get_one(Generation, generation.generation_id).state = GenerationState.RETIRED

    with sessions() as session, pytest.raises(UnavailableError):
        add_ingest_jobs(session, session.get_one(Video, waiting.video_id))


def test_models_are_registered_when_they_are_looked_at(sessions, tmp_path):
    registry = Registry(tmp_path)
    sync_versions(sessions, registry)
    sync_versions(sessions, registry)

    (found,) = list_models(sessions, registry)
    assert (found.record.version.name, found.is_bundled) == (BUNDLED, True)
    assert found.folder == BUNDLED_PATH
    assert found.size_bytes > 1_000_000
    assert found.record.generation is None


def test_a_bundle_outside_the_data_folder_is_kept_and_found_after_an_update(
    tmp_path, bundle_dir, generation
):
    outside, registry = tmp_path / "package", Registry(tmp_path / "data")
    shutil.copytree(bundle_dir, outside)
    digest = json.loads((outside / "card.json").read_text())["digest"]
    known = replace(generation, bundle_digest=digest, bundle_path=str(outside))

    keep_bundle(registry, digest=digest, folder=outside)
    assert find_bundle(known, registry, None) == outside
    card = {**json.loads((outside / "card.json").read_text()), "digest": OTHER}
    (outside / "card.json").write_text(json.dumps(card))

    assert find_bundle(known, registry, None) == registry.kept / digest
    assert [each.name for each in registry.kept.iterdir()] == [digest]


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
