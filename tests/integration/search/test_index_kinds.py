"""A replica makes its base near in the background, where that finds enough, and stays right."""

import pytest
from structlog.testing import capture_logs

from service.index.builder import RebuildPolicy
from tests.factories import unit_vectors
from tests.factories_gallery import until
from tests.factories_indexes import clouds, scattered

POLICY = RebuildPolicy(
    near_floor=100, snapshot_floor=1, delta_floor=40, delta_share=0.0, speedup=0.0
)
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def dim(encoder):
    return encoder.spec.embedding_dim


@pytest.fixture
def fill(gallery):
    """Add embeddings as videos of twenty segments."""

    def fill(vectors):
        return [gallery.add(vectors[start : start + 20]) for start in range(0, len(vectors), 20)]

    return fill


@pytest.fixture
def make_wished(make_replica, settings):
    """Start a replica that wants an index: `make_wished("auto", index_recall=0.5)`."""

    def make_wished(kind, **wishes):
        wishes = {"index_kind": kind, "index_flat_below": 0, "index_recall": 0.8, **wishes}
        return make_replica(settings=settings.model_copy(update=wishes), policy=POLICY)

    return make_wished


def exact(videos, vectors, query, k):
    """Return (video, ordinal) of the best k by numpy."""
    best = (vectors.astype("f4") @ query).argsort()[::-1][:k]
    return {(videos[place // 20], place % 20) for place in best.tolist()}


def found(view, query, k, **options):
    return {(hit.video_id, hit.ordinal) for hit in view.search(query, k, **options)}


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [("auto", "hnsw"), ("hnsw", "hnsw"), ("ivf_flat", "ivf_flat"), ("ivf_pq", "ivf_pq")],
)
def test_a_base_becomes_near_while_it_is_searched(make_wished, fill, dim, kind, becomes):
    vectors = clouds(800, dim=dim)
    videos = fill(vectors)
    replica = make_wished(kind)
    assert replica.is_ready
    until(lambda: replica.view().base.kind == becomes, what="the near base")
    view = replica.view()
    assert view.base.near.recall == replica.figures.recall >= 0.8
    assert (replica.figures.kind, replica.figures.num_segments) == (becomes, 800)
    query = clouds(1, dim=dim, seed=9)[0].astype("f4")
    assert len(found(view, query, 20) & exact(videos, vectors, query, 20)) >= 12
    assert found(view, query, 200) == exact(videos, vectors, query, 200)  # deeper than measured


@pytest.mark.usefixtures("patience")
def test_deletes_and_uploads_show_at_once_on_a_near_base(make_wished, fill, gallery, dim):
    videos = fill(clouds(400, dim=dim))
    replica = make_wished("hnsw")
    until(lambda: replica.view().base.kind == "hnsw", what="the near base")
    late = gallery.add(unit_vectors(1, seed=5, dim=dim))
    seq = gallery.delete(videos[0])
    view = replica.serving(min_seq=seq).view
    query = unit_vectors(1, seed=5, dim=dim)[0]
    assert view.search(query, 1)[0].video_id == late
    everything = {hit.video_id for hit in view.search(query, 1000)}
    assert everything == {*videos[1:], late}
    assert found(view, query, 5, allowed={videos[3]}) <= {(videos[3], n) for n in range(20)}


def test_a_large_delta_goes_into_the_next_near_base(make_wished, fill, dim):
    vectors = clouds(400, dim=dim)
    fill(vectors)
    replica = make_wished("ivf_flat")
    until(lambda: replica.view().base.kind == "ivf_flat", what="the near base")
    fill(clouds(60, dim=dim, seed=2))
    until(lambda: len(replica.view().base) == 460, what="the next base")
    assert replica.view().base.kind == "ivf_flat"
    assert len(replica.view().delta) == 0


def test_auto_stays_flat_where_no_near_base_finds_enough(make_wished, fill, dim):
    fill(scattered(1200, dim=dim))
    with capture_logs() as logs:
        replica = make_wished("auto", index_recall=1.01)  # none can
        until(
            lambda: sum(one["event"] == "near_base_built" for one in logs) == 2,
            what="both attempts",
        )
    tried = [one for one in logs if one["event"] == "near_base_built"]
    assert [(one["kind"], one["is_used"]) for one in tried] == [
        ("hnsw", False),
        ("ivf_flat", False),
    ]
    assert replica.view().base.kind == "flat_fp16"


def test_auto_stays_flat_while_the_gallery_is_small(make_wished, fill, dim):
    fill(clouds(200, dim=dim))
    replica = make_wished("auto", index_flat_below=201)
    fill(clouds(20, dim=dim, seed=4))
    until(lambda: replica.view().num_segments == 220, what="the upload")
    assert replica.view().base.kind == "flat_fp16"


def test_a_near_base_is_published_and_the_next_start_does_not_build_it(make_wished, fill, dim):
    fill(clouds(400, dim=dim))
    first = make_wished("hnsw")
    until(lambda: first.view().base.kind == "hnsw", what="the near base")
    first.stop()
    with capture_logs() as logs:
        second = make_wished("hnsw")
    assert second.view().base.near == first.view().base.near
    assert [one["source"] for one in logs if one["event"] == "replica_loaded"] == ["snapshot"]
    assert "near_base_built" not in [one["event"] for one in logs]
