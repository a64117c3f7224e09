"""Two tables with every type of column that the vault's own tables have, NULLs allowed."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    select,
)

from vault.storage.columns import Id, Moment
from vault.storage.query import Query, any_of

METADATA = MetaData()

THING = Table(
    "thing",
    METADATA,
    Column("tenant_id", String(64), primary_key=True),
    Column("id", Id, primary_key=True),
    Column("other_id", Id),
    Column("at", Moment),
    Column("name", String(200)),
    Column("note", Text),
    Column("small", SmallInteger),
    Column("number", Integer),
    Column("large", BigInteger),
    Column("flag", Boolean),
    Column("blob", LargeBinary),
    UniqueConstraint("tenant_id", "name", name="uq_thing_name"),
)
PART = Table(
    "part",
    METADATA,
    Column("tenant_id", String(64), primary_key=True),
    Column("thing_id", Id, primary_key=True),
    Column("word", String(200), primary_key=True),
    Column("must", String(200), nullable=False),
    ForeignKeyConstraint(["tenant_id", "thing_id"], ["thing.tenant_id", "thing.id"]),
)

ALL = Query(select(THING).where(THING.c.tenant_id == bindparam("tenant")).order_by(THING.c.id))
BY_ID = Query(
    select(THING.c.id, THING.c.name)
    .where(THING.c.tenant_id == bindparam("tenant"), any_of(THING.c.id, "ids"))
    .order_by(THING.c.id)
)
PARTS = Query(select(PART.c.word).where(PART.c.tenant_id == bindparam("tenant")).order_by(PART.c.word))


def thing(tenant, key, **values):
    """Make a whole row; columns that are not named are NULL."""
    row = dict.fromkeys(THING.columns.keys())
    return tuple((row | {"tenant_id": tenant, "id": key} | values).values())
