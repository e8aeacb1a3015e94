"""Captions that are taken back are not trained on, and leave all other draws as they were."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.clip_store import ClipStore
from model.distributed import Processes
from model.pair_batches import PairBatches
from model.pairs import VideoPair
from tests.factories_training import PREPROCESSING
from tests.factories_video import make_video

NUM_CLIPS, CAPTIONS, BATCH, STEPS = 9, 2, 4, 12


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips with two captions each, decoded; the caption of ordinal n says n."""
    folder = tmp_path_factory.mktemp("clips")
    pairs = [
        VideoPair(
            path=make_video(folder / f"{n}.mp4", seconds=0.4, seed=n),
            captions=tuple(f"caption {n * CAPTIONS + k}" for k in range(CAPTIONS)),
            ordinals=tuple(n * CAPTIONS + k for k in range(CAPTIONS)),
        )
        for n in range(NUM_CLIPS)
    ]
    store = ClipStore(folder / "kept", PREPROCESSING)
    assert not store.check(pairs)[1]
    return pairs, store


def texts_of(clips, forgotten=(), processes=None):
    pairs, store = clips
    batches = PairBatches(pairs, store, BATCH, 3, processes or Processes(), frozenset(forgotten))
    return [batches(step).texts for step in range(STEPS)]


def clip_of(text):
    return int(text.split()[1]) // CAPTIONS


@given(forgotten=st.sets(st.integers(0, NUM_CLIPS * CAPTIONS - 1), max_size=10))
def test_what_was_taken_back_is_never_drawn_and_no_clip_twice(clips, forgotten):
    for before, after in zip(texts_of(clips), texts_of(clips, forgotten), strict=True):
        assert not {f"caption {ordinal}" for ordinal in forgotten} & set(after)
        drawn = [clip_of(text) for text in after]
        assert len(set(drawn)) == len(drawn) == BATCH
        kept = [clip_of(text) for text in before if f"caption {_other(text)}" not in after]
        alive = [n for n in kept if not {2 * n, 2 * n + 1} <= forgotten]
        assert set(alive) <= set(drawn)


def _other(text):
    return int(text.split()[1]) ^ 1


def test_one_caption_less_changes_only_the_rows_that_had_it(clips):
    for before, after in zip(texts_of(clips), texts_of(clips, [5]), strict=True):
        assert after == [text if text != "caption 5" else "caption 4" for text in before]


def test_fewer_clips_than_a_batch_make_a_smaller_one_that_processes_can_share(clips):
    forgotten = range(6 * CAPTIONS)
    assert {len(texts) for texts in texts_of(clips, forgotten)} == {3}
    two = texts_of(clips, forgotten, Processes(0, 2))
    assert {len(texts) for texts in two} == {2}


def test_a_caption_that_was_taken_back_counts_for_no_other_clip(clips):
    (first, second), store = clips[0][:2], clips[1]
    first = replace(first, captions=("same", "other"))
    second = replace(second, captions=("same",), ordinals=(2,))
    before = PairBatches([first, second], store, 2, 0, Processes())(0)
    assert "same" in before.texts
    after = PairBatches([first, second], store, 2, 0, Processes(), frozenset([0]))(0)
    assert sorted(after.texts) == ["other", "same"]
    assert np.array_equal(after.is_true, np.eye(2, dtype=bool))


def test_clips_of_no_pair_are_removed(clips, tmp_path):
    pairs, _ = clips
    store = ClipStore(tmp_path / "kept", PREPROCESSING)
    store.check(pairs[:3])
    assert store.keep_only(pairs[:2]) == 1
    assert len(list(store.folder.glob("*.npy"))) == 2
    assert len(list(store.folder.glob("*.seen"))) == 2
