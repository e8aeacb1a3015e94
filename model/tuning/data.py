"""What a tuning run learns from: decided once, when it begins, and kept with its checkpoints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from model.clip_store import ClipStore, LeftOut, all_captions
from model.pairs import VideoPair
from model.tuning.choices import TooFewPairsError, UndecodableError


@dataclass(frozen=True)
class RunData:
    """What a run learns from.

    Attributes:
        usable: pairs that can be decoded, with the captions that there were when it began.
        left_out: the others.
        captions: of both; all that the tokenizer has to know.
        facts: what reading this again needs, as JSON.
    """

    usable: Sequence[VideoPair]
    left_out: Sequence[LeftOut]
    captions: Sequence[str]
    facts: dict[str, Any]


def check_data(
    pairs: Sequence[VideoPair],
    absent: frozenset[int],
    store: ClipStore,
    checked: Callable[[int], None],
) -> dict[str, Any]:
    """Decode all clips and return the facts that `read_data` needs.

    Args:
        pairs: all that were given.
        absent: ordinals of captions that were taken back before the run began.
        store: decodes.
        checked: called with the number of clips that are done.
    """
    asked = [(i, pair.without(absent)) for i, pair in enumerate(pairs) if pair.left(absent)]
    numbers = {pair: i for i, pair in asked}
    left_out = store.check([pair for _, pair in asked], checked)[1]
    reasons = [[numbers[one.pair], one.reason] for one in left_out]
    return {"absent": sorted(absent), "left_out": reasons}


def read_data(pairs: Sequence[VideoPair], facts: dict[str, Any]) -> RunData:
    """Return what a run learns from.

    Args:
        pairs: all that were given.
        facts: what `check_data` found.

    Raises:
        TooFewPairsError: there are none.
        UndecodableError: none of them can be used.
    """
    absent, reasons = frozenset(facts["absent"]), dict(facts["left_out"])
    kept = [pair.without(absent) for pair in pairs]
    usable = [pair for i, pair in enumerate(kept) if pair.captions and i not in reasons]
    left_out = [LeftOut(kept[i], reason) for i, reason in reasons.items()]
    if not usable:
        if not left_out:
            raise TooFewPairsError("there are no pairs to train on; add captions")
        first = left_out[0]
        raise UndecodableError(
            f"none of the {len(left_out)} videos can be used; the first, "
            f"{first.pair.path}: {first.reason}"
        )
    facts = {name: facts[name] for name in ("absent", "left_out")}
    return RunData(usable, left_out, list(all_captions(kept)), facts)
