"""What an erasure would do, before anybody approves it: a verdict for every field, and nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND, entry
from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.erasure.claims import claims_in
from vault.erasure.scope import EVERYTHING, checked_scope
from vault.erasure.verdict import lines
from vault.erasure.view import decided
from vault.errors import NotFound
from vault.requests.store import find_request
from vault.requests.transaction import no_request
from vault.retention.store import NO_CLOCKS, clocks_in
from vault.subjects.erasing import person, records_of

if TYPE_CHECKING:
    from uuid import UUID

    from vault.catalogue.scope import Scope
    from vault.context import Caller, House
    from vault.erasure.verdict import Claim, Verdicts
    from vault.ids import SubjectId
    from vault.lifecycle.erasures import Line


class Preview(NamedTuple):
    """What would become of a person and of each field: the state after it, and one line for each verdict."""

    subject: UUID
    scope: Scope
    becomes: str
    lines: tuple[Line, ...]
    audit: UUID


@on_record("preview-erasure")
async def preview_erasure(
    house: House, caller: Caller, subject: SubjectId, scope: Scope = EVERYTHING, *, request: UUID | None = None
) -> Preview:
    """Tell what an erasure would take and what it would keep, and why. No value is opened.

    Args:
        house: the rooms.
        caller: who asks.
        subject: whom it is about.
        scope: what is to be erased; by default everything.
        request: the request whose scope counts instead, with what staff keep for legal claims.

    Raises:
        Denied: no role of the caller's may read requests.
        InvalidInput: the scope names what is not there.
        NotFound: there is no such person, or no longer, or no such request of theirs.
    """
    await require_right(house, caller, "vault:requests", "read", audited_as="preview-erasure")
    await house.limits.take(caller.principal, "read", 1)
    policy_set = house.policies.active(caller.tenant).policy_set
    claims: list[Claim] = []
    if request is not None:
        scope, claims = await _asked(house, caller, subject, request)
    scope = checked_scope(policy_set, scope)
    async with house.data.reading() as connection:
        row = await person(connection, caller.tenant, subject)
        records = [] if row is None else await records_of(connection, caller.tenant, subject)
        clocks = (await clocks_in(connection, caller.tenant, [subject])).get(subject, NO_CLOCKS)
    if row is None or row.state == "erased":
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    found = decided(policy_set, row, records, scope, claims, house.clock.now(), clocks)
    made = entry(
        house,
        caller,
        action="preview-erasure",
        decision="allowed",
        subjects=(row.pseudonym,),
        target=request,
        policy=policy_set.version,
    )
    await house.ledger.append(made)
    return Preview(subject, scope, _becomes(row.state, scope, found), lines(found), made.id)


async def _asked(house: House, caller: Caller, subject: SubjectId, request: UUID) -> tuple[Scope, list[Claim]]:
    """Read what a request asks to erase, and what staff keep from it."""
    async with house.data.reading() as connection:
        kept = await find_request(connection, caller.tenant, request)
    if kept is None or kept.request.subject != subject or kept.request.kind != "erasure":
        raise no_request()
    keys = (await house.keyring.subject_keys(caller.tenant, [subject])).get(subject)
    return kept.request.scope, claims_in(keys, caller.tenant, subject, request, kept.details)


def _becomes(state: str, scope: Scope, found: Verdicts) -> str:
    if scope != EVERYTHING:
        return state
    keeps = any(verdict for fields in found.values() for verdict in fields.values())
    return "retained" if keeps else "erased"
