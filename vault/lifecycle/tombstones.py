"""Tombstones: keyed digests of the ids and addresses of erased subjects, so that no write recreates them unnoticed.

Without them a form, an import or a restored list would bring a subject back after the erasure. Only a digest under a
key of its own is kept: it does not reveal the subject, and recognises an id or address that comes in again.
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
    """Return the error for a write that would bring an erased subject back."""
    return Conflict(
        "a person with this e-mail address or external id was erased from this vault",
        code="erased-before",
        hint='if the person has come back by themselves, say so: "returning": true',
    )


def digests_of(key: TokenKey, fields: Mapping[str, Field], values: Mapping[str, Any]) -> dict[bytes, str]:
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
            digests.update({_external(key, system, str(number)): EXTERNAL for system, number in value.items()})
        elif name in fields and fields[name].type == EMAIL:
            digests[key.digest("tombstone:email", index_text(EMAIL, value).encode())] = EMAIL
    return digests


async def require_no_tombstone(
    services: Services,
    connection: AsyncConnection,
    tenant: TenantId,
    fields: Mapping[str, Field],
    values: Mapping[str, Any],
    *,
    returning: bool = False,
) -> None:
    """Refuse a write that names an erased subject, unless the person returns voluntarily: that removes the tombstones.

    Call it in the transaction of the write, after the write: then an earlier erasure is seen, and a later one finds
    what was written.

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
    """Tell for each of several profiles whether it names an erased subject."""
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
