"""Reports quote what people said; what is deleted is taken out of them in the same transaction.

Whoever writes a tuning's report holds the tuning's row and leaves out what is gone by then, and
whoever deletes holds it, too: no quotation slips through between the two.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.catalog.activation_tables import Activation
from service.catalog.tuning_tables import Tuning, TuningPair


def lock_tuning(session: Session, tuning_id: UUID) -> Tuning | None:
    """Lock a run against who takes quotations out of its report, or writes it."""
    return session.scalar(
        select(Tuning)
        .where(Tuning.id == tuning_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


def with_what_is_left(
    session: Session, tuning_id: UUID, report: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the report of a locked run without texts whose pairs were deleted meanwhile."""
    pairs = select(TuningPair.video_id, TuningPair.text).where(TuningPair.tuning_id == tuning_id)
    left = {(str(video_id), text) for video_id, text in session.execute(pairs)}
    return _quoting(report, left.__contains__)


def forget_in_tunings(session: Session, gone: Iterable[tuple[UUID, UUID, str]]) -> None:
    """Take texts out of the reports of runs: (tuning, video, text) of pairs that were deleted."""
    by_tuning: dict[UUID, set[tuple[str, str]]] = {}
    for tuning_id, video_id, text in gone:
        by_tuning.setdefault(tuning_id, set()).add((str(video_id), text))
    for tuning_id in sorted(by_tuning):
        tuning = lock_tuning(session, tuning_id)
        if tuning is not None and tuning.report is not None:
            tuning.report = _without(tuning.report, by_tuning[tuning_id])
    session.flush()


def forget_in_activations(session: Session, texts: Collection[str]) -> None:
    """Take texts out of the examples of shadow searches."""
    if not texts:
        return
    gone = set(texts)
    quoting = select(Activation).where(Activation.report.is_not(None)).order_by(Activation.id)
    for activation in session.scalars(quoting):
        shadow = (activation.report or {}).get("shadow", {})
        examples = shadow.get("examples", [])
        left = [one for one in examples if one["text"] not in gone]
        if len(left) < len(examples):
            shadow = {**shadow, "examples": left}
            activation.report = {**(activation.report or {}), "shadow": shadow}
    session.flush()


def _without(report: Mapping[str, Any], gone: Collection[tuple[str, str]]) -> dict[str, Any]:
    return _quoting(report, lambda said: said not in gone)


def _quoting(
    report: Mapping[str, Any], may_stay: Callable[[tuple[str, str]], bool]
) -> dict[str, Any]:
    """Return a report with those of its queries whose (video, text) may stay."""
    held_out = report.get("held_out") or {}
    queries = held_out.get("queries")
    if not queries:
        return dict(report)
    left = [one for one in queries if may_stay((one["video_id"], one["text"]))]
    return {**report, "held_out": {**held_out, "queries": left}}
