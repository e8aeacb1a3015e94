"""Who sends a request, and what that may do."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from service.errors import ForbiddenError


class Scope(StrEnum):
    """What a key may do; `admin` includes the others."""

    SEARCH = "search"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


EVERYTHING = frozenset(Scope)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a key may use, where it differs from the settings; None: as they say.

    Attributes:
        requests_per_minute: of any kind; 0: any number.
        searches_per_minute: 0: any number.
        upload_bytes_per_day: in one day of UTC.
    """

    requests_per_minute: int | None = None
    searches_per_minute: int | None = None
    upload_bytes_per_day: int | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> "Limits":
        """Read what a row holds; a name that this version does not know is left alone."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in (stored or {}).items() if name in known})

    def stored(self) -> dict[str, Any] | None:
        """Return what the row of a key holds."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return given or None


NO_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who sent a request.

    Attributes:
        key_id: id of the API key, `settings` for that of the settings, `session:...` for a
            browser, `oidc:...` for who another service vouches for.
        scopes: what it may do.
        limits: how much of it, where that differs from the settings.
    """

    key_id: str
    scopes: frozenset[Scope]
    limits: Limits = NO_LIMITS

    def may(self, scope: Scope) -> bool:
        """Whether it may do this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def require(self, scope: Scope) -> None:
        """Raise ForbiddenError if it may not do this."""
        if not self.may(scope):
            raise ForbiddenError(f"This needs a key with the scope {scope}.")


def digest_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
