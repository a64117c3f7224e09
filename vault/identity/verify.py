"""The ways to verify a request: a one-time code, an app that vouches, and evidence that staff note."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final
from uuid import UUID

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import record_failure
from vault.consent.validation import words_fault
from vault.contacts.changes import young_contacts
from vault.errors import Conflict, InvalidInput, VaultError
from vault.identity.codes import CodeRequest, code_invalid, issue, send_code_to, settle_used, spend, use
from vault.ids import SubjectId
from vault.requests.model import Level, Request, State, Verification, after
from vault.requests.store import find_request
from vault.requests.transaction import changing_request, no_request, require_own_or
from vault.requests.verification import start_approved, verify
from vault.views import Moment, View

if TYPE_CHECKING:
    from vault.audit.entry import Action
    from vault.context import Caller, Services
    from vault.requests.model import Move, Request

REQUESTS = "vault:requests"
VOIDS_CODES: Final[frozenset[Move]] = frozenset({"ask-identity", "reopen"})
"""Moves that make earlier codes void."""


class SentCode(View):
    """A one-time code was requested. Whether one was sent, only the person learns."""

    code_id: UUID
    expires_at: Moment


class VerifiedRequest(View):
    """A request after its verification."""

    id: UUID
    state: State
    due: date
    level: Level | None

    @classmethod
    def of(cls, request: Request) -> VerifiedRequest:
        """Return the view of a request that was just verified."""
        level = None if request.verification is None else request.verification.level
        return cls(id=request.id, state=request.state, due=request.due.on, level=level)


class NobodyToVerify(Conflict):
    """The claimed identity matches no one; only callers that may vouch or note evidence learn this."""

    code = "nobody-to-verify"

    def __init__(self) -> None:
        super().__init__(
            "the identity that this request claims matches no one person",
            hint="find the person, and submit the request again with their id",
        )


async def send_code(services: Services, caller: Caller, request_id: UUID) -> SentCode:
    """Send a one-time code to the person of a request, at a contact that the vault holds already.

    The result, and the steps before it, are the same if there is no such person.

    Raises:
        Denied: the caller may not submit requests.
        NotFound: there is no such request, or it is another app's.
        WrongState: the request can no longer be verified.
        MailNotConfigured: this vault sends no letters.
        TooMany: the limit of codes is reached.
    """
    request = await _submitted_by(services, caller, request_id, "send-code")
    tokens = await services.keyring.token_key(caller.tenant)
    pseudonym = None
    try:
        services.mail.require()
        after(request.state, "verify")
        await services.limits.take(caller.principal, "search", 1)
        async with services.data.transaction() as connection:
            pseudonym = await services.subjects.pseudonym_of(connection, caller.tenant, request.subject or request.id)
            claim = tokens.digest("identity-request", request.id.bytes)
            code, expires_at = await issue(services, connection, caller.tenant, claim, request.id)
            entry = audit_entry(
                services,
                caller,
                action="send-code",
                decision="allowed",
                subjects=() if pseudonym is None else (pseudonym,),
                target=request.id,
            )
            await services.audit_log.append_in(connection, [entry])
    except VaultError as error:
        subjects = () if pseudonym is None else (pseudonym,)
        await record_failure(services, caller, "send-code", error, target=request.id, subjects=subjects)
        raise
    subject = None if request.subject is None else SubjectId(request.subject)
    services.mail.soon(send_code_to(services, CodeRequest(caller.tenant, code, request.language), subject))
    return SentCode(code_id=code, expires_at=expires_at)


async def verify_by_code(services: Services, caller: Caller, request_id: UUID, code_id: UUID, typed: str) -> Request:
    """Verify a request by the code that the person was sent.

    Raises:
        Denied: the caller may not submit requests.
        NotFound: there is no such request, or it is another app's; or the code is wrong.
        WrongState: the request can no longer be verified.
        TooMany: the caller has exceeded its rate.
    """
    request = await _submitted_by(services, caller, request_id, "verify-identity")
    try:
        after(request.state, "verify")
        await services.limits.take(caller.principal, "search", 1)
        spent = await spend(services, [caller.tenant], code_id, typed, request.id)
        if spent is None or spent.subject != request.subject:
            raise code_invalid()
    except VaultError as error:
        # The entry names the person for whom a wrong code was tried.
        async with services.data.reading() as connection:
            pseudonym = await services.subjects.pseudonym_of(connection, caller.tenant, request.subject)
        subjects = () if pseudonym is None else (pseudonym,)
        await record_failure(services, caller, "verify-identity", error, target=request.id, subjects=subjects)
        raise
    async with changing_request(services, caller, request_id, action="verify-identity") as change:
        if change.request.subject != spent.subject or change.pseudonym is None:  # erased or merged since
            raise code_invalid()
        if any(event.move in VOIDS_CODES and event.at > spent.asked_at for event in change.history):
            raise code_invalid()
        young = await young_contacts(services, change.connection, caller.tenant, spent.subject)
        level: Level = "single" if spent.contact in young else "fresh"
        await verify(change, Verification("code", level, change.now, contact=spent.contact))
        # Last, for the global lock order request, person, code. If the code was used since, all is rolled back.
        if not await use(services, change.connection, spent):
            raise code_invalid()
    await settle_used(services, spent)
    await start_approved(services, caller.tenant, change.request)
    return change.request


async def vouch(
    services: Services, caller: Caller, request_id: UUID, level: Level, evidence: str | None = None
) -> Request:
    """Verify a request because the person is signed in at the calling app.

    Args:
        request_id: a request that the app submitted itself.
        level: ``fresh`` if the person signed in there within the last minutes.
        evidence: how the app knows, in one line; sealed.

    Raises:
        Denied: the caller may not vouch.
        NotFound: there is no such request, or it is another app's.
        NobodyToVerify: the claimed identity matches no one.
        WrongState, NotFreshEnough: as with :func:`vault.requests.verification.verify`.
    """
    await require_permission(services, caller, REQUESTS, "vouch", audit_action="verify-identity")
    await require_own_or(services, caller, request_id, "read", audit_action="verify-identity")
    verification = Verification("vouched", level, services.clock.now(), by=caller.principal.id)
    return await _verify(services, caller, request_id, verification, evidence)


async def note_evidence(services: Services, caller: Caller, request_id: UUID, evidence: str) -> Request:
    """Verify a request with evidence that a member of staff has checked.

    Args:
        evidence: what was checked, in one line; sealed under the person's key.

    Raises:
        Denied: the caller may not decide requests.
        NotFound, NobodyToVerify, WrongState: as with :func:`vouch`.
    """
    await require_permission(services, caller, REQUESTS, "decide", audit_action="verify-identity")
    verification = Verification("staff", "fresh", services.clock.now(), by=caller.principal.id)
    return await _verify(services, caller, request_id, verification, evidence)


async def _verify(
    services: Services, caller: Caller, request_id: UUID, verification: Verification, evidence: str | None
) -> Request:
    is_vouched = verification.how == "vouched"
    at = "/vouch/evidence" if is_vouched else "/evidence"
    fault = words_fault(evidence, at=at, code="invalid-evidence")
    if fault is not None:
        wrong = InvalidInput("the evidence is invalid", faults=[fault], code=fault.code)
        await record_failure(services, caller, "verify-identity", wrong)
        raise wrong
    async with changing_request(services, caller, request_id, action="verify-identity") as change:
        if is_vouched and change.request.recorder != caller.principal.id:
            raise no_request()  # even an app that may read all requests knows only who is signed in with itself
        if change.request.subject is None or change.keys is None or change.pseudonym is None:
            raise NobodyToVerify
        await verify(change, verification, note=evidence)
    await start_approved(services, caller.tenant, change.request)
    return change.request


async def _submitted_by(services: Services, caller: Caller, request_id: UUID, action: Action) -> Request:
    """Fetch a request that the caller submitted or may read."""
    await require_permission(services, caller, REQUESTS, "submit", audit_action=action)
    await require_own_or(services, caller, request_id, "read", audit_action=action)
    async with services.data.reading() as connection:
        stored = await find_request(connection, await services.keyring.row_keys(caller.tenant), request_id)
    if stored is not None:
        return stored.request
    error = no_request()
    await record_failure(services, caller, action, error, target=request_id)
    raise error
