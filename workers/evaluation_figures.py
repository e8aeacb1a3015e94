"""What is made of the answers to an evaluation set: figures, intervals, what changed since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self
from uuid import UUID

import numpy as np

from model.bootstrap import differences, intervals
from model.metrics import CUTOFF, Ranking, Recall
from service.catalog.evaluation_tables import EvaluationRun
from workers.ranking import Answered, Asked, Places

StreamName = Literal["dual_stream", "reranked"]
Target = Literal["moment", "video"]
Ranks = Mapping[tuple[StreamName, Target], int]
STREAMS: tuple[StreamName, ...] = ("dual_stream", "reranked")
TARGETS: tuple[Target, ...] = ("moment", "video")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked of which index.

    Attributes:
        asked: the questions that can be measured.
        num_queries: all questions of the set, equal texts counted once.
        num_gone: those whose videos were all deleted.
        num_segments: in the index.
        num_videos: in the index.
        rerank_depth: how many candidates the fused pass re-ranks.
    """

    asked: Sequence[Asked]
    num_queries: int
    num_gone: int
    num_segments: int
    num_videos: int
    rerank_depth: int


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """An earlier run of the same set.

    Attributes:
        run_id: which.
        ranks: of each text, from 0.
    """

    run_id: UUID
    ranks: Mapping[str, Ranks]

    @classmethod
    def of(cls, run: EvaluationRun) -> Self:
        """Read the ranks that a run has kept."""
        kept = (run.answers or {}).get("queries", [])
        return cls(run_id=run.id, ranks={one["text"]: _kept_ranks(one) for one in kept})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run keeps, as JSON: docs/evaluation.md describes both."""

    figures: dict[str, Any]
    answers: dict[str, Any]


def sum_up(asking: Asking, answered: Sequence[Answered], earlier: Earlier | None) -> Outcome:
    """Count how well a set was answered, and compare it with an earlier run.

    Args:
        asking: what was asked.
        answered: the answers, at least one.
        earlier: what to compare with, if there is anything.
    """
    ranks = {one.asked.question.text: _ranks(one) for one in answered}
    groups = _groups(answered)
    figures = {
        "queries": asking.num_queries,
        "measured": len(answered),
        "gone": asking.num_gone,
        "not_indexed": asking.num_queries - asking.num_gone - len(answered),
        "segments": asking.num_segments,
        "videos": asking.num_videos,
        "rerank_depth": asking.rerank_depth,
        "streams": [_figures(kind, ranks, groups) for kind in _kinds(next(iter(ranks.values())))],
        "change": None if earlier is None else _change(ranks, groups, earlier),
    }
    return Outcome(figures=figures, answers={"queries": [_answer_out(one) for one in answered]})


def _ranks(answered: Answered) -> Ranks:
    found: dict[tuple[StreamName, Target], int] = {}
    streams: dict[StreamName, Places | None] = {
        "dual_stream": answered.dual_stream,
        "reranked": answered.reranked,
    }
    for stream, places in streams.items():
        if places is not None:
            found[stream, "moment"], found[stream, "video"] = places.moment, places.video
    return found


def _kept_ranks(kept: Mapping[str, Any]) -> Ranks:
    return {
        (stream, target): kept[stream][target] - 1
        for stream in STREAMS
        for target in TARGETS
        if kept.get(stream) is not None
    }


def _answer_out(answered: Answered) -> dict[str, Any]:
    question = answered.asked.question
    ranks = _ranks(answered)
    out: dict[str, Any] = {
        "text": question.text,
        "video_id": str(question.moments[0].video_id),
        "moments": len(question.moments),
    }
    for stream in STREAMS:
        out[stream] = None
        if (stream, "moment") in ranks:
            out[stream] = {target: ranks[stream, target] + 1 for target in TARGETS}
    return out


def _groups(answered: Sequence[Answered]) -> dict[str, int]:
    """Number the videos: questions about one succeed and fail together."""
    numbers: dict[UUID, int] = {}
    return {
        one.asked.question.text: numbers.setdefault(
            one.asked.question.moments[0].video_id, len(numbers)
        )
        for one in answered
    }


def _kinds(ranks: Ranks) -> list[tuple[StreamName, Target]]:
    return [
        (stream, target) for stream in STREAMS for target in TARGETS if (stream, target) in ranks
    ]


def _figures(
    kind: tuple[StreamName, Target], ranks: Mapping[str, Ranks], groups: Mapping[str, int]
) -> dict[str, Any]:
    ranking = _ranking([one[kind] for one in ranks.values()], [groups[text] for text in ranks])
    stream, target = kind
    within = {name: interval.to_json() for name, interval in intervals(ranking).items()}
    figures = Recall.of(ranking).to_json()
    return {"stream": stream, "target": target, **figures, "intervals": within}


def _change(
    ranks: Mapping[str, Ranks], groups: Mapping[str, int], earlier: Earlier
) -> dict[str, Any] | None:
    """Compare with an earlier run, on the queries that both have measured."""
    both = [text for text in ranks if text in earlier.ranks]
    if not both:
        return None
    kinds = [kind for kind in _kinds(ranks[both[0]]) if kind in earlier.ranks[both[0]]]
    of_both = [groups[text] for text in both]
    streams = []
    for stream, target in kinds:
        now = _ranking([ranks[text][stream, target] for text in both], of_both)
        then = _ranking([earlier.ranks[text][stream, target] for text in both], of_both)
        by = {
            name: {
                "by": round(one.by, 2),
                "low": round(one.interval.low, 2),
                "high": round(one.interval.high, 2),
            }
            for name, one in differences(now, then).items()
        }
        streams.append({"stream": stream, "target": target, **by})
    return {"since": str(earlier.run_id), "measured": len(both), "streams": streams}


def _ranking(ranks: Sequence[int], groups: Sequence[int]) -> Ranking:
    places = np.array(ranks, np.float64)
    gains = np.where(places < CUTOFF, 1 / np.log2(places + 2), 0.0)
    return Ranking(places, gains, np.array(groups, np.int64))
