"""Generations that this process follows: views that advance through the change log."""

from collections.abc import Sequence
from dataclasses import replace

import structlog
from sqlalchemy.orm import Session

from service.catalog.change_queries import Counter, read_changes, verify_chain
from service.catalog.tables import Change
from service.index.builder import BaseBuilder
from service.index.loading import apply_changes
from service.index.serving import Serving
from service.index.view import IndexView

log = structlog.get_logger(__name__)

CHANGES_AT_ONCE = 1000


class OutOfStepError(Exception):
    """What is held does not fit the change log any more; it must be loaded again."""


class ChangeLines:
    """The change log as one poll sees it; generations at the same place read each line once."""

    def __init__(self, session: Session, counter: Counter) -> None:
        self.session = session
        self.counter = counter
        self._read: dict[int, Sequence[Change]] = {}

    def after(self, seq: int) -> Sequence[Change]:
        """Return some lines after `seq`, up to the counter.

        Raises:
            OutOfStepError: lines are missing.
        """
        wanted = min(CHANGES_AT_ONCE, self.counter.seq - seq)
        lines = self._read.get(seq)
        if lines is None:
            lines = self._read[seq] = read_changes(self.session, seq, wanted)
        if len(lines) < wanted:
            raise OutOfStepError(f"change {seq + len(lines) + 1} is missing")
        return lines


class Followed:
    """One generation: its view advances, its base is built anew when that pays.

    Args:
        serving: as it was loaded.
        view: the same.
        builder: builds its bases.
    """

    def __init__(self, serving: Serving, view: IndexView, builder: BaseBuilder) -> None:
        self.serving = serving
        self.view = view
        self.builder = builder

    def advance(self, lines: ChangeLines) -> bool:
        """Apply some more lines.

        Returns:
            Whether there may be more to apply.

        Raises:
            OutOfStepError: it does not fit the change log.
            BrokenChangeLogError: the lines do not fit each other.
        """
        view, counter = self.view, lines.counter
        if view.epoch != counter.epoch:
            raise OutOfStepError("the database has another history")
        if view.seq > counter.seq:
            raise OutOfStepError("the change log has become shorter")
        if view.seq == counter.seq:
            if view.chain != counter.chain:
                raise OutOfStepError("the chain of changes is another")
            return False
        changes = lines.after(view.seq)
        seq, chain = verify_chain(view.seq, view.chain, changes)
        self._put(apply_changes(lines.session, view, changes, seq=seq, chain=chain))
        return True

    def tend_base(self) -> None:
        """Put the view on a new base when there is one; order one when it is time."""
        fresh = self.builder.take(self.view)
        if fresh is not None:
            self._put(self.view.rebased(fresh))
            log.info("replica_rebased", seq=self.view.seq, segments=self.view.num_segments)
        measured = self.builder.take_measured(self.view.base)
        if measured is not None:
            self._put(replace(self.view, base=measured))
        self.builder.order_if_due(self.view)

    def give_up(self) -> None:
        """Let what is being built end soon."""
        self.builder.give_up()

    def join(self, timeout_s: float) -> None:
        """Wait for what is being built."""
        self.builder.join(timeout_s)

    def _put(self, view: IndexView) -> None:
        self.view = view
        self.serving = replace(self.serving, view=view)
