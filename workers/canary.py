"""The canary: before a model takes over, is it still what it was, and what it embedded its own?

Shapes: N items, T frames, S side, E embedding width.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.retrieval import RetrievalModel, RetrievalSpec, clips_to_tensor
from service.catalog.check_queries import SampledSegment, sample_segments, sample_vectors
from service.catalog.generation_queries import ActiveGeneration
from service.catalog.session import Sessions
from service.errors import NotFoundError
from service.storage import Storage

NUM_PINNED = 8
NUM_SAMPLED = 32
NUM_SPREAD = 1000
LEAST_COSINE = 0.999
"""Of an embedding and the same one computed again: float16 and batching cost less than this."""
MOST_ALIKE = 0.98
"""Mean cosine of pairs from which embeddings say nothing any more."""
MOST_ALIKE_OF_FEW = 0.9999
"""The same where so few are there that they may really be alike."""
FEW = 32
GRAIN = 4
CLIPS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Canary:
    """What the checks found.

    Attributes:
        figures: numbers, for the report.
        problems: what is wrong, sentences; empty if all is well.
    """

    figures: dict[str, Any]
    problems: Sequence[str]


def pinned_clips(spec: RetrievalSpec) -> np.ndarray:
    """Return clips that are always the same for a shape, uint8 (8, T, S, S, 3)."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (NUM_PINNED, spec.frames_per_clip, GRAIN, GRAIN, 3), np.uint8)
    rows = np.arange(spec.frame_size) * GRAIN // spec.frame_size
    return coarse[:, :, rows][:, :, :, rows]


def embed_clips(network: RetrievalModel, clips: Sequence[np.ndarray]) -> np.ndarray:
    """Return the embeddings of clips, float32 (N, E)."""
    parts = [
        network.embed_video(clips_to_tensor(clips[start : start + CLIPS_AT_ONCE])).numpy()
        for start in range(0, len(clips), CLIPS_AT_ONCE)
    ]
    return np.concatenate(parts)


def pin(network: RetrievalModel) -> list[str]:
    """Return what a model makes of the pinned clips, to be compared later."""
    vectors = embed_clips(network, list(pinned_clips(network.spec))).astype("<f2")
    return [base64.b64encode(vector.tobytes()).decode() for vector in vectors]


def check(
    fresh: RetrievalModel,
    pins: Sequence[str],
    *,
    generation: ActiveGeneration,
    active: ActiveGeneration | None,
    reads: Sessions,
    storage: Storage,
) -> Canary:
    """Compare a model that was loaded anew with what it embedded before.

    Args:
        fresh: the network, loaded again from its files.
        pins: as `pin` returned them when the activation began.
        generation: what it embedded.
        active: what is searched now, to know how alike this gallery is.
        reads: transactions that only read.
        storage: the stored clips.
    """
    with reads() as session:
        sampled = sample_segments(session, generation.generation_id, NUM_SAMPLED)
        vectors = sample_vectors(session, generation.generation_id, NUM_SPREAD)
        before = (
            np.empty((0, 1), np.float32)
            if active is None
            else sample_vectors(session, active.generation_id, NUM_SPREAD)
        )
    pinned = _compare_pinned(fresh, pins)
    stored, compared = _compare_stored(fresh, sampled, storage)
    alike, alike_before = mean_cosine(vectors), mean_cosine(before)
    most_alike = MOST_ALIKE if len(vectors) >= FEW else MOST_ALIKE_OF_FEW
    problems = []
    if pinned < LEAST_COSINE:
        problems.append(
            f"The model does not embed the pinned clips as it did (cosine {pinned:.4f})."
        )
    if stored < LEAST_COSINE:
        problems.append(f"Stored embeddings are not those of their clips (cosine {stored:.4f}).")
    if not np.isfinite(vectors).all():
        problems.append("Some embeddings are not finite.")
    if len(vectors) > 1 and alike >= most_alike > alike_before:
        problems.append(
            f"The embeddings have collapsed: the mean cosine of two of them is {alike:.4f}, "
            f"and {alike_before:.4f} with the model that is searched."
        )
    figures = {
        "is_passed": not problems,
        "pinned_cosine": round(pinned, 6),
        "stored_cosine": round(stored, 6),
        "stored_compared": compared,
        "mean_cosine": round(alike, 6),
        "mean_cosine_before": round(alike_before, 6),
        "sampled": len(vectors),
        "problems": problems,
    }
    return Canary(figures=figures, problems=problems)


def mean_cosine(vectors: np.ndarray) -> float:
    """Return the mean cosine of two different ones of some unit vectors; 0 if there are none."""
    count = len(vectors)
    if count <= 1:
        return 0.0
    total = vectors.astype(np.float64).sum(axis=0)
    squares = float((vectors.astype(np.float64) ** 2).sum())
    return (float(total @ total) - squares) / (count * (count - 1))


def _compare_pinned(fresh: RetrievalModel, pins: Sequence[str]) -> float:
    again = embed_clips(fresh, list(pinned_clips(fresh.spec)))
    known = np.stack([np.frombuffer(base64.b64decode(one), "<f2") for one in pins])
    return _least_cosine(again, known.astype(np.float32))


def _compare_stored(
    fresh: RetrievalModel, sampled: Sequence[SampledSegment], storage: Storage
) -> tuple[float, int]:
    clips, known = [], []
    for one in sampled:
        try:
            clips.append(storage.read_clip(one.derived, one.position))
        except NotFoundError:
            continue  # deleted a moment ago
        known.append(one.vector)
    if not clips:
        return 1.0, 0
    return _least_cosine(embed_clips(fresh, clips), np.stack(known)), len(clips)


def _least_cosine(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return 0.0
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    least = float(((one * other).sum(axis=1) / norms).min())
    return least if np.isfinite(least) else 0.0
