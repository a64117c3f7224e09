"""The beginning of an erasure, and what staff keep from it.

However many requests and jobs arrive at once, an erasure has one row. What staff keep because of open legal claims
(Art. 17(3)(e) GDPR) is stored in the request's details, sealed under the subject's key, for the reason is about the
subject. The fields and the day are in the certificate too.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError

from vault.access.authorization import audit_entry, require_permission, subject_not_found
from vault.access.callers import system_caller
from vault.access.recording import audited
from vault.catalogue.model import LegalClaim, UnknownName
from vault.consent.validation import words_fault
from vault.erasure.verdict import checked_scope
from vault.errors import Conflict, Fault, InvalidInput, Unavailable
from vault.ids import SubjectId, new_id
from vault.lifecycle import erasures as store
from vault.requests.kind import kind_of
from vault.requests.model import OPEN
from vault.requests.store import find_request, open_requests_of
from vault.requests.transaction import DETAILS, changing_request, no_request, request_aad
from vault.subjects.store import merged_into

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from vault.catalogue.model import Catalogue
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.requests.store import StoredRequest
    from vault.requests.transaction import RequestChange


SOON: Final = 1.0
"""Seconds until the next attempt of a request that waits for another erasure of the same subject."""
UNDER_WAY: Final = frozenset({"approved", "in_progress"})
"""States in which a request has a job."""
CLAIMS: Final = "claims"
"""The key in a request's details."""
MOST: Final = 50


async def begin_erasure(services: Services, tenant: TenantId, request: UUID) -> float | None:
    """Store the erasure that carries a request out, or join one with the same scope that is under way.

    Of two requests that arrive at once, one begins an erasure and the other joins it. A request with a wider scope than
    the erasure under way waits, and then begins its own.

    Returns:
        None once the request has its erasure; else the seconds until the next attempt.

    Raises:
        NotFound: there is no such subject.
        InvalidInput: the scope contains a name that the policies no longer contain.
    """
    try:
        async with changing_request(services, system_caller(tenant), request, action="erase") as change:
            return await _begin(change)
    except IntegrityError:  # another erasure of the same subject began at this moment
        return SOON


async def erasure_of(services: Services, tenant: TenantId, request: UUID) -> store.Erasure:
    """Return the erasure that carries a request out, in its present state.

    Raises:
        NotFound: there is no such request, or it has no erasure.
        Unavailable: the erasure was given up, and has yet to begin again.
    """
    async with services.data.reading() as connection:
        stored = await find_request(connection, await services.keyring.row_keys(tenant), request)
        if stored is None or stored.request.erasure is None:
            raise no_request()
        erasure = await store.find_erasure(connection, tenant, stored.request.erasure)
    if erasure is None:
        raise Unavailable("the erasure has not begun yet")
    return erasure


async def _begin(change: RequestChange) -> float | None:
    tenant, connection, request = change.caller.tenant, change.connection, change.request
    if request.erasure is not None and await _is_of_this_run(change, request.erasure):
        return None
    scope = checked_scope(change.services.policies.active(tenant).policy_set, request.scope)
    if request.subject is None:
        raise subject_not_found()
    # The subject may have been merged into another one since the request was made.
    subject = await merged_into(connection, tenant, SubjectId(request.subject)) or SubjectId(request.subject)
    row = await change.services.subjects.locked(connection, tenant, subject)
    if row is None:
        raise subject_not_found()
    earlier = await store.erasures_of(connection, tenant, subject)
    under_way = next((erasure for erasure in earlier if erasure.finished_at is None), None)
    if under_way is not None and under_way.facts.cause == store.RETENTION:
        return SOON  # a sweep erases what has ended, and not what was requested
    if under_way is not None and under_way.facts.scope != scope and not under_way.is_whole:
        # Waits and does not join: an erasure with a narrower scope would leave a part of what was asked for.
        if under_way.request is None or await _is_carried_out(change, subject, under_way):
            return SOON
        await _give_up(change, under_way)
        under_way = None
    whole = next((erasure for erasure in earlier if erasure.is_whole), None)
    # Erased as a whole already: the request gets the certificate of that erasure.
    joined = under_way or (whole if row.state == "erased" else None)
    if joined is None:
        joined = store.Erasure(
            id=new_id(), request=request.id, subject=subject, state="begun", started_at=change.now,
            changed_at=change.now, facts=store.Facts(scope=scope),
        )  # fmt: skip
        # A unique index stops a second one that begins at the same moment; its caller tries again.
        await store.add_erasure(connection, tenant, joined)
    change.request = replace(request, erasure=joined.id)
    return None


async def _is_of_this_run(change: RequestChange, erasure_id: UUID) -> bool:
    """Tell whether the request's erasure belongs to this run, and not to one before the request was reopened."""
    erasure = await store.find_erasure(change.connection, change.caller.tenant, erasure_id)
    if erasure is None or erasure.finished_at is None:
        return erasure is not None
    reopened = [event.at for event in change.history if event.move == "reopen"]
    return not reopened or erasure.started_at >= max(reopened)


async def _is_carried_out(change: RequestChange, subject: SubjectId, erasure: store.Erasure) -> bool:
    """Tell whether a request still carries an erasure out: it may have been returned to staff, or rejected."""
    keys = await change.services.keyring.row_keys(change.caller.tenant)
    requests = await open_requests_of(change.connection, keys, subject)
    return any(request.erasure == erasure.id and request.state in UNDER_WAY for request in requests)


async def _give_up(change: RequestChange, erasure: store.Erasure) -> None:
    """Drop an erasure in favour of another one of the same subject. Approved again, its request begins its own.

    Raises:
        Conflict: it has deleted data and is not proven yet; its request has to be approved again first.
    """
    if erasure.state != "begun":
        raise Conflict(
            "an earlier erasure of this person is not completed",
            code="request-under-way",
            hint="approve the request of the earlier one again",
        )
    await store.drop_erasure(change.connection, change.caller.tenant, erasure.id)


@audited("move-request")
async def keep_for_claims(services: Services, caller: Caller, request: UUID, claim: LegalClaim, reason: str) -> None:
    """Keep fields or whole collections from the erasure that a request asks for.

    Args:
        request: for erasure, open, and not being carried out.
        claim: what is kept: fields (``iban``, ``complaint.body``) and collections (``complaint.*``).
        reason: which claims; sealed.

    Raises:
        Denied: the caller may not decide requests.
        NotFound: there is no such request.
        InvalidInput: a name is unknown, the day is over, or the reason is missing.
        Conflict: the request is not for erasure, or it is too late.
    """
    await require_permission(services, caller, "vault:requests", "decide", audit_action="move-request")
    active = services.policies.active(caller.tenant)
    claim = _checked(active.policy_set.catalogue, claim, reason, services.clock.now().date())
    async with changing_request(services, caller, request) as change:
        # Once the job runs, the verdict may have been made without this claim.
        is_open = change.request.state in OPEN and change.request.state != "in_progress"
        if not kind_of(change).erases or not is_open or change.keys is None:
            raise Conflict("this request is not an erasure from which fields can still be kept", code="wrong-state")
        details = change.opened_details()
        claims = [*details.get(CLAIMS, []), {"names": claim.names, "until": claim.until, "reason": reason}]
        if len(claims) > MOST:
            raise Conflict(f"a request has at most {MOST} grounds of this kind", code="too-many-grounds")
        change.set_details({**details, CLAIMS: claims})
        entry = audit_entry(
            services,
            caller,
            action="move-request",
            decision="allowed",
            code="keep",
            subjects=() if change.pseudonym is None else (change.pseudonym,),
            target=request,
            policy=active.version,
        )
        await services.audit_log.append_in(change.connection, [entry])


def _checked(catalogue: Catalogue, claim: LegalClaim, reason: str, today: date) -> LegalClaim:
    """Return a claim with canonical names."""
    faults = []
    canonical = []
    for position, name in enumerate(claim.names):
        try:
            canonical.append(catalogue.canonical(name))
        except UnknownName:
            faults.append(Fault(f"/names/{position}", "unknown-field", "the catalogue does not declare this name"))
    if not claim.names or "*" in claim.names:
        faults.append(Fault("/names", "missing", "name the fields or collections that the claims concern"))
    if claim.until <= today:
        faults.append(Fault("/until", "invalid-value", "use a day in the future"))
    words = words_fault(reason, at="/reason", code="invalid-words")
    if words is not None:
        faults.append(words)
    if faults:
        raise InvalidInput("the legal-claims ground is invalid", faults=faults, code="invalid-grounds")
    return LegalClaim(tuple(canonical), claim.until)


def claims_in(keys: SubjectKeys | None, tenant: TenantId, stored: StoredRequest) -> list[LegalClaim]:
    """Read the claims in a request's details; there are none without details, or without keys to open them.

    Raises:
        CannotOpen: the details do not open, so that it is unknown what is to be kept.
    """
    subject = stored.request.subject
    if keys is None or stored.details is None or subject is None:
        return []
    aad = request_aad(tenant, subject, stored.request.id)
    details = msgspec.json.decode(keys.open(DETAILS, stored.details, aad))
    return [LegalClaim(tuple(claim["names"]), date.fromisoformat(claim["until"])) for claim in details.get(CLAIMS, ())]


def claims_of(
    tenant: TenantId, requests: Sequence[StoredRequest], erasure: store.Erasure, keys: SubjectKeys | None
) -> list[LegalClaim]:
    """Read the claims in all requests that an erasure carries out; raises what :func:`claims_in` raises."""
    erasures = {erasure.id, *erasure.facts.resumes}
    return [
        claim for stored in requests if stored.request.erasure in erasures for claim in claims_in(keys, tenant, stored)
    ]
