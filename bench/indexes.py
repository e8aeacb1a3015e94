"""What each kind of index costs and finds: python bench/indexes.py --segments 100000.

The gallery is made up: unit vectors in clouds, as footage is, or with --scattered in all
directions, which no near index can find well. Queries are other members of the same clouds.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import faiss
import numpy as np
from numpy.typing import NDArray

from service.index.faiss_index import FaissIndex, Keys, Slot
from service.index.kinds import NEAR_KINDS, NearKind
from service.index.near import build_near
from service.index.recall import Questions, tune

PER_VIDEO = 50
SPREAD = 0.7
SHARES = (0.9, 0.1, 0.01)
HEAD = ("kind", "build s", "file MB", "effort", "R measured", "R@10", "R@100", "p50 ms", "p95 ms")


@dataclass(frozen=True)
class Gallery:
    """The flat index, and queries with their exact answers.

    Attributes:
        queries: (q, E).
        filters: slots that may be found, by the share that is open; None: no filter.
        truth: what the flat index finds, by filter and query.
    """

    flat: FaissIndex
    queries: NDArray[np.float32]
    filters: dict[float | None, NDArray[np.bool_] | None]
    truth: dict[float | None, list[list[tuple[int, int]]]]


def main() -> None:
    """Print a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--recall", type=float, default=0.97)
    parser.add_argument("--scattered", action="store_true")
    parser.add_argument("--kinds", nargs="*", default=["flat_fp32", "flat_int8", *NEAR_KINDS])
    options = parser.parse_args()
    vectors, queries = make_vectors(options)
    gallery = make_gallery(vectors, queries)
    print(f"{options.segments} segments, {options.dim}-d, one thread")
    print("| " + " | ".join([*HEAD, *(f"R@100, {share:.0%} pass (ms)" for share in SHARES)]) + " |")
    print("|---" * (len(HEAD) + len(SHARES)) + "|")
    print(row("flat_fp16", gallery.flat, 0.0, gallery))
    for kind in options.kinds:
        began = time.perf_counter()
        index = build(kind, vectors, gallery.flat, wanted=options.recall)
        print(row(kind, index, time.perf_counter() - began, gallery), flush=True)


def make_vectors(options: argparse.Namespace) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Return the gallery and the queries."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(max(1, options.segments // 100), options.dim)).astype("f4")

    def some(count: int) -> NDArray[np.float32]:
        vectors = random.normal(size=(count, options.dim)).astype("f4")
        if not options.scattered:
            vectors = centres[random.integers(0, len(centres), count)] + SPREAD * vectors
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    return some(options.segments).astype(np.float16), some(options.queries)


def keys_for(count: int) -> Keys:
    """Return keys of `count` segments, fifty to a video."""
    slots = (Slot(UUID(int=n << 64), 1, n + 1) for n in range(-(-count // PER_VIDEO)))
    return Keys.of(slots, (divmod(place, PER_VIDEO) for place in range(count)))


def make_gallery(vectors: NDArray[np.float16], queries: NDArray[np.float32]) -> Gallery:
    """Index the gallery flat, and find the exact answers."""
    flat = FaissIndex.build(vectors, keys_for(len(vectors)), kind="flat_fp16")
    random = np.random.default_rng(1)
    filters: dict[float | None, NDArray[np.bool_] | None] = {None: None}
    filters |= {share: random.random(len(flat.keys.seqs)) < share for share in SHARES}
    truth = {
        share: [list(found(flat, query, is_open)) for query in queries]
        for share, is_open in filters.items()
    }
    return Gallery(flat, queries, filters, truth)


def found(
    index: FaissIndex, query: NDArray[np.float32], is_open: NDArray[np.bool_] | None
) -> Iterator[tuple[int, int]]:
    """Yield what names the best hundred."""
    return ((hit.seq, hit.ordinal) for hit in index.search(query, 100, is_open))


def build(
    kind: str, vectors: NDArray[np.float16], flat: FaissIndex, *, wanted: float
) -> FaissIndex:
    """Build an index as a replica does."""
    if kind not in NEAR_KINDS:
        return FaissIndex.build(vectors, flat.keys, kind=kind)  # type: ignore[arg-type]
    near: NearKind = kind  # type: ignore[assignment]
    made = build_near(flat.exact, near, is_given_up=threading.Event())
    index = FaissIndex(made, flat.keys, kind=near)
    nothing = np.empty((0, flat.dim), np.float32)
    return index.used(tune(index, near, Questions.of(flat, nothing), wanted=wanted))


def row(kind: str, index: FaissIndex, build_s: float, gallery: Gallery) -> str:
    """Measure an index, and return its row."""
    near = index.near
    recalls, times = measure(index, gallery, None)
    cells = [kind, f"{build_s:.1f}", f"{file_mb(index):.0f}"]
    cells += [str(near.effort), f"{near.recall:.4f}"] if near else ["-", "-"]
    cells += [f"{recalls[10]:.4f}", f"{recalls[100]:.4f}"]
    cells += [f"{statistics.median(times):.2f}", f"{np.quantile(times, 0.95):.2f}"]
    for share in SHARES:
        filtered, took = measure(index, gallery, share)
        cells.append(f"{filtered[100]:.4f} ({statistics.median(took):.2f})")
    return "| " + " | ".join(cells) + " |"


def measure(
    index: FaissIndex, gallery: Gallery, share: float | None
) -> tuple[dict[int, float], list[float]]:
    """Return recall at 10 and 100, and milliseconds of each query."""
    times: list[float] = []
    shares: dict[int, list[float]] = {10: [], 100: []}
    for query, truth in zip(gallery.queries, gallery.truth[share], strict=True):
        began = time.perf_counter()
        hits = list(found(index, query, gallery.filters[share]))
        times.append(1000 * (time.perf_counter() - began))
        for length, of_length in shares.items():
            best = truth[:length]
            of_length.append(len(set(best) & set(hits[:length])) / max(1, len(best)))
    return {length: float(np.mean(of_length)) for length, of_length in shares.items()}, times


def file_mb(index: FaissIndex) -> float:
    """Return the size of a snapshot, which is what it takes in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        faiss.write_index(index.index, str(path))
        return path.stat().st_size / 1e6


if __name__ == "__main__":
    main()
