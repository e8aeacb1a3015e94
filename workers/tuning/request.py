"""How to train, of what a run remembers of its request."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from model.tuning.choices import Choices


def choices_of(request: Mapping[str, Any]) -> Choices:
    """Return how to train, of what a run remembers of its request."""
    known = {each.name for each in fields(Choices)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in request.items()
        if name in known and value is not None
    }
    return Choices(**given)
