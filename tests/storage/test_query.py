"""Hot queries give the same answer on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, DateTime, Float, MetaData, Table, bindparam, func, select

from tests.storage.tables import ALL, BY_ID, THING, thing
from vault.clock import from_microseconds, to_microseconds
from vault.ids import new_id
from vault.storage.query import Query, any_of

one_database_for_all_examples = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
FIRST_YEAR, LAST_YEAR = datetime(2, 1, 1), datetime(9998, 12, 31)  # noqa: DTZ001 - the zone is drawn apart
zones = st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-23 * 60, 23 * 60))
moments = st.datetimes(FIRST_YEAR, LAST_YEAR, timezones=zones)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
rows = st.lists(
    st.tuples(
        st.just("t"),
        st.uuids(),
        st.none() | st.uuids(),
        st.none() | moments,
        st.none(),
        st.none() | texts,
        st.none() | st.integers(-(2**15), 2**15 - 1),
        st.none() | st.integers(-(2**31), 2**31 - 1),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.booleans(),
        st.none() | st.binary(max_size=60),
    ),
    max_size=5,
    unique_by=lambda row: row[1],
)


async def clear(database):
    async with database.transaction() as connection:
        await connection.execute(THING.delete())


@one_database_for_all_examples
@given(rows)
async def test_a_value_reads_the_same_by_engine_and_driver(database, given):
    expected = sorted(given, key=lambda row: row[1].bytes)
    names = THING.columns.keys()

    async def appended():
        await database.append({THING: given})

    async def bulk():
        async with database.transaction() as connection:
            await database.bulk(connection, THING, given)

    async def inserted():
        async with database.transaction() as connection:
            if given:
                await connection.execute(THING.insert(), [dict(zip(names, row, strict=True)) for row in given])

    for write in (appended, bulk, inserted):
        await clear(database)
        await write()
        hot = [tuple(row) for row in await database.fetch(ALL, tenant="t")]
        async with database.reading() as connection:
            cold = [tuple(row) for row in await connection.execute(select(THING).order_by(THING.c.id))]
        assert hot == cold == expected
        assert all(isinstance(row[1], UUID) and hash(row[1]) == hash(UUID(bytes=row[1].bytes)) for row in hot + cold)
        assert all(row[3] is None or row[3].utcoffset() == timedelta(0) for row in hot + cold)
        assert all(row[9] is None or isinstance(row[9], bool) for row in hot + cold)


async def test_any_of_finds_the_values_of_the_list(database):
    ids = [new_id() for _ in range(1_000)]
    await database.append({THING: [thing("t", id_) for id_ in ids[::2]] + [thing("u", id_) for id_ in ids]})
    for asked in (0, 1, 2, 3, 5, 64, 65, 1_000):
        result = await database.fetch(BY_ID, tenant="t", ids=ids[:asked])
        assert [row[0] for row in result] == ids[:asked:2]


async def test_a_tuple_and_repeated_values_find_the_same(database):
    one, other = new_id(), new_id()
    await database.append({THING: [thing("t", one), thing("t", other)]})
    assert [row[0] for row in await database.fetch(BY_ID, tenant="t", ids=(other, one, one))] == [one, other]


async def test_null_matches_no_list(database):
    query = Query(
        select(THING.c.name)
        .where(THING.c.tenant_id == bindparam("tenant"), any_of(THING.c.name, "names"))
        .order_by(THING.c.name)
    )
    await database.append({THING: [thing("t", new_id(), name=name) for name in ("a", "b", None)]})
    assert await database.fetch(query, tenant="t", names=[]) == []
    assert await database.fetch(query, tenant="t", names=[None]) == []
    assert [tuple(row) for row in await database.fetch(query, tenant="t", names=[None, "b", "z"])] == [("b",)]


async def test_two_lists_and_a_plain_parameter_in_one_query(database):
    query = Query(
        select(THING.c.id)
        .where(
            any_of(THING.c.name, "names"),
            THING.c.tenant_id == bindparam("tenant"),
            any_of(THING.c.id, "ids"),
            THING.c.at < bindparam("before"),
        )
        .order_by(THING.c.id)
        .limit(bindparam("most"))
    )
    now = datetime(2026, 3, 5, 12, tzinfo=UTC)
    ids = [new_id() for _ in range(6)]
    await database.append(
        {THING: [thing("t", item, name=f"n{i}", at=now + timedelta(microseconds=i)) for i, item in enumerate(ids)]}
    )
    result = await database.fetch(
        query,
        tenant="t",
        names=["n0", "n1", "n2", "n3", "n5"],
        ids=ids[1:],
        before=now + timedelta(microseconds=4),
        most=2,
    )
    assert [row[0] for row in result] == ids[1:3]


async def test_a_constant_of_the_statement_needs_no_argument(database):
    query = Query(select(THING.c.id, func.count().over()).where(THING.c.tenant_id == "t", THING.c.number > 3))
    one = new_id()
    await database.append({THING: [thing("t", one, number=4), thing("t", new_id(), number=3)]})
    assert [tuple(row) for row in await database.fetch(query)] == [(one, 1)]


async def test_a_missing_parameter_is_named(database):
    with pytest.raises(KeyError, match="ids"):
        await database.fetch(BY_ID, tenant="t")


@pytest.mark.parametrize("kind", [DateTime, Float])
def test_a_type_that_drivers_convert_differently_is_refused_at_import(kind):
    table = Table("x", MetaData(), Column("value", kind))
    with pytest.raises(TypeError, match="hot query"):
        Query(select(table.c.value))


@given(moments)
def test_microseconds_represent_every_moment_exactly(moment):
    back = from_microseconds(to_microseconds(moment))
    assert back == moment
    assert back.tzinfo is UTC


@pytest.mark.parametrize(
    "moment",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
        datetime(2026, 3, 5, 12),  # noqa: DTZ001 - naive on purpose
    ],
)
async def test_a_moment_out_of_range_is_not_written(database, moment):
    with pytest.raises(ValueError):
        to_microseconds(moment)
    with pytest.raises(Exception, match=r"moment"):
        async with database.transaction() as connection:
            await connection.execute(
                THING.insert(), [dict(zip(THING.columns.keys(), thing("t", new_id(), at=moment), strict=True))]
            )
    assert await database.fetch(ALL, tenant="t") == []
