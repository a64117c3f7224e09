"""The one place where a request becomes verified: by whichever way somebody has shown to be the person.

Nothing else leads from an unverified request to one that can be approved; whoever checks a code, a session, a vouching
app or a member of staff's evidence ends here.

Find the person whom somebody claims to be, without telling anybody whether there is one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from vault.access.callers import system_caller
from vault.catalogue.requests import DIRECT_MARKETING, Approve
from vault.catalogue.types import ValueProblem, decode, index_text
from vault.clock import to_microseconds
from vault.crypto.seal import record_aad
from vault.errors import Conflict, Fault, InvalidInput
from vault.lifecycle.key_fence import opened
from vault.requests.deadlines import with_clock
from vault.requests.execution import is_final, stop_at_once
from vault.requests.model import Approval
from vault.requests.transaction import changing_request
from vault.retention.filter import over_values
from vault.subjects.blind_index import sought
from vault.subjects.record_body import unpack
from vault.subjects.rows import EXTERNAL_IDS, checked_external_ids, external_digest
from vault.subjects.store import GONE, PROFILE, Wanted
from vault.subjects.validation import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from vault.catalogue.model import Catalogue, Field, Index
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import RecordId, SubjectId, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Kind, Request, Verification
    from vault.requests.transaction import RequestChange
    from vault.subjects.store import Row


NEEDS_FRESH: Final = frozenset({"erasure", "rectification"})
"""Kinds that cannot be undone, or that could take a person's account over: an hour-old session is not enough."""


class NotFreshEnough(Conflict):
    """This kind of request needs somebody to show that they are the person within the minutes before."""

    code = "fresh-identity-needed"


def suffices(kind: Kind, verification: Verification) -> bool:
    """Tell whether a verification is good enough for a kind of request."""
    return verification.level == "fresh" or kind not in NEEDS_FRESH


def approval_of(policy_set: PolicySet, request: Request) -> Approve:
    """Return who approves a request, as requests.toml says."""
    rules = policy_set.requests
    if request.kind == "objection" and is_final(policy_set, request.scope):
        return rules.approval(DIRECT_MARKETING)
    return rules.approval(request.kind)


async def verify(
    services: Services, change: RequestChange, verification: Verification, *, note: str | None = None
) -> None:
    """Make a request verified, and approve it where the rules say that this happens by itself.

    Call it inside of the transaction on the request; after that transaction, call :func:`start_approved`.

    Args:
        change: the open transaction on the request.
        verification: how somebody has shown to be the person.
        note: staff's evidence; sealed.

    Raises:
        NotFreshEnough: the kind of request needs a fresh verification.
        WrongState: the request is past that.
    """
    request = change.request
    if not suffices(request.kind, verification):
        raise NotFreshEnough(
            "this request needs a fresh proof of identity",
            hint="ask for a one-time code, or sign in anew and send the request at once",
        )
    before = request.state
    policy_set = services.policies.active(change.caller.tenant).policy_set
    change.move("verify", code=verification.how, note=note, verification=verification)
    _end_suspension(change)
    await stop_at_once(change)
    if before != "in_review" and approval_of(policy_set, change.request) == Approve.AUTOMATIC:
        approvals = (*change.request.approvals, Approval(change.now))
        change.move("approve", code="by-rule", by=system_caller(change.caller.tenant), approvals=approvals)


async def verify_request(
    services: Services, caller: Caller, request: UUID, verification: Verification, *, note: str | None = None
) -> Request:
    """Make a request verified in a transaction of its own, and start its job where it is approved by that.

    Raises:
        NotFound: there is no such request.
        NotFreshEnough, WrongState: as with :func:`verify`.
    """
    async with changing_request(services, caller, request, action="verify-identity") as change:
        await verify(services, change, verification, note=note)
    await start_approved(services, caller.tenant, change.request)
    return change.request


async def start_approved(services: Services, tenant: TenantId, request: Request) -> None:
    """Start the job of a request that is approved; nothing for others. Call it after the commit.

    A crash between the two loses nothing: jobs that are missing are found and started.
    """
    if request.state == "approved":
        await services.jobs.start(request.kind, tenant, request.id, run=request.run)


def _end_suspension(change: RequestChange) -> None:
    """Let the clock go on: the question about identity is answered."""
    spans = change.request.suspensions
    if not spans or spans[-1].until is not None:
        return
    ended = msgspec.structs.replace(spans[-1], until=change.now)
    change.request = with_clock(change, suspensions=(*spans[:-1], ended))


EMAIL = "email"
EXTERNAL_ID = "external_id"
MOST_CANDIDATES = 50
"""People looked at for one address; more share none."""


class Who(NamedTuple):
    """Whom a claim leads to: nobody, or one person; ``several`` where it leads to more, and so to nobody for sure."""

    subject: SubjectId | None
    several: bool = False


async def find_person(services: Services, tenant: TenantId, identity: Mapping[str, Any]) -> Who:
    """Find the person by an e-mail address that they gave before, or by other systems' ids.

    It is for the caller to make nothing of the answer that whoever claims could see.

    Args:
        tenant: whose customer.
        identity: ``{"email": "…"}`` or ``{"external_id": {"shop": "4711"}}``.

    Raises:
        InvalidInput: it is neither, or a value does not have its form; that is no secret.
    """
    if set(identity) == {EMAIL}:
        found = await _by_email(services, tenant, identity[EMAIL])
    elif set(identity) == {EXTERNAL_ID} and isinstance(identity[EXTERNAL_ID], dict) and identity[EXTERNAL_ID]:
        found = await _by_external(services, tenant, identity[EXTERNAL_ID])
    else:
        raise _no_identity("say who: an e-mail address, or ids in other systems", at="/identity")
    there = await services.subjects.find(Wanted(tenant, tuple(sorted(found)), profile=False)) if found else []
    people = [each.id for each in there if each is not None and each.state not in GONE]
    return Who(people[0]) if len(people) == 1 else Who(None, several=len(people) > 1)


async def _by_external(services: Services, tenant: TenantId, given: Mapping[str, Any]) -> set[SubjectId]:
    """All ids have to lead to one and the same person."""
    ids = checked_external_ids(given)
    keys = await services.keyring.index_keys(tenant)
    digests = [external_digest(keys, system, value) for system, value in ids.items()]
    found = await services.subjects.by_external(tenant, digests)
    over = await _without(services, tenant, set(found.values()), EXTERNAL_IDS)
    found = {digest: subject for digest, subject in found.items() if subject not in over}
    people = set(found.values())
    return people if len(people) > 1 or len(found) == len(set(digests)) else set()


async def _by_email(services: Services, tenant: TenantId, given: Any) -> set[SubjectId]:
    """Look in every field of the profile that holds an e-mail address and can be searched for a whole one."""
    people: set[SubjectId] = set()
    for field, index in _email_fields(services.policies.active(tenant).policy_set.catalogue):
        try:
            text = index_text(field.type, normalise(field, given))
        except ValueProblem:
            raise _no_identity("not an e-mail address", at="/identity/email") from None
        people |= await _holders(services, tenant, field, index, text)
    return people


async def _holders(services: Services, tenant: TenantId, field: Field, index: Index, text: str) -> set[SubjectId]:
    """Name the people who really have this address: a digest gives candidates, which are checked after unsealing."""
    digest = sought(await services.keyring.index_keys(tenant), field, index, text)
    at: list[tuple[SubjectId, RecordId]] = await services.subjects.by_digest(tenant, digest, most=MOST_CANDIDATES)
    if not at:
        return set()
    keys = await services.keyring.subject_keys(tenant, [subject for subject, _record in at])
    rows = await services.subjects.rows(tenant, at)
    now = to_microseconds(services.clock.now())
    found = set()
    for subject, record in at:
        row = rows.get((subject, record))
        if subject in keys and row is not None:
            has = partial(_has, tenant=tenant, subject=subject, row=row, field=field, text=text, now=now)
            if await opened(services, tenant, subject, keys[subject], has):
                found.add(subject)
    return found - await _without(services, tenant, found, field.name)


async def _without(services: Services, tenant: TenantId, people: set[SubjectId], name: str) -> set[SubjectId]:
    """Name those whose value of the profile is over: nobody is found by it, though no sweep may have come by."""
    there = await services.subjects.find(Wanted(tenant, tuple(sorted(people)), profile=True)) if people else []
    over = await over_values(services, tenant, there)
    return {subject for subject, names in over.items() if name in names}


def _has(keys: SubjectKeys, tenant: TenantId, subject: SubjectId, row: Row, field: Field, text: str, now: int) -> bool:
    stored = unpack(row.body).get(field.name)
    if stored is None or (stored.expires_at is not None and stored.expires_at <= now):
        return False
    value = decode(keys.open(field.name, stored.sealed, record_aad(tenant, subject, row.collection, row.id)))
    return index_text(field.type, value) == text


def _email_fields(catalogue: Catalogue) -> list[tuple[Field, Index]]:
    profile = catalogue.collections.get(PROFILE)
    return [
        (field, index)
        for field in (profile.fields.values() if profile else ())
        if field.type == EMAIL
        for index in field.indexes
        if index.kind == "exact"
    ]


def _no_identity(detail: str, *, at: str) -> InvalidInput:
    fault = Fault(at, "invalid-identity", "`email`, or `external_id` with at least one system's id")
    return InvalidInput(detail, faults=[fault], code="invalid-identity")
