"""Indexes that look at a part of the gallery: a graph, cells, cells of codes.

Each holds every embedding exactly as the flat index does (float16), so that it can scan, too.
Shapes: n positions, E embedding width, q queries.
"""

import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.index.kinds import BaseKind, NearKind

ROWS_AT_ONCE = 8_192
"""Added at once: a build that is not wanted any more ends after this many."""
NEIGHBOURS = 32  # of a node of the graph, twice as many at the bottom
CONSTRUCTION = 80  # nodes looked at when one is added
EF_SEARCH = (64, 128, 256, 512, 1024)  # nodes looked at in a search
ROWS_PER_CELL = 40  # FAISS wants 39 to place a cell
TRAINING_ROUNDS = 10
CODE_WIDTH = 2  # components of an embedding that one 4-bit code stands for
REFINED = 4.0  # times as many as are wanted are found by codes, then compared exactly

make_parameters: Any = faiss.SearchParameters
make_cell_parameters: Any = faiss.SearchParametersIVF
make_graph_parameters: Any = faiss.SearchParametersHNSW  # type: ignore[attr-defined]
make_refine_parameters: Any = faiss.IndexRefineSearchParameters
# their Python names differ from those of the C++ signatures that mypy reads


class GivenUpError(Exception):
    """The index is not wanted any more."""


@dataclass(frozen=True, kw_only=True)
class Exact:
    """The part of an index that scans everything.

    Attributes:
        index: of FAISS; belongs to the index that it is part of.
        num_cells: all of them are looked at; None if it has none.
    """

    index: Any
    num_cells: int | None = None

    def parameters(self, selector: Any | None) -> Any:
        """Return what makes FAISS look at everything but what a selector leaves out."""
        if self.num_cells is not None:
            return make_cell_parameters(sel=selector, nprobe=self.num_cells)
        return make_parameters(sel=selector) if selector is not None else None


def exact_part(index: Any, kind: BaseKind) -> Exact:
    """Return what of an index scans everything."""
    if kind == "hnsw":
        return Exact(index=faiss.downcast_index(index.storage))
    if kind == "ivf_flat":
        return Exact(index=index, num_cells=int(index.nlist))
    if kind == "ivf_pq":
        return Exact(index=faiss.downcast_index(index.refine_index))
    return Exact(index=index)


def near_parameters(kind: NearKind, effort: int) -> Any:
    """Return what makes FAISS look at a part: `effort` nodes of the graph, or cells."""
    if kind == "hnsw":
        return make_graph_parameters(efSearch=effort)
    cells = make_cell_parameters(nprobe=effort)
    if kind == "ivf_flat":
        return cells
    return make_refine_parameters(k_factor=REFINED, base_index_params=cells)


def efforts(index: Any, kind: NearKind) -> list[int]:
    """Return efforts from the least to the most that is still worth it."""
    if kind == "hnsw":
        least = EF_SEARCH[0]
        return [least] + [ef for ef in EF_SEARCH if least < ef <= index.ntotal // 8]
    cells: Any = index if kind == "ivf_flat" else faiss.downcast_index(index.base_index)
    most = max(1, int(cells.nlist) // 4)
    return [*(2**step for step in range(2, most.bit_length()) if 2**step < most), most]


def build_near(exact: Exact, kind: NearKind, *, is_given_up: threading.Event) -> Any:
    """Build an index of what a flat float16 one holds. Takes minutes for a large one.

    Raises:
        GivenUpError: `is_given_up` was set meanwhile.
    """
    faiss.omp_set_num_threads(max(1, (os.cpu_count() or 2) // 2))  # searches need the others
    flat = exact.index
    index = _made(flat, kind)
    if not index.is_trained:
        index.train(_sample(flat, _num_cells(flat.ntotal) * ROWS_PER_CELL))
    for rows in _blocks(flat):
        if is_given_up.is_set():
            raise GivenUpError
        index.add(rows)
    if kind == "ivf_flat":
        index.make_direct_map()  # from a position to its cell: recall is measured with some
    return index if kind != "ivf_pq" else faiss.IndexRefine(index, flat)


def _made(flat: Any, kind: NearKind) -> Any:
    """Return an index that nothing was added to."""
    dim, metric = int(flat.d), faiss.METRIC_INNER_PRODUCT
    if kind == "hnsw":
        make_graph: Any = faiss.IndexHNSWSQ
        graph = make_graph(dim, faiss.ScalarQuantizer.QT_fp16, NEIGHBOURS, metric)
        graph.hnsw.efConstruction = CONSTRUCTION
        graph.train(np.zeros((1, dim), np.float32))  # float16 needs none, but wants to be asked
        return graph
    num_cells = _num_cells(flat.ntotal)
    centres = faiss.IndexFlatIP(dim)
    cells: Any
    if kind == "ivf_flat":
        half = faiss.ScalarQuantizer.QT_fp16
        cells = faiss.IndexIVFScalarQuantizer(centres, dim, num_cells, half, metric, False)  # noqa: FBT003 (no residuals: similarities as the flat index has them)
        cells.cp.niter = TRAINING_ROUNDS
        return cells
    codes = dim // CODE_WIDTH if dim % CODE_WIDTH == 0 else dim
    cells = faiss.IndexIVFPQFastScan(centres, dim, num_cells, codes, 4, metric)
    cells.cp.niter = TRAINING_ROUNDS
    return cells


def _num_cells(num_rows: int) -> int:
    return max(1, min(int(2 * math.sqrt(num_rows)), num_rows // ROWS_PER_CELL))


def _sample(flat: Any, count: int) -> NDArray[np.float32]:
    """Return some embeddings, (count, E)."""
    places = np.random.default_rng(0).permutation(flat.ntotal)[:count]
    sample: NDArray[np.float32] = flat.reconstruct_batch(np.sort(places))
    return sample


def _blocks(flat: Any) -> Iterator[NDArray[np.float32]]:
    for start in range(0, flat.ntotal, ROWS_AT_ONCE):
        yield flat.reconstruct_n(start, min(ROWS_AT_ONCE, flat.ntotal - start))
