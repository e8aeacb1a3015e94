"""Milvus follows the change log: one process feeds it, and every process searches it."""

from uuid import uuid4

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from service.catalog.applier_tables import Applied
from service.catalog.change_queries import begin_epoch
from service.cli.finding import Outcome
from service.cli.server_checks import check_index
from service.errors import UnavailableError
from service.index.content import content_of
from service.index.loading import load_view
from tests.factories import unit_vectors
from tests.factories_gallery import like, until
from tests.factories_generations import promote
from tests.servers import free_port, running_milvus

pytestmark = pytest.mark.usefixtures("patience")

TEXT = "a red circle"


@pytest.fixture(scope="module")
def milvus():
    """URI of a real server."""
    with running_milvus() as uri:
        yield uri


@pytest.fixture
def settings(settings, milvus):
    """Settings under which replicas search Milvus; each test has collections of its own."""
    prefix = f"t{uuid4().hex[:12]}"
    wishes = {"milvus_uri": milvus, "milvus_prefix": prefix, "milvus_index": "FLAT"}
    return settings.model_copy(update=wishes)


@pytest.fixture
def fill(gallery, encoder):
    """Add videos of three segments each."""

    def fill(count, *, seed=0):
        dim = encoder.spec.embedding_dim
        return [gallery.add(unit_vectors(3, seed=seed + one, dim=dim)) for one in range(count)]

    return fill


@pytest.fixture
def query(encoder):
    return unit_vectors(1, seed=99, dim=encoder.spec.embedding_dim)[0]


@pytest.fixture
def is_same(gallery, read_sessions):
    """Tell whether an index holds exactly what SQL does: `is_same(replica)`."""

    def is_same(replica):
        with read_sessions() as session:
            stored = content_of(load_view(session, gallery.generation, kind="flat_fp16"))
        held = content_of(replica.serving(min_seq=stored.seq).view)
        return held._replace(vectors_digest=None) == stored._replace(vectors_digest=None)

    return is_same


def videos_of(view, query):
    return {hit.video_id for hit in view.search(query, 1000)}


def place_of(sessions):
    with sessions() as session:
        return session.scalars(select(Applied.place)).one()


def test_it_finds_what_this_process_would(make_replica, fill, read_sessions, gallery, query):
    fill(8)
    replica = make_replica()
    with read_sessions() as session:
        here = load_view(session, gallery.generation, kind="flat_fp32")
    ours, theirs = here.search(query, 20), replica.view().search(query, 20)
    assert [hit[:4] for hit in ours] == [hit[:4] for hit in theirs]
    assert replica.figures.kind == "milvus"
    assert replica.figures.num_segments == 24


def test_uploads_and_deletes_are_followed(make_replica, gallery, fill, query, is_same):
    first = fill(3)
    replica = make_replica()
    late = fill(2, seed=50)
    seq = gallery.delete(first[0])
    assert videos_of(replica.serving(min_seq=seq).view, query) == {*first[1:], *late}
    assert is_same(replica)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_searches_and_pages_work_as_they_do_here(make_replica, gallery, ask, encoder):
    wanted = gallery.add([like(encoder.embed_text(TEXT), 0.9)])
    other = gallery.add([like(encoder.embed_text(TEXT), 0.5)])
    replica = make_replica()
    first = ask(replica, TEXT, limit=1)
    gallery.add([like(encoder.embed_text(TEXT), 0.7)])  # does not shift the pages
    second = ask(replica, TEXT, limit=1, cursor=first.next_cursor)
    found = [moment.video_id for answer in (first, second) for moment in answer.moments]
    assert found == [wanted, other]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_next_process_goes_on_where_the_last_one_was(make_replica, fill, sessions, is_same):
    fill(3)
    make_replica().stop()
    place = place_of(sessions)
    fill(2, seed=60)
    with capture_logs() as logs:
        replica = make_replica()
        assert is_same(replica)
    assert place_of(sessions) == place
    assert "feed_filled" not in [one["event"] for one in logs]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_another_process_takes_over(make_replica, fill, is_same):
    fill(2)
    feeding = make_replica()
    waiting = make_replica()
    fill(1, seed=70)
    assert is_same(waiting)
    feeding.stop()
    fill(1, seed=80)
    assert is_same(waiting)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_another_history_is_filled_anew(make_replica, fill, sessions, is_same):
    fill(3)
    replica = make_replica()
    before = place_of(sessions)
    with sessions.begin() as session:
        epoch = begin_epoch(session)
    until(lambda: replica.is_ready and replica.view().epoch == epoch, what="the new history")
    assert place_of(sessions) != before
    assert is_same(replica)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("is_dropped", [True, False])
def test_what_milvus_lost_is_filled_anew(make_replica, fill, sessions, is_same, is_dropped):
    ids = fill(3)
    replica = make_replica()
    store, place = replica.view().store, place_of(sessions)
    replica.stop()
    if is_dropped:
        store.drop(place)
    else:
        store.remove(place, ids[:1], before=1000)
    store.close()
    again = make_replica(is_awaited=False)
    until(lambda: place_of(sessions) != place, what="the new collection")
    until(lambda: again.is_ready and again.view().place != place, what="the replica")
    assert is_same(again)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_each_generation_has_a_collection_and_a_switch_moves_the_alias(
    make_replica, add_to_both, ask, *, sessions, first, second, settings
):
    video_id = add_to_both(0.9, 0.4)
    replica = make_replica()
    until(lambda: replica.generation_ids == {first, second}, what="both generations")
    assert ask(replica, TEXT).moments[0].similarity == pytest.approx(0.9, abs=0.01)
    promote(sessions, second)
    until(lambda: replica.view().generation_id == second, what="the switch")
    (moment,) = ask(replica, TEXT).moments
    assert (moment.video_id, moment.similarity) == (video_id, pytest.approx(0.4, abs=0.01))
    view = replica.view()
    assert second.hex in view.place
    assert len(view.store.places()) == 2
    assert all(place.startswith(settings.milvus_prefix) for place in view.store.places())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_deleted_video_is_not_shown_though_milvus_may_still_have_it(
    make_replica, gallery, ask, encoder
):
    video_id = gallery.add([like(encoder.embed_text(TEXT), 0.9)])
    replica = make_replica()
    place, store = replica.view().place, replica.view().store
    rows = [row["video_id"] for row in store.keys(place)]
    gallery.delete(video_id)
    assert ask(replica, TEXT).moments == []
    assert rows == [video_id.hex]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_while_milvus_is_away_searches_say_so(make_replica, fill, ask, settings):
    fill(1)
    with running_milvus() as uri:
        replica = make_replica(settings=settings.model_copy(update={"milvus_uri": uri}))
        assert len(ask(replica, TEXT).moments) > 0
    with pytest.raises(UnavailableError) as refused:
        ask(replica, TEXT)
    assert refused.value.reason == "index_unavailable"
    assert replica.figures.num_segments is None


def test_doctor_says_whether_milvus_answers(settings):
    # the server may just have cut off this process, whose many connections ping it too often
    until(lambda: check_index(settings).outcome is Outcome.GOOD)

    away = settings.model_copy(update={"milvus_uri": f"http://127.0.0.1:{free_port()}"})
    found = check_index(away)

    assert found.outcome is Outcome.BAD
    assert "REELSEEK_MILVUS_URI" in found.mend
    without = check_index(settings.model_copy(update={"milvus_uri": None}))
    assert without.outcome is Outcome.GOOD
