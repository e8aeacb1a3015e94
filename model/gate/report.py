"""What a comparison says: figures side by side, queries won and lost, and one verdict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from model.bootstrap import differences
from model.gate.pairs import HeldOut
from model.metrics import Ranking, Recall
from model.report import Direction, StreamKind

Outcome = Literal["better", "worse", "no_difference", "not_enough_to_tell"]

METRICS = ("R@1", "R@5", "R@10", "MdR", "nDCG@10")
FEWEST_PAIRS = 20
FEWEST_GROUPS = 5
"""The texts of few videos succeed and fail together, however many there are."""
MOST_QUERIES = 500


@dataclass(frozen=True)
class Spot:
    """Which figures: a way to search, and from what to what."""

    stream: StreamKind
    direction: Direction


Rankings = Mapping[Spot, Ranking]
"""How one model answered."""

BY_SIMILARITY, AS_SEARCHED = Spot("dual_stream", "t2v"), Spot("reranked", "t2v")


def final(rankings: Rankings) -> Ranking | None:
    """Return what a user of the model would see from text to video: re-ranked if it can."""
    return rankings.get(AS_SEARCHED) or rankings.get(BY_SIMILARITY)


def rows(base: Rankings, candidate: Rankings) -> list[dict[str, Any]]:
    """Return each figure of both models, and the difference with its 95 % interval.

    What a model cannot do is null. Differences are candidate less base: of R@K and nDCG more is
    better, of MdR less.
    """
    spots = list(dict.fromkeys((*base, *candidate)))
    return [row for spot in spots for row in _rows_of(spot, base.get(spot), candidate.get(spot))]


def _rows_of(
    spot: Spot, base: Ranking | None, candidate: Ranking | None
) -> Iterator[dict[str, Any]]:
    before = {} if base is None else Recall.of(base).to_json()
    after = {} if candidate is None else Recall.of(candidate).to_json()
    found = differences(candidate, base) if base and candidate else {}
    for metric in METRICS:
        row: dict[str, Any] = {
            "stream": spot.stream,
            "direction": spot.direction,
            "metric": metric,
            "base": before.get(metric),
            "candidate": after.get(metric),
            "difference": None,
            "low": None,
            "high": None,
        }
        if metric in found:
            low, high = found[metric].interval.to_json()
            row |= {"difference": round(found[metric].by, 2), "low": low, "high": high}
        yield row


def queries(held_out: HeldOut, base: Ranking, candidate: Ranking) -> list[dict[str, Any]]:
    """Return where each text's clip stood and stands, those that changed most first."""
    change = candidate.ranks - base.ranks
    order = np.argsort(-np.abs(change), kind="stable")[:MOST_QUERIES]
    return [
        {
            "text": held_out.pairs[place].text,
            "video_id": held_out.pairs[place].video_id,
            "rank_before": int(base.ranks[place]) + 1,
            "rank_after": int(candidate.ranks[place]) + 1,
            "outcome": ("same", "lost", "won")[int(np.sign(change[place]))],
        }
        for place in order
    ]


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate is better, and a sentence that says why."""

    outcome: Outcome
    why: str


def judge(held_out: HeldOut, base: Ranking | None, candidate: Ranking | None) -> Verdict:
    """Decide by the 95 % interval of the difference in R@1 from text to video.

    Args:
        held_out: what both were asked.
        base: what its users see; None if it cannot search.
        candidate: what its users would see; None if it cannot search.
    """
    if base is None or candidate is None:
        which = "base model" if base is None else "candidate"
        return Verdict(
            "not_enough_to_tell",
            f"The {which} has no joint space and cannot search by itself, so there is nothing to "
            "compare.",
        )
    found = differences(candidate, base)["R@1"]
    low, high = found.interval.to_json()
    figures = (
        f"R@1 from text to video went from {Recall.of(base).r1:.1f} to "
        f"{Recall.of(candidate).r1:.1f} % ({found.by:+.1f} points, 95 % interval {low:+.1f} to "
        f"{high:+.1f}) on {_counted(len(held_out.pairs), 'held-out text')} of "
        f"{_counted(held_out.num_videos, 'video')}"
    )
    if (few := _too_few(held_out)) is not None:
        return Verdict("not_enough_to_tell", f"{figures}; {few}.")
    if found.interval.low > 0:
        return Verdict("better", f"{figures}: all of the interval is above 0.")
    if found.interval.high < 0:
        return Verdict("worse", f"{figures}: all of the interval is below 0.")
    return Verdict("no_difference", f"{figures}: the interval holds 0.")


def nothing_held_out() -> Verdict:
    """Return the verdict where no pair is left to compare on."""
    return Verdict(
        "not_enough_to_tell",
        f"There are no held-out pairs to compare on; {FEWEST_PAIRS} are needed.",
    )


def _too_few(held_out: HeldOut) -> str | None:
    if len(held_out.pairs) < FEWEST_PAIRS:
        return f"fewer than {FEWEST_PAIRS} texts are not enough to tell"
    if len(np.unique(held_out.groups)) < FEWEST_GROUPS:
        return f"texts of fewer than {FEWEST_GROUPS} different videos are not enough to tell"
    return None


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
