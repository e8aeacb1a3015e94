"""No answer mixes generations; cursors and receipts stay in the one that they began in."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from service.catalog.change_queries import begin_epoch
from service.encoder import ClipKey
from service.errors import BadRequestError, ConflictError
from tests.factories_gallery import until
from tests.factories_generations import promote, retire

TEXT = "a red circle"
SWITCHES = 12
SEARCHERS = 4


@pytest.fixture
def replica(make_replica, first, second):
    """A replica that holds both generations."""
    replica = make_replica()
    until(lambda: replica.generation_ids == {first, second}, what="both generations")
    return replica


def shown(answer):
    return [(moment.video_id, moment.segments) for moment in answer.moments]


def switch(replica, sessions, generation_id):
    promote(sessions, generation_id)
    until(lambda: replica.view().generation_id == generation_id, what="the switch")


@pytest.fixture
def expected(add_to_both, storage, *, encoder, other_encoder, first, second):
    """Similarity and match probability of each video that each generation alone can give."""
    places = [(0.9, 0.5), (0.7, 0.6), (0.5, 0.8), (0.3, 0.95)]
    found = {first: {}, second: {}}
    for place in places:
        video_id = add_to_both(*place, has_clips=True)
        folder = next((storage.root / "derived" / str(video_id)).iterdir())
        clip = storage.read_clip(f"derived/{video_id}/{folder.name}", 0)
        for generation_id, similarity, by in zip(
            found, place, (encoder, other_encoder), strict=True
        ):
            pairs = [(ClipKey(video_id, 1, 0), clip)]
            (log_odds,) = by.match(TEXT, pairs, time.monotonic() + 60)
            probability = by.probability(similarity=similarity, log_odds=log_odds)
            found[generation_id][video_id] = (similarity, probability)
    return found


def test_each_answer_is_of_one_generation_while_they_switch_back_and_forth(
    expected, replica, ask, sessions, *, first, second
):
    """Vectors and clips say which pair of encoder and index can have made an answer."""
    until(lambda: len(ask(replica, TEXT).moments) == len(expected[first]), what="the videos")
    is_over = threading.Event()

    def search_on():
        answers = []
        while not is_over.is_set():
            answers.append(ask(replica, TEXT, rerank_depth=4))
        return answers

    with ThreadPoolExecutor(SEARCHERS) as pool:
        searchers = [pool.submit(search_on) for _ in range(SEARCHERS)]
        for number in range(SWITCHES):
            switch(replica, sessions, (second, first)[number % 2])
        is_over.set()
        answers = [answer for one in searchers for answer in one.result()]
    assert {answer.receipt.generation_id for answer in answers} == {first, second}
    for answer in answers:
        got = {one.video_id: (one.similarity, one.match_probability) for one in answer.moments}
        for video_id, (similarity, probability) in expected[answer.receipt.generation_id].items():
            assert got[video_id] == pytest.approx((similarity, probability), abs=0.005)


def test_a_cursor_goes_on_in_its_generation_while_that_is_kept(
    replica, add_to_both, ask, sessions, *, first, second
):
    for place in range(5):
        add_to_both(0.9 - 0.1 * place, 0.1 + 0.15 * place)
    until(lambda: len(ask(replica, TEXT).moments) == 5, what="the videos")
    whole = ask(replica, TEXT, limit=100)
    begun = ask(replica, TEXT, limit=2)
    switch(replica, sessions, second)
    answer, seen = begun, shown(begun)
    while answer.next_cursor:
        answer = ask(replica, TEXT, limit=2, cursor=answer.next_cursor)
        assert answer.receipt.generation_id == first
        seen += shown(answer)
    assert seen == shown(whole) != shown(ask(replica, TEXT, limit=100))
    retire(sessions, first)
    until(lambda: replica.generation_ids == {second}, what="the end of the first")
    with pytest.raises(ConflictError) as refused:
        ask(replica, TEXT, limit=2, cursor=begun.next_cursor)
    assert refused.value.reason == "generation_gone"


@pytest.mark.parametrize("depth", [0, 4])
def test_a_receipt_brings_the_same_order_back(
    replica, add_to_both, ask, gallery, *, sessions, first, second, depth
):
    options = {"rerank_depth": depth, "limit": 100}
    videos = [
        add_to_both(0.9 - 0.1 * place, 0.1 + 0.15 * place, has_clips=True) for place in range(6)
    ]
    until(lambda: len(ask(replica, TEXT).moments) == 6, what="the videos")
    before = ask(replica, TEXT, **options)
    late = add_to_both(0.85, 0.1, has_clips=True)
    gallery.delete(videos[5])
    until(lambda: late in {one[0] for one in shown(ask(replica, TEXT))}, what="the late video")
    switch(replica, sessions, second)
    again = ask(replica, TEXT, receipt=before.receipt, **options)
    assert shown(again) == [one for one in shown(before) if one[0] != videos[5]]
    assert (again.receipt.generation_id, again.receipt.seq) == (first, before.receipt.seq)
    pages = ask(replica, TEXT, receipt=before.receipt, rerank_depth=depth, limit=2)
    rest = ask(
        replica,
        TEXT,
        receipt=before.receipt,
        rerank_depth=depth,
        limit=100,
        cursor=pages.next_cursor,
    )
    assert shown(pages) + shown(rest) == shown(again)


def test_a_receipt_of_what_is_gone_is_a_conflict_that_says_so(
    replica, add_to_both, ask, sessions, *, first, second
):
    add_to_both(0.9, 0.1)
    receipt = ask(replica, TEXT).receipt
    switch(replica, sessions, second)
    retire(sessions, first)
    until(lambda: replica.generation_ids == {second}, what="the end of the first")
    with pytest.raises(ConflictError) as refused:
        ask(replica, TEXT, receipt=receipt)
    assert refused.value.reason == "generation_gone"
    ours = ask(replica, TEXT).receipt
    with sessions.begin() as session:
        epoch = begin_epoch(session)
    until(lambda: replica.is_ready and replica.view().epoch == epoch, what="the new epoch")
    with pytest.raises(ConflictError) as refused:
        ask(replica, TEXT, receipt=ours)
    assert refused.value.reason == "other_history"


def test_a_receipt_that_nobody_had_is_refused(replica, add_to_both, ask, *, second):
    for place in range(3):
        add_to_both(0.9 - 0.1 * place, 0.1)
    until(lambda: len(ask(replica, TEXT).moments) == 3, what="the videos")
    answer = ask(replica, TEXT, limit=1)
    forged = replace(answer.receipt, model_version_id=second)
    with pytest.raises(BadRequestError) as refused:
        ask(replica, TEXT, receipt=forged)
    assert refused.value.reason == "bad_receipt"
    other = replace(answer.receipt, seq=answer.receipt.seq - 1)
    with pytest.raises(BadRequestError) as refused:
        ask(replica, TEXT, receipt=other, cursor=answer.next_cursor)
    assert refused.value.reason == "bad_cursor"
