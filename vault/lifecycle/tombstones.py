"""Tombstones: keyed digests of the ids and addresses of erased people, so that nobody brings them back unnoticed.

A form, an import or a restored list would otherwise make a person anew whom we promised to forget. Only a keyed digest
is kept, under a key of its own: it tells nobody who it was, and recognises them when they are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vault.catalogue.types import index_text
from vault.errors import Conflict
from vault.lifecycle.erasures import any_tombstone, remove_tombstones, tombstones_among
from vault.subjects.rows import EXTERNAL_IDS, composed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Field
    from vault.context import Services
    from vault.crypto.derive import TokenKey
    from vault.ids import TenantId

EMAIL: Final = "email"
"""The type of field whose values get a tombstone, and the kind of such a tombstone."""
EXTERNAL: Final = "external-id"
CODE: Final = "erased-before"


def erased_before() -> Conflict:
    """Make the one error for bringing somebody back who was erased."""
    return Conflict(
        "somebody with this e-mail address or external id was erased from this vault",
        code="erased-before",
        hint='if the person has come back by themselves, say so: "returning": true',
    )


def digests_of(key: TokenKey, fields: Mapping[str, Field], values: Mapping[str, Any]) -> dict[bytes, str]:
    """Digest what tells that a profile is somebody's: e-mail addresses and ids in other systems.

    Args:
        key: the tenant's.
        fields: of the profile, as the catalogue declares them.
        values: of the profile, normalised; those without a declaration are passed over.

    Returns:
        the kind of each, by digest.
    """
    found = {}
    for name, value in values.items():
        if name == EXTERNAL_IDS and isinstance(value, dict):
            found.update({_external(key, system, str(its)): EXTERNAL for system, its in value.items()})
        elif name in fields and fields[name].type == EMAIL:
            found[key.digest("tombstone:email", index_text(EMAIL, value).encode())] = EMAIL
    return found


async def require_no_tombstone(
    services: Services,
    connection: AsyncConnection,
    tenant: TenantId,
    fields: Mapping[str, Field],
    values: Mapping[str, Any],
    *,
    returning: bool = False,
) -> None:
    """Refuse what names somebody who was erased, unless they come back by themselves: then the tombstones go.

    Call it in the transaction of the write, after the write: an erasure that comes first is seen, and one that comes
    later finds what was written.

    Raises:
        Conflict: ``erased-before``.
    """
    if not await any_tombstone(connection, tenant):
        return
    key = await services.keyring.token_key(tenant)
    standing = await tombstones_among(connection, tenant, list(digests_of(key, fields, values)))
    if standing and not returning:
        raise erased_before()
    if standing:
        await remove_tombstones(connection, tenant, standing)


async def have_tombstones(
    services: Services, tenant: TenantId, fields: Mapping[str, Field], several: Iterable[Mapping[str, Any]]
) -> list[bool]:
    """Tell of each of several profiles whether it names somebody who was erased."""
    profiles = list(several)
    async with services.data.reading() as connection:
        if not await any_tombstone(connection, tenant):
            return [False] * len(profiles)
        key = await services.keyring.token_key(tenant)
        digests = [digests_of(key, fields, each) for each in profiles]
        standing = await tombstones_among(connection, tenant, list({one for each in digests for one in each}))
    return [not standing.isdisjoint(each) for each in digests]


def _external(key: TokenKey, system: str, value: str) -> bytes:
    return key.digest(f"tombstone:external:{system}", composed(value).encode())
