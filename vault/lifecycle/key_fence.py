"""Nobody writes with a data key that an erasure has replaced: what it sealed would soon open for nobody.

A node keeps keys opened for a while. An erasure of a part of what there is of a person makes a new key and destroys the
older ones; a writer that still holds one of those takes the new one, or begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from vault.errors import CannotOpen, Unavailable
from vault.lifecycle.erasures import key_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId

T = TypeVar("T")


async def current_keys(
    services: Services, connection: AsyncConnection, tenant: TenantId, keys: Mapping[SubjectId, SubjectKeys]
) -> dict[SubjectId, SubjectKeys]:
    """Return keys with which may be sealed: those given, or newer ones where an erasure came in between.

    Call it in the transaction of the write, once the people's rows, or the request's, are locked: an erasure locks
    them too, so that it has either not begun, or made its new key known.

    Args:
        keys: that were fetched before the transaction.

    Raises:
        Unavailable: the key store does not show the new key yet.
    """
    found = await key_versions(connection, tenant, list(keys))
    old = [subject for subject, own in keys.items() if own.current_version < found.get(subject, 0)]
    if not old:
        return dict(keys)
    for subject in old:
        services.keyring.evict(tenant, subject)
    newer = await services.keyring.subject_keys(tenant, old)
    if any(subject not in newer or newer[subject].current_version < found[subject] for subject in old):
        raise _too_old()
    return {**keys, **newer}


async def require_current(
    services: Services, connection: AsyncConnection, tenant: TenantId, versions: Mapping[SubjectId, int]
) -> None:
    """Refuse what was sealed before the transaction with keys that an erasure has replaced since.

    Args:
        connection: the open transaction, in which the people's rows are locked.
        versions: of the keys that sealed, by person.

    Raises:
        Unavailable: one is too old. It is forgotten, so that the same call again finds the new one.
    """
    found = await key_versions(connection, tenant, list(versions))
    old = [subject for subject, version in versions.items() if version < found.get(subject, 0)]
    for subject in old:
        services.keyring.evict(tenant, subject)
    if old:
        raise _too_old()


async def open_fenced(
    services: Services, tenant: TenantId, subject: SubjectId, keys: SubjectKeys, open_with: Callable[[SubjectKeys], T]
) -> T:
    """Open something with a person's keys; where it was sealed anew since they were opened here, with the newer ones.

    Raises:
        CannotOpen: it does not open with those either.
    """
    try:
        return open_with(keys)
    except CannotOpen:
        services.keyring.evict(tenant, subject)
        newer = (await services.keyring.subject_keys(tenant, [subject])).get(subject, keys)
        return open_with(newer)


def _too_old() -> Unavailable:
    return Unavailable("a part of this person's data is being erased at this moment", hint="send it again")
