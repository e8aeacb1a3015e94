"""How much of the exact answer does a near index find, on the gallery that it is used for?

Shapes: q queries, E embedding width, d depth.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import faiss
import numpy as np
from numpy.typing import NDArray

from service.index.faiss_index import FaissIndex, Near
from service.index.kinds import NearKind
from service.index.near import efforts

LENGTHS = (10, 100)
"""Hits among which recall must hold: the first that people see, the usual candidates."""
DEEPER = (200, 400, 800)
"""Where it holds among so many, too, filters and long lists are answered near as well."""
NUM_QUERIES = 128
TIMED = 16
EQUAL = 1e-5
"""As good as equal: the same sum of products, in another order."""


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What recall is measured with: each with its exact answer.

    Attributes:
        queries: texts that people searched for lately, then embeddings of the gallery, (q, E).
        num_texts: how many of them are texts.
        truth: similarities of the exact answer, best first, (q, d).
    """

    queries: NDArray[np.float32]
    num_texts: int
    truth: NDArray[np.float32]

    @classmethod
    def of(
        cls, flat: FaissIndex, texts: NDArray[np.float32], *, num_queries: int = NUM_QUERIES
    ) -> "Questions":
        """Find the exact answers.

        Args:
            flat: any index; it is scanned.
            texts: embeddings of texts, (t, E); half of the queries may be such.
            num_queries: q at most.
        """
        faiss.omp_set_num_threads(1)
        texts = texts[: num_queries // 2]
        rows = np.random.default_rng(len(flat)).permutation(len(flat))
        own = flat.vectors_at(np.sort(rows[: num_queries - len(texts)]))
        depth = max(1, min(DEEPER[-1], len(flat) // 16))
        queries = np.concatenate([texts.reshape(-1, flat.dim), own])
        exact = flat.used(None)
        truth = [[hit.similarity for hit in exact.search(query, depth)] for query in queries]
        return cls(queries=queries, num_texts=len(texts), truth=np.array(truth, np.float32))

    @property
    def depth(self) -> int:
        """How long the exact answers are, d."""
        return int(self.truth.shape[1])


def tune(index: FaissIndex, kind: NearKind, questions: Questions, *, wanted: float) -> Near:
    """Return the least effort with which an index finds enough; the most, if none does.

    Args:
        index: of that kind.
        kind: near.
        questions: what to ask it.
        wanted: least recall.
    """
    for effort in efforts(index.index, kind):
        near = Near(
            kind=kind,
            effort=effort,
            depth=questions.depth,
            recall=0.0,
            speedup=0.0,
            num_texts=questions.num_texts,
            num_segments=len(questions.queries) - questions.num_texts,
        )
        used = index.used(near)
        recall = measure(used, questions)
        if recall >= wanted:
            break
    depth = _lengths(questions)[-1]
    for deeper in DEEPER:
        if deeper > questions.depth or _recall_at(used, questions, deeper) < wanted:
            break
        depth = deeper
    return replace(near, recall=recall, depth=depth, speedup=_speedup(used, questions))


def measure(index: FaissIndex, questions: Questions) -> float:
    """Return the share of the exact answers that an index finds, the least of several lengths.

    What is as similar as the last of the exact answer counts: embeddings may be equal.
    """
    return min(_recall_at(index, questions, length) for length in _lengths(questions))


def _lengths(questions: Questions) -> list[int]:
    return [one for one in LENGTHS if one <= questions.depth] or [questions.depth]


def _speedup(index: FaissIndex, questions: Questions) -> float:
    """Return how many times as quick as scanning a search is, by the medians of some."""
    exact, length = index.used(None), _lengths(questions)[-1]
    scans, looks = [], []
    for query in questions.queries[:TIMED]:
        began = time.perf_counter()
        exact.search(query, length)
        between = time.perf_counter()
        index.search(query, length)
        looks.append(time.perf_counter() - between)
        scans.append(between - began)
    return float(np.median(scans) / np.median(looks))


def _recall_at(index: FaissIndex, questions: Questions, length: int) -> float:
    shares: Sequence[float] = [
        _share(index, query, truth[:length])
        for query, truth in zip(questions.queries, questions.truth, strict=True)
    ]
    return float(np.mean(shares))


def _share(index: FaissIndex, query: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    found = index.search_near(query, len(truth))
    if found is None:
        return 0.0
    _positions, similarities = found
    return float((similarities >= truth[-1] - EQUAL).sum()) / len(truth)
