"""Tombstones: keyed digests of the ids and addresses of erased subjects, so that no write recreates them unnoticed.

Without them a form, an import or a restored list would bring a subject back after the erasure. Only a digest under a
key of its own is kept: it does not reveal the subject, and recognises an id or address that comes in again.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING, Final
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import LargeBinary, String, delete, select

from vault.catalogue.types import index_text
from vault.errors import Conflict
from vault.storage.columns import DataTable, Id, Moment, column, table_of
from vault.storage.query import insert_into
from vault.subjects.rows import EXTERNAL_IDS, composed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Field
    from vault.catalogue.types import JsonValue
    from vault.context import Services
    from vault.crypto.derive import TokenKey
    from vault.ids import TenantId

AT_ONCE: Final = 1_000
"""Digests in one statement."""
EMAIL: Final = "email"
"""The type of field whose values get a tombstone, and the kind of such a tombstone."""
EXTERNAL: Final = "external-id"


class TombstoneRow(DataTable, table=True):
    """A digest of one id or address."""

    __tablename__ = "tombstone"

    tenant_id: str = column(String(64), primary_key=True)
    digest: bytes = column(LargeBinary(32), primary_key=True)
    kind: str = column(String(16))
    erasure_id: UUID = column(Id)
    created_at: datetime = column(Moment)


TOMBSTONE = table_of(TombstoneRow)


def erased_before() -> Conflict:
    """Return the error for a write that would bring an erased subject back."""
    return Conflict(
        "a person with this e-mail address or external id was erased from this vault",
        code="erased-before",
        hint='if the person has come back by themselves, say so: "returning": true',
    )


def digests_of(key: TokenKey, fields: Mapping[str, Field], values: Mapping[str, JsonValue]) -> dict[bytes, str]:
    """Digest what identifies a profile: e-mail addresses and ids in other systems.

    Args:
        key: the tenant's.
        fields: of the profile, as the catalogue declares them.
        values: of the profile, normalised; those without a declaration are passed over.

    Returns:
        the kind of each, by digest.
    """
    digests = {}
    for name, value in values.items():
        if name == EXTERNAL_IDS and isinstance(value, dict):
            for system, number in value.items():
                # A label for each system: a number that two systems share gives two digests, which cannot be linked.
                digests[key.digest(f"tombstone:external:{system}", composed(str(number)).encode())] = EXTERNAL
        elif name in fields and fields[name].type == EMAIL:
            # Folded as for a search, so that another spelling of the address is recognised.
            digests[key.digest("tombstone:email", index_text(EMAIL, value).encode())] = EMAIL
    return digests


async def require_no_tombstone(
    services: Services,
    connection: AsyncConnection,
    tenant: TenantId,
    fields: Mapping[str, Field],
    values: Mapping[str, JsonValue],
    *,
    returning: bool = False,
) -> None:
    """Refuse a write that names an erased subject, unless the person returns voluntarily: that removes the tombstones.

    Call it in the transaction of the write, after the write: then an earlier erasure is seen, and a later one finds
    what was written.

    Raises:
        Conflict: ``erased-before``.
    """
    if not await _any_tombstone(connection, tenant):
        return
    key = await services.keyring.token_key(tenant)
    present = await _tombstones_among(connection, tenant, list(digests_of(key, fields, values)))
    if not present:
        return
    if not returning:
        raise erased_before()
    await connection.execute(
        # In the transaction of the write: if that fails, the tombstones stay.
        delete(TOMBSTONE).where(TOMBSTONE.c.tenant_id == tenant, TOMBSTONE.c.digest.in_(sorted(present)))
    )


async def have_tombstones(
    services: Services, tenant: TenantId, fields: Mapping[str, Field], profiles: Sequence[Mapping[str, JsonValue]]
) -> list[bool]:
    """Tell for each of several profiles whether it names an erased subject."""
    async with services.data.reading() as connection:
        if not await _any_tombstone(connection, tenant):
            return [False] * len(profiles)
        key = await services.keyring.token_key(tenant)
        digests = [digests_of(key, fields, profile) for profile in profiles]
        present = await _tombstones_among(connection, tenant, list({digest for kinds in digests for digest in kinds}))
    return [not present.isdisjoint(kinds) for kinds in digests]


async def add_tombstones(
    connection: AsyncConnection, tenant: TenantId, erasure: UUID, digests: Mapping[bytes, str], now: datetime
) -> None:
    """Add tombstones, by digest with its kind; existing ones stay."""
    rows = [
        {"tenant_id": tenant, "digest": digest, "kind": kind, "erasure_id": erasure, "created_at": now}
        for digest, kind in sorted(digests.items())  # in order, so that two erasures cannot wait in a ring
    ]
    if rows:
        await connection.execute(insert_into(TOMBSTONE, connection.dialect.name).on_conflict_do_nothing(), rows)


async def _any_tombstone(connection: AsyncConnection, tenant: TenantId) -> bool:
    """Tell whether a tenant has any tombstone; without one, a write need not check further."""
    statement = select(TOMBSTONE.c.digest).where(TOMBSTONE.c.tenant_id == tenant).limit(1)
    return (await connection.execute(statement)).first() is not None


async def _tombstones_among(
    connection: AsyncConnection, tenant: TenantId, digests: Sequence[bytes]
) -> frozenset[bytes]:
    present: set[bytes] = set()
    for start in range(0, len(digests), AT_ONCE):
        statement = select(TOMBSTONE.c.digest).where(
            TOMBSTONE.c.tenant_id == tenant, TOMBSTONE.c.digest.in_(digests[start : start + AT_ONCE])
        )
        present.update((await connection.execute(statement)).scalars())
    return frozenset(present)
