"""The keys of subjects and tenants: makes, loads, caches and destroys them.

Others ensure that a destroyed row is also removed from the database's free pages and from backups (storage,
operating), and that no plaintext outlives its key (callers).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import IntegrityError

from vault.crypto import key_store, row_versions
from vault.crypto.primitive import Secret
from vault.errors import CannotOpen, VaultError
from vault.storage.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from uuid import UUID

    from vault.clock import Clock
    from vault.crypto.derive import IndexKeys, TokenKey
    from vault.crypto.providers import KeyProvider
    from vault.crypto.row_mac import RowKeys
    from vault.crypto.row_versions import RowVersion
    from vault.crypto.seal import SubjectKeys
    from vault.crypto.signing import PublicKey, SigningKey
    from vault.crypto.tenant_keys import DataKeyTuple, TenantKeys
    from vault.ids import SubjectId, TenantId
    from vault.storage.database import Database

    Opened = dict[SubjectId, SubjectKeys | None]
    """None if the person has keys that do not open."""

FEW: Final = 100
"""A batch of more new people is an import: their keys must not evict those of people who are being read."""


class Keyring(Secret):
    """The only access to the keys of subjects and the secrets of tenants.

    Opened keys are cached, bounded in number and in age: a key that another node destroyed is used here for ``max_age``
    at most.

    Args:
        database: the key store.
        provider: holds the root key.
        clock: for the time at which a key is made.
        most: subjects whose opened keys are cached; about 3 KB each.
        max_age: seconds for which an opened key is used before it is read again.
        monotonic: a clock in seconds that never goes back.

    Methods that need a tenant's keys raise :class:`vault.errors.NotFound` for a tenant that does not exist and
    :class:`vault.errors.Misconfigured` if another root key sealed it; all that wait raise
    :class:`vault.errors.Unavailable` if the key store does not answer.
    """

    __slots__ = ("_additions", "_clock", "_database", "_loads", "_misses", "_subjects", "_tenants")

    def __init__(
        self,
        database: Database,
        provider: KeyProvider,
        clock: Clock,
        *,
        most: int = 10_000,
        max_age: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._misses = 0
        self._tenants = key_store.Tenants(database, provider, clock, max_age=max_age, monotonic=monotonic)
        self._subjects: key_store.AgedCache[tuple[TenantId, int], SubjectKeys] = key_store.AgedCache(
            most=most, max_age=max_age, monotonic=monotonic
        )
        self._additions: Batcher[DataKeyTuple, Exception | None] = Batcher(self._add_keys)
        self._loads: Batcher[tuple[TenantKeys, list[SubjectId]], Opened | VaultError] = Batcher(self._load, most=64)

    async def check_root(self) -> None:
        """Check at the start, before anything is read or written, that this root key sealed the key store.

        Raises:
            Misconfigured: another root key sealed it.
        """
        await self._tenants.check_root()

    async def create_tenant(self, tenant: TenantId) -> None:
        """Make a tenant's key and secrets; durable before it returns.

        Raises:
            InvalidInput: the name is not a slug.
            Conflict: the tenant exists.
        """
        await self._tenants.create(tenant)

    async def tenants(self) -> list[TenantId]:
        """List the tenants by name."""
        return await self._tenants.names()

    async def index_keys(self, tenant: TenantId) -> IndexKeys:
        """Return the keys of a tenant's blind indexes."""
        return (await self._tenants.keys(tenant)).index

    async def token_key(self, tenant: TenantId) -> TokenKey:
        """Return the key of a tenant's tokens and tombstones."""
        return (await self._tenants.keys(tenant)).token

    async def row_keys(self, tenant: TenantId) -> RowKeys:
        """Return the keys of the MACs over a tenant's rows."""
        return (await self._tenants.keys(tenant)).rows

    async def least_versions(self, tenant: TenantId, rows: Iterable[UUID]) -> dict[tuple[str, UUID], int]:
        """Return the least accepted versions of rows, by table and id, without rows that were never changed."""
        return await row_versions.least_versions(self._database, tenant, rows)

    async def unadopted(self) -> dict[TenantId, int]:
        """Return the tenants with rows from before MACs, and their last step of adoption; see :mod:`vault.adoption`."""
        steps = await row_versions.adopted_steps(self._database)
        done = {tenant: steps.get(tenant, 0) for tenant in await self.tenants()}
        return {tenant: step for tenant, step in done.items() if step < row_versions.ADOPTED.version}

    async def raise_version(self, tenant: TenantId, least: RowVersion) -> bool:
        """Accept a row from this version on: after the commit that wrote it, and before it is reported as done.

        Returns:
            False if the key store has this version or a higher one already.
        """
        async with self._database.transaction() as connection:
            return await row_versions.raise_version(connection, tenant, least)

    async def forget_versions(self, table: str, before: UUID) -> None:
        """Delete the least versions of a table's rows whose ids are lower, and which are refused by now anyway."""
        async with self._database.transaction() as connection:
            await row_versions.forget_versions(connection, table, before)

    async def audit_key(self, tenant: TenantId) -> TokenKey:
        """Return the key of the digests on a tenant's audit log."""
        return (await self._tenants.keys(tenant)).audit

    async def signing_key(self, tenant: TenantId) -> SigningKey:
        """Return the key with which a tenant signs documents. It is made, and durable, on first use."""
        return await self._tenants.signing_key(tenant)

    async def public_keys(self, tenant: TenantId) -> list[PublicKey]:
        """List the public halves of all keys with which the tenant signs or signed, the current one first."""
        await self._tenants.signing_key(tenant)
        return (await self._tenants.keys(tenant)).public_keys()

    async def rotate_signing_key(self, tenant: TenantId) -> SigningKey:
        """Make a new signing key, which signs from now on; other nodes follow within ``max_age``.

        Raises:
            Conflict: another call rotates it at the same time.
        """
        # Not from the cache: another node may have rotated the key, and its version is taken.
        newest = (await self._tenants.reload(tenant)).signing
        await self._tenants.add_signing_key(tenant, after=newest)
        await self._tenants.reload(tenant)
        return await self._tenants.signing_key(tenant)

    async def new_subject_keys(self, tenant: TenantId, ids: Iterable[SubjectId]) -> dict[SubjectId, SubjectKeys]:
        """Make the first data keys of new people, any number at once; durable before it returns.

        Raises:
            sqlalchemy.exc.IntegrityError: one of them has keys already; then none is made.
        """
        owner = await self._tenants.keys(tenant)
        # Marked before the keys are made: an eviction in between voids them.
        since, created_at = self._subjects.mark(), self._clock.now()
        new_keys: dict[SubjectId, SubjectKeys] = {}
        rows = []
        async for subject in key_store.in_turns(dict.fromkeys(ids)):
            new_keys[subject], row = owner.new_data_key(subject, created_at)
            rows.append(row)
        if len(rows) == 1:
            await self._add_key(rows[0])
        else:
            async with self._database.transaction() as connection:
                await self._database.bulk(connection, key_store.DATA_KEY, rows)
        if len(new_keys) <= FEW:
            self._subjects.keep({(tenant, subject.int): keys for subject, keys in new_keys.items()}, since)
        return new_keys

    def cached(self, tenant: TenantId, subject: SubjectId) -> SubjectKeys | None:
        """Return a person's keys if they are cached; never waits."""
        return self._subjects.get((tenant, subject.int))

    async def subject_keys(self, tenant: TenantId, ids: Iterable[SubjectId]) -> dict[SubjectId, SubjectKeys]:
        """Return the keys of many people, without those who have none (unknown, erased, another tenant's).

        Keys that are not cached are loaded from the key store, by one query for all callers who wait.

        Raises:
            CannotOpen: a person has keys that do not open: the key store was tampered with.
        """
        subjects = list(ids)
        cached = self._subjects.get_all([(tenant, subject.int) for subject in subjects])
        if None not in cached:
            return dict(zip(subjects, cached, strict=True))  # type: ignore[arg-type]
        opened = {subject: keys for subject, keys in zip(subjects, cached, strict=True) if keys is not None}
        missing = [subject for subject, keys in zip(subjects, cached, strict=True) if keys is None]
        return opened | await self._fetch(tenant, missing)

    async def destroy_subject_keys(self, tenant: TenantId, ids: Iterable[SubjectId]) -> int:
        """Destroy all keys of these people. Values sealed under them are unreadable from then on.

        Other nodes may use a cached key for up to ``max_age``.

        Returns:
            the number of destroyed keys, in all versions.
        """
        subjects = list(dict.fromkeys(ids))
        try:
            async with self._database.transaction() as connection:
                return await key_store.delete_data_keys(connection, tenant, subjects)
        finally:
            # After the commit, so that no load in progress brings a key back; and also if the commit's answer is lost.
            for subject in subjects:
                self.evict(tenant, subject)

    async def renew_many(self, tenant: TenantId, ids: Iterable[SubjectId]) -> Opened:
        """Make a further version of people's data keys, which seals from now on; durable before it returns.

        Returns:
            all versions for each person who has keys; None if one does not open, and then no version is made.
        """
        # Reloaded, for a key that another node has made must wrap the new version; sorted, for the order of locks.
        owner, subjects = await self._tenants.reload(tenant), sorted(set(ids), key=lambda subject: subject.bytes)
        try:
            async with self._database.transaction() as connection:
                new_keys, rows = key_store.renewed(
                    owner, await key_store.locked_data_keys(connection, tenant, subjects), self._clock.now()
                )
                await self._database.bulk(connection, key_store.DATA_KEY, rows)
        finally:
            for subject in subjects:
                self.evict(tenant, subject)
        return new_keys

    async def key_versions(self, tenant: TenantId, ids: Iterable[SubjectId]) -> dict[SubjectId, list[int]]:
        """List the versions of people's data keys in the key store, without people who have none."""
        rows = await key_store.load_data_keys(self._database, tenant, list(ids))
        return {subject: sorted(row[0] for row in versions) for subject, versions in rows.items()}

    async def destroy_older_keys(self, tenant: TenantId, kept: Mapping[SubjectId, int]) -> int:
        """Destroy the versions of people's data keys before the kept one of each.

        Returns:
            the number of destroyed versions.
        """
        try:
            async with self._database.transaction() as connection:
                return await key_store.delete_older_keys(connection, tenant, kept)
        finally:
            for subject in kept:
                self.evict(tenant, subject)

    async def scrub(self) -> bool:
        """Remove destroyed keys from the key store's files; returns False if it has to be tried again."""
        return await self._database.scrub([key_store.DATA_KEY])

    async def remains(
        self, tenant: TenantId, subject: SubjectId, *, kept: int | None, newest: int
    ) -> key_store.Remains:
        """Scan for destroyed keys of a person: in the rows, and on SQLite in the bytes of the files.

        Args:
            kept: the version that is still needed, or None.
            newest: the highest version that ever existed.
        """
        # A scan with an old tenant key would overlook every data key that a newer one wrapped.
        owner = await self._tenants.reload(tenant)
        return await key_store.look_for(self._database, owner, subject, kept=kept, newest=newest)

    def evict(self, tenant: TenantId, subject: SubjectId) -> None:
        """Drop a person's opened keys from memory."""
        self._subjects.evict((tenant, subject.int))

    def clear(self) -> None:
        """Drop all opened keys from memory, the tenants' too."""
        self._subjects.clear()
        self._tenants.clear()

    def stats(self) -> dict[str, int]:
        """Return the size of the caches, and their hits and misses, for the metrics."""
        return {
            "subjects": len(self._subjects),
            "tenants": len(self._tenants),
            "hits": self._subjects.hits,
            "misses": self._misses,
        }

    async def _fetch(self, tenant: TenantId, missing: list[SubjectId]) -> dict[SubjectId, SubjectKeys]:
        self._misses += len(missing)
        loaded = await self._loads.submit((await self._tenants.keys(tenant), missing))
        if isinstance(loaded, VaultError):
            raise loaded
        opened: dict[SubjectId, SubjectKeys] = {}
        for subject in missing:
            if subject in loaded:
                keys = loaded[subject]
                if keys is None:
                    raise CannotOpen
                opened[subject] = keys
        return opened

    async def _add_key(self, row: DataKeyTuple) -> None:
        """Store the key of one new person, by a commit that all wait for who add one at this moment."""
        error = await self._additions.submit(row)
        if error is not None:
            raise error

    async def _add_keys(self, rows: list[DataKeyTuple]) -> list[Exception | None]:
        try:
            await self._database.append({key_store.DATA_KEY: rows})
        except IntegrityError as error:
            if len(rows) == 1:
                return [error]
            return [outcome for row in rows for outcome in await self._add_keys([row])]  # the fault is one caller's
        return [None] * len(rows)

    async def _load(self, queries: list[tuple[TenantKeys, list[SubjectId]]]) -> list[Opened | VaultError]:
        # One query for each tenant, so that row-level security by session stays possible.
        owners = {owner.name: owner for owner, _ids in queries}
        wanted: dict[TenantId, dict[SubjectId, None]] = {name: {} for name in owners}
        for owner, ids in queries:
            wanted[owner.name].update(dict.fromkeys(ids))
        loaded: dict[TenantId, Opened | VaultError] = {}
        for name, owner in owners.items():
            try:
                loaded[name] = await self._load_of(owner, list(wanted[name]))
            except VaultError as error:  # a failure of one tenant does not affect the others
                loaded[name] = error
        return [loaded[owner.name] for owner, _ids in queries]

    async def _load_of(self, owner: TenantKeys, ids: list[SubjectId]) -> Opened:
        since = self._subjects.mark()
        rows = await key_store.load_data_keys(self._database, owner.name, ids)
        if not all(owner.knows(by) for versions in rows.values() for _version, by, _wrapped in versions):
            owner = await self._tenants.reload(owner.name)  # another node has made a newer tenant key
        opened: Opened = {}
        async for subject in key_store.in_turns(rows):
            try:
                opened[subject] = owner.open_data_keys(subject, rows[subject])
            except CannotOpen:
                opened[subject] = None
        self._subjects.keep(
            {(owner.name, subject.int): keys for subject, keys in opened.items() if keys is not None}, since
        )
        return opened
