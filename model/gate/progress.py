"""The progress of a comparison as one number that never goes back."""

from model.measure import Progress

WHOLE = 1000
SHARES = {"clips embedded": (0.0, 0.3), "pairs matched": (0.3, 1.0)}
"""What part of searching a gallery is embedding, and what part matching, about."""


class Parts:
    """Turn the progress of parts into that of the whole.

    Args:
        progress: told (what, how far, 1000).
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._reached = 0

    def begin(self, first: float, last: float) -> Progress:
        """Begin a part that takes the whole from one share of the work to another."""

        def tell(what: str, done: int, total: int) -> None:
            low, high = SHARES.get(what, (0.0, 1.0))
            inside = low + (high - low) * done / max(1, total)
            reached = round(WHOLE * (first + (last - first) * inside))
            self._reached = max(self._reached, reached)
            self._progress(what, self._reached, WHOLE)

        return tell
