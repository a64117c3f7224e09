"""Principals and their API keys: tables, the register that changes them, authentication, and a cache of bearers."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from vault.crypto.bearers import keyed_digest, matches, plain_digest
from vault.crypto.row_mac import MacedTable, report_older
from vault.crypto.row_versions import FIRST, RowVersion
from vault.errors import Conflict, Fault, InvalidInput, Misconfigured, NotFound, RowTampered
from vault.ids import KeyId, PrincipalId, RoleName, TenantId, new_id
from vault.moments import RANGE, is_in_range
from vault.principals.principal import (
    PREFIX,
    IssuedKey,
    KeyInfo,
    Principal,
    checked_name,
    checked_roles,
    key_id_of,
    make_key,
    not_authenticated,
)
from vault.storage.columns import AnyRow, DataTable, Id, Moment, column, table_of
from vault.storage.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.clock import Clock
    from vault.crypto.derive import TokenKey
    from vault.crypto.keyring import Keyring
    from vault.principals.oidc import TokenVerifier
    from vault.storage.database import Database


class PrincipalRow(DataTable, table=True):
    """A registered app or member of staff. Bearers of an issuer's token are not registered."""

    __tablename__ = "principal"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    name: str = column(String(64))
    kind: str = column(String(8))
    roles: str = column(Text)  # sorted slugs, a space between
    state: str = column(String(16))
    created_at: datetime = column(Moment)
    row_version: int = column(BigInteger, server_default="1")
    mac: bytes | None = column(LargeBinary, nullable=True)


class ApiKeyRow(DataTable, table=True):
    """One API key. It is found by its id alone, as a bearer does not name its tenant."""

    __tablename__ = "api_key"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "principal_id"], ["principal.tenant_id", "principal.id"]),
        Index(None, "tenant_id", "principal_id"),
    )

    id: UUID = column(Id, primary_key=True)
    tenant_id: str = column(String(64))
    principal_id: UUID = column(Id)
    digest: bytes = column(LargeBinary)  # HMAC of the SHA-256 of the whole key, under the tenant's token key
    created_at: datetime = column(Moment)
    expires_at: datetime = column(Moment)
    revoked_at: datetime | None = column(Moment, nullable=True)
    row_version: int = column(BigInteger, server_default="1")
    mac: bytes | None = column(LargeBinary, nullable=True)


class RateWindowRow(DataTable, table=True):
    """The part of one principal's rate that all nodes have leased in one minute; rows live for some minutes.

    Letters to a person are counted here too: by the pseudonym, with the end of the day as the start of the window.
    """

    __tablename__ = "rate_window"
    __table_args__ = (Index(None, "window_start"),)

    tenant_id: str = column(String(64), primary_key=True)
    principal_id: UUID = column(Id, primary_key=True)
    kind: str = column(String(8), primary_key=True)
    window_start: int = column(BigInteger, primary_key=True, autoincrement=False)  # seconds from 1970
    used: int = column(BigInteger)


KEY_LIFETIME = timedelta(days=365)
"""Default lifetime of an API key."""

PRINCIPAL = table_of(PrincipalRow)
API_KEY = table_of(ApiKeyRow)

PRINCIPALS = MacedTable(PRINCIPAL, "tenant_id", "id", "name", "kind", "roles", "state", "created_at", "row_version")
API_KEYS = MacedTable(
    API_KEY, "tenant_id", "id", "principal_id", "digest", "created_at", "expires_at", "revoked_at", "row_version"
)
_p, _k = PRINCIPAL.c, API_KEY.c


LONGEST_BEARER = 16 * 1024
"""Characters; longer bearers are refused unread."""

_BY_KEY = Query(
    select(*API_KEYS.columns, *PRINCIPALS.columns)
    .join(PRINCIPAL, and_(PRINCIPAL.c.tenant_id == API_KEY.c.tenant_id, PRINCIPAL.c.id == API_KEY.c.principal_id))
    .where(API_KEY.c.id == bindparam("key"))
)
_KEY_COLUMNS = len(API_KEYS.columns)


class Principals:
    """The register of principals and keys of all tenants, and their authentication.

    The methods of the register take a tenant and see no other. They take the connection of an open transaction, so that
    the caller can add the audit entry in the same one, and raise ``NotFound`` for a principal or key that the tenant
    does not have, and ``RowTampered`` if its row is not as the vault wrote it. A change takes effect on this node with
    its commit, and on every other node ``max_age`` seconds later at the latest. It returns the new version of the row:
    after the commit it is given to :meth:`settle`, so that the row that was replaced cannot be put back.

    Args:
        database: the main database.
        keyring: has the keys of digests and MACs, and the least versions of rows.
        clock: for expiries.
        verifiers: one for each OIDC issuer whose tokens are accepted.
        max_age: seconds for which a verified bearer is cached.
        most: size of the cache.
        monotonic: seconds from any start, for the ages.

    Raises:
        Misconfigured: two verifiers are for the same issuer.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        clock: Clock,
        verifiers: Sequence[TokenVerifier] = (),
        *,
        max_age: float = 5.0,
        most: int = 10_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._cache = BearerCache(monotonic, max_age=max_age, most=most)
        self._verifiers = {verifier.issuer: verifier for verifier in verifiers}
        self._monotonic = monotonic
        if len(self._verifiers) < len(verifiers):
            raise Misconfigured("two issuers have the same name")

    def cached(self, bearer: str) -> Principal | None:
        """Return the principal of a cached bearer, or None: then call :meth:`authenticate`."""
        return self._cache.get(plain_digest(bearer))

    async def authenticate(self, bearer: str) -> Principal:
        """Return the principal of a bearer: an API key of an active app, or a token of a known issuer.

        Raises:
            NotAuthenticated: it is not accepted; the error is the same for every reason.
            Unavailable: the database, or the issuer's key set, does not answer.
        """
        if len(bearer) > LONGEST_BEARER:
            raise not_authenticated()
        presented = plain_digest(bearer)
        principal = self._cache.get(presented)
        if principal is not None:
            return principal
        if bearer.startswith(PREFIX):
            return await self._by_key(bearer, presented)
        return await self._by_token(bearer, presented)

    async def _by_key(self, bearer: str, presented: bytes) -> Principal:
        """Check an API key."""
        key = key_id_of(bearer)
        if key is None:
            raise not_authenticated()
        since = self._monotonic()
        rows = await self._database.fetch(_BY_KEY, key=key)
        row = _ApiKey(*rows[0][: _KEY_COLUMNS - 1]) if rows else None
        tokens = None if row is None else await self._token_key(TenantId(row.tenant))
        # An unknown key costs the same comparison as a known one, so that timing does not reveal which keys exist.
        if (
            not matches("api-key", presented, None if row is None else row.digest, tokens)
            or row is None
            or row.revoked_at
        ):
            raise not_authenticated()
        # A key may expire before its entry in the cache does: the shorter of the two counts.
        lifetime = (row.expires_at - self._clock.now()).total_seconds()
        shown = rows[0][_KEY_COLUMNS:]
        principal = to_principal(shown)
        if lifetime <= 0 or principal.state != "active":
            raise not_authenticated()
        if not await self._are_current(TenantId(row.tenant), (API_KEYS, rows[0][:_KEY_COLUMNS]), (PRINCIPALS, shown)):
            raise not_authenticated()
        self._cache.put(presented, principal, since=since, lifetime=lifetime, depends_on=frozenset((key, principal.id)))
        return principal

    async def _token_key(self, tenant: TenantId) -> TokenKey | None:
        try:
            return await self._keyring.token_key(tenant)
        except NotFound:  # a row that names a tenant that there is not
            return None

    async def _are_current(
        self, tenant: TenantId, *rows: tuple[MacedTable, Sequence[Any]], committed: bool = True
    ) -> bool:
        """Return whether rows are as the vault wrote them, and none is an older one that was put back.

        Args:
            committed: False if the rows were read in a transaction that may have changed them, and may be rolled back.
        """
        keys = await self._keyring.row_keys(tenant)
        if not all(table.is_genuine(keys, row) for table, row in rows):
            return False
        versions = [table.version_of(row) for table, row in rows]
        least = await self._keyring.least_versions(tenant, [version.row for version in versions])
        for version in versions:
            accepted = least.get((version.table, version.row), FIRST)
            if version.version < accepted:
                report_older(version.table, tenant)
                return False
            if version.version > accepted and committed:  # the process that wrote it ended before it could say so
                await self._keyring.raise_version(tenant, version)
        return True

    async def settle(self, tenant: TenantId, *versions: RowVersion) -> None:
        """Refuse older versions of changed rows from now on: after the commit, before the change is reported as done.

        Raises:
            Unavailable: the key store does not answer. The change counts; repeat it.
        """
        for version in versions:
            await self._keyring.raise_version(tenant, version)

    async def _by_token(self, bearer: str, presented: bytes) -> Principal:
        if not self._verifiers:
            raise not_authenticated()
        from vault.principals.oidc import unverified_issuer  # loaded already: with the verifiers

        verifier = self._verifiers.get(unverified_issuer(bearer) or "")
        if verifier is None:
            raise not_authenticated()
        since = self._monotonic()
        verified = await verifier.verify(bearer)
        self._cache.put(presented, verified.principal, since=since, lifetime=verified.lifetime, depends_on=frozenset())
        return verified.principal

    async def add_app(
        self, connection: AsyncConnection, tenant: TenantId, name: str, roles: Iterable[str]
    ) -> Principal:
        """Register an app.

        Raises:
            Conflict: the tenant has a principal of this name already.
            InvalidInput: the name or a role is not a slug.
        """
        principal = Principal(
            id=PrincipalId(new_id()),
            tenant=tenant,
            name=checked_name(name),
            kind="app",
            roles=checked_roles(roles),
            created_at=self._clock.now(),
        )
        keys = await self._keyring.row_keys(tenant)
        row = {
            "tenant_id": tenant,
            "id": principal.id,
            "name": principal.name,
            "kind": principal.kind,
            "roles": " ".join(principal.roles),
            "state": principal.state,
            "created_at": principal.created_at,
            "row_version": FIRST,
        }
        try:
            await connection.execute(insert(PRINCIPAL).values(PRINCIPALS.seal(keys, row)))
        except IntegrityError as exc:
            raise Conflict(
                "the tenant has a principal of this name already", code="name-taken", hint="Choose another name."
            ) from exc
        return principal

    async def issue_key(
        self,
        connection: AsyncConnection,
        tenant: TenantId,
        principal: PrincipalId,
        *,
        expires_at: datetime | None = None,
    ) -> IssuedKey:
        """Make a new API key for a principal. Its other keys stay valid, so that apps can switch over.

        Args:
            connection: of an open transaction.
            tenant: the principal's.
            principal: the owner of the key.
            expires_at: by default 365 days from now.

        Raises:
            Conflict: the principal is disabled.
            InvalidInput: the expiry is past, or has no time zone.
        """
        now = self._clock.now()
        ends = _checked_expiry(expires_at, now)
        if (await self.get(connection, tenant, principal)).state != "active":
            raise Conflict("the principal is disabled", code="principal-disabled")
        key_id = KeyId(new_id())
        key = make_key(key_id)
        row = {
            "id": key_id,
            "tenant_id": tenant,
            "principal_id": principal,
            "digest": keyed_digest(await self._keyring.token_key(tenant), "api-key", plain_digest(key.reveal())),
            "created_at": now,
            "expires_at": ends,
            "revoked_at": None,
            "row_version": FIRST,
        }
        keys = await self._keyring.row_keys(tenant)
        await connection.execute(insert(API_KEY).values(API_KEYS.seal(keys, row)))
        return IssuedKey(id=key_id, principal=principal, key=key, expires_at=ends)

    async def revoke_key(self, connection: AsyncConnection, tenant: TenantId, key: KeyId) -> Revoked:
        """Revoke a key now. Revoking it again changes nothing, not even the time."""
        row = await self._locked(connection, tenant, API_KEYS, key)
        # Here at once; other nodes follow when their entry expires.
        self._cache.forget(key)
        if _ApiKey(*row[:-1]).revoked_at is not None:
            return Revoked(API_KEYS.version_of(row), changed=False)
        version = await self._replace(connection, tenant, API_KEYS, row, revoked_at=self._clock.now())
        return Revoked(version, changed=True)

    async def set_roles(
        self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId, roles: Iterable[str]
    ) -> RowVersion:
        """Replace the roles of a principal.

        Raises:
            InvalidInput: a role is not a slug.
        """
        return await self._change(connection, tenant, principal, roles=" ".join(checked_roles(roles)))

    async def disable(self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId) -> RowVersion:
        """Refuse all keys of a principal until it is enabled again."""
        return await self._change(connection, tenant, principal, state="disabled")

    async def enable(self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId) -> RowVersion:
        """Accept the keys of a disabled principal again, except revoked and expired ones."""
        return await self._change(connection, tenant, principal, state="active")

    async def get(self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId) -> Principal:
        """Return one principal."""
        return await self._one(connection, tenant, _p.id == principal)

    async def find(self, connection: AsyncConnection, tenant: TenantId, name: str) -> Principal:
        """Return the principal with this name."""
        return await self._one(connection, tenant, _p.name == name)

    async def list_principals(self, connection: AsyncConnection, tenant: TenantId) -> list[Principal]:
        """Return all principals of a tenant by name, the disabled ones too. Rows that are not genuine are left out."""
        keys = await self._keyring.row_keys(tenant)
        rows = await connection.execute(select(*PRINCIPALS.columns).where(_p.tenant_id == tenant).order_by(_p.name))
        return [to_principal(row) for row in rows if PRINCIPALS.is_genuine(keys, row)]

    async def list_keys(self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId) -> list[KeyInfo]:
        """Return all keys that a principal ever had, the oldest first. Rows that are not genuine are left out."""
        await self.get(connection, tenant, principal)
        keys = await self._keyring.row_keys(tenant)
        statement = select(*API_KEYS.columns).where(_k.tenant_id == tenant, _k.principal_id == principal)
        rows = (await connection.execute(statement.order_by(_k.id))).all()
        return [_ApiKey(*row[:-1]).shown() for row in rows if API_KEYS.is_genuine(keys, row)]

    async def _one(self, connection: AsyncConnection, tenant: TenantId, is_it: ColumnElement[bool]) -> Principal:
        row = (await connection.execute(select(*PRINCIPALS.columns).where(_p.tenant_id == tenant, is_it))).first()
        if row is None:
            raise NotFound("there is no such principal")
        PRINCIPALS.check(await self._keyring.row_keys(tenant), row)
        return to_principal(row)

    async def _change(
        self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId, **values: str
    ) -> RowVersion:
        row = await self._locked(connection, tenant, PRINCIPALS, principal)
        # Before the commit, so that no call between the two finds the old roles; it is not cached again for a minute.
        self._cache.forget(principal)
        return await self._replace(connection, tenant, PRINCIPALS, row, **values)

    async def _locked(self, connection: AsyncConnection, tenant: TenantId, table: MacedTable, row: UUID) -> AnyRow:
        """Lock a row to replace it. What it goes on to say was checked: an older one that was put back is refused."""
        columns = table.table.c
        statement = select(*table.columns).where(columns.tenant_id == tenant, columns.id == row).with_for_update()
        found = (await connection.execute(statement)).first()
        if found is None:
            raise NotFound(f"there is no such {_CALLED[table.table.name]}")
        if not await self._are_current(tenant, (table, found), committed=False):
            raise RowTampered
        return found

    async def _replace(
        self, connection: AsyncConnection, tenant: TenantId, table: MacedTable, row: AnyRow, **values: object
    ) -> RowVersion:
        columns, keys, before = table.table.c, await self._keyring.row_keys(tenant), table.version_of(row)
        after = replace(before, version=before.version + 1)
        sealed = table.reseal(keys, row, **values, row_version=after.version)
        statement = update(table.table).where(columns.tenant_id == tenant, columns.id == before.row)
        await connection.execute(statement.values(sealed))
        return after


_CALLED: Final = {"principal": "principal", "api_key": "API key"}


class Revoked(NamedTuple):
    """A revoked key: the version of its row, and whether it was not revoked before."""

    version: RowVersion
    changed: bool


class _ApiKey(NamedTuple):
    """The covered columns of a key's row."""

    tenant: str
    id: UUID
    principal: UUID
    digest: bytes
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    row_version: int

    def shown(self) -> KeyInfo:
        """Return what may be shown of it."""
        return KeyInfo(KeyId(self.id), PrincipalId(self.principal), self.created_at, self.expires_at, self.revoked_at)


def to_principal(row: Any) -> Principal:
    """Read a row of the columns of :data:`PRINCIPALS`."""
    tenant, identity, name, kind, roles, state, created_at, *_ = row
    return Principal(
        id=PrincipalId(UUID(bytes=identity.bytes)),  # asyncpg's own UUID class is slower as a dictionary key
        tenant=TenantId(tenant),
        name=name,
        kind=kind,
        roles=tuple(RoleName(role) for role in roles.split()),
        state=state,
        created_at=created_at,
    )


def _checked_expiry(expires_at: datetime | None, now: datetime) -> datetime:
    if expires_at is None:
        return now + KEY_LIFETIME
    if not is_in_range(expires_at) or expires_at <= now:
        fault = Fault("/expires_at", "invalid-expiry", f"the expiry must lie in the future, with {RANGE}")
        raise InvalidInput("the expiry of the key is not valid", faults=[fault])
    return expires_at


# Seconds for which a changed principal or key is not cached: longer than any transaction may take, so that what was
# read before the commit of the change is not cached after it.
_SETTLING = 60.0


class BearerCache:
    """A bounded map from a bearer's digest to its principal, each for at most ``max_age`` seconds.

    Args:
        monotonic: seconds from any start, never going back; not the wall clock, which may be set.
        max_age: seconds after which a bearer is verified again: the longest that a revoked key works on other nodes.
        most: size; beyond it the oldest entry is evicted.
    """

    def __init__(self, monotonic: Callable[[], float], *, max_age: float, most: int) -> None:
        self._monotonic = monotonic
        self._max_age = max_age
        self._most = most
        self._entries: dict[bytes, tuple[float, Principal, frozenset[UUID]]] = {}
        self._settling: dict[UUID, float] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: bytes) -> Principal | None:
        """Return the principal of a cached bearer, or None."""
        entry = self._entries.get(digest)
        if entry is None or entry[0] <= self._monotonic():
            return None
        return entry[1]

    def put(
        self, digest: bytes, principal: Principal, *, since: float, lifetime: float, depends_on: frozenset[UUID]
    ) -> None:
        """Add a verified bearer.

        Args:
            digest: the bearer's.
            principal: the caller.
            since: monotonic seconds from before the verification began, as its result may have changed since then.
            lifetime: seconds until the bearer expires.
            depends_on: the ids of the key and principal whose change evicts the entry.
        """
        now = self._monotonic()
        self._settling = {changed: until for changed, until in self._settling.items() if until > now}
        self._entries.pop(digest, None)
        until = since + min(lifetime, self._max_age)
        if until <= now or not depends_on.isdisjoint(self._settling):
            return
        while len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        self._entries[digest] = (until, principal, depends_on)

    def forget(self, changed: UUID) -> None:
        """Evict every bearer that depends on this key or principal, and cache none until the change has settled.

        It is called in the transaction that makes the change. Until the commit the database has the old state, so an
        answer from it may be used but not cached.
        """
        now = self._monotonic()
        self._settling[changed] = now + _SETTLING + self._max_age
        self._entries = {key: entry for key, entry in self._entries.items() if changed not in entry[2]}
