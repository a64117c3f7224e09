"""Definitions carried out of vault.governance.tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from vault.context import Caller
from vault.ids import DEFAULT_TENANT, PrincipalId, RoleName
from vault.principals.principal import Principal

if TYPE_CHECKING:
    from vault.ids import TenantId


OPERATOR = UUID("00000000-0000-7000-8000-000000000001")
"""Stands on the audit log for whoever works at the command line."""


def at_the_console(tenant: TenantId = DEFAULT_TENANT) -> Caller:
    """Make the caller that the command line is."""
    principal = Principal(PrincipalId(OPERATOR), tenant, "command-line", "staff", (RoleName("operator"),))
    return Caller(principal, "command-line")
