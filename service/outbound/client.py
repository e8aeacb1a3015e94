"""One guarded HTTP client for everything that we fetch from others, or tell them."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from urllib.parse import urljoin

import httpcore
import httpx

from service.outbound.connecting import (
    Deadline,
    PinnedBackend,
    Resolver,
    resolve,
    system_resolver,
    timeout_error,
)
from service.outbound.errors import OutboundError
from service.outbound.policy import Policy, Target, parse_url

USER_AGENT = "reelseek"
REDIRECTS = {301, 302, 303, 307, 308}
MAX_RETRY_AFTER_S = 86_400


@cache
def usual_authorities() -> ssl.SSLContext:
    """Return what checks certificates; it is made once, because reading all of them takes long."""
    return httpx.create_ssl_context()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one exchange may take.

    Attributes:
        total_s: seconds for all of it, redirects and body too.
        idle_s: seconds in which something must come.
        max_bytes: of the body.
        redirects: how many are followed; each is checked like the first address.
    """

    total_s: float
    idle_s: float
    max_bytes: int
    redirects: int = 5


class Answer:
    """What came back; its body is read while the exchange is open.

    Attributes:
        status: the HTTP status.
        headers: by lower-case name; the last one of a name counts.
        target: what answered, after redirects.
    """

    def __init__(
        self, response: httpcore.Response, *, target: Target, limits: Limits, deadline: Deadline
    ) -> None:
        self.status = response.status
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in response.headers
        }
        self.target = target
        self._response = response
        self._limits = limits
        self._deadline = deadline

    @property
    def is_success(self) -> bool:
        """Whether the other side did what it was asked."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def length(self) -> int | None:
        """Size of the body in bytes, if the other side says so."""
        said = self.headers.get("content-length", "")
        return int(said) if said.isascii() and said.isdigit() else None

    @property
    def retry_after_s(self) -> int | None:
        """When to ask again, if the other side says so in seconds."""
        said = self.headers.get("retry-after", "")
        is_number = said.isascii() and said.isdigit()
        return min(int(said[:9]), MAX_RETRY_AFTER_S) if is_number else None

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes.

        Raises:
            OutboundError: `too_large`, `timeout`, `connection_failed`, or `encoded_body`: it is
                compressed although we asked that it be not.
        """
        if self.headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
            raise OutboundError(
                "encoded_body", "The other side sent a compressed body; we ask for plain ones."
            )
        if (self.length or 0) > self._limits.max_bytes:
            raise self._too_large()
        num_bytes = 0
        body = self._response.iter_stream()
        while True:
            with _failures_said(self.target, self._deadline):
                chunk = next(body, None)
            if chunk is None:
                return
            num_bytes += len(chunk)
            if num_bytes > self._limits.max_bytes:
                raise self._too_large()
            self._deadline.step_s()
            yield chunk

    def read(self) -> bytes:
        """Return the whole body; it fails as `chunks` does."""
        return b"".join(self.chunks())

    def _too_large(self) -> OutboundError:
        return OutboundError(
            "too_large",
            f"The body is larger than the limit of {self._limits.max_bytes} bytes.",
            is_final=True,
        )


class Outbound:
    """Speaks HTTP to others: only to the public internet, and to whom the policy names.

    Each name is looked up once per request; all of its addresses are checked, and the connection
    goes to one of these, so that a second answer of the DNS changes nothing. No proxy of the
    environment is used, no cookie kept, no connection shared.

    Args:
        policy: who may be spoken to.
        resolver: looks names up; that of the machine if unset.
        tls: checks certificates; by the usual authorities if unset.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        resolver: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.policy = policy
        self._resolver = resolver
        self._tls = tls or usual_authorities()

    @contextmanager
    def get(
        self, url: str, limits: Limits, *, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """GET an address, following redirects; close the exchange at the end.

        Raises:
            OutboundError: it may not be spoken to, could not be, or was too slow.
        """
        target = parse_url(url)
        deadline = Deadline(total_s=limits.total_s, idle_s=limits.idle_s)
        for _ in range(limits.redirects + 1):
            request = _Request("GET", target, headers or {})
            with self._exchange(request, limits, deadline) as answer:
                following = _redirect_of(answer)
                if following is None:
                    yield answer
                    return
            if following.host != target.host or following.scheme != target.scheme:
                headers = None  # what they hold was for the first host
            target = following
        raise OutboundError(
            "too_many_redirects",
            f"The address led to more than {limits.redirects} others.",
            is_final=True,
        )

    @contextmanager
    def post(
        self, url: str, body: bytes, limits: Limits, *, headers: Mapping[str, str]
    ) -> Iterator[Answer]:
        """POST to an address; a redirect is an answer like any other, and not followed.

        Raises:
            OutboundError: it may not be spoken to, could not be, or was too slow.
        """
        deadline = Deadline(total_s=limits.total_s, idle_s=limits.idle_s)
        said = {**headers, "Content-Length": str(len(body))}
        request = _Request("POST", parse_url(url), said, body)
        with self._exchange(request, limits, deadline) as answer:
            yield answer

    @contextmanager
    def _exchange(
        self, request: "_Request", limits: Limits, deadline: Deadline
    ) -> Iterator[Answer]:
        target = request.target
        addresses = resolve(target, self.policy, self._resolver, deadline)
        backend = PinnedBackend(addresses, deadline)
        with httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool:
            with _failures_said(target, deadline):
                response = pool.handle_request(request.as_sent())
            try:
                yield Answer(response, target=target, limits=limits, deadline=deadline)
            finally:
                response.close()


@dataclass(frozen=True)
class _Request:
    """One request to one host."""

    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes = b""

    def as_sent(self) -> httpcore.Request:
        target = self.target
        url = httpcore.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        headers = {
            "Host": target.authority,
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
            **self.headers,
        }
        return httpcore.Request(self.method, url, headers=list(headers.items()), content=self.body)


def _redirect_of(answer: Answer) -> Target | None:
    """Return where an answer sends us; None if it is the answer itself."""
    if answer.status not in REDIRECTS or "location" not in answer.headers:
        return None
    location = answer.headers["location"]
    with suppress(UnicodeError):  # servers send UTF-8 although they should not
        location = location.encode("latin-1").decode()
    try:
        joined = urljoin(answer.target.url, location)
    except ValueError:
        joined = ""
    following = parse_url(joined)
    if answer.target.scheme == "https" and following.scheme == "http":
        raise OutboundError(
            "insecure_redirect", "The address led from https to http.", is_final=True
        )
    return following


@contextmanager
def _failures_said(target: Target, deadline: Deadline) -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise timeout_error() from error
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        ssl.SSLError,
        OSError,
    ) as error:
        if deadline.is_over:
            raise timeout_error() from error
        why = "its certificate is not valid" if _is_certificate(error) else "the connection broke"
        raise OutboundError(
            "connection_failed", f"Nothing came from {target.host}: {why}."
        ) from error


def _is_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
