"""The encoder: requests share passes, answers are remembered, deadlines and bounds hold."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import numpy as np
import pytest

from service.encoder import ClipKey, Encoder
from service.errors import UnavailableError

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
FAR = 60.0


def clips(encoder, count, *, seed=0):
    """Return random clips with keys of their own."""
    spec = encoder.spec
    shape = (spec.frames_per_clip, spec.frame_size, spec.frame_size, 3)
    random = np.random.default_rng(seed)
    return [
        (ClipKey(UUID(int=seed), 1, ordinal), random.integers(0, 256, shape, np.uint8))
        for ordinal in range(count)
    ]


def at_once(count, work):
    """Run `work(0..count-1)` in as many threads that start together."""
    barrier = threading.Barrier(count)

    def begin(number):
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def test_an_embedding_has_unit_norm_and_is_remembered(encoder):
    first = encoder.embed_text("a red circle")
    passes = encoder.num_passes
    assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-3)
    assert np.array_equal(encoder.embed_text("a red circle"), first)
    assert encoder.num_passes == passes


def test_texts_of_concurrent_requests_share_passes(encoder):
    encoder.embed_text("warm up")
    before = encoder.num_passes
    embeddings = at_once(24, lambda number: encoder.embed_text(f"{number} dogs"))
    assert encoder.num_passes - before < 24
    for number in (0, 23):
        again = embeddings[number] @ encoder.embed_text(f"{number} dogs")
        assert again == pytest.approx(1.0, abs=1e-3)


def test_pairs_of_concurrent_requests_share_passes(encoder):
    before = encoder.num_passes
    given = [clips(encoder, 2, seed=number) for number in range(12)]
    deadline = time.monotonic() + FAR
    answers = at_once(12, lambda n: encoder.match(f"{n} dogs", given[n], deadline))
    assert encoder.num_passes - before < 12
    assert all(odds is not None for answer in answers for odds in answer)


def test_sharing_a_pass_does_not_change_the_answers(encoder):
    given = [clips(encoder, 2, seed=number) for number in range(6)]
    deadline = time.monotonic() + FAR
    texts = ["a dog", "a red circle moves to the left and then grows"] * 3
    together = at_once(6, lambda n: encoder.match(texts[n], given[n], deadline))
    for number in range(6):
        fresh = [
            (ClipKey(UUID(int=500 + number), 1, k), clip)
            for k, (_, clip) in enumerate(given[number])
        ]
        alone = encoder.match(texts[number], fresh, deadline)
        assert together[number] == pytest.approx(alone, abs=0.05)


def test_matches_are_remembered_by_text_and_clip(encoder):
    given = clips(encoder, 3)
    keys = [key for key, _ in given]
    answers = encoder.match("a dog", given, time.monotonic() + FAR)
    assert encoder.recall("a dog", keys) == dict(zip(keys, answers, strict=True))
    assert encoder.recall("a cat", keys) == {}
    assert encoder.recall("a dog", [keys[0]._replace(version=2)]) == {}


def test_after_the_deadline_no_pass_is_run(encoder):
    before = encoder.num_passes
    assert encoder.match("a dog", clips(encoder, 3), time.monotonic() - 1) == [None] * 3
    assert encoder.match("a dog", clips(encoder, 1, seed=1), time.monotonic() + FAR) != [None]
    assert encoder.num_passes - before == 1


def test_more_pairs_than_may_wait_are_refused(bundle_dir, settings):
    few = {"search_queue": 2, "rerank_depth": 2}
    encoder = Encoder(bundle_dir, settings.model_copy(update=few))
    with pytest.raises(UnavailableError) as refused:
        encoder.match("a dog", clips(encoder, 5), time.monotonic() + FAR)
    encoder.close()
    assert refused.value.retry_after_s


def test_a_closed_encoder_refuses(bundle_dir, settings):
    encoder = Encoder(bundle_dir, settings)
    encoder.close()
    with pytest.raises(UnavailableError):
        encoder.embed_text("a dog")


def test_a_clip_of_another_shape_cannot_be_matched(encoder):
    ((_, clip),) = clips(encoder, 1)
    assert encoder.can_match(clip)
    assert not encoder.can_match(clip[:-1])
    assert not encoder.can_match(None)
