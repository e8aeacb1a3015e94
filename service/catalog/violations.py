"""What an audit finds."""

from typing import NamedTuple


class Violation(NamedTuple):
    """One promise that is broken.

    Attributes:
        kind: machine-readable, as `missing_file`.
        subject: what it is about.
        detail: what is wrong with it.
    """

    kind: str
    subject: str
    detail: str
