"""No database error, cause or context repeats a value."""

from __future__ import annotations

import sqlite3
import traceback

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from tests.storage.tables import PART, THING, thing
from vault.errors import Unavailable, VaultError
from vault.ids import new_id
from vault.storage.query import native

CANARY = "canary-4711@example.org"


def family(error, seen=None):
    """List an error with its causes, contexts and the driver's original."""
    seen = {} if seen is None else seen
    if error is not None and id(error) not in seen:
        seen[id(error)] = error
        for name in ("__cause__", "__context__", "orig"):
            family(getattr(error, name, None), seen)
    return list(seen.values())


def told(error):
    """Return all text of an error, without its frames."""
    parts = []
    for member in family(error):
        parts += [str(member), repr(member), repr(member.args), repr(vars(member))]
        parts.append("".join(traceback.format_exception_only(member)))
    return "\n".join(parts)


def whole(key, **values):
    return dict(zip(THING.columns.keys(), thing("t", key, **values), strict=True))


async def by_append(database, table, rows):
    await database.append({table: rows})


async def by_bulk(database, table, rows):
    async with database.transaction() as connection:
        await database.bulk(connection, table, rows)


async def by_insert(database, table, rows):
    async with database.transaction() as connection:
        await connection.execute(table.insert(), [dict(zip(table.columns.keys(), row, strict=True)) for row in rows])


WAYS = pytest.mark.parametrize("write", [by_append, by_bulk, by_insert])


@WAYS
async def test_the_error_of_a_duplicate_does_not_show_the_value(database, write):
    await database.append({THING: [thing("t", new_id(), name=CANARY)]})
    with pytest.raises(IntegrityError) as caught:
        await write(database, THING, [thing("t", new_id(), name=CANARY)])
    assert CANARY not in told(caught.value)


@WAYS
async def test_the_error_of_a_missing_value_does_not_show_the_row(database, write):
    one = new_id()
    await database.append({THING: [thing("t", one)]})
    with pytest.raises(IntegrityError) as caught:
        await write(database, PART, [("t", one, CANARY, None)])
    assert CANARY not in told(caught.value)


@WAYS
async def test_the_error_of_a_dangling_reference_does_not_show_the_value(database, write):
    stranger = new_id()
    with pytest.raises(IntegrityError) as caught:
        await write(database, PART, [("t", stranger, CANARY, CANARY)])
    assert CANARY not in told(caught.value)
    assert str(stranger) not in told(caught.value)


async def test_an_error_that_is_caught_inside_the_block_does_not_show_the_value(database):
    await database.append({THING: [thing("t", new_id(), name=CANARY)]})
    heard = []
    with pytest.raises(LookupError):
        async with database.transaction() as connection:
            try:
                await connection.execute(THING.insert(), [whole(new_id(), name=CANARY)])
            except IntegrityError as error:
                heard.append(told(error))
                raise LookupError from None
    assert CANARY not in heard[0]


@WAYS
@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_the_error_of_a_wrong_type_or_length_does_not_show_the_value(database, write):
    for values in ({"number": CANARY}, {"name": CANARY * 20}, {"at": CANARY}, {"other_id": CANARY}):
        with pytest.raises((VaultError, SQLAlchemyError, TypeError, ValueError)) as caught:
            await write(database, THING, [thing("t", new_id(), **values)])
        assert CANARY not in told(caught.value), values


async def test_the_error_of_a_failing_statement_does_not_show_the_value(database):
    statement = "SELECT CAST(:value AS uuid)" if database.dialect == "postgresql" else "SELECT nothing(:value)"
    with pytest.raises(Unavailable) as caught:
        async with database.transaction() as connection:
            await connection.execute(text(statement), {"value": CANARY})
    assert CANARY not in told(caught.value)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_the_kind_and_sqlstate_of_an_error_are_kept(database):
    await database.append({THING: [thing("t", new_id(), name=CANARY)]})
    with pytest.raises(IntegrityError) as caught:
        await database.append({THING: [thing("t", new_id(), name=CANARY)]})
    assert isinstance(caught.value.orig, asyncpg.UniqueViolationError)
    assert caught.value.orig.constraint_name == "uq_thing_name"
    assert "23505" in str(caught.value)
    with pytest.raises(IntegrityError) as caught:
        async with database.transaction() as connection:
            await connection.execute(THING.insert(), [whole(new_id(), name=CANARY)])
    assert "23505" in str(caught.value)
    assert isinstance(caught.value, DBAPIError)


async def test_the_public_message_names_only_the_error_class(database):
    with pytest.raises(Unavailable) as caught:
        async with database.reading() as connection:
            await connection.execute(text("SELECT * FROM nowhere"))
    assert caught.value.code == "unavailable"
    assert "nowhere" not in str(caught.value)
    assert caught.value.hint


def test_native_leaves_types_that_sqlite_accepts():
    assert [native(item) for item in (None, 1, "a", b"b", True)] == [None, 1, "a", b"b", True]
    assert isinstance(sqlite3.sqlite_version, str)
