"""Files by their address, through the guarded client."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from service.catalog.import_queries import NewItem
from service.imports.fetched import Fetched, SourceError
from service.outbound import Limits, Outbound, OutboundError

MAY_CHANGE = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
"""Refusals of a request that are worth another try; so are all failures of a server."""


class AddressSource:
    """Files that others serve.

    Args:
        outbound: speaks to them.
        limits: of each file.
    """

    def __init__(self, outbound: Outbound, limits: Limits) -> None:
        self._outbound = outbound
        self._limits = limits

    def list(self, suffixes: Collection[str], limit: int) -> list[NewItem]:
        """Addresses are named, not listed."""
        del suffixes, limit
        return []

    @contextmanager
    def open(self, source: str) -> Iterator[Fetched]:
        """Fetch a file.

        Raises:
            SourceError: it could not be fetched; `reason` says why, as `address_not_allowed`.
        """
        try:
            with self._outbound.get(source, self._limits) as answer:
                if answer.status != HTTPStatus.OK:
                    is_final = (
                        answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
                        and answer.status not in MAY_CHANGE
                    )
                    raise SourceError(
                        "http_status", f"The server answered {answer.status}.", is_final=is_final
                    )
                yield Fetched(
                    file_name=file_name_of(source),
                    size_bytes=answer.length,
                    chunks=answer.chunks(),
                )
        except OutboundError as error:
            raise SourceError(error.reason, error.detail, is_final=error.is_final) from error


def file_name_of(url: str) -> str:
    """Return what a file is called by its address."""
    parts = urlsplit(url)
    return unquote(PurePosixPath(parts.path).name) or parts.hostname or "video"
