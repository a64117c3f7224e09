"""Hot queries use an index and never scan all rows of a tenant."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest
from sqlalchemy import create_engine

import vault
from vault.storage.columns import DataTable, KeyTable
from vault.storage.query import Query

MODULES = [
    importlib.import_module(package.name)
    for package in pkgutil.walk_packages(vault.__path__, "vault.")
    if not package.name.endswith("__main__")
]
HOT = [
    pytest.param(item, id=f"{module.__name__}.{name}")
    for module in MODULES
    for name, thing in vars(module).items()
    for item in (thing if isinstance(thing, tuple) else (thing,))
    if isinstance(item, Query) and name != "_ANY"  # which asks whether there is anybody, and stops at the first
]
PEOPLE = ("subject", "record", "external_ref", "blind_index", "data_key")
"""Tables with rows for every person."""


@pytest.fixture
def connection():
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        for family in (DataTable, KeyTable):
            family.metadata.create_all(connection)
        yield connection.connection.driver_connection
    engine.dispose()


class Anything(dict):
    """Gives every parameter a value, and every list of values two."""

    def __init__(self, query):
        text, names, _constants = query._sqlite()
        places = re.findall(r"(/\*many\*/)?\?", text)
        super().__init__({name: [b"1", b"2"] if many else b"1" for name, many in zip(names, places, strict=True)})


def reads_everybody(step):
    what, _, rest = step.partition(" ")
    table = rest.split(" ")[0]
    return table in PEOPLE and (what == "SCAN" or step.endswith("(tenant_id=?)"))


@pytest.mark.parametrize("query", HOT)
def test_a_hot_query_reads_no_more_than_the_rows_it_asks_for(connection, query):
    text, arguments = query.for_sqlite(Anything(query))
    steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", arguments)]
    assert steps
    assert not [step for step in steps if reads_everybody(step)], steps


def test_there_are_hot_queries():
    assert len(HOT) > 10
