"""Bearer tokens of an OpenID Connect provider: signed JWTs for us, with scopes in a claim.

The provider's keys are found by its discovery document and kept for a while; a token that names a
key we do not know makes us look again, but not more often than `LOOK_AGAIN_S`. Tokens that are
encrypted, unsigned or signed with a shared secret are refused whatever they say.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from service.access.principals import Principal, Scope
from service.errors import UnauthenticatedError, UnavailableError
from service.settings import Settings

log = structlog.get_logger(__name__)

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
DISCOVERY = "/.well-known/openid-configuration"
KEPT_S = 600.0
LOOK_AGAIN_S = 10.0
TIMEOUT_S = 5.0
WAIT_S = 2.0
"""Who has no key for a token waits so long for another thread that asks the provider."""
LEEWAY_S = 30
MAX_TOKEN_CHARS = 16_384
MAX_DOCUMENT_BYTES = 512 * 1024
BEGINNING = "eyJ"
"""How JSON objects begin in base64url, and so each JWT."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whose tokens are accepted, and what they mean.

    Attributes:
        issuer: the `iss` of the tokens; its discovery document lies below.
        audience: what `aud` must name: us.
        scope_claim: where the scopes are, as `scope` or `realm_access.roles`.
        scope_prefix: what comes before our scopes there, as `reelseek:`.
    """

    issuer: str
    audience: str
    scope_claim: str
    scope_prefix: str


class TokenReader:
    """Says who a token belongs to."""

    def __init__(self, trust: Trust, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._trust = trust
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._tried_at: float | None = None
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": trust.issuer},
            aud={"essential": True, "value": trust.audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    @staticmethod
    def is_one(bearer: str) -> bool:
        """Tell whether this looks like a signed token, and not like a key of ours."""
        return bearer.startswith(BEGINNING) and bearer.count(".") == 2  # noqa: PLR2004

    def authenticate(self, token: str) -> Principal:
        """Return who a token belongs to.

        Raises:
            UnauthenticatedError: it is not valid, not for us, or over.
            UnavailableError: the provider's keys cannot be had now.
        """
        if len(token) > MAX_TOKEN_CHARS:
            raise _refused("It is too long.")
        try:
            claims = self._verified(token)
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise UnauthenticatedError(
                "The token has expired. Get another from your identity provider.",
                reason="token_expired",
            ) from None
        except (JoseError, ValueError, TypeError, KeyError) as error:
            log.info("token_refused", why=type(error).__name__)
            raise _refused("It is not one that this service accepts.") from None
        return Principal(
            key_id=_name_of(self._trust.issuer, str(claims["sub"])),
            scopes=self._scopes(claims),
        )

    def _verified(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode(token, self._key_set(), algorithms=ALGORITHMS).claims
        except InvalidKeyIdError:  # the provider may have begun to sign with a new key
            return jwt.decode(token, self._key_set(is_stale=True), algorithms=ALGORITHMS).claims

    def _key_set(self, *, is_stale: bool = False) -> KeySet:
        keys = self._keys
        is_fresh = keys is not None and self._clock() - self._fetched_at < KEPT_S
        if keys is not None and is_fresh and not is_stale:
            return keys
        # one asks the provider, which may take a while: the others go on with the keys there are,
        # or would soon hold every thread of the process
        can_go_on = keys is not None and not is_stale
        if not self._lock.acquire(timeout=0 if can_go_on else WAIT_S):
            return _have(keys)
        try:
            return self._renewed(is_stale=is_stale)
        finally:
            self._lock.release()

    def _renewed(self, *, is_stale: bool) -> KeySet:
        now = self._clock()
        keys = self._keys
        if keys is not None and not is_stale and now - self._fetched_at < KEPT_S:
            return keys
        if self._tried_at is not None and now - self._tried_at < LOOK_AGAIN_S:
            return _have(keys)
        self._tried_at = now
        try:
            self._keys = keys = KeySet.import_key_set(self._fetch())
            self._fetched_at = now
        except (httpx.HTTPError, JoseError, ValueError, TypeError, KeyError) as error:
            log.warning("identity_provider_unavailable", error=str(error)[:200])
        return _have(keys)

    def _fetch(self) -> Any:
        issuer = self._trust.issuer
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
            found = _read_json(client, issuer.rstrip("/") + DISCOVERY)
            if found["issuer"] != issuer:
                raise ValueError("the discovery document names another issuer")
            return _read_json(client, str(found["jwks_uri"]))

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        value: Any = claims
        for part in self._trust.scope_claim.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        words = value.split() if isinstance(value, str) else value
        given = {word for word in words if isinstance(word, str)} if _is_list(words) else set()
        prefix = self._trust.scope_prefix
        return frozenset(scope for scope in Scope if f"{prefix}{scope}" in given)


def open_reader(settings: Settings) -> TokenReader | None:
    """Make the reader that the settings ask for; None: they ask for none.

    Raises:
        ValueError: the issuer is not https, or no audience is given: then a token that was made
            for another service would be let in.
    """
    if settings.oidc_issuer is None:
        return None
    if settings.oidc_audience is None:
        raise ValueError("REELSEEK_OIDC_ISSUER needs REELSEEK_OIDC_AUDIENCE, too.")
    _require_https(settings.oidc_issuer)
    return TokenReader(
        Trust(
            issuer=settings.oidc_issuer,
            audience=settings.oidc_audience,
            scope_claim=settings.oidc_scope_claim,
            scope_prefix=settings.oidc_scope_prefix,
        )
    )


def _read_json(client: httpx.Client, url: str) -> Any:
    _require_https(url)
    with client.stream("GET", url, headers={"Accept": "application/json"}) as response:
        response.raise_for_status()
        if response.is_redirect:
            raise ValueError("the identity provider redirects")
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAX_DOCUMENT_BYTES:
                raise ValueError("the identity provider's document is too large")
    return httpx.Response(200, content=bytes(content)).json()


def _require_https(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError(f"{url} must begin with https://")


def _have(keys: KeySet | None) -> KeySet:
    if keys is None:
        raise UnavailableError(
            "The identity provider does not answer, so tokens cannot be checked now.",
            reason="identity_provider_unavailable",
            retry_after_s=int(LOOK_AGAIN_S),
        )
    return keys


def _refused(why: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"The token is not valid. {why}", reason="bad_token")


def _is_list(words: Any) -> bool:
    return isinstance(words, list | tuple)


def _name_of(issuer: str, subject: str) -> str:
    """Return a name of bounded length; two issuers' subjects never share one."""
    return "oidc:" + hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()[:32]
