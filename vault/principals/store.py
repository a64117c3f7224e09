"""The register of principals and their API keys: who is in it, and every change to it.

Tables of the callers: who they are, their keys, and what they have used of their rate.

The check of who calls.

Bearers that were verified a moment ago, so that a read does not ask the database who calls.
"""

from __future__ import annotations

import time
from datetime import (
    datetime,
    timedelta,
)
from typing import TYPE_CHECKING, Any
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

from vault.errors import Conflict, Fault, InvalidInput, Misconfigured, NotFound
from vault.ids import KeyId, PrincipalId, RoleName, TenantId, new_id
from vault.principals.oidc import unverified_issuer
from vault.principals.principal import (
    PREFIX,
    IssuedKey,
    KeyInfo,
    Principal,
    checked_name,
    checked_roles,
    digest,
    key_id_of,
    make_key,
    matches,
    not_authenticated,
)
from vault.storage.columns import DataTable, Id, Moment, column, table_of
from vault.storage.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.clock import Clock
    from vault.principals.oidc import TokenVerifier
    from vault.principals.principal import State
    from vault.storage.database import Database


class PrincipalRow(DataTable, table=True):
    """An app or a member of staff that is registered here; who comes with an issuer's token is not."""

    __tablename__ = "principal"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    name: str = column(String(64))
    kind: str = column(String(8))
    roles: str = column(Text)  # sorted slugs, a space between
    state: str = column(String(16))
    created_at: datetime = column(Moment)


class ApiKeyRow(DataTable, table=True):
    """One API key. It is found by its id alone: a bearer does not say which tenant it belongs to."""

    __tablename__ = "api_key"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "principal_id"], ["principal.tenant_id", "principal.id"]),
        Index(None, "tenant_id", "principal_id"),
    )

    id: UUID = column(Id, primary_key=True)
    tenant_id: str = column(String(64))
    principal_id: UUID = column(Id)
    digest: bytes = column(LargeBinary)  # SHA-256 of the whole key
    created_at: datetime = column(Moment)
    expires_at: datetime = column(Moment)
    revoked_at: datetime | None = column(Moment, nullable=True)


class RateWindowRow(DataTable, table=True):
    """What all nodes together have leased of one principal's rate in one minute; rows live for some minutes."""

    __tablename__ = "rate_window"
    __table_args__ = (Index(None, "window_start"),)

    tenant_id: str = column(String(64), primary_key=True)
    principal_id: UUID = column(Id, primary_key=True)
    kind: str = column(String(8), primary_key=True)
    window_start: int = column(BigInteger, primary_key=True, autoincrement=False)  # seconds from 1970
    used: int = column(BigInteger)


KEY_LIFETIME = timedelta(days=365)
"""How long an API key is good unless said otherwise."""

PRINCIPAL = table_of(PrincipalRow)
API_KEY = table_of(ApiKeyRow)

_p, _k = PRINCIPAL.c, API_KEY.c
SHOWN = (_p.id, _p.tenant_id, _p.name, _p.kind, _p.roles, _p.state, _p.created_at)
"""The columns of a principal, as :func:`to_principal` reads them."""


class Register:
    """Principals and keys of all tenants; every method is told which tenant it is for and sees no other.

    The methods take the connection of an open transaction, so that the caller can put the audit entry into the same
    one.

    Args:
        clock: the present, for when things were made and when they end.
        kept: the verified bearers of this node, told of every change.
    """

    def __init__(self, clock: Clock, kept: BearerCache) -> None:
        self._clock = clock
        self._kept = kept

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
        row = {
            "tenant_id": tenant,
            "id": principal.id,
            "name": principal.name,
            "kind": principal.kind,
            "roles": " ".join(principal.roles),
            "state": principal.state,
            "created_at": principal.created_at,
        }
        try:
            await connection.execute(insert(PRINCIPAL).values(row))
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
        """Make a new API key for a principal; those that it has stay good, so that they can be changed over in turn.

        Args:
            connection: of an open transaction.
            tenant: the principal's.
            principal: for whom.
            expires_at: when the key ends; 365 days from now unless given.

        Raises:
            NotFound: the tenant has no such principal.
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
            "digest": digest(key.reveal()),
            "created_at": now,
            "expires_at": ends,
            "revoked_at": None,
        }
        await connection.execute(insert(API_KEY).values(row))
        return IssuedKey(id=key_id, principal=principal, key=key, expires_at=ends)

    async def revoke_key(self, connection: AsyncConnection, tenant: TenantId, key: KeyId) -> bool:
        """End a key now. To revoke it again changes nothing, not even the time.

        Returns:
            whether it had not been revoked before.

        Raises:
            NotFound: the tenant has no such key.
        """
        its = (_k.tenant_id == tenant, _k.id == key)
        changed = await connection.execute(
            update(API_KEY).where(*its, _k.revoked_at.is_(None)).values(revoked_at=self._clock.now())
        )
        if changed.rowcount == 0 and (await connection.execute(select(_k.id).where(*its))).first() is None:
            raise NotFound("there is no such API key")
        self._kept.forget(key)
        return changed.rowcount > 0

    async def set_roles(
        self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId, roles: Iterable[str]
    ) -> None:
        """Give a principal these roles instead of those that it has.

        Raises:
            NotFound: the tenant has no such principal.
            InvalidInput: a role is not a slug.
        """
        await self._change(connection, tenant, principal, roles=" ".join(checked_roles(roles)))

    async def disable(self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId) -> None:
        """Refuse all keys of a principal until it is enabled again.

        Raises:
            NotFound: the tenant has no such principal.
        """
        await self._set_state(connection, tenant, principal, "disabled")

    async def enable(self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId) -> None:
        """Accept the keys of a disabled principal again, those aside that were revoked or have expired.

        Raises:
            NotFound: the tenant has no such principal.
        """
        await self._set_state(connection, tenant, principal, "active")

    async def get(self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId) -> Principal:
        """Return one principal.

        Raises:
            NotFound: the tenant has none with this id.
        """
        return await self._one(connection, tenant, _p.id == principal)

    async def find(self, connection: AsyncConnection, tenant: TenantId, name: str) -> Principal:
        """Return the principal with this name.

        Raises:
            NotFound: the tenant has none of this name.
        """
        return await self._one(connection, tenant, _p.name == name)

    async def list_principals(self, connection: AsyncConnection, tenant: TenantId) -> list[Principal]:
        """Return all principals of a tenant by name, the disabled ones too."""
        found = await connection.execute(select(*SHOWN).where(_p.tenant_id == tenant).order_by(_p.name))
        return [to_principal(row) for row in found]

    async def list_keys(self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId) -> list[KeyInfo]:
        """Return all keys that a principal ever had, the oldest first.

        Raises:
            NotFound: the tenant has no such principal.
        """
        await self.get(connection, tenant, principal)
        found = await connection.execute(
            select(_k.id, _k.principal_id, _k.created_at, _k.expires_at, _k.revoked_at)
            .where(_k.tenant_id == tenant, _k.principal_id == principal)
            .order_by(_k.id)
        )
        return [KeyInfo(*row) for row in found]

    async def _one(self, connection: AsyncConnection, tenant: TenantId, is_it: ColumnElement[bool]) -> Principal:
        row = (await connection.execute(select(*SHOWN).where(_p.tenant_id == tenant, is_it))).first()
        if row is None:
            raise _no_principal()
        return to_principal(row)

    async def _set_state(
        self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId, state: State
    ) -> None:
        await self._change(connection, tenant, principal, state=state)

    async def _change(
        self, connection: AsyncConnection, tenant: TenantId, principal: PrincipalId, **values: str
    ) -> None:
        changed = await connection.execute(
            update(PRINCIPAL).where(_p.tenant_id == tenant, _p.id == principal).values(values)
        )
        if changed.rowcount == 0:
            raise _no_principal()
        self._kept.forget(principal)


def to_principal(row: Any) -> Principal:
    """Read a row of the columns :data:`SHOWN`."""
    identity, tenant, name, kind, roles, state, created_at = row
    return Principal(
        id=PrincipalId(UUID(bytes=identity.bytes)),  # asyncpg's own UUID class is slower to look up by
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
    if expires_at.tzinfo is None or expires_at <= now:
        fault = Fault("/expires_at", "invalid-expiry", "the expiry must lie in the future and have a time zone")
        raise InvalidInput("the expiry of the key is not valid", faults=[fault])
    return expires_at


def _no_principal() -> NotFound:
    return NotFound("there is no such principal")


__all__ = ["IssuedKey", "KeyInfo", "Principal", "Principals"]

LONGEST_BEARER = 16 * 1024
"""Characters; a longer one is not looked at."""

_BY_KEY = Query(
    select(API_KEY.c.digest, API_KEY.c.expires_at, API_KEY.c.revoked_at, *SHOWN)
    .join(PRINCIPAL, and_(PRINCIPAL.c.tenant_id == API_KEY.c.tenant_id, PRINCIPAL.c.id == API_KEY.c.principal_id))
    .where(API_KEY.c.id == bindparam("key"))
)


class Principals(Register):
    """Who may call, and who is calling.

    A change made here counts on this node from its commit on, and on every other node ``max_age`` seconds later at the
    latest.

    Args:
        database: the main database.
        clock: the present, for expiries.
        verifiers: one for each OIDC issuer whose tokens are accepted.
        max_age: seconds for which a verified bearer is taken on trust.
        most: number of bearers kept in memory.
        monotonic: seconds from any start, for the ages.

    Raises:
        Misconfigured: two verifiers are for the same issuer.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        verifiers: Sequence[TokenVerifier] = (),
        *,
        max_age: float = 5.0,
        most: int = 10_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock, BearerCache(monotonic, max_age=max_age, most=most))
        self._database = database
        self._verifiers = {verifier.issuer: verifier for verifier in verifiers}
        self._monotonic = monotonic
        if len(self._verifiers) < len(verifiers):
            raise Misconfigured("two issuers have the same name")

    def kept(self, bearer: str) -> Principal | None:
        """Return the principal of a bearer that was verified a moment ago, or None: then ask :meth:`authenticate`."""
        return self._kept.get(digest(bearer))

    async def authenticate(self, bearer: str) -> Principal:
        """Return the principal that a bearer speaks for: an API key of an active app, or a token of a known issuer.

        Raises:
            NotAuthenticated: it speaks for nobody; the same error whatever the reason.
            Unavailable: the database, or the issuer's key set, cannot be asked.
        """
        if len(bearer) > LONGEST_BEARER:
            raise not_authenticated()
        presented = digest(bearer)
        principal = self._kept.get(presented)
        if principal is not None:
            return principal
        if bearer.startswith(PREFIX):
            return await self._by_key(bearer, presented)
        return await self._by_token(bearer, presented)

    async def _by_key(self, bearer: str, presented: bytes) -> Principal:
        """Check an API key; a refusal comes after the same comparison in each case: time tells nothing either."""
        key = key_id_of(bearer)
        if key is None:
            raise not_authenticated()
        since = self._monotonic()
        rows = await self._database.fetch(_BY_KEY, key=key)
        kept, expires_at, revoked_at, *shown = rows[0] if rows else (None, None, None)
        if not matches(presented, kept) or revoked_at is not None:
            raise not_authenticated()
        lifetime = (expires_at - self._clock.now()).total_seconds()
        principal = to_principal(shown)
        if lifetime <= 0 or principal.state != "active":
            raise not_authenticated()
        self._kept.put(presented, principal, since=since, lifetime=lifetime, stands_on=frozenset((key, principal.id)))
        return principal

    async def _by_token(self, bearer: str, presented: bytes) -> Principal:
        verifier = self._verifiers.get(unverified_issuer(bearer) or "") if self._verifiers else None
        if verifier is None:
            raise not_authenticated()
        since = self._monotonic()
        verified = await verifier.verify(bearer)
        self._kept.put(presented, verified.principal, since=since, lifetime=verified.lifetime, stands_on=frozenset())
        return verified.principal


# How long a changed principal or key stays off the cache, in seconds: longer than any transaction may take, so that
# what was read before the change was committed is never kept after it.
_SETTLING = 60.0


class BearerCache:
    """A bounded map from a bearer's digest to its principal, each for at most ``max_age`` seconds.

    Args:
        monotonic: seconds from any start, never going back; not the wall clock, which may be set.
        max_age: seconds after which every bearer is verified anew: the longest that a revoked key lives on other nodes.
        most: number of bearers kept; beyond it the oldest goes.
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
        """Return the principal of a bearer that is still good, or None."""
        entry = self._entries.get(digest)
        if entry is None or entry[0] <= self._monotonic():
            return None
        return entry[1]

    def put(
        self, digest: bytes, principal: Principal, *, since: float, lifetime: float, stands_on: frozenset[UUID]
    ) -> None:
        """Keep a verified bearer.

        Args:
            digest: the bearer's.
            principal: whom it speaks for.
            since: monotonic seconds from before the verification began, for what it found may have changed meanwhile.
            lifetime: seconds that the bearer itself is still good.
            stands_on: the ids of the key and principal whose change ends it.
        """
        now = self._monotonic()
        self._settling = {changed: until for changed, until in self._settling.items() if until > now}
        self._entries.pop(digest, None)
        until = since + min(lifetime, self._max_age)
        if until <= now or not stands_on.isdisjoint(self._settling):
            return
        while len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        self._entries[digest] = (until, principal, stands_on)

    def forget(self, changed: UUID) -> None:
        """Drop every bearer that stands on this key or principal, and keep none until the change has settled.

        It is called inside the transaction that makes the change. Until that one is committed the database still says
        the old thing, so an answer read meanwhile may be given but not kept; from the commit on all calls find the new.
        """
        now = self._monotonic()
        self._settling[changed] = now + _SETTLING + self._max_age
        self._entries = {key: entry for key, entry in self._entries.items() if changed not in entry[2]}
