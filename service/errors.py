"""Failures that a user can cause or must know of; `service.api.problems` gives each its status."""

from collections.abc import Sequence
from typing import NamedTuple


class ServiceError(Exception):
    """An expected failure.

    Attributes:
        reason: machine-readable code, lower_snake_case; part of the API.
        detail: one or two sentences for a person: what was wrong and what to do.
        retry_after_s: when trying again makes sense, if it does.
    """

    reason = "service_error"

    def __init__(
        self, detail: str, *, reason: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason or type(self).reason
        self.retry_after_s = retry_after_s


class BadRequestError(ServiceError):
    """The request is well formed but means nothing: 400."""

    reason = "bad_request"


class UnauthenticatedError(ServiceError):
    """No valid API key or session: 401."""

    reason = "unauthenticated"


class ForbiddenError(ServiceError):
    """The key lacks the scope: 403."""

    reason = "forbidden"


class NotFoundError(ServiceError):
    """No such thing, or it was deleted: 404."""

    reason = "not_found"


class ConflictError(ServiceError):
    """The state of things does not allow it (a cursor of another generation, say): 409."""

    reason = "conflict"


class PayloadTooLargeError(ServiceError):
    """More bytes than the limit: 413."""

    reason = "payload_too_large"


class RefusedMediaError(ServiceError):
    """The file is no video that we read; `reason` says why, as `not_a_video`: 422."""

    reason = "not_a_video"


class InvalidInputError(ServiceError):
    """A field has a wrong value: 422."""

    reason = "invalid_input"


class BadLine(NamedTuple):
    """A line of a file, counted from 1, and why it cannot be used."""

    line: int
    reason: str


class InvalidLinesError(InvalidInputError):
    """Lines of a file are wrong, so nothing of it was taken: 422.

    Attributes:
        lines: the first of them.
    """

    reason = "invalid_lines"

    def __init__(self, detail: str, lines: Sequence[BadLine] = ()) -> None:
        super().__init__(detail)
        self.lines = lines


class TooManyRequestsError(ServiceError):
    """More than a key or an address may ask for or send in a while: 429 with Retry-After."""

    reason = "too_many_requests"


class UnavailableError(ServiceError):
    """Not now (index loading, too busy): 503 with Retry-After."""

    reason = "unavailable"


class StorageUnavailableError(UnavailableError):
    """The object store is away or refuses us: 503 with Retry-After."""

    reason = "storage_unavailable"


class StorageFullError(ServiceError):
    """The disk has no room for it: 507."""

    reason = "storage_full"
