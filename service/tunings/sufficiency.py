"""Whether there are enough pairs for what was asked, and what to know before a run starts."""

from collections.abc import Mapping

from service.catalog.tuning_tables import Policy
from service.errors import ConflictError, InvalidInputError
from service.pairs import HoldOut, PairFilter
from service.tunings.request import TuningRequest

FEWEST_TRAINED = 2
FEWEST_HELD_OUT = 20
"""With fewer held-out pairs, a report does not say which model is better."""


def check_enough(counts: Mapping[str, int], request: TuningRequest) -> None:
    """Check that something can be learned.

    Args:
        counts: of `train` and `held_out` pairs.
        request: what was asked.

    Raises:
        ConflictError: too few pairs are left to train on.
        InvalidInputError: the batch is larger than that.
    """
    if counts["train"] < FEWEST_TRAINED:
        raise ConflictError(
            f"{counts['train'] + counts['held_out']} pairs of captions and videos leave "
            f"{counts['train']} to train on and {counts['held_out']} held out; at least "
            f"{FEWEST_TRAINED} are needed to train. Add captions, or hold out less "
            "(held_out_share, or hold_out: captions).",
            reason="too_few_pairs",
        )
    batch = request.choices.get("batch")
    if batch is not None and batch > counts["train"]:
        raise InvalidInputError(
            f"A batch of {batch} is larger than the {counts['train']} pairs there are to train on; "
            "give a smaller one, or none.",
        )


def warnings_of(counts: Mapping[str, int], request: TuningRequest) -> list[str]:
    """Return sentences that an admin should read before the run starts."""
    warnings = []
    if counts["held_out"] < FEWEST_HELD_OUT:
        decided = (
            ""
            if request.policy is Policy.MANUAL
            else f" The policy {request.policy} will therefore not activate anything."
        )
        warnings.append(
            f"{counts['held_out']} pairs are held out; with fewer than {FEWEST_HELD_OUT} the "
            f"report will say that there is not enough to tell which model is better.{decided}"
        )
    if request.hold_out is HoldOut.CAPTIONS:
        warnings.append(
            "Other captions of the same videos are held out: the report says how well the model "
            "understands other words for footage that it has seen, not how it does on new footage."
        )
    return warnings


def why_no_pairs(wanted: PairFilter) -> str:
    """Say why there is nothing to learn from, and what to do."""
    if wanted != PairFilter():
        return (
            "No caption and no feedback passes the filter; widen it, or add captions to these "
            "videos."
        )
    return (
        "There are no captions to learn from. Add some with POST /v1/videos/ID/captions, import a "
        "file with POST /v1/captions/import or `reelseek captions import FILE`, or tell what "
        "searches found right with POST /v1/feedback."
    )
