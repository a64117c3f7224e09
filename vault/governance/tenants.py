"""What whoever holds the vault's folder may do at its command line: tenants, apps and their keys, policies.

There is no caller to ask for rights here: who can read the root key can do all of this by hand. It is all on the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vault.access.authorization import audit_entry
from vault.access.callers import operator_caller
from vault.ids import RoleName
from vault.lifecycle.restore_lines import AccessLine, note_access

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action
    from vault.context import Services
    from vault.ids import KeyId, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.principals.principal import IssuedKey, Principal


async def add_tenant(services: Services, tenant: TenantId, policy_set: PolicySet) -> None:
    """Make a tenant with keys of its own and its first policies.

    Raises:
        InvalidInput: the name is no slug.
        Conflict: there is such a tenant.
    """
    await services.keyring.create_tenant(tenant)
    await services.audit_log.append(
        audit_entry(services, operator_caller(tenant), action="add-tenant", decision="allowed")
    )
    await apply_policies(services, tenant, policy_set)


async def apply_policies(services: Services, tenant: TenantId, policy_set: PolicySet) -> bool:
    """Put a policy folder into force for a tenant; every node follows within seconds.

    Returns:
        whether anything changed.
    """
    caller = operator_caller(tenant)
    async with services.data.transaction() as connection:
        applied = await services.policies.record(connection, tenant, policy_set, caller.principal.name)
        if applied.changed:
            made = audit_entry(services, caller, action="apply-policies", decision="allowed", policy=policy_set.version)
            await services.audit_log.append_in(connection, [made])
    services.policies.activate(tenant, applied, policy_set)
    return applied.changed


async def add_app(
    services: Services, tenant: TenantId, name: str, roles: Iterable[str], *, expires_at: datetime | None = None
) -> tuple[Principal, IssuedKey]:
    """Register an app with its first key.

    Raises:
        InvalidInput: a name, role or date does not have its form.
        Conflict: there is such an app.
    """
    async with services.data.transaction() as connection:
        principal = await services.principals.add_app(connection, tenant, name, roles)
        issued = await services.principals.issue_key(connection, tenant, principal.id, expires_at=expires_at)
        await _note(services, connection, tenant, "add-principal", principal.id)
        await _note(services, connection, tenant, "issue-key", issued.id)
    return principal, issued


async def issue_key(
    services: Services, tenant: TenantId, name: str, *, expires_at: datetime | None = None
) -> IssuedKey:
    """Give an app one more key, so that it can change keys without a pause.

    Raises:
        NotFound: there is no such app.
    """
    async with services.data.transaction() as connection:
        principal = await services.principals.find(connection, tenant, name)
        issued = await services.principals.issue_key(connection, tenant, principal.id, expires_at=expires_at)
        await _note(services, connection, tenant, "issue-key", issued.id)
    return issued


async def revoke_key(services: Services, tenant: TenantId, key: KeyId) -> None:
    """End a key; it works for no longer than the few seconds for which nodes keep what they verified.

    Raises:
        NotFound: there is no such key.
        Unavailable: the ledger of tombstones does not answer; nothing has changed.
    """
    async with services.data.transaction() as connection:
        await services.principals.revoke_key(connection, tenant, key)
        await _note_taken(services, connection, tenant, "revoke-key", key)


async def set_roles(services: Services, tenant: TenantId, name: str, roles: Iterable[str]) -> None:
    """Change what an app may do.

    Raises:
        NotFound: there is no such app.
        InvalidInput: a role is no slug.
        Unavailable: a role is taken away, and the ledger of tombstones does not answer; nothing has changed.
    """
    async with services.data.transaction() as connection:
        principal = await services.principals.find(connection, tenant, name)
        given = tuple(map(RoleName, roles))
        await services.principals.set_roles(connection, tenant, principal.id, given)
        taken = tuple(each for each in principal.roles if each not in given)
        if taken:
            await _note_taken(services, connection, tenant, "set-roles", principal.id, taken)
        else:
            await _note(services, connection, tenant, "set-roles", principal.id)


async def disable_app(services: Services, tenant: TenantId, name: str) -> None:
    """Shut an app out with all of its keys.

    Raises:
        NotFound: there is no such app.
        Unavailable: the ledger of tombstones does not answer; nothing has changed.
    """
    async with services.data.transaction() as connection:
        principal = await services.principals.find(connection, tenant, name)
        await services.principals.disable(connection, tenant, principal.id)
        await _note_taken(services, connection, tenant, "disable-principal", principal.id)


async def _note(
    services: Services, connection: AsyncConnection, tenant: TenantId, action: Action, target: UUID
) -> UUID:
    made = audit_entry(services, operator_caller(tenant), action=action, decision="allowed", target=target)
    await services.audit_log.append_in(connection, [made])
    return made.id


async def _note_taken(
    services: Services,
    connection: AsyncConnection,
    tenant: TenantId,
    action: Literal["revoke-key", "disable-principal", "set-roles"],
    target: UUID,
    roles: tuple[RoleName, ...] = (),
) -> None:
    """Write an access that is taken away on the audit log and, last before the commit, on the ledger of tombstones."""
    made = await _note(services, connection, tenant, action, target)
    await note_access(services, tenant, AccessLine(made, action, target, roles))
