from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from vault.principals.rate_limit import WINDOW, Leases, chunk, granted, window_start

KEY = ("default", 1, "read")


def test_a_window_starts_on_the_full_minute():
    assert window_start(datetime(2026, 3, 5, 12, 0, 59, 999_999, tzinfo=UTC)) == window_start(
        datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
    )
    assert window_start(datetime(2026, 3, 5, 12, 1, tzinfo=UTC)) % WINDOW == 0


def test_a_chunk_is_a_twentieth_or_what_is_missing():
    assert chunk(60_000, 1) == 3_000
    assert chunk(60_000, 5_000) == 5_000
    assert chunk(120, 1) == 6
    assert chunk(3, 1) == 1


def test_what_is_granted_stops_at_the_limit():
    assert granted(100, 30, 30) == 30
    assert granted(100, 30, 100) == 30
    assert granted(100, 30, 110) == 20
    assert granted(100, 30, 130) == 0
    assert granted(100, 30, 500) == 0


def test_no_more_is_spent_than_is_left():
    leases = Leases(0)
    assert not leases.spend(KEY, 1)
    leases.add(KEY, limit=100, requested=5, used=5)
    assert not leases.spend(KEY, 6)
    assert leases.left(KEY) == 5
    assert leases.spend(KEY, 5)
    assert not leases.spend(KEY, 1)


def test_a_negative_or_empty_amount_is_never_spent():
    leases = Leases(0)
    leases.add(KEY, limit=100, requested=5, used=5)
    assert not leases.spend(KEY, 0)
    assert not leases.spend(KEY, -3)
    assert leases.left(KEY) == 5


@given(
    limit=st.integers(1, 500),
    visits=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 500)), max_size=80),
)
def test_any_number_of_nodes_in_any_order_never_spend_more_than_the_limit(limit, visits):
    nodes = [Leases(0) for _ in range(5)]
    used = spent = 0
    for node, n in visits:
        leases = nodes[node]
        if leases.left(KEY) < n and not leases.is_exhausted(KEY):
            requested = chunk(limit, n - leases.left(KEY))
            used += requested
            leases.add(KEY, limit=limit, requested=requested, used=used)
        spent += n if leases.spend(KEY, n) else 0
        assert spent + sum(leases.left(KEY) for leases in nodes) <= limit
    if used >= limit:
        assert spent + sum(leases.left(KEY) for leases in nodes) == limit  # and nothing is lost either


@given(limit=st.integers(1, 2_000))
def test_one_node_alone_can_spend_the_whole_limit_one_by_one(limit):
    leases, used, spent = Leases(0), 0, 0
    while leases.spend(KEY, 1) or not leases.is_exhausted(KEY):
        if leases.left(KEY) == 0 and not leases.is_exhausted(KEY):
            used += (requested := chunk(limit, 1))
            leases.add(KEY, limit=limit, requested=requested, used=used)
        spent += 1
    assert used >= limit
    assert spent >= limit
