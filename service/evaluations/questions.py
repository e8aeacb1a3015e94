"""What a run asks: each text once, with all moments that answer it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from service.catalog.evaluation_queries import QueryRecord

MIN_OVERLAP_S = 0.5
MIN_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class RightMoment:
    """A moment that answers a question; without a span any moment of the video does."""

    video_id: UUID
    start_s: float | None
    end_s: float | None

    def holds(self, start_s: float, end_s: float) -> bool:
        """Tell whether a segment [start_s, end_s) of the video shows enough of the moment.

        Enough is half a second, or half of a moment that is shorter than a second.
        """
        if self.start_s is None or self.end_s is None:
            return True
        overlap_s = min(end_s, self.end_s) - max(start_s, self.start_s)
        needed_s = min(MIN_OVERLAP_S, MIN_SHARE * (self.end_s - self.start_s))
        return overlap_s >= needed_s


@dataclass(frozen=True, kw_only=True)
class Question:
    """A text and its right moments; the first that is found counts.

    Attributes:
        text: as it is searched for.
        moments: of videos that are still there.
        num_gone: right moments whose videos were deleted.
    """

    text: str
    moments: tuple[RightMoment, ...]
    num_gone: int

    @property
    def is_gone(self) -> bool:
        """Whether no right moment is left."""
        return not self.moments


def questions_of(queries: Iterable[QueryRecord]) -> list[Question]:
    """Join the queries of the same text, in the order of their first."""
    by_text: dict[str, list[QueryRecord]] = {}
    for query in queries:
        by_text.setdefault(query.text, []).append(query)
    return [_question(text, same) for text, same in by_text.items()]


def _question(text: str, queries: Sequence[QueryRecord]) -> Question:
    left = [query for query in queries if not query.is_gone]
    return Question(
        text=text,
        moments=tuple(
            RightMoment(video_id=query.video_id, start_s=query.start_s, end_s=query.end_s)
            for query in left
        ),
        num_gone=len(queries) - len(left),
    )
