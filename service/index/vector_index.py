"""What a search wants of an index, wherever that is."""

from collections.abc import Collection
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from service.index.faiss_index import Hit
from service.index.figures import IndexFigures


class VectorIndex(Protocol):
    """The embeddings of a generation after the change `seq`, as one search sees them.

    Two are there: `IndexView`, in this process, and `MilvusIndex`, a server of its own. Both are
    fed by the change log, and whatever they find is checked in SQL before it is shown.
    """

    @property
    def generation_id(self) -> UUID:
        """What is indexed."""

    @property
    def model_version_id(self) -> UUID:
        """Whose embeddings these are."""

    @property
    def epoch(self) -> str:
        """History that `seq` counts in."""

    @property
    def seq(self) -> int:
        """Number of the last change that it contains."""

    @property
    def figures(self) -> IndexFigures:
        """What is shown of it."""

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        allowed: Collection[UUID] | None = None,
        *,
        max_seq: int | None = None,
    ) -> list[Hit]:
        """Return the segments most similar to a query, best first.

        Args:
            query: unit norm, (E,).
            k: how many at most.
            allowed: only segments of these videos; all if None.
            max_seq: only what was there after this change; all if None.
        """

    def count_above(
        self,
        query: NDArray[np.float32],
        similarity: float,
        allowed: Collection[UUID] | None = None,
    ) -> int:
        """Return how many segments are more similar to a query than this.

        Args:
            query: unit norm, (E,).
            similarity: as `search` gave it.
            allowed: only segments of these videos count; all if None.
        """
