"""Which candidates are activated without a person."""

from service.catalog.tuning_tables import Policy

BETTER, NO_DIFFERENCE = "better", "no_difference"
"""Verdicts of a report; the others are `worse` and `not_enough_to_tell`."""

ACTIVATED = {
    Policy.MANUAL: frozenset[str](),
    Policy.IF_NOT_WORSE: frozenset({BETTER, NO_DIFFERENCE}),
    Policy.IF_BETTER: frozenset({BETTER}),
}


def is_activated(policy: Policy, verdict: str) -> bool:
    """Tell whether a candidate with this verdict is activated by itself."""
    return verdict in ACTIVATED[policy]
