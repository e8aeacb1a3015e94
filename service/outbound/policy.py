"""Which addresses we speak to: parsed once, by one parser, and checked where they lead."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Self
from urllib.parse import quote, urlsplit

from service.outbound.addresses import IPAddress, as_address, is_public
from service.outbound.errors import OutboundError

MAX_URL = 4096
DEFAULT_PORTS = {"http": 80, "https": 443}
NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\Z")
PRINTABLE = re.compile(r"[\x21-\x7e\xa1-\U0010ffff]+\Z")
SAFE_IN_TARGET = "/?:@!$&'()*+,;=%-._~[]|"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a URL names, in parts: nothing parses it a second time.

    Attributes:
        scheme: `http` or `https`.
        host: a name in ASCII and lower case, or an IP address without brackets.
        port: from 1 to 65535.
        path: path and query as they are sent, ASCII.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address, with what may be secret in its query."""
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True)
class Policy:
    """Whom we speak to beside the public internet, and on which ports.

    Attributes:
        ports: for everyone who is not named.
        names: hosts that are allowed wherever they lead, on every port.
        networks: addresses that are allowed although they are private, on every port.
    """

    ports: frozenset[int] = frozenset(DEFAULT_PORTS.values())
    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = field(default=())

    @classmethod
    def of(cls, *, allow: str, ports: str) -> Self:
        """Read the settings `outbound_allow` and `outbound_ports`, lists with commas."""
        names, networks = set(), []
        for entry in filter(None, (part.strip().lower() for part in allow.split(","))):
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                names.add(entry.rstrip("."))
        numbers = frozenset(int(part) for part in ports.split(",") if part.strip())
        return cls(ports=numbers, names=frozenset(names), networks=tuple(networks))

    def names_host(self, target: Target) -> bool:
        """Whether the settings name this very host."""
        address = as_address(target.host)
        if address is not None:
            return self._is_in_networks(address)
        return target.host in self.names

    def check_literal(self, target: Target) -> None:
        """Refuse what needs no look-up to be refused: a private address, or a port.

        Raises:
            OutboundError: `address_not_allowed` or `port_not_allowed`.
        """
        address = as_address(target.host)
        if address is not None:
            self.check(target, [address])
            return
        is_named = self.names_host(target) or self.networks  # a name may lead into a network
        if target.port not in self.ports and not is_named:
            self._refuse_port(target)

    def check(self, target: Target, addresses: Sequence[IPAddress]) -> None:
        """Refuse a host unless every address that it has may be spoken to.

        Every one, because whoever answers for the name chooses which of them comes first.

        Raises:
            OutboundError: `address_not_allowed` or `port_not_allowed`.
        """
        if target.host in self.names:
            return
        others = [address for address in addresses if not self._is_in_networks(address)]
        if not all(map(is_public, others)):
            # which address it was is not said: nobody shall map our network with it
            raise OutboundError(
                "address_not_allowed",
                f"{target.host} leads to an address that is not public. An admin can allow it with "
                "REELSEEK_OUTBOUND_ALLOW.",
                is_final=True,
            )
        if others and target.port not in self.ports:
            self._refuse_port(target)

    def _is_in_networks(self, address: IPAddress) -> bool:
        return any(address in network for network in self.networks)

    def _refuse_port(self, target: Target) -> None:
        allowed = ", ".join(map(str, sorted(self.ports)))
        raise OutboundError(
            "port_not_allowed",
            f"Port {target.port} is not allowed, only {allowed}. An admin can allow it with "
            "REELSEEK_OUTBOUND_PORTS.",
            is_final=True,
        )


def parse_url(url: str) -> Target:
    """Take a URL apart, strictly.

    Raises:
        OutboundError: `bad_url`: it is no http or https address, or one with a password in it.
    """
    if len(url) > MAX_URL or not PRINTABLE.match(url) or "\\" in url:
        raise _bad(f"An address has up to {MAX_URL} characters, and no blanks or backslashes.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad("This is no valid address.") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise _bad("The address must begin with https:// or http://.")
    if "@" in parts.netloc:
        raise _bad("The address must not hold a user or a password.")
    if port == 0 or parts.netloc.endswith(":"):
        raise _bad("The port must be a number from 1 to 65535.")
    return Target(
        scheme=parts.scheme,
        host=_checked_host(parts.hostname or ""),
        port=port or DEFAULT_PORTS[parts.scheme],
        path=quote(parts.path or "/", safe=SAFE_IN_TARGET)
        + (f"?{quote(parts.query, safe=SAFE_IN_TARGET)}" if parts.query else ""),
    )


def _checked_host(host: str) -> str:
    address = as_address(host)
    if address is not None:
        return str(address)
    try:
        ascii_host = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        raise _bad("The host of the address is not a valid name.") from None
    if not NAME.match(ascii_host):
        raise _bad("The host of the address is not a valid name.")
    return ascii_host


def _bad(sentence: str) -> OutboundError:
    return OutboundError("bad_url", sentence, is_final=True)
