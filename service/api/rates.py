"""How often a key may ask: a sliding minute per key, counted in Redis if there is one.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10. Who guesses keys is counted by
address, and only failures are: a valid key is let in however many others fail behind the same
proxy. Without Redis, or while it is away, each API process counts by itself.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import structlog
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from service.access import Principal
from service.api.hosts import is_local
from service.errors import TooManyRequestsError
from service.settings import Settings

log = structlog.get_logger()

MINUTE_S = 60
REDIS_TIMEOUT_S = 0.5
WITHOUT_REDIS_S = 10.0
"""How long a Redis that did not answer is left alone."""
REQUESTS_PER_MINUTE = 6000
SEARCHES_PER_MINUTE = 1200
FAILURES_PER_MINUTE = 30


class Policy(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    SEARCHES = "searches"
    FAILURES = "failures"
    """Wrong keys, tokens and login links, of one address."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a caller stands.

    Attributes:
        policy: what is counted.
        limit: how many a minute.
        remaining: how many are left.
        reset_s: when there are more again.
        is_over: whether this one was too many.
    """

    policy: Policy
    limit: int
    remaining: int
    reset_s: int
    is_over: bool

    def headers(self) -> dict[str, str]:
        """Return what an answer says of it."""
        return {
            "RateLimit-Policy": f'"{self.policy}";q={self.limit};w={MINUTE_S}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.reset_s}',
        }


class Rates:
    """Counts the requests of each key."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        off = 0 if is_local(settings) else None
        self._limits = {
            Policy.REQUESTS: _first(settings.requests_per_minute, off, REQUESTS_PER_MINUTE),
            Policy.SEARCHES: _first(settings.searches_per_minute, off, SEARCHES_PER_MINUTE),
        }
        self._failures = settings.failures_per_minute
        self._clock = clock
        self._here = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = _open_redis(settings.broker_url)
        self._without_redis_until = 0.0

    def count(self, principal: Principal, policy: Policy) -> Standing | None:
        """Count a request of a principal; None: it may send any number."""
        limits = principal.limits
        own = (
            limits.searches_per_minute if policy is Policy.SEARCHES else limits.requests_per_minute
        )
        limit = _first(own, self._limits[policy])
        return self._count(policy, principal.key_id, limit) if limit else None

    def count_failure(self, address: str | None) -> Standing | None:
        """Count a wrong key or login link of an address; None: any number is let try."""
        if not self._failures or address is None:
            return None
        return self._count(Policy.FAILURES, network_of(address), self._failures)

    def _count(self, policy: Policy, whose: str, limit: int) -> Standing:
        if self._shared is not None and self._clock() >= self._without_redis_until:
            try:
                return _hit(self._shared, policy, whose, limit)
            except StorageError as error:
                log.warning("rates_counted_alone", error=str(error)[:200])
                self._without_redis_until = self._clock() + WITHOUT_REDIS_S
        return _hit(self._here, policy, whose, limit)


def refuse_if_over(standing: Standing | None) -> None:
    """Refuse a request that was too many.

    Raises:
        TooManyRequestsError: it was.
    """
    if standing is None or not standing.is_over:
        return
    what = {
        Policy.REQUESTS: "This key may send {} requests a minute; wait a little.",
        Policy.SEARCHES: "This key may search {} times a minute; wait a little.",
        Policy.FAILURES: "Too many wrong keys came from this address ({} a minute may); wait.",
    }[standing.policy]
    raise TooManyRequestsError(
        what.format(standing.limit), reason="rate_limited", retry_after_s=standing.reset_s
    )


def network_of(address: str) -> str:
    """Return what one customer of a provider has: an IPv4 address, or 64 bits of an IPv6 one."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Network((found, 64), strict=False))
    return str(found)


def _hit(
    limiter: SlidingWindowCounterRateLimiter, policy: Policy, whose: str, limit: int
) -> Standing:
    item = RateLimitItemPerMinute(limit)
    is_over = not limiter.hit(item, str(policy), whose)
    stats = limiter.get_window_stats(item, str(policy), whose)
    reset_s = min(MINUTE_S, max(1, math.ceil(stats.reset_time - time.time())))
    return Standing(
        policy=policy,
        limit=limit,
        remaining=max(0, stats.remaining),
        reset_s=reset_s,
        is_over=is_over,
    )


def _open_redis(url: str | None) -> SlidingWindowCounterRateLimiter | None:
    if url is None or urlsplit(url).scheme not in {"redis", "rediss"}:
        return None
    return SlidingWindowCounterRateLimiter(
        RedisStorage(
            url,
            key_prefix="reelseek-rates",
            wrap_exceptions=True,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
        )
    )


def _first(*values: int | None) -> int:
    return next((value for value in values if value is not None), 0)
