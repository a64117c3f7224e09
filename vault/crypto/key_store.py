"""Reads, writes and scans the rows of the key store, and caches the opened keys and secrets of tenants."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Integer, LargeBinary, String, bindparam, delete, exc, select

from vault.crypto.primitive import Secret
from vault.crypto.row_versions import ADOPTED, raise_version
from vault.crypto.tenant_keys import SIGNING, WRAPPED, new_secret, new_tenant, open_tenant, require_root
from vault.errors import CannotOpen, Conflict, InvalidInput, NotFound, Unavailable, VaultError
from vault.ids import TenantId, is_slug
from vault.storage.batcher import Batcher
from vault.storage.columns import Id, KeyTable, Moment, column, table_of
from vault.storage.query import Query, any_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.clock import Clock
    from vault.crypto.providers import KeyProvider
    from vault.crypto.seal import SubjectKeys
    from vault.crypto.signing import SigningKey
    from vault.crypto.tenant_keys import DataKeyTuple, TenantKeys, WrappedDataKey
    from vault.ids import SubjectId
    from vault.storage.database import Database


class TenantKeyRow(KeyTable, table=True):
    """A tenant's key, wrapped by the root key; it wraps the data keys of the tenant's subjects."""

    __tablename__ = "tenant_key"

    tenant_id: str = column(String(64), primary_key=True)
    version: int = column(Integer, primary_key=True, autoincrement=False)
    root_reference: str = column(String(255))
    wrapped: bytes = column(LargeBinary)
    created_at: datetime = column(Moment)


class TenantSecretRow(KeyTable, table=True):
    """A tenant's secret for digests or signatures (kind ``index``, ``token``, ``audit`` or ``signing``), wrapped."""

    __tablename__ = "tenant_secret"

    tenant_id: str = column(String(64), primary_key=True)
    kind: str = column(String(16), primary_key=True)
    version: int = column(Integer, primary_key=True, autoincrement=False)
    root_reference: str = column(String(255))
    wrapped: bytes = column(LargeBinary)
    created_at: datetime = column(Moment)


class DataKeyRow(KeyTable, table=True):
    """One version of a subject's data key, wrapped by the tenant key. Without this row its values are unreadable."""

    __tablename__ = "data_key"

    tenant_id: str = column(String(64), primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    version: int = column(Integer, primary_key=True, autoincrement=False)
    tenant_key_version: int = column(Integer)
    wrapped: bytes = column(LargeBinary)
    created_at: datetime = column(Moment)


TENANT_KEY = table_of(TenantKeyRow)
TENANT_SECRET = table_of(TenantSecretRow)
DATA_KEY = table_of(DataKeyRow)


Item = TypeVar("Item")
Key = TypeVar("Key", bound="Hashable")
Value = TypeVar("Value")

MOST_AT_ONCE: Final = 8_192
"""Ids in one statement: SQLite takes 32,766 parameters at the most."""
TURN: Final = 512
"""Keys that are made or opened before the event loop runs: about 3 ms."""
MOST: Final = 1_000
"""Tenants whose opened keys are cached."""
A_PIECE: Final = 16 * 1024 * 1024
"""Bytes of a file that are scanned at a time."""

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
    # Keys first: a tenant is made in one transaction, so its secrets are visible once its key is.
    keys: list[tuple[int, str, bytes]] = await database.fetch(_TENANT_KEYS, tenant=tenant)
    if not keys:
        raise NotFound("there is no such tenant", code="tenant-not-found")
    secrets: list[tuple[str, int, str, bytes]] = await database.fetch(_TENANT_SECRETS, tenant=tenant)
    # In a thread: a provider may wait for a network.
    return await asyncio.to_thread(open_tenant, provider, tenant, keys, secrets)


async def load_data_keys(
    database: Database, tenant: TenantId, ids: Sequence[SubjectId]
) -> dict[SubjectId, list[WrappedDataKey]]:
    """Read all versions of these people's wrapped data keys, without people who have none."""
    keys: defaultdict[SubjectId, list[WrappedDataKey]] = defaultdict(list)
    for batch in chunks(ids, MOST_AT_ONCE):
        for subject, *row in await database.fetch(_DATA_KEYS, tenant=tenant, ids=batch):
            keys[subject].append(tuple(row))
    return keys


async def delete_data_keys(connection: AsyncConnection, tenant: TenantId, ids: Sequence[SubjectId]) -> int:
    """Delete all versions of these people's data keys; returns the number of rows."""
    deleted = 0
    for batch in chunks(ids, MOST_AT_ONCE):
        answer = await connection.execute(
            delete(DATA_KEY).where(DATA_KEY.c.tenant_id == tenant, DATA_KEY.c.subject_id.in_(batch))
        )
        deleted += answer.rowcount
    return deleted


async def delete_older_keys(connection: AsyncConnection, tenant: TenantId, kept: Mapping[SubjectId, int]) -> int:
    """Delete the versions of people's data keys before the kept one of each; returns the number of rows."""
    by_version: defaultdict[int, list[SubjectId]] = defaultdict(list)
    for subject, version in kept.items():
        by_version[version].append(subject)
    deleted = 0
    for version, subjects in sorted(by_version.items()):
        for batch in chunks(subjects, MOST_AT_ONCE):
            answer = await connection.execute(
                delete(DATA_KEY).where(
                    DATA_KEY.c.tenant_id == tenant, DATA_KEY.c.subject_id.in_(batch), DATA_KEY.c.version < version
                )
            )
            deleted += answer.rowcount
    return deleted


async def locked_data_keys(
    connection: AsyncConnection, tenant: TenantId, ids: Sequence[SubjectId]
) -> dict[SubjectId, list[WrappedDataKey]]:
    """Read and lock people's wrapped data keys, in a transaction that adds a version of each."""
    keys: defaultdict[SubjectId, list[WrappedDataKey]] = defaultdict(list)
    columns = (DATA_KEY.c.subject_id, DATA_KEY.c.version, DATA_KEY.c.tenant_key_version, DATA_KEY.c.wrapped)
    for batch in chunks(ids, MOST_AT_ONCE):
        statement = select(*columns).where(DATA_KEY.c.tenant_id == tenant, DATA_KEY.c.subject_id.in_(batch))
        ordered = statement.order_by(
            DATA_KEY.c.subject_id, DATA_KEY.c.version
        )  # the same lock order everywhere avoids deadlock
        for subject, *row in (await connection.execute(ordered.with_for_update())).all():
            keys[subject].append(tuple(row))
    return keys


def renewed(
    owner: TenantKeys, rows: Mapping[SubjectId, list[WrappedDataKey]], now: datetime
) -> tuple[dict[SubjectId, SubjectKeys | None], list[DataKeyTuple]]:
    """Make a further version of people's data keys: returns all opened versions, and the new rows.

    None is made for a person with a key that does not open: the values under that key could not be resealed.
    """
    opened: dict[SubjectId, SubjectKeys | None] = {}
    new_rows: list[DataKeyTuple] = []
    for subject, versions in rows.items():
        # The versions are locked, so no other process gives the same number.
        _keys, row = owner.new_data_key(subject, now, max(versions)[0] + 1)
        try:
            opened[subject] = owner.open_data_keys(subject, [*versions, row[2:5]])
        except CannotOpen:
            opened[subject] = None
            continue
        new_rows.append(row)
    return opened, new_rows


async def in_turns(items: Iterable[Item]) -> AsyncIterator[Item]:
    """Yield items, and let the event loop run after each :data:`TURN`: a thread for each key would cost more."""
    for batch in chunks(items, TURN):
        for item in batch:
            yield item
        await asyncio.sleep(0)


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Split items into lists of at most ``size``."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


@dataclass(frozen=True, slots=True)
class Remains:
    """The result of a scan: a person's destroyed keys that were found, and the number and size of the scanned files."""

    keys: int
    files: int
    bytes: int


async def look_for(
    database: Database, owner: TenantKeys, subject: SubjectId, *, kept: int | None, newest: int
) -> Remains:
    """Scan for a person's keys other than the kept one; see :meth:`vault.crypto.keyring.Keyring.remains`."""
    rows = (await load_data_keys(database, owner.name, [subject])).get(subject, [])
    keys = sum(row[0] != kept for row in rows)
    destroyed = [version for version in range(1, newest + 1) if version != kept]
    files = database.files()
    size = 0
    for file in files:
        size += file.stat().st_size
        keys += await asyncio.to_thread(_keys_in_file, owner, subject, database.raw(file), destroyed)
    return Remains(keys, len(files), size)


def _keys_in_file(owner: TenantKeys, subject: SubjectId, descriptor: int, versions: list[int]) -> int:
    """Scan a file piece by piece. Pieces overlap by less than a key, so that none is missed or counted twice."""
    count = at = 0
    before = b""
    while piece := os.pread(descriptor, A_PIECE, at):
        at += len(piece)
        data = before + piece
        count += owner.data_keys_in(subject, data, versions)
        # One byte less than a key: a key on the border is found in the next piece, and no key is in both.
        before = data[-(WRAPPED - 1) :]
    return count


@dataclass(frozen=True, slots=True)
class Mark:
    """The start of a load. The age of its entries counts from here, and an eviction since then voids it."""

    evictions: int
    expires: float


class AgedCache(Generic[Key, Value]):
    """A cache bounded in number and in age.

    An entry lives for ``max_age`` even if it is used often, because another node may have destroyed the key. So the
    oldest entry is also the next to expire, and the order of insertion serves both bounds.

    Args:
        most: entries at the most.
        max_age: seconds that an entry may be used for.
        monotonic: a clock in seconds that never goes back.
    """

    def __init__(self, *, most: int, max_age: float, monotonic: Callable[[], float]) -> None:
        self._entries: OrderedDict[Key, tuple[Value, float]] = OrderedDict()
        self._most = most
        self._max_age = max_age
        self._monotonic = monotonic
        self._evictions = 0
        self.hits = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: Key) -> Value | None:
        """Return an entry that has not expired, or None."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry[1] <= self._monotonic():
            del self._entries[name]
            return None
        self.hits += 1
        return entry[0]

    def get_all(self, names: Sequence[Key]) -> list[Value | None]:
        """Return many entries like :meth:`get`, with None for missing ones."""
        now = self._monotonic()
        entries = self._entries
        values = [None if (entry := entries.get(name)) is None or entry[1] <= now else entry[0] for name in names]
        self.hits += len(values) - values.count(None)
        return values

    def mark(self) -> Mark:
        """Return the mark for a load that begins now."""
        return Mark(self._evictions, self._monotonic() + self._max_age)

    def keep(self, loaded: Mapping[Key, Value], since: Mark) -> None:
        """Add the result of a load, unless an entry was evicted since it began."""
        # Without this check, a load that overlaps with a destruction would bring the destroyed key back into memory.
        if since.evictions != self._evictions:
            return
        for name, value in loaded.items():
            self._entries.pop(name, None)  # so that it is added at the end
            self._entries[name] = (value, since.expires)
        self._shrink()

    def evict(self, name: Key) -> None:
        """Drop an entry, and void every load in progress."""
        self._evictions += 1
        self._entries.pop(name, None)

    def clear(self) -> None:
        """Drop all entries, and void every load in progress."""
        self._evictions += 1
        self._entries.clear()

    def _shrink(self) -> None:
        now = self._monotonic()
        while self._entries:
            _value, expires = next(iter(self._entries.values()))
            if len(self._entries) <= self._most and expires > now:
                return
            self._entries.popitem(last=False)


class Tenants(Secret):
    """The keys and secrets of tenants. Used through :class:`vault.crypto.keyring.Keyring`."""

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
        """Check that the provider's root key sealed all rows; raises Misconfigured."""
        async with self._database.reading() as connection:
            # Of all tenants: a store of two root keys must not open, not even for the tenants of the right one.
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
        key, secrets = await asyncio.to_thread(new_tenant, self._provider, tenant, self._clock.now())
        try:
            async with self._database.transaction() as connection:
                await self._database.insert(connection, {TENANT_KEY: [key], TENANT_SECRET: secrets})
                await raise_version(connection, tenant, ADOPTED)  # it has no row without a MAC
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
        """Load a tenant's keys again: another node may have changed them."""
        loaded = await self._loads.submit(tenant)
        if isinstance(loaded, VaultError):
            raise loaded
        return loaded

    async def signing_key(self, tenant: TenantId) -> SigningKey:
        """Return the key with which a tenant signs; it is made on first use."""
        keys = await self.keys(tenant)
        if keys.signing is None:
            with suppress(Conflict):  # another node, or another request, has made it in the meantime
                await self.add_signing_key(tenant, after=None)
            keys = await self.reload(tenant)
        if keys.signing is None:
            raise Unavailable("the key store does not show the signing key that it was just given")
        return keys.signing

    async def add_signing_key(self, tenant: TenantId, *, after: SigningKey | None) -> None:
        """Make the signing key that follows another, or the first one; raises Conflict where there is one already."""
        version = 1 if after is None else after.version + 1
        row = await asyncio.to_thread(new_secret, self._provider, tenant, SIGNING, version, self._clock.now())
        try:
            async with self._database.transaction() as connection:
                await self._database.bulk(connection, TENANT_SECRET, [row])
        except exc.IntegrityError:
            raise Conflict("another call is rotating this signing key at the same time", code="in-flight") from None

    def clear(self) -> None:
        """Drop all opened keys from memory."""
        self._opened.clear()

    async def _load(self, names: list[TenantId]) -> list[TenantKeys | VaultError]:
        # Marked before the query: an eviction while it runs voids what it returns.
        since = self._opened.mark()
        loaded: dict[TenantId, TenantKeys | VaultError] = {}
        for name in dict.fromkeys(names):
            try:
                loaded[name] = keys = await load_tenant(self._database, self._provider, name)
            except VaultError as error:  # a failure of one tenant does not affect the others
                loaded[name] = error
            else:
                self._opened.keep({name: keys}, since)
        return [loaded[name] for name in names]
