"""What a pickle that is read as data is made of."""

from dataclasses import dataclass, field
from typing import Any

from model.importing.errors import ImportRefusedError
from model.importing.names import check_name

LONGEST_NUMBER_BYTES = 64


@dataclass(frozen=True)
class Name:
    """What the pickle calls by name; nothing is imported for it."""

    module: str
    name: str

    def __str__(self) -> str:
        """Return it as Python writes it."""
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Made:
    """What the pickle would have made by a call; nothing was called.

    Attributes:
        by: what would have been called.
        arguments: with which arguments.
        items: entries that were then set, if it is some kind of mapping.
        state: what it would have been restored with.
    """

    by: object
    arguments: object
    items: dict[Any, Any] = field(default_factory=dict)
    state: object = None


def named(module: str, name: str) -> Name:
    """Return a name, refused if it is there to run something."""
    check_name(module, name)
    return Name(module, name)


def as_text(raw: bytes) -> str:
    """Return text, which Python 2 may have written as Latin-1."""
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def as_integer(line: str) -> int:
    """Return a number that was written in digits."""
    digits = line.removesuffix("L")
    if len(digits) > 2 * LONGEST_NUMBER_BYTES:
        raise ImportRefusedError(f"the pickle in it holds a number of {len(digits)} digits")
    try:
        return int(digits)
    except ValueError:
        raise ImportRefusedError("the pickle in it is damaged: a number is none") from None


def as_key(value: object) -> object:
    """Return what may key a mapping: no deep tuples, whose hash would exhaust the stack."""
    plain = str | bytes | int | float | bool | None | Name | Made
    if isinstance(value, plain) or (
        isinstance(value, tuple) and all(isinstance(part, plain) for part in value)
    ):
        return value
    raise ImportRefusedError("the pickle in it is damaged: it has a key that is no text")
