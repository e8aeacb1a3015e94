"""An index in Milvus finds what brute force finds, whatever is filtered out."""

from uuid import UUID, uuid4

import numpy as np
import pytest

from service.errors import UnavailableError
from service.index.faiss_index import TIE, Slot
from service.index.milvus_index import MilvusIndex
from service.index.milvus_store import IDS_AT_ONCE, MOST_HITS, MilvusStore
from service.index.view import Upserted
from tests.factories_indexes import clouds
from tests.servers import free_port, running_milvus

DIM = 16
NUM_VIDEOS = IDS_AT_ONCE + 400
PER_VIDEO = 2
VIDEOS = [UUID(int=(place + 1) << 64) for place in range(NUM_VIDEOS)]


@pytest.fixture(scope="module")
def milvus():
    """URI of a real server."""
    with running_milvus() as uri:
        yield uri


@pytest.fixture(scope="module", params=["FLAT", "HNSW", "AUTOINDEX"])
def index(request, milvus):
    """All videos, two segments each, in a collection of this kind."""
    store = MilvusStore(milvus, token="", prefix=request.param, kind=request.param)
    vectors = clouds(NUM_VIDEOS * PER_VIDEO, dim=DIM)
    store.create(request.param, DIM)
    store.add(request.param, upserts(vectors))
    yield MilvusIndex(
        generation_id=UUID(int=1),
        model_version_id=UUID(int=2),
        epoch="e",
        seq=NUM_VIDEOS,
        place=request.param,
        store=store,
    )
    store.close()


def upserts(vectors):
    for place, video in enumerate(VIDEOS):
        yield Upserted(
            slot=Slot(video, 1, place + 1),
            ordinals=range(PER_VIDEO),
            vectors=vectors[place * PER_VIDEO : (place + 1) * PER_VIDEO],
        )


def brute_force(query, k, is_open=None):
    similarities = clouds(NUM_VIDEOS * PER_VIDEO, dim=DIM).astype("f4") @ query
    if is_open is not None:
        similarities[~np.repeat(is_open, PER_VIDEO)] = -np.inf
    best = [place for place in np.argsort(-similarities)[:k] if similarities[place] > -np.inf]
    return {(VIDEOS[place // PER_VIDEO], int(place % PER_VIDEO)) for place in best}


def found(hits):
    return {(hit.video_id, hit.ordinal) for hit in hits}


def queries(count=5):
    return clouds(count, dim=DIM, seed=3).astype(np.float32)


def test_it_finds_what_is_most_similar_best_first(index):
    for query in queries():
        hits = index.search(query, 30)
        assert len(found(hits) & brute_force(query, 30)) >= 28
        assert [hit.similarity for hit in hits] == sorted(
            (hit.similarity for hit in hits), reverse=True
        )
        best = VIDEOS.index(hits[0].video_id)
        vector = clouds(NUM_VIDEOS * PER_VIDEO, dim=DIM)[best * PER_VIDEO + hits[0].ordinal]
        assert hits[0].similarity == pytest.approx(float(vector.astype("f4") @ query), abs=1e-5)
        assert (hits[0].version, hits[0].seq) == (1, best + 1)


@pytest.mark.parametrize("share", [0.002, 0.1, 0.6, 0.95])
def test_a_filter_costs_no_recall(index, share):
    is_open = np.random.default_rng(4).random(NUM_VIDEOS) < share
    allowed = {video for video, is_it in zip(VIDEOS, is_open, strict=True) if is_it}
    for query in queries():
        hits = found(index.search(query, 20, allowed))
        truth = brute_force(query, 20, is_open)
        assert len(hits) == len(truth)
        assert len(hits & truth) >= len(truth) - 1  # as without a filter


def test_a_filter_against_the_query_still_finds_what_is_left(index):
    """More videos are allowed than one expression names, and none of them is similar."""
    query = queries(1)[0]
    order = np.argsort(-(clouds(NUM_VIDEOS * PER_VIDEO, dim=DIM).astype("f4") @ query))
    closed = list(dict.fromkeys((order // PER_VIDEO).tolist()))[: NUM_VIDEOS - IDS_AT_ONCE - 50]
    is_open = np.array([place not in closed for place in range(NUM_VIDEOS)])
    allowed = {video for video, is_it in zip(VIDEOS, is_open, strict=True) if is_it}
    hits = found(index.search(query, 20, allowed))
    assert len(hits & brute_force(query, 20, is_open)) >= 19


def test_more_than_milvus_returns_is_asked_for_in_parts(index):
    allowed = set(VIDEOS[: IDS_AT_ONCE + 100])
    hits = index.search(queries(1)[0], MOST_HITS, allowed)
    assert found(hits) == {(video, ordinal) for video in allowed for ordinal in range(PER_VIDEO)}


def test_nothing_is_found_among_no_videos(index):
    assert index.search(queries(1)[0], 5, set()) == []
    assert index.search(queries(1)[0], 5, {uuid4()}) == []


def test_what_came_after_a_change_is_left_out(index):
    hits = index.search(queries(1)[0], 50, max_seq=300)
    assert len(hits) == 50
    assert max(hit.seq for hit in hits) <= 300


def test_ranks_are_counted(index):
    query = queries(1)[0]
    similarities = np.sort(clouds(NUM_VIDEOS * PER_VIDEO, dim=DIM).astype("f4") @ query)[::-1]
    truth = int((similarities > similarities[40] + TIE).sum())
    assert abs(index.count_above(query, float(similarities[40])) - truth) <= 2
    assert index.count_above(query, float(similarities[40]), {uuid4()}) == 0


def test_a_segment_that_is_there_twice_is_found_once(milvus):
    store = MilvusStore(milvus, token="", prefix="twice", kind="FLAT")
    store.create("twice", DIM)
    vectors = clouds(2, dim=DIM)
    for seq, vector in ((1, vectors[:1]), (2, vectors[1:])):
        store.add("twice", [Upserted(slot=Slot(VIDEOS[0], 1, seq), ordinals=[0], vectors=vector)])
    index = MilvusIndex(
        generation_id=UUID(int=1),
        model_version_id=UUID(int=2),
        epoch="e",
        seq=2,
        place="twice",
        store=store,
    )
    assert [hit.seq for hit in index.search(queries(1)[0], 5)] == [2]
    store.remove("twice", {VIDEOS[0]}, before=2)
    assert store.count("twice") == 1
    store.close()


def test_a_server_that_is_not_there_is_named():
    store = MilvusStore(f"http://127.0.0.1:{free_port()}", token="", prefix="x", kind="FLAT")
    with pytest.raises(UnavailableError) as refused:
        store.count("x")
    assert refused.value.reason == "index_unavailable"
    assert refused.value.retry_after_s == 2
