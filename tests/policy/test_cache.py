"""The cache of decisions is bounded and keeps frequent entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vault.policy.decision import DecisionCache


def test_an_answer_is_kept():
    kept = DecisionCache(10)
    kept.put("a", 1)

    assert kept.get("a") == 1
    assert kept.get("b") is None


def test_the_cache_is_bounded():
    kept = DecisionCache(10)
    for i in range(1000):
        kept.put(i, i)
        assert len(kept) <= 10


def test_entries_in_use_are_not_evicted():
    kept = DecisionCache(10)
    kept.put("hot", 1)
    for i in range(1000):
        kept.put(i, i)
        assert kept.get("hot") == 1


def test_unused_entries_are_evicted():
    kept = DecisionCache(10)
    kept.put("cold", 1)
    for i in range(10):
        kept.put(i, i)

    assert kept.get("cold") is None


@given(st.integers(1, 20), st.lists(st.tuples(st.booleans(), st.integers(0, 30))))
def test_it_never_answers_with_another_key_s_answer(most, steps):
    kept = DecisionCache(most)
    for puts, key in steps:
        if puts:
            kept.put(key, key * 7)
        else:
            assert kept.get(key) in {None, key * 7}
        assert len(kept) <= max(2, most)
