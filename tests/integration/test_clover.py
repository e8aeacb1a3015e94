"""Clover from public parts to search: imported, trained, and then a model like any other."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from model.bundle import bundle_digest, load_bundle
from model.clover.importing import import_parts
from model.pairs import VideoPair
from model.tuning.choices import Choices
from model.tuning.tune import tune
from service.catalog.generation_queries import ensure_active_generation
from service.catalog.session import in_transaction
from service.encoder import Encoder
from service.index.replica import IndexReplica
from service.search import ClipStore, SearchRequest, search
from tests import factories_ingest
from tests.factories_clover_files import bert, save_bert_folder, video_swin
from tests.factories_gallery import until
from workers.ingest import ingest
from workers.resources import Resources
from workers.runner import run_job

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CAPTIONS = ("a red circle moves to the left", "the dog runs", "a cat plays with the ball")


@pytest.fixture
def settings(settings):
    """Short segments, so that short videos have some."""
    values = {"segment_s": 1.0, "segment_every_s": 1.0, "embed_batch": 4, "device": "cpu"}
    return settings.model_copy(update={**values, "search_deadline_ms": 60_000})


@pytest.fixture
def untrained(tmp_path):
    """What public weights of its two encoders make."""
    torch.save({"state_dict": video_swin()}, tmp_path / "swin.pth")
    encoder = save_bert_folder(tmp_path / "bert", bert())
    import_parts(tmp_path / "swin.pth", encoder, tmp_path / "untrained", frames=4, frame_size=32)
    return tmp_path / "untrained"


@pytest.fixture
def trained(untrained, make_video, tmp_path):
    """The same after three steps of Clover's objectives and matching, on real videos."""
    pairs = [
        VideoPair(path=make_video(f"pair{n}.mp4", size=(64, 48 + 8 * n)), captions=(caption,))
        for n, caption in enumerate(CAPTIONS)
    ]
    choices = Choices(recipe="clover", steps=3, batch=3, precision="float32", dropout=0.0)
    tune(untrained, pairs, tmp_path / "trained", choices=choices)
    return tmp_path / "trained"


@pytest.fixture
def replica(settings, sessions, read_sessions):
    """Follows the catalog; its encoder is the bundle that the generation names."""
    replica = IndexReplica(
        reads=read_sessions,
        sessions=sessions,
        settings=settings,
        open_encoder=lambda generation: Encoder(Path(generation.bundle_path), settings),
    )
    yield replica
    replica.stop()


def test_public_parts_are_trained_and_then_index_find_and_rerank(
    *, untrained, trained, settings, sessions, read_sessions, storage, sender, make_video, replica
):
    before, after = load_bundle(untrained).spec, load_bundle(trained).spec
    assert (before.has_retriever, before.has_matcher) == (False, False)
    assert (after.has_retriever, after.has_matcher) == (True, True)
    in_transaction(
        sessions,
        lambda session: ensure_active_generation(
            session,
            name="clover",
            digest=bundle_digest(trained),
            path=str(trained),
            spec=asdict(after),
        ),
    )
    accepted = factories_ingest.upload_file(sessions, storage, sender, make_video(duration_s=3))
    with Resources(settings) as resources:
        run_job(accepted.job_id, ingest, resources)
    assert factories_ingest.count_segments(sessions, accepted.video_id) == 3

    replica.start()
    until(lambda: replica.is_ready, what="the replica")
    answer = search(
        SearchRequest(text=CAPTIONS[0], rerank_depth=2),
        replica=replica,
        reads=read_sessions,
        clips=ClipStore(storage),
        settings=settings,
        cursor_key=b"k" * 32,
    )

    assert {moment.video_id for moment in answer.moments} == {accepted.video_id}
    assert (answer.receipt.candidates, answer.receipt.reranked) == (3, 2)
    first = answer.moments[0]
    assert -1 <= first.similarity <= 1
    assert 0 < first.match_probability < 1
