"""Speak to a running Reelseek over HTTP, as any other client would."""

import ipaddress
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Self

import httpx
import typer

from service.cli.console import CliError, Exit, command_name
from service.cli.local_key import read_local_key
from service.cli.roots import load_settings
from service.settings import Settings

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 120.0
"""Longer than a search may take; the bytes of an upload are not counted."""

RECONNECTS = 20
RECONNECT_S = 1.0

WITH_ERRORS = frozenset({"invalid_input", "invalid_lines"})
"""Reasons that say more, field by field or line by line."""

UrlOption = Annotated[
    str | None,
    typer.Option(envvar="REELSEEK_URL", help="Address of the API; this machine if unset."),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        envvar=["REELSEEK_API_KEY", "REELSEEK_ADMIN_KEY"],
        help="API key; on the machine that serves none is needed.",
        show_envvar=True,
    ),
]


class Api:
    """The API of one Reelseek: requests in, JSON out, failures as one sentence.

    Args:
        url: address without a path.
        key: API key, or None to send none.
        transport: how requests travel; the network if None.
    """

    def __init__(
        self, url: str, key: str | None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._has_key = key is not None
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            transport=transport,
            trust_env=False,  # a proxy of the machine has no business with a local service
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close its connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """GET and return the JSON of the answer."""
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST JSON and return the JSON of the answer."""
        return self._ask("POST", path, json=body)

    def delete(self, path: str) -> None:
        """DELETE."""
        self._ask("DELETE", path)

    def post_form(self, path: str, *, files: Any, headers: Mapping[str, str]) -> Any:
        """POST a multipart form, streamed, and return the JSON of the answer."""
        return self._ask("POST", path, files=files, headers=headers)

    def events(self, path: str) -> Iterator[tuple[str, Any]]:
        """Yield the name and the JSON of server-sent events until the server ends them.

        A connection that breaks is made anew, from the event after the last one that came.
        """
        last_id: str | None = None
        failures = 0
        while True:
            headers = {} if last_id is None else {"Last-Event-ID": last_id}
            try:
                with self._http.stream("GET", path, headers=headers) as response:
                    if not response.is_success:
                        response.read()
                        raise self._refusal(response)
                    for event in _parse_events(response.iter_lines()):
                        failures, last_id = 0, event.id
                        yield event.name, event.body
                    return
            except httpx.HTTPError as error:
                failures += 1
                if failures > RECONNECTS:
                    raise CliError(
                        f"The connection to {self.url} broke ({error}); try again."
                    ) from None
                time.sleep(RECONNECT_S)

    def post_content(self, path: str, content: bytes, **params: Any) -> Any:
        """POST the content of a file as it is, and return the JSON of the answer."""
        headers = {"Content-Type": "application/octet-stream"}
        return self._ask("POST", path, content=content, params=params, headers=headers)

    def get_content(self, path: str, **params: Any) -> bytes:
        """GET a file and return it as it is."""
        return self._send("GET", path, params=params).content

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        response = self._send(method, path, **options)
        return response.json() if response.content else None

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.ConnectError:
            raise CliError(
                f"Nothing answers at {self.url}; start it with `make run`, or set REELSEEK_URL."
            ) from None
        except httpx.TimeoutException:
            raise CliError(f"{self.url} did not answer in time; try again.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CliError(f"The connection to {self.url} broke ({error}); try again.") from None
        except ValueError:  # of the JSON: what an option read as nan or inf
            raise CliError("A number has to be finite.", code=Exit.USAGE) from None
        if response.is_success:
            return response
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> "RefusedError":
        """Turn a problem document into a sentence."""
        try:
            problem = response.json()
            reason, detail = str(problem["reason"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            reason, detail = "unknown", f"{self.url} answered {response.status_code}."
        if response.status_code == httpx.codes.UNAUTHORIZED:
            detail = (
                f"{self.url} does not know this API key"
                if self._has_key
                else f"{self.url} asks for an API key"
            ) + f"; make one with `{command_name()} keys create` there and set REELSEEK_API_KEY."
        if reason == "forbidden":
            detail += (
                f" Make one with `{command_name()} keys create NAME --scope SCOPE` on the machine "
                "that serves, and set REELSEEK_API_KEY."
            )
        for wrong in (problem.get("errors") or []) if reason in WITH_ERRORS else []:
            detail += f" {wrong.get('path')}: {str(wrong.get('message')).rstrip('.')}."
        return RefusedError(detail, reason=reason, status=response.status_code)


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    id: str | None
    body: Any


def _parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """Read the events of our own server: each has one line of data."""
    name, id_ = "", None
    for line in lines:
        kind, _, value = line.partition(": ")
        if kind == "event":
            name = value
        elif kind == "id":
            id_ = value
        elif kind == "data":
            body = json.loads(value)
        elif not line and name:
            yield Event(name, id_, body)
            name = ""


class RefusedError(CliError):
    """The API answered with a problem.

    Attributes:
        reason: its machine-readable code.
        status: the HTTP status.
    """

    def __init__(self, sentence: str, *, reason: str, status: int) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.status = status


def open_api(url: str | None, key: str | None) -> Api:
    """Return the API that the options, the environment or this machine's settings name.

    The key that `serve` left on this machine is sent to this machine alone.
    """
    settings = load_settings()
    url = url or local_address(settings)
    if key is None and is_loopback(url):
        key = read_local_key(settings.data_dir)
    return Api(url, key)


def local_address(settings: Settings) -> str:
    """Return the address at which this machine reaches the API of these settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False
