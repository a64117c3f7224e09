"""The tenants' own keys and secrets: made, found, kept opened for a short while."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sqlalchemy import exc, select

from vault.crypto.cache import AgedCache
from vault.crypto.key_store import load_tenant
from vault.crypto.secret import Secret
from vault.crypto.tables import TENANT_KEY, TENANT_SECRET
from vault.crypto.tenant_keys import SIGNING, new_secret, new_tenant, require_root
from vault.errors import Conflict, InvalidInput, Unavailable, VaultError
from vault.ids import TenantId, is_slug
from vault.storage.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.clock import Clock
    from vault.crypto.providers import KeyProvider
    from vault.crypto.signing import SigningKey
    from vault.crypto.tenant_keys import TenantKeys
    from vault.storage.database import Database

MOST: Final = 1_000
"""Tenants whose keys are kept opened."""


class Tenants(Secret):
    """What the key store holds of tenants. Used through :class:`vault.crypto.keyring.Keyring`."""

    __slots__ = ("_clock", "_database", "_loads", "_opened", "_provider")

    def __init__(
        self,
        database: Database,
        provider: KeyProvider,
        clock: Clock,
        *,
        max_age: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._database = database
        self._provider = provider
        self._clock = clock
        self._opened: AgedCache[TenantId, TenantKeys] = AgedCache(most=MOST, max_age=max_age, monotonic=monotonic)
        self._loads: Batcher[TenantId, TenantKeys | VaultError] = Batcher(self._load, most=64)

    def __len__(self) -> int:
        return len(self._opened)

    async def check_root(self) -> None:
        """See that the provider's root key is the one that everything here is sealed with; raises Misconfigured."""
        async with self._database.reading() as connection:
            references = await connection.execute(
                select(TENANT_KEY.c.root_reference).union(select(TENANT_SECRET.c.root_reference))
            )
            require_root(self._provider, references.scalars())

    async def create(self, tenant: TenantId) -> None:
        """Make a tenant; raises InvalidInput or Conflict."""
        if not is_slug(tenant):
            raise InvalidInput(
                "a tenant's name has a character or a length that it must not have",
                code="invalid-tenant",
                hint="use 1 to 64 of a-z, 0-9, - and _, with a letter or digit first and last",
            )
        key, secrets = new_tenant(self._provider, tenant, self._clock.now())
        try:
            async with self._database.transaction() as connection:
                await self._database.bulk(connection, TENANT_KEY, [key])
                await self._database.bulk(connection, TENANT_SECRET, secrets)
        except exc.IntegrityError:
            raise Conflict("this tenant exists already", code="tenant-exists") from None

    async def names(self) -> list[TenantId]:
        """List the tenants by name."""
        async with self._database.reading() as connection:
            names = await connection.execute(select(TENANT_KEY.c.tenant_id).distinct())
            return sorted(TenantId(name) for name in names.scalars())

    async def keys(self, tenant: TenantId) -> TenantKeys:
        """Return a tenant's keys, opened; raises NotFound."""
        keys = self._opened.get(tenant)
        return keys if keys is not None else await self.reload(tenant)

    async def reload(self, tenant: TenantId) -> TenantKeys:
        """Read a tenant's keys anew: another node may have changed them."""
        loaded = await self._loads.submit(tenant)
        if isinstance(loaded, VaultError):
            raise loaded
        return loaded

    async def signing_key(self, tenant: TenantId) -> SigningKey:
        """Return the key by which a tenant signs; one that has none yet gets one."""
        keys = await self.keys(tenant)
        if keys.signing is None:
            with suppress(Conflict):  # another node, or another request of this one, has just made it: that is the one
                await self.add_signing_key(tenant, after=None)
            keys = await self.reload(tenant)
        if keys.signing is None:
            raise Unavailable("the key store does not show the signing key that it was just given")
        return keys.signing

    async def add_signing_key(self, tenant: TenantId, *, after: SigningKey | None) -> None:
        """Make the signing key that follows another, or the first one; raises Conflict where there is one already."""
        version = 1 if after is None else after.version + 1
        row = new_secret(self._provider, tenant, SIGNING, version, self._clock.now())
        try:
            async with self._database.transaction() as connection:
                await self._database.bulk(connection, TENANT_SECRET, [row])
        except exc.IntegrityError:
            raise Conflict("this signing key was made by somebody else at this moment", code="in-flight") from None

    def clear(self) -> None:
        """Drop all opened keys from memory."""
        self._opened.clear()

    async def _load(self, names: list[TenantId]) -> list[TenantKeys | VaultError]:
        since = self._opened.mark()
        loaded: dict[TenantId, TenantKeys | VaultError] = {}
        for name in dict.fromkeys(names):
            try:
                loaded[name] = keys = await load_tenant(self._database, self._provider, name)
            except VaultError as error:  # one tenant's trouble is not another's
                loaded[name] = error
            else:
                self._opened.keep({name: keys}, since)
        return [loaded[name] for name in names]
