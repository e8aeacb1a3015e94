"""Pages of one list: together they show each segment once, whatever happens in between."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.catalog.change_queries import begin_epoch, read_counter
from service.errors import BadRequestError, ConflictError
from tests.factories_gallery import like, until

TEXT = "a red circle"
EVERYTHING = 500  # candidates: more than there are


@pytest.fixture
def add(gallery, encoder):
    """Add a video whose segments have given similarities to the text."""
    query = encoder.embed_text(TEXT)

    def add(*similarities, **options):
        vectors = [like(query, value, seed=n) for n, value in enumerate(similarities)]
        return gallery.add(vectors, **options)

    return add


def shown(answer):
    return [(moment.video_id, ordinal) for moment in answer.moments for ordinal in moment.segments]


def rest(ask, replica, answer, **options):
    """Follow the cursors to the end."""
    pages = [answer]
    while pages[-1].next_cursor:
        pages.append(ask(replica, TEXT, cursor=pages[-1].next_cursor, **options))
        assert pages[-1].moments, "a page that was promised is empty"
    return pages


@pytest.mark.parametrize("group_by", ["moment", "video"])
def test_pages_are_the_list_cut_up(make_replica, add, ask, group_by):
    for place in range(5):
        add(0.9 - 0.1 * place, 0.1, 0.85 - 0.1 * place)
    replica = make_replica()
    whole = ask(replica, TEXT, limit=100, group_by=group_by)
    first = ask(replica, TEXT, limit=2, group_by=group_by)
    pages = rest(ask, replica, first, limit=2, group_by=group_by)
    moments = [moment for page in pages for moment in page.moments]
    assert moments == list(whole.moments)
    assert whole.next_cursor is None
    assert [moment.rank for moment in moments] == list(range(1, len(moments) + 1))


similarities = st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.52, 0.8, 0.82]), min_size=1, max_size=4)
events = st.lists(
    st.one_of(similarities.map(tuple), st.integers(0, 7)), max_size=4
)  # an upload, or the delete of the n-th video


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    videos=st.lists(similarities, min_size=1, max_size=6),
    between=st.lists(events, max_size=4),
    limit=st.integers(1, 4),
    depth=st.sampled_from([0, 2]),
)
def test_pages_partition_the_list_under_uploads_and_deletes(
    make_replica, add, ask, gallery, *, videos, between, limit, depth
):
    options = {"limit": limit, "candidates": EVERYTHING, "rerank_depth": depth}
    has_clips = depth > 0
    alive = {add(*video, has_clips=has_clips): len(video) for video in videos}
    replica = make_replica()
    in_list = [(video_id, n) for video_id, count in alive.items() for n in range(count)]
    older = everything_before(ask, replica) - set(in_list)  # of earlier examples
    seen, deleted, rounds = [], set(), iter(between)
    answer = ask(replica, TEXT, **options)
    while True:
        seen += shown(answer)
        for event in next(rounds, ()):
            if isinstance(event, tuple):
                alive[add(*event, has_clips=has_clips)] = len(event)
            elif event < len(alive):
                video_id = list(alive)[event]
                gallery.delete(video_id)
                del alive[video_id]
                deleted.add(video_id)
        if answer.next_cursor is None:
            break
        answer = ask(replica, TEXT, cursor=answer.next_cursor, **options)
        assert not {video_id for video_id, _ in shown(answer)} & deleted
    assert len(seen) == len(set(seen)), "shown twice"
    must = {key for key in in_list if key[0] in alive} | older
    assert must <= set(seen) <= set(in_list) | older
    for video_id in alive:
        gallery.delete(video_id)
    replica.stop()


def everything_before(ask, replica):
    return set(shown(ask(replica, TEXT, limit=100, candidates=EVERYTHING)))


def test_a_later_upload_waits_for_a_new_search(make_replica, add, ask, sessions):
    add(0.9)
    add(0.5)
    replica = make_replica()
    first = ask(replica, TEXT, limit=1)
    late = add(0.7)
    with sessions() as session:
        seq = read_counter(session).seq
    until(lambda: replica.applied_seq >= seq)
    pages = rest(ask, replica, first, limit=1)
    assert late not in {video_id for page in pages for video_id, _ in shown(page)}
    assert late in {video_id for video_id, _ in shown(ask(replica, TEXT))}


def test_a_first_page_that_ran_out_of_time_repeats_and_loses_nothing(make_replica, add, ask):
    for place in range(6):
        add(0.9 - 0.1 * place, has_clips=True)
    replica = make_replica()
    first = ask(replica, TEXT, limit=2, rerank_depth=6, deadline_ms=0)
    assert first.degraded
    pages = rest(ask, replica, first, limit=2, rerank_depth=6)
    seen = [key for page in pages for key in shown(page)]
    assert len(seen) == len(set(seen)) == 6


def test_a_cursor_of_another_replica_is_good(make_replica, add, ask):
    for place in range(3):
        add(0.9 - 0.1 * place)
    one, other = make_replica(), make_replica()
    first = ask(one, TEXT, limit=1)
    pages = rest(ask, other, first, limit=1)
    assert len({key for page in pages for key in shown(page)}) == 3


def test_a_cursor_of_another_text_is_refused(make_replica, add, ask):
    add(0.9)
    add(0.5)
    replica = make_replica()
    cursor = ask(replica, TEXT, limit=1).next_cursor
    with pytest.raises(BadRequestError):
        ask(replica, "another text", cursor=cursor)


def test_a_cursor_that_was_not_made_here_is_refused(make_replica, add, ask):
    add(0.9)
    add(0.5)
    replica = make_replica()
    foreign = ask(replica, TEXT, limit=1, cursor_key=b"x" * 32).next_cursor
    for cursor in (foreign, "nonsense", "é.ü", foreign[:-1]):
        with pytest.raises(BadRequestError):
            ask(replica, TEXT, cursor=cursor)


def test_a_cursor_from_before_a_restore_is_a_conflict(make_replica, add, ask, sessions):
    add(0.9)
    add(0.5)
    replica = make_replica()
    first = ask(replica, TEXT, limit=1)
    with sessions.begin() as session:
        epoch = begin_epoch(session)
    until(lambda: replica.is_ready and replica.view().epoch == epoch)
    with pytest.raises(ConflictError):
        ask(replica, TEXT, limit=1, cursor=first.next_cursor)
