"""How far the embedding of a gallery is, and how long the rest will take."""

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """How far the embedding is.

    Attributes:
        total: segments of all videos.
        done: those that are embedded.
        decoded_again: videos whose stored clips did not fit the model.
        began: `time.monotonic()` at which this run began.
        done_before: segments that were embedded already at that time.
    """

    total: int = 0
    done: int = 0
    decoded_again: int = 0
    began: float = field(default_factory=time.monotonic)
    done_before: int = 0

    def as_report(self) -> dict[str, Any]:
        """Return it for the report."""
        elapsed_s = max(1e-3, time.monotonic() - self.began)
        per_s = (self.done - self.done_before) / elapsed_s
        left = max(0, self.total - self.done)
        return {
            "segments": self.total,
            "done": self.done,
            "decoded_again": self.decoded_again,
            "per_s": round(per_s, 1),
            "eta_s": round(left / per_s, 1) if per_s else None,
        }
