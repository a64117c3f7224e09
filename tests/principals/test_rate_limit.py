"""Rate limits: the budget of a minute, shared by all nodes, and the leases of it."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.errors import InvalidInput, TooMany, Unavailable
from vault.principals.principal import Principal
from vault.principals.rate_limit import WINDOW, Leases, Limits, chunk, granted, window_start

ADA = Principal(id=UUID(int=1), tenant="default", name="ada", kind="app", roles=())
GRACE = Principal(id=UUID(int=2), tenant="default", name="grace", kind="app", roles=())
ADA_ELSEWHERE = Principal(id=UUID(int=1), tenant="other", name="ada", kind="staff", roles=())


@pytest.fixture
def limits(database, clock):
    return Limits(database, clock, reads=100, searches=5)


@pytest.fixture
def other_node(other_database, clock):
    return Limits(other_database, clock, reads=100, searches=5)


async def rows(database):
    async with database.reading() as connection:
        result = await connection.exec_driver_sql(
            "SELECT tenant_id, kind, window_start, used FROM rate_window ORDER BY window_start, kind, tenant_id"
        )
        return [tuple(row) for row in result]


async def take_all(limits, principal=ADA, kind="read", n=1):
    """Take until it is refused; return how much there was."""
    taken = 0
    try:
        while True:
            await limits.take(principal, kind, n)
            taken += n
    except TooMany:
        return taken


async def test_the_whole_budget_can_be_used_and_no_more(limits):
    assert await take_all(limits) == 100
    assert await take_all(limits, kind="search") == 5


async def test_a_new_minute_brings_a_new_budget(limits, clock):
    assert await take_all(limits) == 100
    clock.advance(seconds=59.9)
    assert await take_all(limits) == 0
    clock.advance(seconds=0.1)
    assert await take_all(limits) == 100


async def test_what_is_left_of_a_minute_does_not_add_to_the_next(limits, clock):
    await limits.take(ADA, "read", 1)
    clock.advance(minutes=1)
    assert not limits.try_take(ADA, "read", 1)
    assert await take_all(limits) == 100


async def test_too_many_says_when_to_come_back(limits, clock):
    clock.advance(seconds=17.5)
    await take_all(limits)
    with pytest.raises(TooMany) as refused:
        await limits.take(ADA, "read", 1)
    assert refused.value.retry_after == 43
    clock.advance(seconds=42.49)
    with pytest.raises(TooMany) as refused:
        await limits.take(ADA, "read", 1)
    assert refused.value.retry_after == 1


async def test_the_first_refusal_of_a_minute_is_marked(limits, clock):
    async def refused(kind="read"):
        with pytest.raises(TooMany) as error:
            await limits.take(ADA, kind, 1)
        return error.value.first

    for _ in range(100):
        await limits.take(ADA, "read", 1)
    for _ in range(5):
        await limits.take(ADA, "search", 1)
    assert [await refused(), await refused(), await refused("search"), await refused()] == [True, False, True, False]
    clock.advance(minutes=1)
    for _ in range(100):
        await limits.take(ADA, "read", 1)
    assert await refused()


async def test_principals_tenants_and_kinds_have_budgets_of_their_own(limits):
    assert await take_all(limits, ADA) == 100
    assert await take_all(limits, GRACE) == 100
    assert await take_all(limits, ADA_ELSEWHERE) == 100
    assert await take_all(limits, ADA, "search") == 5


async def test_try_take_spends_the_lease_and_then_returns_false(limits):
    assert not limits.try_take(ADA, "read", 1)
    await limits.take(ADA, "read", 1)
    assert [limits.try_take(ADA, "read", 1) for _ in range(5)] == [True] * 4 + [False]


async def test_more_at_once_than_a_minute_allows_is_refused_for_good(limits, database):
    with pytest.raises(InvalidInput) as refused:
        await limits.take(ADA, "read", 101)
    assert refused.value.code == "beyond-rate-limit"
    assert await rows(database) == []
    await limits.take(ADA, "read", 100)


async def test_a_batch_that_is_too_large_for_the_rest_takes_nothing_of_it(limits):
    await limits.take(ADA, "read", 60)
    with pytest.raises(TooMany):
        await limits.take(ADA, "read", 60)
    assert await take_all(limits) == 40


@pytest.mark.parametrize("n", [0, -1])
async def test_nothing_or_less_cannot_be_taken(limits, n):
    assert not limits.try_take(ADA, "read", n)
    with pytest.raises(ValueError):
        await limits.take(ADA, "read", n)


async def test_two_nodes_together_never_exceed_the_limit(limits, other_node):
    assert await take_all(limits, n=7) + await take_all(other_node) <= 100
    assert await take_all(limits) + await take_all(other_node) <= 7


async def test_two_nodes_taking_by_turns_use_the_limit_exactly(limits, other_node):
    taken = 0
    for node in [limits, other_node] * 100:
        try:
            await node.take(ADA, "read", 1)
            taken += 1
        except TooMany:
            pass
    assert taken == 100


async def test_two_nodes_under_concurrent_load_use_the_limit_exactly(limits, other_node):
    calls = [
        node.take(ADA, kind, 1) for node in (limits, other_node) for kind in ("read", "search") for _ in range(120)
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} == {type(None), TooMany}
    assert answers.count(None) == 105


async def test_concurrent_callers_share_one_lease(limits, database, clock):
    await asyncio.gather(*(limits.take(ADA, "read", 1) for _ in range(5)))
    assert [row[3] for row in await rows(database)] == [5]


async def test_a_used_up_budget_is_not_asked_for_again(limits, database):
    await take_all(limits)
    before = await rows(database)
    for _ in range(10):
        with pytest.raises(TooMany):
            await limits.take(ADA, "read", 1)
    assert await rows(database) == before


async def test_old_windows_are_deleted_as_new_ones_open(limits, database, clock):
    for _ in range(10):
        await limits.take(ADA, "read", 1)
        await limits.take(GRACE, "read", 1)
        clock.advance(minutes=1)
    assert len({row[2] for row in await rows(database)}) == 2


async def test_a_clock_that_is_set_back_is_followed(limits, clock):
    clock.advance(days=1)
    await take_all(limits)
    clock.advance(days=-1)
    assert await take_all(limits) == 100


async def test_a_cancelled_caller_does_not_lose_the_lease(limits, database):
    leaving = asyncio.create_task(limits.take(ADA, "read", 1))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert await take_all(limits) == 100


async def test_without_the_database_all_waiting_callers_get_unavailable(limits, database, dialect, tmp_path):
    await limits.take(ADA, "read", 1)
    async with database.transaction() as connection:
        await connection.exec_driver_sql("ALTER TABLE rate_window RENAME TO gone")
    answers = await asyncio.gather(*(limits.take(GRACE, "read", 1) for _ in range(10)), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    async with database.transaction() as connection:
        await connection.exec_driver_sql("ALTER TABLE gone RENAME TO rate_window")
    await limits.take(GRACE, "read", 1)


async def test_a_limit_of_zero_is_refused(database, clock):
    with pytest.raises(ValueError):
        Limits(database, clock, reads=0)


async def test_the_defaults_are_those_that_are_documented(database, clock):
    limits = Limits(database, clock)
    await limits.take(ADA, "read", 60_000)
    assert await take_all(limits, kind="search") == 120


async def test_taking_from_a_lease_does_not_ask_the_database(limits, database):
    await limits.take(ADA, "read", 20)  # a lease of this size leaves nothing over
    await limits.take(ADA, "read", 1)
    before = await rows(database)
    assert [limits.try_take(ADA, "read", 1) for _ in range(4)] == [True] * 4
    assert await rows(database) == before


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
