"""Which IP addresses belong to the public internet, whatever form they are written in."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IPAddress = IPv4Address | IPv6Address

NOT_PUBLIC_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network: Linux takes 0.0.0.0 for itself
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind a carrier's NAT (RFC 6598)
            "127.0.0.0/8",
            "168.63.129.16/32",  # public by its number, but the host of every Azure machine
            "169.254.0.0/16",  # link-local, and the metadata of every cloud
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments, and the metadata of Oracle's cloud
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays (RFC 7526)
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks (RFC 2544)
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that the internet uses: loopback, mapped, link-local, private and multicast are outside."""
NOT_PUBLIC_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo among them, which wraps an IPv4 address
            "2001:db8::/32",
            "2002::/16",  # 6to4 wraps an IPv4 address, too
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)
NAT64 = IPv6Network("64:ff9b::/96")
"""How a network without IPv4 reaches it (RFC 6052): the address inside is what counts."""


def is_public(address: IPAddress) -> bool:
    """Tell whether an address is one of the public internet, and of no one's inner network."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_V4)
    if address.scope_id is not None:
        return False
    if address in NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in GLOBAL_UNICAST and not any(address in network for network in NOT_PUBLIC_V6)


def as_address(host: str) -> IPAddress | None:
    """Return the address that a host is written as; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None
