"""Who really received a person's data, when and for what: the audit log, read page by page (Art. 15(1)(c))."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

from vault.access.callers import JOBS, OPERATOR, THE_PERSON
from vault.export.schema import AccessTold, RecipientTold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from vault.audit.usage import Disclosure
    from vault.context import Services
    from vault.ids import Pseudonym, TenantId

STAFF: Final = "staff"
ISSUERS_IDS: Final = 8
"""The version of the UUIDs of people who sign in with a token of the company's own issuer."""
_OWN: Final[Mapping[UUID, str]] = {OPERATOR: "command-line", JOBS: "vault", THE_PERSON: "yourself"}


class Names:
    """What recipients are called. Apps by their name; people at work are told as staff, for the name is theirs.

    The Court asks for the recipients (C-154/21), and does not count employees under their controller's authority among
    them (C-579/21).
    """

    def __init__(self, kinds: Mapping[UUID, str]) -> None:
        self._kinds = kinds

    @classmethod
    async def registered(cls, services: Services, tenant: TenantId) -> Names:
        """Look up who is registered."""
        async with services.data.reading() as connection:
            known = await services.principals.list_principals(connection, tenant)
        return cls({each.id: each.kind for each in known})

    def of(self, principal: UUID | None, name: str) -> tuple[str, str]:
        """Return a recipient's name and kind, from its id and its name on the audit log."""
        if principal is None:
            return name or "unknown", "app"
        if principal in _OWN:
            return _OWN[principal], "vault"
        kind = self._kinds.get(principal, STAFF if principal.version == ISSUERS_IDS else "app")
        return (STAFF, STAFF) if kind == STAFF else (name or "unknown", "app")


@dataclass(slots=True)
class _Sum:
    times: int = 0
    first: str = ""
    last: str = ""
    fields: set[str] = field(default_factory=set)

    def add(self, access: AccessTold) -> None:
        self.times += 1
        self.first = min(self.first or access.at, access.at)
        self.last = max(self.last, access.at)
        self.fields.update(access.fields)


async def accesses(
    services: Services, tenant: TenantId, pseudonyms: Sequence[Pseudonym], names: Names
) -> AsyncIterator[AccessTold]:
    """Go through every time that something of a person was shown to somebody, the oldest first.

    Whoever was merged from several entries has a pseudonym of each on the log; they are gone through one by one.
    """
    for pseudonym in pseudonyms:
        async with services.data.reading() as connection:
            async for chunk in services.audit_log.disclosures(connection, tenant, pseudonym):
                for each in chunk:
                    yield _told(each, names)


def _told(disclosure: Disclosure, names: Names) -> AccessTold:
    principal = None if disclosure.principal is None else UUID(disclosure.principal)
    recipient, kind = names.of(principal, disclosure.principal_name)
    return AccessTold(
        at=disclosure.at,
        recipient=recipient,
        kind=kind,
        action=disclosure.action,
        purpose=disclosure.purpose or None,
        fields=disclosure.fields or disclosure.matched,  # whoever searches by a value and finds, learns that it is so
    )


async def recipients(
    services: Services, tenant: TenantId, pseudonyms: Sequence[Pseudonym], names: Names
) -> tuple[tuple[RecipientTold, ...], int]:
    """Sum up who received data, by recipient and purpose, the latest first; and count how often it was in all.

    However long the log, only the sums are held.
    """
    sums: dict[tuple[str, str, str | None], _Sum] = {}
    times = 0
    async for access in accesses(services, tenant, pseudonyms, names):
        sums.setdefault((access.recipient, access.kind, access.purpose), _Sum()).add(access)
        times += 1
    told = [
        RecipientTold(
            recipient=recipient,
            kind=kind,
            purpose=purpose,
            times=each.times,
            first=each.first,
            last=each.last,
            fields=tuple(sorted(each.fields)),
        )
        for (recipient, kind, purpose), each in sums.items()
    ]
    return tuple(sorted(told, key=lambda each: each.last, reverse=True)), times
