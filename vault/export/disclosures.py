"""Disclosures of a subject's data, and the entries that were merged into it.

The disclosures say who received what, when and for which purpose, from the audit log (Art. 15(1)(c) GDPR).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select

from vault.access.callers import JOBS, OPERATOR
from vault.clock import rfc3339
from vault.export.schema import Access, Alias, RecipientSummary
from vault.ids import THE_PERSON
from vault.subjects.tables import SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from vault.audit.entry import Disclosure
    from vault.context import Services
    from vault.ids import Pseudonym, SubjectId, TenantId


async def aliases(services: Services, tenant: TenantId, subject: SubjectId) -> tuple[Alias, ...]:
    """List the ids of the entries that were merged into this subject."""
    statement = (
        select(SUBJECT_ALIAS.c.alias_id, SUBJECT_ALIAS.c.created_at)
        .where(SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id == subject)
        .order_by(SUBJECT_ALIAS.c.created_at)
    )
    async with services.data.reading() as connection:
        rows = (await connection.execute(statement)).all()
    return tuple(Alias(id=str(row.alias_id), merged_at=rfc3339(row.created_at)) for row in rows)


async def merged_pseudonyms(services: Services, tenant: TenantId, subject: SubjectId) -> tuple[Pseudonym, ...]:
    """List the pseudonyms, in the audit log, of the entries that were merged into this subject."""
    statement = (
        select(SUBJECT.c.pseudonym)
        .join(SUBJECT_ALIAS, SUBJECT_ALIAS.c.alias_id == SUBJECT.c.id)
        .where(
            SUBJECT.c.tenant_id == tenant, SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id == subject
        )
        .order_by(SUBJECT.c.id)
    )
    async with services.data.reading() as connection:
        return tuple((await connection.execute(statement)).scalars())


STAFF: Final = "staff"
ISSUERS_IDS: Final = 8
"""The UUID version of staff who sign in with a token of the company's own issuer."""
_BUILT_IN: Final[Mapping[UUID, str]] = {OPERATOR: "command-line", JOBS: "vault", THE_PERSON: "yourself"}


class RecipientNames:
    """Names of recipients for a package: apps by their name, people at work as ``staff``.

    The recipients must be named (CJEU C-154/21); employees who act under the controller's authority are not recipients
    (C-579/21), and their names are their own personal data.
    """

    def __init__(self, kinds: Mapping[UUID, str]) -> None:
        self._kinds = kinds

    @classmethod
    async def load(cls, services: Services, tenant: TenantId) -> RecipientNames:
        """Fetch the registered principals."""
        async with services.data.reading() as connection:
            principals = await services.principals.list_principals(connection, tenant)
        return cls({principal.id: principal.kind for principal in principals})

    def name_and_kind(self, principal: UUID | None, name: str) -> tuple[str, str]:
        """Return a recipient's name and kind, from its id and its name in the audit log."""
        if principal is None:
            return name or "unknown", "app"
        if principal in _BUILT_IN:
            return _BUILT_IN[principal], "vault"
        kind = self._kinds.get(principal, STAFF if principal.version == ISSUERS_IDS else "app")
        return (STAFF, STAFF) if kind == STAFF else (name or "unknown", "app")


@dataclass(slots=True)
class _Sum:
    times: int = 0
    first: str = ""
    last: str = ""
    fields: set[str] = field(default_factory=set)

    def add(self, access: Access) -> None:
        self.times += 1
        self.first = min(self.first or access.at, access.at)
        self.last = max(self.last, access.at)
        self.fields.update(access.fields)


async def accesses(
    services: Services, tenant: TenantId, pseudonyms: Sequence[Pseudonym], names: RecipientNames
) -> AsyncIterator[Access]:
    """Iterate over the disclosures of a subject's data, oldest first.

    A subject into whom others were merged has several pseudonyms in the log; they are read one after the other.
    """
    for pseudonym in pseudonyms:
        async with services.data.reading() as connection:
            async for chunk in services.audit_log.disclosures(connection, tenant, pseudonym):
                for disclosure in chunk:
                    yield _access(disclosure, names)


def _access(disclosure: Disclosure, names: RecipientNames) -> Access:
    principal = None if disclosure.principal is None else UUID(disclosure.principal)
    recipient, kind = names.name_and_kind(principal, disclosure.principal_name)
    return Access(
        at=disclosure.at,
        recipient=recipient,
        kind=kind,
        action=disclosure.action,
        purpose=disclosure.purpose or None,
        fields=disclosure.fields or disclosure.matched,  # a search that matches a value discloses that value
    )


async def recipients(
    services: Services, tenant: TenantId, pseudonyms: Sequence[Pseudonym], names: RecipientNames
) -> tuple[tuple[RecipientSummary, ...], int]:
    """Sum up the disclosures by recipient and purpose, latest first; returns their total count as well.

    Only the sums are held in memory, so the length of the log does not matter.
    """
    sums: dict[tuple[str, str, str | None], _Sum] = {}
    times = 0
    async for access in accesses(services, tenant, pseudonyms, names):
        sums.setdefault((access.recipient, access.kind, access.purpose), _Sum()).add(access)
        times += 1
    summaries = [
        RecipientSummary(
            recipient=recipient,
            kind=kind,
            purpose=purpose,
            times=total.times,
            first=total.first,
            last=total.last,
            fields=tuple(sorted(total.fields)),
        )
        for (recipient, kind, purpose), total in sums.items()
    ]
    return tuple(sorted(summaries, key=lambda summary: summary.last, reverse=True)), times
