"""What searches are given: an index with its encoder, of the generation that they ask for."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from service.encoder import Encoder
from service.errors import ConflictError, UnavailableError
from service.index.vector_index import VectorIndex

LONGEST_WAIT_S = 2.0
"""How long a search waits for a change that this process has not applied yet."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What one search uses from beginning to end: an index and the encoder of its embeddings."""

    encoder: Encoder
    view: VectorIndex


@dataclass(frozen=True, kw_only=True)
class Held:
    """What searches may use now: replaced as a whole, so that each sees one state of it.

    Attributes:
        servings: by generation.
        answering: the generation that answers who names none; None while nothing is held.
        wanted: all generations that should be here; some may still be loading.
        behind_after: set while the promoted generation is not loaded, and another answers in its
            place: changes after this one may be missing there.
    """

    servings: dict[UUID, Serving] = field(default_factory=dict)
    answering: UUID | None = None
    wanted: frozenset[UUID] = frozenset()
    behind_after: int | None = None

    @property
    def current(self) -> Serving | None:
        """What answers who names no generation."""
        return None if self.answering is None else self.servings.get(self.answering)

    def has(self, seq: int, generation_id: UUID | None) -> bool:
        """Tell whether a generation (what answers, if None) contains a change."""
        serving = self.current if generation_id is None else self.servings.get(generation_id)
        if serving is None or serving.view.seq < seq:
            return False
        is_stand_in = generation_id is None and self.behind_after is not None
        return not is_stand_in or seq <= (self.behind_after or 0)


class Published:
    """What is held now; the replica's thread replaces it, searches read it and wait for it.

    Attributes:
        held: all of it.
        ready_at: change that a view must contain before it is searched; None: nothing is ready.

    Args:
        wake: makes the replica look for changes now.
        wait_s: how often it is woken while somebody waits.
    """

    def __init__(self, *, wake: Callable[[], None], wait_s: float) -> None:
        self.held = Held()
        self.ready_at: int | None = None
        self._wake = wake
        self._wait_s = wait_s
        self._changed = threading.Condition()

    @property
    def is_ready(self) -> bool:
        """Whether searches may be answered."""
        return self._find(self.held, None) is not None

    def put(self, held: Held) -> None:
        """Replace what is held."""
        with self._changed:
            self.held = held
            self._changed.notify_all()

    def serving(self, *, min_seq: int, generation_id: UUID | None) -> Serving:
        """Do what `IndexReplica.serving` says."""
        held = self.held
        serving = self._find(held, generation_id)
        if serving is None and generation_id is None:
            raise _loading()
        if serving is not None and held.has(min_seq, generation_id):
            return serving
        return self._wait_for(min_seq, generation_id)

    def _find(self, held: Held, generation_id: UUID | None) -> Serving | None:
        """Return what answers, if it is ready.

        Raises:
            ConflictError: the generation is not kept any more.
        """
        ready_at = self.ready_at
        serving = held.current if generation_id is None else held.servings.get(generation_id)
        if serving is not None:
            return serving if ready_at is not None and serving.view.seq >= ready_at else None
        is_gone = generation_id is not None and generation_id not in held.wanted
        if is_gone and held.current is not None:
            raise ConflictError(
                "The index that this belongs to is not kept any more; search again.",
                reason="generation_gone",
            )
        return None

    def _wait_for(self, seq: int, generation_id: UUID | None) -> Serving:
        until = time.monotonic() + LONGEST_WAIT_S
        serving = None
        with self._changed:
            while (left_s := until - time.monotonic()) > 0:
                held = self.held
                serving = self._find(held, generation_id)
                if serving is not None and held.has(seq, generation_id):
                    return serving
                self._wake()
                self._changed.wait(min(left_s, self._wait_s))
        if serving is None:
            raise _loading()
        raise UnavailableError(
            f"Change {seq} is not searchable here yet; try again in a moment.",
            reason="index_behind",
            retry_after_s=1,
        )


def _loading() -> UnavailableError:
    return UnavailableError(
        "The index is being loaded; try again in a moment.",
        reason="index_loading",
        retry_after_s=1,
    )
