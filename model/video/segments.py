"""Cut a video into the spans that are embedded."""

from dataclasses import dataclass

SHORTEST_SHARE = 0.5
"""A last span shorter than this share of `length_s` is merged into the one before."""


@dataclass(frozen=True)
class Span:
    """One segment: [start_s, end_s) of a video, its `ordinal`-th."""

    ordinal: int
    start_s: float
    end_s: float


def cut(duration_s: float, *, length_s: float, every_s: float) -> list[Span]:
    """Cut a video into spans of `length_s` that start `every_s` apart.

    The last span ends with the video. If it would be shorter than half of `length_s`
    it is merged into the span before it, so no moment is lost and none is tiny.

    Args:
        duration_s: length of the video; 0 (a single frame) still gives one span.
        length_s: length of a span.
        every_s: distance between starts; smaller than `length_s` gives overlap.

    Returns:
        At least one span, ordinals from 0, starts increasing.

    Raises:
        ValueError: a length is not positive, or the duration is negative.
    """
    if length_s <= 0 or every_s <= 0 or not 0 <= duration_s < float("inf"):
        raise ValueError(f"cannot cut {duration_s} s into {length_s} s every {every_s} s")
    spans = [Span(0, 0.0, min(length_s, duration_s))]
    while spans[-1].start_s + every_s < duration_s and spans[-1].end_s < duration_s:
        start_s = len(spans) * every_s
        end_s = min(start_s + length_s, duration_s)
        if end_s - start_s < SHORTEST_SHARE * length_s:
            last = spans[-1]
            spans[-1] = Span(last.ordinal, last.start_s, duration_s)
            break
        spans.append(Span(len(spans), start_s, end_s))
    return spans
