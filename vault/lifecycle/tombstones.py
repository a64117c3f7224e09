"""Tombstones: keyed digests of what identified erased subjects, so that no write recreates them unnoticed.

Without them a form, an import or a restored list would bring a subject back after the erasure. Only a digest under a
key of its own is kept: it does not reveal the subject, and recognises what comes in again: ids in other systems, e-mail
addresses with and without their subaddress (``ada+shop@``), telephone numbers, and full names with the date of birth.

A number is reassigned and a name is shared, so some of them are no proof. All refuse alike, and the caller decides:
a refusal that was wrong costs a question, and a person who comes back unnoticed costs their right.
"""

from __future__ import annotations

from collections import defaultdict
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
PHONE: Final = "phone"
"""Types of fields whose values get a tombstone, and the kinds of such tombstones."""
EXTERNAL: Final = "external-id"
MAILBOX: Final = "mailbox"
"""The kind of an e-mail address without its subaddress."""
NAME_BORN: Final = "name-and-born"
NAME: Final = "user.name"
GIVEN: Final = "user.name.first"
FAMILY: Final = "user.name.last"
BORN: Final = "user.demographic.date_of_birth"
"""Categories of the fields that identify a person together."""
OVERRIDDEN: Final = "returning"
"""The code of a write, on the audit log, whose caller said that the person has come back."""


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
        "a person with this e-mail address, telephone number, external id, or name and date of birth was erased from "
        "this vault",
        code="erased-before",
        hint='if the person has come back by themselves, or is another one, say so: "returning": true',
    )


def identifies(field: Field | None) -> bool:
    """Return whether values of a field of the profile get a tombstone, alone or together with others."""
    return field is not None and (field.type in {EMAIL, PHONE} or is_part_of_name_and_birth(field))


def is_part_of_name_and_birth(field: Field | None) -> bool:
    """Return whether a field of the profile identifies a person together with others: a name, or a date of birth."""
    return field is not None and (
        (field.type == "text" and field.category in {NAME, GIVEN, FAMILY})
        or (field.type == "date" and field.category == BORN)
    )


def digests_of(
    key: TokenKey,
    fields: Mapping[str, Field],
    values: Mapping[str, JsonValue],
    others: Mapping[str, JsonValue] | None = None,
) -> dict[bytes, str]:
    """Digest what identifies a profile.

    Args:
        key: the tenant's.
        fields: of the profile, as the catalogue declares them.
        values: of the profile, normalised; those without a declaration are passed over.
        others: of a change, the values that stay: a new date of birth identifies together with the name that is there.

    Returns:
        the kind of each, by digest.
    """
    digests = {}
    for name, value in values.items():
        kind = fields[name].type if name in fields else None
        if name == EXTERNAL_IDS and isinstance(value, dict):
            for system, number in value.items():
                # A label for each system: a number that two systems share gives two digests, which cannot be linked.
                digests[key.digest(f"tombstone:external:{system}", composed(str(number)).encode())] = EXTERNAL
        elif kind == EMAIL:
            # Folded as for a search, so that another spelling of the address is recognised.
            address = index_text(EMAIL, value)
            digests[key.digest("tombstone:email", address.encode())] = EMAIL
            digests[key.digest("tombstone:mailbox", _mailbox(address).encode())] = MAILBOX
        elif kind == PHONE:
            digests[key.digest("tombstone:phone", index_text(PHONE, value).encode())] = PHONE
    if any(is_part_of_name_and_birth(fields.get(name)) for name in values):
        for text in _names_and_births(fields, {**(others or {}), **values}):
            digests[key.digest("tombstone:name-and-born", text.encode())] = NAME_BORN
    return digests


def _mailbox(address: str) -> str:
    """Return an address without its subaddress (RFC 5233): ``ada+shop@`` is nearly always the mailbox ``ada@``."""
    local, _, domain = address.rpartition("@")
    return f"{local.partition('+')[0] or local}@{domain}"


def _names_and_births(fields: Mapping[str, Field], values: Mapping[str, JsonValue]) -> set[str]:
    """Return the full names of a profile with its dates of birth, the words of a name in any order."""
    by_category: dict[str, list[str]] = defaultdict(list)
    for name, value in values.items():
        if is_part_of_name_and_birth(fields.get(name)) and isinstance(value, str):
            by_category[fields[name].category].append(index_text(fields[name].type, value))
    names = {
        *by_category[NAME],
        *(f"{given} {family}" for given in by_category[GIVEN] for family in by_category[FAMILY]),
    }
    return {f"{' '.join(sorted(name.split()))} {born}" for name in names for born in by_category[BORN]}


async def require_no_tombstone(
    services: Services,
    connection: AsyncConnection,
    tenant: TenantId,
    fields: Mapping[str, Field],
    values: Mapping[str, JsonValue],
    *,
    returning: bool = False,
    others: Mapping[str, JsonValue] | None = None,
) -> None:
    """Refuse a write that names an erased subject, unless the caller says that the person has come back.

    That removes the tombstones that the write meets, and no others.

    Call it in the transaction of the write, after the write: then an earlier erasure is seen, and a later one finds
    what was written.

    Raises:
        Conflict: ``erased-before``.
    """
    if not await _any_tombstone(connection, tenant):
        return
    key = await services.keyring.token_key(tenant)
    present = await tombstones_among(connection, tenant, list(digests_of(key, fields, values, others)))
    if not present:
        return
    if not returning:
        raise erased_before()
    await connection.execute(
        # In the transaction of the write: if that fails, the tombstones stay.
        delete(TOMBSTONE).where(TOMBSTONE.c.tenant_id == tenant, TOMBSTONE.c.digest.in_(sorted(present)))
    )


async def have_tombstones(
    services: Services,
    tenant: TenantId,
    fields: Mapping[str, Field],
    profiles: Sequence[Mapping[str, JsonValue]],
    others: Sequence[Mapping[str, JsonValue]] | None = None,
) -> list[bool]:
    """Tell for each of several profiles whether it names an erased subject; ``others`` are values that stay."""
    async with services.data.reading() as connection:
        if not await _any_tombstone(connection, tenant):
            return [False] * len(profiles)
        key = await services.keyring.token_key(tenant)
        staying = others or [{}] * len(profiles)
        digests = [digests_of(key, fields, *pair) for pair in zip(profiles, staying, strict=True)]
        present = await tombstones_among(connection, tenant, list({digest for kinds in digests for digest in kinds}))
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


async def tombstones_among(connection: AsyncConnection, tenant: TenantId, digests: Sequence[bytes]) -> frozenset[bytes]:
    """Return the digests that have a tombstone."""
    present: set[bytes] = set()
    for start in range(0, len(digests), AT_ONCE):
        statement = select(TOMBSTONE.c.digest).where(
            TOMBSTONE.c.tenant_id == tenant, TOMBSTONE.c.digest.in_(digests[start : start + AT_ONCE])
        )
        present.update((await connection.execute(statement)).scalars())
    return frozenset(present)
