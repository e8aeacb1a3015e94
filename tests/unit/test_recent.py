"""The bounded memory keeps what was used last and never more than its limit."""

from hypothesis import given
from hypothesis import strategies as st

from service.recent import Recent


def test_what_was_not_used_for_longest_is_forgotten():
    recent = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    recent.get("a")
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=8))))
def test_the_total_cost_stays_within_the_limit(puts):
    recent = Recent(16, cost=len)
    for key, value in puts:
        recent.put(key, value)
        assert recent.get(key) == value
        kept = [recent.get(each) or b"" for each in range(6)]
        assert sum(map(len, kept)) <= 16


def test_a_value_that_is_too_large_is_not_kept():
    recent = Recent(3, cost=len)
    recent.put("a", b"1234")
    assert recent.get("a") is None
    assert len(recent) == 0
