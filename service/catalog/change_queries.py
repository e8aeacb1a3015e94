"""The change log: numbered without gaps, each line chained to the one before."""

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.catalog.tables import Change, ChangeCounter, ChangeOp

COUNTER_ID = 1
FIRST_CHAIN = "0" * 64  # of the log without a line; the first migration writes it


class BrokenChangeLogError(Exception):
    """Lines of the change log are missing, doubled or altered."""


class Counter(NamedTuple):
    """How far the change log has come.

    Attributes:
        epoch: another one means another history, as after a restore.
        seq: number of the newest line, 0 if there is none.
        chain: digest of the newest line and of all before it.
    """

    epoch: str
    seq: int
    chain: str


def read_counter(session: Session) -> Counter:
    """Return how far the change log has come."""
    counter = session.execute(
        select(ChangeCounter.epoch, ChangeCounter.seq, ChangeCounter.chain).where(
            ChangeCounter.id == COUNTER_ID
        )
    ).one()
    return Counter(*counter)


def read_changes(session: Session, after_seq: int, limit: int = 1000) -> list[Change]:
    """Return the lines after `after_seq`, in order, at most `limit`."""
    return list(
        session.scalars(
            select(Change).where(Change.seq > after_seq).order_by(Change.seq).limit(limit)
        )
    )


def append_change(
    session: Session,
    op: ChangeOp,
    *,
    video_id: UUID | None = None,
    video_version: int | None = None,
    generation_id: UUID | None = None,
) -> int:
    """Write the next line and return its number. Must be the last thing that a transaction does.

    The counter row stays locked until the commit, so lines become visible in the order of their
    numbers and a reader that has seen n has seen all before it. (Numbers from a sequence do not
    have that property: they are taken before the commit.)
    """
    session.flush()
    counter = session.execute(
        select(ChangeCounter.seq, ChangeCounter.chain)
        .where(ChangeCounter.id == COUNTER_ID)
        .with_for_update()
    ).one()
    change = Change(
        seq=counter.seq + 1,
        generation_id=generation_id,
        video_id=video_id,
        video_version=video_version,
        op=op,
    )
    change.chain = chain_after(counter.chain, change)
    session.execute(
        update(ChangeCounter)
        .where(ChangeCounter.id == COUNTER_ID)
        .values(seq=change.seq, chain=change.chain)
    )
    session.add(change)
    session.flush()
    return change.seq


def chain_after(chain: str, change: Change) -> str:
    """Return the digest of a line and of all before it, given the digest of those before."""
    ids = (change.generation_id, change.video_id)
    generation_id, video_id = (str(value) if value else None for value in ids)
    line = [change.seq, str(change.op), generation_id, video_id, change.video_version]
    text = chain + "\n" + json.dumps(line, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def verify_chain(seq: int, chain: str, changes: Iterable[Change]) -> tuple[int, str]:
    """Check that lines follow on, and return the number and chain of the last.

    Args:
        seq: number of the line before the first of `changes`.
        chain: its chain.
        changes: lines in order.

    Raises:
        BrokenChangeLogError: a number is missing, or a line does not match its digest.
    """
    for change in changes:
        if change.seq != seq + 1:
            raise BrokenChangeLogError(f"change {seq} is followed by {change.seq}")
        if change.chain != chain_after(chain, change):
            raise BrokenChangeLogError(f"change {change.seq} does not match its digest")
        seq, chain = change.seq, change.chain
    return seq, chain


def begin_epoch(session: Session) -> str:
    """Tell every replica to discard what it has, as after a restore of the database."""
    epoch = str(uuid4())
    session.execute(update(ChangeCounter).where(ChangeCounter.id == COUNTER_ID).values(epoch=epoch))
    return epoch
