"""Which addresses are public, and which URLs are none of ours to speak to."""

from ipaddress import ip_address

import pytest

from service.outbound import OutboundError, Policy, parse_url
from service.outbound.addresses import is_public

PRIVATE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1"),  # noqa: S104
    *("127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192"),
    *("192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1"),
    *("2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1"),
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_known(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_known(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://example.org", ("https", "example.org", 443, "/")),
        ("HTTP://Example.ORG:8080/a%20b?c=d&e", ("http", "example.org", 8080, "/a%20b?c=d&e")),
        (
            "https://bücher.example/ü?ö#part",
            ("https", "xn--bcher-kva.example", 443, "/%C3%BC?%C3%B6"),
        ),
        ("http://[2606:4700::1111]:81/x", ("http", "2606:4700::1111", 81, "/x")),
        ("https://example.org./", ("https", "example.org", 443, "/")),
        ("https://example.org:443/a/../b", ("https", "example.org", 443, "/a/../b")),
    ],
)
def test_a_url_is_taken_apart(url, parts):
    target = parse_url(url)

    assert (target.scheme, target.host, target.port, target.path) == parts
    assert parse_url(target.url) == target


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.org", "//example.org/", "ftp://example.org/", "file:///etc/passwd"),
        *("gopher://example.org/", "http:///path", "http://", "https://user@example.org/"),
        *("https://user:pass@example.org/", "http://example.org@127.0.0.1/", "http://a b/"),
        *(
            "http://example.org\\@127.0.0.1/",
            "http://exa\nmple.org/",
            "http://example.org/\r\nX: y",
        ),
        *("http://example.org:0/", "http://example.org:99999/", "http://example.org:/"),
        *("http://example.org:x/", "http://[::1/", "http://[fe80::1%25eth0]:x/", "http://a..b/"),
        *("http://-a.example/", "http://a%00.example/", "http://a,b/", "http://" + "a" * 300 + "/"),
        "http://example.org/" + "a" * 5000,
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(OutboundError) as refusal:
        parse_url(url)

    assert refusal.value.reason == "bad_url"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://10.1.2.3:80/"],
)
def test_a_private_literal_is_refused_without_a_look_up(url):
    with pytest.raises(OutboundError) as refusal:
        Policy().check_literal(parse_url(url))

    assert refusal.value.reason == "address_not_allowed"


def test_a_port_is_refused_unless_it_is_named():
    target = parse_url("http://example.org:6379/")

    with pytest.raises(OutboundError) as refusal:
        Policy().check_literal(target)
    assert refusal.value.reason == "port_not_allowed"
    Policy.of(allow="", ports="80, 6379").check_literal(target)
    Policy.of(allow="example.org", ports="80").check_literal(target)


def test_the_settings_name_hosts_and_networks():
    policy = Policy.of(allow="Videos.Example., 10.0.0.0/8,::1", ports="80,443")

    policy.check(parse_url("http://videos.example:99/"), [ip_address("192.168.0.1")])
    policy.check(parse_url("http://other.example:99/"), [ip_address("10.9.9.9")])
    policy.check(parse_url("http://[::1]:99/"), [ip_address("::1")])
    for mixed in ("127.0.0.1", "192.168.0.1"):
        with pytest.raises(OutboundError):
            policy.check(
                parse_url("http://other.example/"), [ip_address("10.9.9.9"), ip_address(mixed)]
            )
    assert policy.names_host(parse_url("http://videos.example/"))
    assert not policy.names_host(parse_url("http://a.videos.example/"))


def test_a_refusal_does_not_tell_what_a_name_leads_to():
    with pytest.raises(OutboundError) as refusal:
        Policy().check(parse_url("http://inner.example/"), [ip_address("10.1.2.3")])

    assert "10.1.2.3" not in refusal.value.detail
