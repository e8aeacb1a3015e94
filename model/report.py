"""What measuring a model found: each way to search, in both directions, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from model.bootstrap import Interval, intervals
from model.metrics import Ranking, Recall

Direction = Literal["t2v", "v2t"]
StreamKind = Literal["dual_stream", "reranked", "full_fused"]

DIRECTIONS: tuple[Direction, ...] = ("t2v", "v2t")


@dataclass(frozen=True)
class Figures:
    """A ranking summed up.

    Attributes:
        ranking: how each query was answered.
        recall: what papers print of it.
        intervals: 95 % bootstrap interval of each figure.
    """

    ranking: Ranking
    recall: Recall
    intervals: Mapping[str, Interval]

    @classmethod
    def of(cls, ranking: Ranking) -> Self:
        """Sum up a ranking; the resamples are always the same ones."""
        return cls(ranking, Recall.of(ranking), intervals(ranking))

    def to_json(self) -> dict[str, Any]:
        """Return the figures by the names that papers use."""
        ends = {name: interval.to_json() for name, interval in self.intervals.items()}
        return {**self.recall.to_json(), "intervals": ends}


@dataclass(frozen=True)
class Stream:
    """One way to search.

    Attributes:
        kind: by the dual stream; by its best, re-ranked by the fused pass; or by the fused
            pass over every pair.
        depth: how many of the dual stream's best were re-ranked; None if all, or none.
        t2v: from text to video.
        v2t: from video to text.
    """

    kind: StreamKind
    depth: int | None
    t2v: Figures
    v2t: Figures

    @property
    def label(self) -> str:
        """The stream in words."""
        if self.kind == "reranked":
            return f"re-ranked ({self.depth or 'all'})"
        return "dual stream" if self.kind == "dual_stream" else "full fused"

    def figures(self, direction: Direction) -> Figures:
        """Return one direction."""
        return self.t2v if direction == "t2v" else self.v2t


@dataclass(frozen=True)
class Report:
    """All ways in which a model searched one gallery.

    Attributes:
        streams: at least one.
        num_texts: texts N that were asked, or were to be found.
        num_videos: videos M.
    """

    streams: tuple[Stream, ...]
    num_texts: int
    num_videos: int

    def to_json(self) -> dict[str, Any]:
        """Return `t2v` and `v2t`, each with the streams that there are, and the gallery's size.

        `reranked` is the first depth that was asked for, `reranked_at` has each by its depth.
        """
        found: dict[str, Any] = {direction: self._direction(direction) for direction in DIRECTIONS}
        return {**found, "gallery": {"texts": self.num_texts, "videos": self.num_videos}}

    def _direction(self, direction: Direction) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for stream in self.streams:
            figures = stream.figures(direction).to_json()
            found.setdefault(stream.kind, figures)
            if stream.kind == "reranked":
                found.setdefault("reranked_at", {})[str(stream.depth or "all")] = figures
        return found
