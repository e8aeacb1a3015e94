"""Rates that several API processes count together, in a real Redis."""

import pytest

from service.access import Principal, Scope
from service.api.rates import WITHOUT_REDIS_S, Policy, Rates
from service.settings import Settings
from tests.servers import free_port

KEY = Principal(key_id="a", scopes=frozenset({Scope.SEARCH}))

pytestmark = pytest.mark.usefixtures("within_one_minute")


def test_processes_with_one_redis_count_together(redis_url, monkeypatch):
    monkeypatch.setattr("service.api.rates.REDIS_TIMEOUT_S", 30.0)
    settings = Settings(broker_url=redis_url, searches_per_minute=3)
    first, second = Rates(settings), Rates(settings)

    standings = [rates.count(KEY, Policy.SEARCHES) for rates in (first, second, first, second)]

    assert [standing.is_over for standing in standings] == [False, False, False, True]
    assert standings[2].remaining == 0


def test_without_redis_each_counts_alone_and_asks_again_later():
    now = 0.0
    settings = Settings(broker_url=f"redis://127.0.0.1:{free_port()}/0", searches_per_minute=1)
    rates = Rates(settings, clock=lambda: now)

    assert not rates.count(KEY, Policy.SEARCHES).is_over
    assert rates.count(KEY, Policy.SEARCHES).is_over
    now = WITHOUT_REDIS_S + 1
    assert rates.count(KEY, Policy.SEARCHES).is_over
