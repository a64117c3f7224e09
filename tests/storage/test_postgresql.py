"""Behaviour that is specific to PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.storage.tables import ALL, PART, THING, thing
from vault.ids import new_id

ON_POSTGRESQL = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


async def things(database):
    return [row[1] for row in await database.fetch(ALL, tenant="t")]


@ON_POSTGRESQL
async def test_the_url_accepts_libpq_options(database, open_database):
    other = open_database(suffix="&sslmode=disable")
    await other.append({THING: [thing("t", new_id())]})
    await other.ping()
    assert len(await things(other)) == 1


@ON_POSTGRESQL
async def test_an_append_to_several_tables_is_one_transaction(database):
    one = new_id()
    await database.append({THING: [thing("t", one)]})
    async with database.reading() as connection:
        rows = await connection.execute(text("SELECT xmin::text FROM thing"))
        before = rows.scalar_one()
    ids = [new_id() for _ in range(50)]
    await database.append({THING: [thing("t", id_) for id_ in ids], PART: [("t", id_, "w", "m") for id_ in ids]})
    async with database.reading() as connection:
        marks = (
            (await connection.execute(text("SELECT xmin::text FROM thing UNION ALL SELECT xmin::text FROM part")))
            .scalars()
            .all()
        )
    assert len(marks) == 101
    assert set(marks) == {before, marks[-1]}
    assert marks[-1] != before
