"""A calibrated model says when nothing that it found is likely to be what was meant."""

import pytest

from model.calibration import write_calibration
from model.retrieval import Calibration
from tests.factories_gallery import like
from tests.factories_model import make_tiny_bundle

TEXT = "a red circle"
SIMILARITY_WEIGHT = 100.0
FITTED = Calibration(slope=0.1, bias=-5.0, confident_probability=0.4)
"""A similarity of 0.9 gives about 98 %, one of 0.1 about 2 %, whatever the random network says."""

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def bundle_dir(tmp_path):
    """The tiny bundle with match probabilities that were fitted."""
    folder = make_tiny_bundle(tmp_path / "calibrated", similarity_weight=SIMILARITY_WEIGHT)
    write_calibration(folder, FITTED)
    return folder


@pytest.fixture
def add(gallery, encoder):
    """Add a video whose segments have given similarities to TEXT."""
    query = encoder.embed_text(TEXT)

    def add(*similarities):
        vectors = [like(query, value, seed=n) for n, value in enumerate(similarities)]
        return gallery.add(vectors, has_clips=True)

    return add


def test_noise_gives_no_confident_match(make_replica, add, ask):
    for _ in range(4):
        add(0.1)
    answer = ask(make_replica(), rerank_depth=4, limit=2)
    assert (answer.moments, answer.confidence, answer.next_cursor) == ([], "none", None)
    assert answer.receipt.reranked == 4


def test_who_wants_the_closest_all_the_same_gets_them(make_replica, add, ask):
    video_id = add(0.1)
    answer = ask(make_replica(), rerank_depth=4, include_unsure=True)
    assert [moment.video_id for moment in answer.moments] == [video_id]
    assert answer.confidence == "none"
    assert answer.moments[0].match_probability < FITTED.confident_probability


def test_one_good_match_makes_the_answer_confident(make_replica, add, ask):
    best, worse = add(0.9), add(0.1)
    answer = ask(make_replica(), rerank_depth=4)
    assert [moment.video_id for moment in answer.moments] == [best, worse]
    assert answer.confidence == "confident"
    assert answer.moments[0].match_probability > 0.9
    assert answer.moments[1].match_probability < 0.1


def test_later_pages_of_a_confident_answer_are_shown(make_replica, add, ask):
    _best, worse = add(0.9), add(0.1)
    replica = make_replica()
    first = ask(replica, rerank_depth=4, limit=1)
    second = ask(replica, rerank_depth=4, limit=1, cursor=first.next_cursor)
    assert [moment.video_id for moment in second.moments] == [worse]
    assert second.confidence == "confident"


@pytest.mark.parametrize("options", [{"rerank_depth": 0}, {"rerank_depth": 4, "deadline_ms": 0}])
def test_what_was_not_looked_at_closely_is_not_hidden(make_replica, add, ask, options):
    video_id = add(0.1)
    answer = ask(make_replica(), **options)
    assert [moment.video_id for moment in answer.moments] == [video_id]
    assert answer.confidence == "unknown"


def test_an_empty_gallery_is_no_reason_to_doubt(make_replica, ask):
    assert ask(make_replica()).confidence == "unknown"
