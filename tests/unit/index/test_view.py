"""Any series of changes gives what a fresh load would give, and views in use stay as they are."""

from uuid import UUID

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.index.faiss_index import TIE, FaissIndex, Slot
from service.index.view import IndexView, Upserted, keys_of

DIM = 4
VIDEOS = [UUID(int=number * 2**100 + 255) for number in range(1, 7)]


def upserted(video, seq):
    """Return embeddings that depend on the video and the change alone."""
    random = np.random.default_rng([video.int % 2**31, seq])
    count = 1 + seq % 3
    vectors = random.normal(size=(count, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Upserted(
        slot=Slot(video, seq, seq), ordinals=range(count), vectors=vectors.astype(np.float16)
    )


def fresh(seq, alive):
    """Build a view from what is alive: {video: seq of its upsert}."""
    parts = [upserted(video, alive[video]) for video in sorted(alive)]
    vectors = np.concatenate([np.empty((0, DIM), np.float16), *(one.vectors for one in parts)])
    base = FaissIndex.build(vectors, keys_of(parts), kind="flat_fp16")
    return IndexView(
        generation_id=UUID(int=1),
        model_version_id=UUID(int=2),
        epoch="e",
        seq=seq,
        chain="",
        base=base,
        is_dead=np.zeros(len(parts), np.bool_),
        delta=FaissIndex.empty(DIM),
    )


def everything(view, **options):
    return view.search(np.array([1, 0, 0, 0], np.float32), 1000, **options)


changes = st.lists(st.tuples(st.sampled_from(VIDEOS), st.booleans()), max_size=25)


@settings(deadline=None, max_examples=60)
@given(before=changes, after=changes)
def test_changes_lead_to_what_a_fresh_load_finds(before, after):
    view, alive, seq = fresh(0, {}), {}, 0
    middle = view
    for number, (video, is_upsert) in enumerate([*before, *after]):
        if number == len(before):
            middle = fresh(seq, alive)
        seq += 1
        alive.pop(video, None)
        upserts = []
        if is_upsert:
            alive[video] = seq
            upserts = [upserted(video, seq)]
        view = view.apply(seq=seq, chain="", gone={video}, upserts=upserts)
    expected = everything(fresh(seq, alive))
    assert everything(view) == expected
    assert everything(view.rebased(middle)) == expected
    assert view.num_segments == len(expected) == view.rebased(middle).num_segments


@settings(deadline=None, max_examples=40)
@given(series=changes, allowed=st.sets(st.sampled_from(VIDEOS)), max_seq=st.integers(0, 25))
def test_filters_hold_in_base_and_delta(series, allowed, max_seq):
    view = fresh(2, {VIDEOS[0]: 1, VIDEOS[1]: 2})
    for seq, (video, is_upsert) in enumerate(series, start=3):
        upserts = [upserted(video, seq)] if is_upsert else []
        view = view.apply(seq=seq, chain="", gone={video}, upserts=upserts)
    hits = everything(view, allowed=allowed, max_seq=max_seq)
    assert hits == [
        hit for hit in everything(view) if hit.video_id in allowed and hit.seq <= max_seq
    ]


def test_a_view_in_use_does_not_change():
    view = fresh(2, {VIDEOS[0]: 1, VIDEOS[1]: 2})
    before = everything(view)
    view.apply(seq=3, chain="", gone=VIDEOS[:3], upserts=[upserted(VIDEOS[2], 3)])
    assert everything(view) == before


@settings(deadline=None, max_examples=40)
@given(series=changes, allowed=st.sets(st.sampled_from(VIDEOS)))
def test_ranks_are_counted_over_base_and_delta_without_the_dead(series, allowed):
    query = np.array([1, 0, 0, 0], np.float32)
    view = fresh(2, {VIDEOS[0]: 1, VIDEOS[1]: 2})
    for seq, (video, is_upsert) in enumerate(series, start=3):
        upserts = [upserted(video, seq)] if is_upsert else []
        view = view.apply(seq=seq, chain="", gone={video}, upserts=upserts)
    for only in (None, allowed):
        hits = everything(view, allowed=only)
        for hit in hits:
            before = sum(other.similarity > hit.similarity + TIE for other in hits)
            assert view.count_above(query, hit.similarity, only) == before
