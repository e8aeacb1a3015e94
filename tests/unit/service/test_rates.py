"""How often a key may ask, counted in one process."""

import pytest

from service.access import Limits, Principal, Scope
from service.api.rates import Policy, Rates, network_of, refuse_if_over
from service.errors import TooManyRequestsError
from service.settings import Settings

pytestmark = pytest.mark.usefixtures("within_one_minute")


def principal(key_id="a", **limits):
    return Principal(key_id=key_id, scopes=frozenset({Scope.SEARCH}), limits=Limits(**limits))


def test_a_key_is_refused_after_its_share_and_others_are_not():
    rates = Rates(Settings(requests_per_minute=3))
    standings = [rates.count(principal(), Policy.REQUESTS) for _ in range(4)]

    assert [standing.is_over for standing in standings] == [False, False, False, True]
    assert [standing.remaining for standing in standings] == [2, 1, 0, 0]
    assert all(1 <= standing.reset_s <= 60 for standing in standings)
    assert not rates.count(principal("b"), Policy.REQUESTS).is_over
    refuse_if_over(standings[0])
    with pytest.raises(TooManyRequestsError) as refusal:
        refuse_if_over(standings[-1])
    assert refusal.value.reason == "rate_limited"
    assert refusal.value.retry_after_s == standings[-1].reset_s


def test_the_headers_are_those_of_the_draft():
    standing = Rates(Settings(searches_per_minute=5)).count(principal(), Policy.SEARCHES)

    assert standing.headers() == {
        "RateLimit-Policy": '"searches";q=5;w=60',
        "RateLimit": f'"searches";r=4;t={standing.reset_s}',
    }


def test_searches_and_other_requests_are_counted_apart():
    rates = Rates(Settings(requests_per_minute=1, searches_per_minute=1))

    assert not rates.count(principal(), Policy.REQUESTS).is_over
    assert not rates.count(principal(), Policy.SEARCHES).is_over


def test_a_key_may_have_rates_of_its_own():
    rates = Rates(Settings(requests_per_minute=1, searches_per_minute=1))
    own = principal(requests_per_minute=2, searches_per_minute=0)

    assert [rates.count(own, Policy.REQUESTS).is_over for _ in range(3)] == [False, False, True]
    assert rates.count(own, Policy.SEARCHES) is None


def test_a_machine_of_ones_own_is_not_limited_and_a_server_is():
    assert Rates(Settings()).count(principal(), Policy.SEARCHES) is None
    off_loopback = Rates(Settings(host="0.0.0.0"))  # noqa: S104
    assert off_loopback.count(principal(), Policy.SEARCHES).limit == 1200
    assert off_loopback.count(principal(), Policy.REQUESTS).limit == 6000
    behind_a_proxy = Rates(Settings(public_url="https://videos.example"))
    assert behind_a_proxy.count(principal(), Policy.SEARCHES).limit == 1200


def test_failures_are_counted_by_address_and_can_be_let_be():
    rates = Rates(Settings(failures_per_minute=1))

    assert not rates.count_failure("192.0.2.1").is_over
    assert rates.count_failure("192.0.2.1").is_over
    assert not rates.count_failure("192.0.2.2").is_over
    assert rates.count_failure(None) is None
    assert Rates(Settings(failures_per_minute=0)).count_failure("192.0.2.1") is None


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_who_has_many_addresses_is_counted_once(address, network):
    assert network_of(address) == network
