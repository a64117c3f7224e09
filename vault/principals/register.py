"""The register of principals and their API keys: who is in it, and every change to it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from vault.errors import Conflict, Fault, InvalidInput, NotFound
from vault.ids import KeyId, PrincipalId, RoleName, TenantId, new_id
from vault.principals.api_key import digest, make_key
from vault.principals.principal import IssuedKey, KeyInfo, Principal, checked_name, checked_roles
from vault.principals.tables import ApiKeyRow, PrincipalRow

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.clock import Clock
    from vault.principals.kept import KeptBearers
    from vault.principals.principal import State

KEY_LIFETIME = timedelta(days=365)
"""How long an API key is good unless said otherwise."""

PRINCIPAL: Table = PrincipalRow.__table__  # type: ignore[attr-defined]
API_KEY: Table = ApiKeyRow.__table__  # type: ignore[attr-defined]

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

    def __init__(self, clock: Clock, kept: KeptBearers) -> None:
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
