"""Reading the key store: wrapped rows in, keys that open out."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import bindparam, delete, select

from vault.crypto.tables import DATA_KEY, TENANT_KEY, TENANT_SECRET
from vault.crypto.tenant_keys import open_tenant
from vault.errors import CannotOpen, NotFound
from vault.storage.query import Query, any_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.crypto.providers import KeyProvider
    from vault.crypto.seal import SubjectKeys
    from vault.crypto.tenant_keys import DataKeyTuple, TenantKeys, WrappedDataKey
    from vault.ids import SubjectId, TenantId
    from vault.storage.database import Database

Item = TypeVar("Item")

MOST_AT_ONCE: Final = 8_192
"""Ids in one statement: SQLite takes 32,766 parameters at the most."""
TURN: Final = 512
"""Keys made or opened before the event loop gets its turn: about 3 ms."""

_TENANT_KEYS: Final = Query(
    select(TENANT_KEY.c.version, TENANT_KEY.c.root_reference, TENANT_KEY.c.wrapped).where(
        TENANT_KEY.c.tenant_id == bindparam("tenant")
    )
)
_TENANT_SECRETS: Final = Query(
    select(
        TENANT_SECRET.c.kind, TENANT_SECRET.c.version, TENANT_SECRET.c.root_reference, TENANT_SECRET.c.wrapped
    ).where(TENANT_SECRET.c.tenant_id == bindparam("tenant"))
)
_DATA_KEYS: Final = Query(
    select(DATA_KEY.c.subject_id, DATA_KEY.c.version, DATA_KEY.c.tenant_key_version, DATA_KEY.c.wrapped).where(
        DATA_KEY.c.tenant_id == bindparam("tenant"), any_of(DATA_KEY.c.subject_id, "ids")
    )
)


async def load_tenant(database: Database, provider: KeyProvider, tenant: TenantId) -> TenantKeys:
    """Read and open a tenant's key and secrets.

    Raises:
        NotFound: there is no such tenant.
        Misconfigured: another root key sealed it.
        CannotOpen: a row was tampered with.
    """
    # Keys first: a tenant is made in one transaction, so whoever sees its key sees its secrets.
    keys: list[tuple[int, str, bytes]] = await database.fetch(_TENANT_KEYS, tenant=tenant)
    if not keys:
        raise NotFound("there is no such tenant", code="tenant-not-found")
    secrets: list[tuple[str, int, str, bytes]] = await database.fetch(_TENANT_SECRETS, tenant=tenant)
    return open_tenant(provider, tenant, keys, secrets)


async def load_data_keys(
    database: Database, tenant: TenantId, ids: Sequence[SubjectId]
) -> dict[SubjectId, list[WrappedDataKey]]:
    """Read all versions of these people's wrapped data keys; those who have none are left out."""
    found: defaultdict[SubjectId, list[WrappedDataKey]] = defaultdict(list)
    for some in chunks(ids, MOST_AT_ONCE):
        for subject, *row in await database.fetch(_DATA_KEYS, tenant=tenant, ids=some):
            found[subject].append(tuple(row))
    return found


async def delete_data_keys(connection: AsyncConnection, tenant: TenantId, ids: Sequence[SubjectId]) -> int:
    """Delete all versions of these people's data keys; returns how many rows went."""
    deleted = 0
    for some in chunks(ids, MOST_AT_ONCE):
        answer = await connection.execute(
            delete(DATA_KEY).where(DATA_KEY.c.tenant_id == tenant, DATA_KEY.c.subject_id.in_(some))
        )
        deleted += answer.rowcount
    return deleted


async def delete_older_keys(connection: AsyncConnection, tenant: TenantId, kept: Mapping[SubjectId, int]) -> int:
    """Delete the versions of people's data keys that came before one each; returns how many rows went."""
    by_version: defaultdict[int, list[SubjectId]] = defaultdict(list)
    for subject, version in kept.items():
        by_version[version].append(subject)
    deleted = 0
    for version, subjects in sorted(by_version.items()):
        for some in chunks(subjects, MOST_AT_ONCE):
            answer = await connection.execute(
                delete(DATA_KEY).where(
                    DATA_KEY.c.tenant_id == tenant, DATA_KEY.c.subject_id.in_(some), DATA_KEY.c.version < version
                )
            )
            deleted += answer.rowcount
    return deleted


async def locked_data_keys(
    connection: AsyncConnection, tenant: TenantId, ids: Sequence[SubjectId]
) -> dict[SubjectId, list[WrappedDataKey]]:
    """Read people's wrapped data keys in a transaction that is about to add one each; who has none is left out."""
    found: defaultdict[SubjectId, list[WrappedDataKey]] = defaultdict(list)
    columns = (DATA_KEY.c.subject_id, DATA_KEY.c.version, DATA_KEY.c.tenant_key_version, DATA_KEY.c.wrapped)
    for some in chunks(ids, MOST_AT_ONCE):
        statement = select(*columns).where(DATA_KEY.c.tenant_id == tenant, DATA_KEY.c.subject_id.in_(some))
        ordered = statement.order_by(DATA_KEY.c.subject_id, DATA_KEY.c.version)  # so that two wait in the same order
        for subject, *row in (await connection.execute(ordered.with_for_update())).all():
            found[subject].append(tuple(row))
    return found


def renewed(
    owner: TenantKeys, rows: Mapping[SubjectId, list[WrappedDataKey]], now: datetime
) -> tuple[dict[SubjectId, SubjectKeys | None], list[DataKeyTuple]]:
    """Make a further version of people's data keys: opened with those before, and the rows that keep them.

    For who has a key that does not open none is made: what that one sealed could not be sealed anew.
    """
    opened: dict[SubjectId, SubjectKeys | None] = {}
    made: list[DataKeyTuple] = []
    for subject, own in rows.items():
        _keys, row = owner.new_data_key(subject, now, max(own)[0] + 1)
        try:
            opened[subject] = owner.open_data_keys(subject, [*own, row[2:5]])
        except CannotOpen:
            opened[subject] = None
            continue
        made.append(row)
    return opened, made


async def in_turns(items: Iterable[Item]) -> AsyncIterator[Item]:
    """Go through items and let the event loop breathe now and then: threads do not help work as small as a key's."""
    for some in chunks(items, TURN):
        for item in some:
            yield item
        await asyncio.sleep(0)


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut items into lists of at most ``size``."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
