"""Near indexes find nearly all, say how much, and lose nothing through a filter."""

import threading

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.index.faiss_index import FaissIndex, needed
from service.index.near import GivenUpError, build_near
from service.index.recall import Questions, measure, tune
from tests.factories_indexes import clouds, flat_index, near_index, scattered

KINDS = ["hnsw", "ivf_flat", "ivf_pq"]
COUNT = 3000


@pytest.fixture(scope="module")
def flat():
    return flat_index(clouds(COUNT))


@pytest.fixture(scope="module")
def indexes(flat):
    return {kind: near_index(flat, kind, threading.Event()) for kind in KINDS}


@pytest.fixture(params=KINDS)
def index(request, indexes):
    return indexes[request.param]


def queries(count=20, seed=3):
    return clouds(count, seed=seed).astype(np.float32)


def keys(hits):
    return [(hit.seq, hit.ordinal) for hit in hits]


def test_a_near_index_finds_as_much_as_it_says(index, flat):
    shares = []
    for query in queries(60):
        exact, found = set(keys(flat.search(query, 100))), set(keys(index.search(query, 100)))
        shares.append(len(exact & found) / 100)
    assert index.near.recall >= 0.9
    assert np.mean(shares) > index.near.recall - 0.05


def test_a_near_index_looks_at_a_part_and_gives_the_similarities_of_the_flat_one(index, flat):
    for query in queries():
        assert index.search_near(query, 10) is not None
        expected = {key: hit.similarity for hit in flat.search(query, COUNT) for key in keys([hit])}
        for hit in index.search(query, 50):
            assert hit.similarity == pytest.approx(expected[(hit.seq, hit.ordinal)], abs=1e-5)


def test_ranks_and_embeddings_are_exact(index, flat):
    assert np.array_equal(index.vectors(), flat.vectors())
    for query in queries(5):
        for place, hit in enumerate(flat.search(query, 60)[::9]):
            assert index.count_above(query, hit.similarity) == 9 * place


def test_more_than_recall_was_measured_for_is_scanned(index, flat):
    query = queries(1)[0]
    assert index.search_near(query, index.near.depth + 1) is None
    length = index.near.depth + 1
    assert keys(index.search(query, length)) == keys(flat.search(query, length))


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    asked=st.tuples(st.floats(0, 1), st.integers(1, 200)),
    seed=st.integers(0, 999),
)
def test_a_filter_loses_nothing_that_is_found_without_it(indexes, flat, kind, asked, seed):
    index, (share, k) = indexes[kind], asked
    random = np.random.default_rng(seed)
    is_open = random.random(len(flat.keys.seqs)) < share
    query = queries(1, seed=seed)[0]
    truth = flat.search(query, k, is_open)
    hits = index.search(query, k, is_open)
    assert len(hits) == len(truth)
    assert all(is_open[index.keys.slots_of([hit.video_id])].all() for hit in hits)
    if index.search_near(query, k, is_open) is None:
        assert keys(hits) == keys(truth)
    else:  # what is missing is missing without the filter, too
        unfiltered = set(keys(index.search(query, needed(k, is_open))))
        assert set(keys(truth)) & unfiltered <= set(keys(hits))


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_a_filter_that_keeps_little_is_exact(index, flat, share):
    is_open = np.random.default_rng(5).random(len(flat.keys.seqs)) < share
    for query in queries():
        assert keys(index.search(query, 150, is_open)) == keys(flat.search(query, 150, is_open))


def test_a_filter_against_the_query_is_exact(index, flat):
    """Everything that is similar is closed: looking near finds nothing that is open."""
    for query in queries(5):
        is_open = np.ones(len(flat.keys.seqs), np.bool_)
        for hit in flat.search(query, index.near.depth):
            is_open[flat.keys.slots_of([hit.video_id])] = False
        assert is_open.mean() > 0.3
        assert keys(index.search(query, 20, is_open)) == keys(flat.search(query, 20, is_open))


def test_what_no_effort_finds_is_told():
    flat = flat_index(scattered(2000))
    questions = Questions.of(flat, np.empty((0, 64), np.float32), num_queries=20)
    built = FaissIndex(
        build_near(flat.exact, "ivf_flat", is_given_up=threading.Event()),
        flat.keys,
        kind="ivf_flat",
    )
    tuned = tune(built, "ivf_flat", questions, wanted=0.99)
    assert tuned.recall < 0.9
    assert tuned.effort == built.index.nlist // 4
    assert measure(built.used(tuned), questions) == tuned.recall


def test_texts_that_people_asked_for_are_half_of_the_questions(flat):
    questions = Questions.of(flat, queries(100), num_queries=40)
    assert (questions.num_texts, len(questions.queries)) == (20, 40)
    assert np.array_equal(questions.queries[:20], queries(100)[:20])


def test_equal_embeddings_do_not_look_like_lost_ones():
    vectors = np.repeat(clouds(300), 10, axis=0)  # ten of each: any of them is as good
    index = near_index(flat_index(vectors), "hnsw", threading.Event())
    assert index.near.recall > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_a_build_that_is_not_wanted_any_more_ends(flat, kind):
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(GivenUpError):
        build_near(flat.exact, kind, is_given_up=given_up)


def test_an_index_can_be_written_and_mapped(index, flat, tmp_path):
    path = str(tmp_path / "index")
    faiss.write_index(index.index, path)
    mapped = FaissIndex(
        faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC), flat.keys, kind=index.kind, near=index.near
    )
    for query in queries():
        assert mapped.search(query, 40) == index.search(query, 40)
    rows = np.array([5, 77])
    assert np.array_equal(mapped.vectors_at(rows), flat.vectors()[rows])
