"""Tenants, apps and their keys, and policies: the operations of the operator at the command line.

They ask for no permission, because the operator can read the root key. All are recorded in the audit log. A removed
access is written to the restore ledger too, last before the commit, because the ledger is no part of the transaction: a
line too many only repeats a removal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vault.access.authorization import audit_entry
from vault.access.callers import operator_caller
from vault.catalogue.toml_document import did_you_mean
from vault.errors import Fault, InvalidInput, NotFound
from vault.ids import RoleName
from vault.subjects.index_builds import FOLLOWED, begin_builds, index_name, plan_builds

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
    """Create a tenant with its own keys and its first policies.

    Raises:
        InvalidInput: the name is no slug.
        Conflict: the tenant exists already.
    """
    await services.keyring.create_tenant(tenant)
    await services.audit_log.append(
        audit_entry(services, operator_caller(tenant), action="add-tenant", decision="allowed")
    )
    await apply_policies(services, tenant, policy_set)


async def apply_policies(services: Services, tenant: TenantId, policy_set: PolicySet) -> bool:
    """Put policies into force for a tenant; every node follows within seconds.

    Returns:
        whether anything changed.
    """
    caller = operator_caller(tenant)
    async with services.data.transaction() as connection:
        applied = await services.policies.record(connection, tenant, policy_set, caller.name)
        if applied.changed:
            entry = audit_entry(
                services, caller, action="apply-policies", decision="allowed", policy=policy_set.version
            )
            await services.audit_log.append_in(connection, [entry])
            before = None if applied.before is None else applied.before.catalogue
            await plan_builds(connection, tenant, before, policy_set.catalogue, services.clock.now())
    await services.policies.put_in_force(tenant, applied, policy_set)
    return applied.changed


async def rebuild_indexes(services: Services, tenant: TenantId, name: str) -> list[str]:
    """Begin to build all indexes of a field again; returns their names.

    Raises:
        NotFound: the catalogue has no such field.
        InvalidInput: the field has no index.
    """
    policies = services.policies.active(tenant)
    catalogue = policies.policy_set.catalogue
    if name not in catalogue:
        raise NotFound("the catalogue declares no such field", hint="`cdv policy indexes` lists those with an index")
    field = catalogue.field(name)
    names = [index_name(field, index.kind) for index in field.indexes]
    if not names:
        raise InvalidInput("the field has no index", hint="`cdv policy indexes` lists those that have one")
    now = services.clock.now()
    async with services.data.transaction() as connection:
        # The policies were not changed just now, so that every node follows them already.
        await begin_builds(connection, tenant, names, now - FOLLOWED)
        entry = audit_entry(
            services,
            operator_caller(tenant),
            action="apply-policies",
            decision="allowed",
            code="rebuild-index",
            policy=policies.version,
        )
        await services.audit_log.append_in(connection, [entry])
    return names


async def add_app(
    services: Services, tenant: TenantId, name: str, roles: Iterable[str], *, expires_at: datetime | None = None
) -> tuple[Principal, IssuedKey]:
    """Register an app with its first key.

    Raises:
        InvalidInput: the name or the date is invalid, or the policies have no such role.
        Conflict: the app exists already.
    """
    roles = _known_roles(services, tenant, roles)
    async with services.data.transaction() as connection:
        principal = await services.principals.add_app(connection, tenant, name, roles)
        issued = await services.principals.issue_key(connection, tenant, principal.id, expires_at=expires_at)
        await _record(services, connection, tenant, "add-principal", principal.id)
        await _record(services, connection, tenant, "issue-key", issued.id)
    return principal, issued


async def issue_key(
    services: Services, tenant: TenantId, name: str, *, expires_at: datetime | None = None
) -> IssuedKey:
    """Issue one more key to an app, so that it can change keys without an interruption.

    Raises:
        NotFound: there is no such app.
    """
    async with services.data.transaction() as connection:
        principal = await services.principals.find(connection, tenant, name)
        issued = await services.principals.issue_key(connection, tenant, principal.id, expires_at=expires_at)
        await _record(services, connection, tenant, "issue-key", issued.id)
    return issued


async def revoke_key(services: Services, tenant: TenantId, key: KeyId) -> None:
    """Revoke a key; nodes may accept it for the few seconds that they cache verified keys.

    Raises:
        NotFound: there is no such key.
        Unavailable: the restore ledger does not answer; nothing has changed.
    """
    async with services.data.transaction() as connection:
        revoked = await services.principals.revoke_key(connection, tenant, key)
        entry = await _record(services, connection, tenant, "revoke-key", key)
        await _add_line(services, tenant, entry, "revoke-key", key)
    await services.principals.settle(tenant, revoked.version)


async def set_roles(services: Services, tenant: TenantId, name: str, roles: Iterable[str]) -> None:
    """Replace the roles of an app.

    Raises:
        NotFound: there is no such app.
        InvalidInput: the policies have no such role.
        Unavailable: a role is removed, and the restore ledger does not answer; nothing has changed.
    """
    given = _known_roles(services, tenant, roles)
    async with services.data.transaction() as connection:
        principal = await services.principals.find(connection, tenant, name)
        version = await services.principals.set_roles(connection, tenant, principal.id, given)
        removed = tuple(role for role in principal.roles if role not in given)
        entry = await _record(services, connection, tenant, "set-roles", principal.id)
        if removed:
            await _add_line(services, tenant, entry, "set-roles", principal.id, removed)
    await services.principals.settle(tenant, version)


def _known_roles(services: Services, tenant: TenantId, roles: Iterable[str]) -> tuple[RoleName, ...]:
    """Check that the policies in force have the roles: a role with a typing error would grant nothing, in silence.

    Raises:
        InvalidInput: they do not have one.
    """
    given = tuple(map(RoleName, roles))
    known = services.policies.active(tenant).policy_set.rules.roles
    unknown = [position for position, role in enumerate(given) if role not in known]
    if unknown:
        faults = [
            Fault(f"/roles/{position}", "unknown-role", "No rule of policy.csv names it.") for position in unknown
        ]
        hint = did_you_mean(given[unknown[0]], known, f"the roles are {', '.join(sorted(known))}")
        raise InvalidInput("the policies have no such role", faults=faults, hint=hint)
    return given


async def disable_app(services: Services, tenant: TenantId, name: str) -> None:
    """Disable an app with all of its keys.

    Raises:
        NotFound: there is no such app.
        Unavailable: the restore ledger does not answer; nothing has changed.
    """
    async with services.data.transaction() as connection:
        principal = await services.principals.find(connection, tenant, name)
        version = await services.principals.disable(connection, tenant, principal.id)
        entry = await _record(services, connection, tenant, "disable-principal", principal.id)
        await _add_line(services, tenant, entry, "disable-principal", principal.id)
    await services.principals.settle(tenant, version)


async def _add_line(
    services: Services,
    tenant: TenantId,
    entry: UUID,
    action: Literal["revoke-key", "disable-principal", "set-roles"],
    target: UUID,
    roles: tuple[RoleName, ...] = (),
) -> None:
    """Write a removed access to the restore ledger."""
    from vault.lifecycle.restore_ledger import AccessLine, add_line  # loads the catalogue's model: not for a list

    await add_line(services, tenant, None, AccessLine(entry, action, target, roles))


async def _record(
    services: Services, connection: AsyncConnection, tenant: TenantId, action: Action, target: UUID
) -> UUID:
    entry = audit_entry(services, operator_caller(tenant), action=action, decision="allowed", target=target)
    await services.audit_log.append_in(connection, [entry])
    return entry.id
