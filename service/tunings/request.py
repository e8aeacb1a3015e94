"""What an admin asks of a tuning run."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from service.catalog.tuning_tables import Policy
from service.pairs import HoldOut, PairFilter


@dataclass(frozen=True, kw_only=True)
class TuningRequest:
    """What an admin asked for; None: chosen by the number of pairs and the size of the network.

    Attributes:
        model_id: what to start from; what is searched if None.
        name: of the model that comes out; `tuned-1`, `tuned-2`, ... if None.
        choices: how to train, by the names of `model.tuning.choices.Choices`; only those given.
        held_out_share: of the videos (or captions) that are not trained on, 0 to 1.
        hold_out: whether whole videos are held out, or other captions of videos that are seen.
        pairs: which captions and which feedback may be learned from.
        policy: whether the model that comes out is activated by itself.
    """

    model_id: UUID | None = None
    name: str | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)
    held_out_share: float = 0.2
    hold_out: HoldOut = HoldOut.VIDEOS
    pairs: PairFilter = field(default_factory=PairFilter)
    policy: Policy = Policy.MANUAL

    @property
    def seed(self) -> int:
        """What draws all that is random."""
        return int(self.choices.get("seed", 0))

    def as_json(self) -> dict[str, Any]:
        """Return it as the run remembers it."""
        told: dict[str, Any] = json.loads(json.dumps(asdict(self), default=_plain))
        return {**told.pop("choices"), "filter": told.pop("pairs"), **told}


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)
