"""The immutable index finds what brute force finds, whatever is filtered out."""

from uuid import UUID

import numpy as np
import pytest

from service.index.faiss_index import FaissIndex, Keys, Slot

DIM = 32
PER_VIDEO = 4


def make_index(num_videos, *, kind="flat_fp16", seed=0):
    """Index random unit vectors, four segments a video; return it with the vectors."""
    vectors = np.random.default_rng(seed).normal(size=(num_videos * PER_VIDEO, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    slots = [Slot(UUID(int=place << 64), 1, place + 1) for place in range(num_videos)]
    positions = [divmod(position, PER_VIDEO) for position in range(len(vectors))]
    return FaissIndex.build(vectors, Keys.of(slots, positions), kind=kind), vectors


def brute_force(vectors, query, k, is_open=None):
    """Return (video, ordinal) of the best k, by numpy."""
    similarities = vectors.astype(np.float32) @ query
    if is_open is not None:
        similarities[~np.repeat(is_open, PER_VIDEO)] = -np.inf
    best = [p for p in np.argsort(-similarities)[:k] if similarities[p] > -np.inf]
    return [(UUID(int=(int(p) // PER_VIDEO) << 64), int(p) % PER_VIDEO) for p in best]


def found(hits):
    return [(hit.video_id, hit.ordinal) for hit in hits]


@pytest.mark.parametrize("kind", ["flat_fp16", "flat_fp32"])
def test_recall_equals_brute_force(kind):
    index, vectors = make_index(500, kind=kind)
    for query in np.random.default_rng(1).normal(size=(20, DIM)).astype(np.float32):
        assert found(index.search(query, 50)) == brute_force(vectors, query, 50)


def test_int8_finds_nearly_all_that_brute_force_finds():
    index, vectors = make_index(500, kind="flat_int8")
    shares = []
    for query in np.random.default_rng(1).normal(size=(20, DIM)).astype(np.float32):
        best = set(brute_force(vectors, query, 50))
        shares.append(len(best & set(found(index.search(query, 50)))) / 50)
    assert np.mean(shares) > 0.95


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_a_filter_is_exact_and_costs_no_recall(share):
    index, vectors = make_index(500)
    is_open = np.random.default_rng(2).random(500) < share
    if share == 1.0:
        assert is_open.all()
    for query in np.random.default_rng(1).normal(size=(10, DIM)).astype(np.float32):
        hits = index.search(query, 30, is_open)
        assert found(hits) == brute_force(vectors, query, 30, is_open)


@pytest.mark.parametrize("kind", ["flat_fp16", "flat_fp32", "flat_int8"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_is_more_similar_is_counted_as_it_is_found(kind, share):
    index, _ = make_index(100, kind=kind)
    is_open = None if share == 1.0 else np.random.default_rng(2).random(100) < share
    for query in np.random.default_rng(1).normal(size=(5, DIM)).astype(np.float32):
        hits = index.search(query, 400, is_open)
        for place, hit in enumerate(hits[::7]):
            assert index.count_above(query, hit.similarity, is_open) == 7 * place


def test_nothing_of_an_empty_index_is_more_similar():
    assert FaissIndex.empty(DIM).count_above(np.zeros(DIM, np.float32), -1.0) == 0


def test_similarity_is_the_inner_product_and_keys_are_whole():
    index, vectors = make_index(3)
    query = vectors[5].astype(np.float32)
    best = index.search(query, 1)[0]
    assert (best.video_id, best.ordinal, best.seq, best.version) == (UUID(int=1 << 64), 1, 2, 1)
    assert best.similarity == pytest.approx(1.0, abs=2e-3)


def test_asking_for_more_than_there_is_returns_all():
    index, _ = make_index(3)
    assert len(index.search(np.ones(DIM, np.float32), 1000)) == 12


def test_an_empty_index_finds_nothing():
    assert FaissIndex.empty(DIM).search(np.ones(DIM, np.float32), 10) == []


def test_slots_of_finds_the_videos_that_are_here():
    index, _ = make_index(5)
    wanted = [UUID(int=3 << 64), UUID(int=99), UUID(int=0), UUID(int=2**128 - 1)]
    assert sorted(index.keys.slots_of(wanted).tolist()) == [0, 3]


def test_an_index_with_too_few_keys_is_refused():
    index, _ = make_index(2)
    with pytest.raises(ValueError, match="8 positions, 0 keys"):
        FaissIndex(index.index, Keys.of([], []))
