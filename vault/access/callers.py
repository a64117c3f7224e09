"""The callers that are neither an app nor staff: the vault's own jobs, and a person about their own data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from vault.context import Caller
from vault.ids import DEFAULT_TENANT, PrincipalId, RoleName
from vault.principals.principal import Principal

if TYPE_CHECKING:
    from vault.ids import TenantId


JOBS: Final = UUID("00000000-0000-7000-8000-000000000003")
"""Stands on the audit log for what the vault does by itself: the steps of jobs, and approvals by rule."""
THE_PERSON: Final = UUID("00000000-0000-7000-8000-000000000004")
"""Stands on the audit log for people who act for themselves; who they are, their pseudonym says."""


def system_caller(tenant: TenantId, request_id: str = "job") -> Caller:
    """Make the caller that a job is."""
    return Caller(Principal(PrincipalId(JOBS), tenant, "vault", "app", ()), request_id)


def data_subject_caller(tenant: TenantId, request_id: str) -> Caller:
    """Make the caller that a person is about their own data; has no right by any role."""
    return Caller(Principal(PrincipalId(THE_PERSON), tenant, "the-person", "app", ()), request_id)


OPERATOR = UUID("00000000-0000-7000-8000-000000000001")
"""Stands on the audit log for whoever works at the command line."""


def operator_caller(tenant: TenantId = DEFAULT_TENANT) -> Caller:
    """Make the caller that the command line is."""
    principal = Principal(PrincipalId(OPERATOR), tenant, "command-line", "staff", (RoleName("operator"),))
    return Caller(principal, "command-line")
