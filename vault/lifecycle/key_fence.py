"""Key fencing: a writer must not seal with a data key that a concurrent erasure has replaced.

Its value would become unreadable once the old key is destroyed. A node caches opened keys for a while; a writer that
still holds a replaced one takes the new key, or is refused and repeats the call.
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
    """Return the keys to seal with: those fetched before the transaction, or newer ones if an erasure came in between.

    Call it in the transaction of the write, once the subjects' rows, or the request's, are locked. An erasure locks
    them too, so it has either not begun, or published its new key.

    Raises:
        Unavailable: the key store does not show the new key yet.
    """
    required = await key_versions(connection, tenant, list(keys))
    # A newer version than the required one is right: it is made before the erasure that needs it commits.
    old = [subject for subject, cached in keys.items() if cached.current_version < required.get(subject, 0)]
    if not old:
        return dict(keys)
    for subject in old:
        services.keyring.evict(tenant, subject)
    newer = await services.keyring.subject_keys(tenant, old)
    if any(subject not in newer or newer[subject].current_version < required[subject] for subject in old):
        raise _too_old()
    return {**keys, **newer}


async def require_current(
    services: Services, connection: AsyncConnection, tenant: TenantId, versions: Mapping[SubjectId, int]
) -> None:
    """Refuse values that were sealed before the transaction with a key that an erasure has replaced.

    Args:
        connection: the open transaction, in which the subjects' rows are locked.
        versions: of the keys that sealed, by subject.

    Raises:
        Unavailable: one is too old. It is evicted, so that a repeated call finds the new one.
    """
    required = await key_versions(connection, tenant, list(versions))
    old = [subject for subject, version in versions.items() if version < required.get(subject, 0)]
    # Evicted before the call is refused: repeated, it must not find the same key in the cache.
    for subject in old:
        services.keyring.evict(tenant, subject)
    if old:
        raise _too_old()


async def open_fenced(
    services: Services, tenant: TenantId, subject: SubjectId, keys: SubjectKeys, open_with: Callable[[SubjectKeys], T]
) -> T:
    """Open a value with a subject's cached keys, or with newer ones if it has been resealed since.

    Raises:
        CannotOpen: it does not open with the newer keys either.
    """
    try:
        return open_with(keys)
    except CannotOpen:
        services.keyring.evict(tenant, subject)
        # Once only: what does not open with the keys in the store is damaged.
        newer = (await services.keyring.subject_keys(tenant, [subject])).get(subject, keys)
        return open_with(newer)


def _too_old() -> Unavailable:
    return Unavailable("a part of this person's data is being erased at this moment", hint="send it again")
