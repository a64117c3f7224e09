"""Callers that are neither an app nor staff: the vault's jobs, data subjects, and the operator at the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from vault.context import Caller
from vault.ids import DEFAULT_TENANT, PrincipalId, RoleName
from vault.principals.principal import Principal

if TYPE_CHECKING:
    from vault.ids import TenantId


JOBS: Final = UUID("00000000-0000-7000-8000-000000000003")
"""The principal of jobs and of approvals by rule in the audit log."""
THE_PERSON: Final = UUID("00000000-0000-7000-8000-000000000004")
"""The principal of data subjects in the audit log; the pseudonym says who they are."""


def system_caller(tenant: TenantId, request_id: str = "job") -> Caller:
    """Return the caller of a job."""
    return Caller(Principal(PrincipalId(JOBS), tenant, "vault", "app", ()), request_id)


def data_subject_caller(tenant: TenantId, request_id: str) -> Caller:
    """Return the caller for a person's own data; it has no role."""
    return Caller(Principal(PrincipalId(THE_PERSON), tenant, "the-person", "app", ()), request_id)


OPERATOR = UUID("00000000-0000-7000-8000-000000000001")
"""The principal of the command line in the audit log."""


def operator_caller(tenant: TenantId = DEFAULT_TENANT) -> Caller:
    """Return the caller of the command line."""
    principal = Principal(PrincipalId(OPERATOR), tenant, "command-line", "staff", (RoleName("operator"),))
    return Caller(principal, "command-line")
