"""Addresses that several people share: listed for staff, with how alike the people are, and settled."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited, begin_once
from vault.contacts.shared import open_shared, settle_shared
from vault.errors import NotFound
from vault.merging.duplicates import Comparison, compare
from vault.merging.views import LikelyPair, SettledContact, SharedContactList, SharedContactView

if TYPE_CHECKING:
    from uuid import UUID

    from vault.access.recording import SaveResponse
    from vault.contacts.shared import SharedContact
    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.merging.duplicates import KnownSubject

MOST_COMPARED: Final = 10
"""People of one address who are compared with each other."""


@audited("find-duplicates")
async def list_shared(services: Services, caller: Caller) -> SharedContactList:
    """List the addresses that several people share, the last claimed first, and how alike these people are.

    Raises:
        Denied: no role of the caller may merge.
        TooMany: the principal has searched too often.
    """
    await require_permission(services, caller, "vault:subjects", "merge", audit_action="find-duplicates")
    await services.limits.take(caller.principal, "search", 1)
    keys = await services.keyring.row_keys(caller.tenant)
    async with services.data.reading() as connection:
        found, more = await open_shared(connection, keys, caller.tenant)
    comparison = Comparison(services, caller)
    people = list(dict.fromkeys(person for shared in found for person in shared.people[:MOST_COMPARED]))
    known = await comparison.known_among(people) if people else {}
    views = [_view(shared, known) for shared in found]
    audit = await comparison.record(subject.stored for subject in known.values())
    return SharedContactList(results=views, more=more, audit=audit)


def _view(shared: SharedContact, known: dict[SubjectId, KnownSubject]) -> SharedContactView:
    compared = [person for person in shared.people[:MOST_COMPARED] if person in known]
    pairs = []
    for one, other in combinations(compared, 2):
        score, matched = compare(known[one].traits, known[other].traits)
        pairs.append(LikelyPair(one=one, other=other, score=score, matched=matched))
    pairs.sort(key=lambda pair: -pair.score)
    return SharedContactView(
        id=shared.id, since=shared.since, claimed_at=shared.claimed_at, people=list(shared.people), pairs=pairs
    )


@audited("settle-contact")
async def settle(
    services: Services, caller: Caller, shared: UUID, on_commit: SaveResponse | None = None
) -> SettledContact:
    """Record that the people who share an address are different ones. A further person reopens it.

    Raises:
        Denied: no role of the caller may merge.
        NotFound: no open shared contact has this id.
    """
    await require_permission(services, caller, "vault:subjects", "merge", audit_action="settle-contact")
    await begin_once(on_commit)
    keys = await services.keyring.row_keys(caller.tenant)
    async with services.data.transaction() as connection:
        people = await settle_shared(connection, keys, caller, shared, services.clock.now())
        if not people:
            raise NotFound(
                "there is no open shared contact of this id",
                code="contact-not-found",
                hint="GET /v1/shared-contacts lists them",
            )
        rows = await services.subjects.locked_many(connection, caller.tenant, people)
        entry = audit_entry(
            services,
            caller,
            action="settle-contact",
            decision="allowed",
            subjects=tuple(rows[person].pseudonym for person in sorted(rows)),
            target=shared,
        )
        await services.audit_log.append_in(connection, [entry])
        answer = SettledContact(id=shared, people=people, audit=entry.id)
        if on_commit is not None:
            await on_commit(connection, answer)
    return answer
