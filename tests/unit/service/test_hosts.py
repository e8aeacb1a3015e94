"""Which Host headers are ours."""

import pytest

from service.api.hosts import allowed_hosts, is_among, is_local
from service.settings import Settings

ANYWHERE = "0.0.0.0"  # noqa: S104


def test_off_loopback_any_name_is_answered_until_some_are_given():
    assert allowed_hosts(Settings(host=ANYWHERE)) is None
    given = allowed_hosts(Settings(host=ANYWHERE, allowed_hosts="A.example, *.b.example"))
    assert given == {"localhost", "127.0.0.1", "::1", ANYWHERE, "a.example", "*.b.example"}
    public = allowed_hosts(Settings(host=ANYWHERE, public_url="https://videos.example:8443/x"))
    assert "videos.example" in public


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("a.example", True),
        ("A.EXAMPLE:8000", True),
        ("a.example.", True),
        ("x.b.example", True),
        ("x.y.b.example", True),
        ("[::1]:8000", True),
        ("b.example", False),
        ("xb.example", False),
        ("a.example.evil", False),
        ("evil@a.example", False),
        ("a.example/evil", False),
        ("a.example?x", False),
        ("a.example#x", False),
        ("a.example:x", False),
        ("a.example:99999", False),
        ("*.b.example", True),
        ("[", False),
        ("", False),
    ],
)
def test_a_host_header_is_compared_as_a_whole(host, is_it):
    assert is_among(host, {"a.example", "*.b.example", "::1"}) is is_it


def test_a_machine_of_ones_own_has_no_proxy_before_it():
    assert is_local(Settings())
    assert not is_local(Settings(public_url="https://videos.example"))
    assert not is_local(Settings(host=ANYWHERE))
