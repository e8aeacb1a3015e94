"""What every source of an import gives, and how it fails."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from service.catalog.import_queries import NewItem


class SourceError(Exception):
    """Something could not be fetched.

    Args:
        reason: machine-readable code.
        detail: a sentence for a person.
        is_final: trying again would end the same.
    """

    def __init__(self, reason: str, detail: str, *, is_final: bool) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.is_final = is_final


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file on its way.

    Attributes:
        file_name: as its owner calls it; only shown.
        size_bytes: if it is known; the chunks decide.
        chunks: its bytes; they end early with a SourceError or OutboundError.
    """

    file_name: str
    size_bytes: int | None
    chunks: Iterator[bytes]


class Source(Protocol):
    """Where the files of an import are."""

    def list(self, suffixes: Collection[str], limit: int) -> list[NewItem]:
        """Return what is there to import, up to one more than the limit."""

    def open(self, source: str) -> AbstractContextManager[Fetched]:
        """Fetch one of them."""
