"""Submit a request: for a person, by the person, or for a claimed identity that may match no one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from vault.access.authorization import require_permission, subject_not_found
from vault.access.callers import OPERATOR
from vault.access.recording import audited, begin_once
from vault.catalogue.company import is_jurisdiction
from vault.catalogue.model import Scope, UnknownName
from vault.catalogue.notices import LANGUAGE
from vault.errors import Denied, Fault, InvalidInput
from vault.ids import THE_PERSON, SubjectId, is_slug, new_id
from vault.lifecycle.key_fence import current_keys
from vault.moments import SKEW, check_moment
from vault.requests.deadlines import default_jurisdiction, due, internal_due
from vault.requests.model import Request
from vault.requests.store import add_request, find_request, open_requests_of
from vault.requests.transaction import RequestChange, no_request
from vault.requests.verification import Match, find_person, start_approved, verify
from vault.requests.views import SubmittedRequest
from vault.subjects.store import GONE, SubjectQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.catalogue.company import KindName
    from vault.catalogue.model import Catalogue
    from vault.context import Caller, Services
    from vault.crypto.row_mac import RowKeys
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Regime, Verification


MOST_DETAILS: Final = 64 * 1024
"""Bytes of JSON that the details of a request may have."""
MOST_NAMES: Final = 100
"""Names of each sort in the scope of a request."""
OLDEST: Final = timedelta(days=60)
"""How long ago a request that is submitted now, such as a letter, may have been received."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A request to submit.

    Attributes:
        subject: the person's id.
        identity: or else a claimed identity, see :func:`vault.requests.verification.find_person`.
        jurisdiction: whose public holidays count; None: as the policies say.
        received_at: when it reached the controller; None: now.
        follows: an earlier request of the same person that it continues.
    """

    kind: KindName
    subject: SubjectId | None = None
    identity: Mapping[str, object] | None = None
    regime: Regime = "gdpr"
    jurisdiction: str | None = None
    language: str | None = None
    channel: str | None = None
    scope: Scope = field(default_factory=Scope)
    details: Mapping[str, object] | None = None
    received_at: datetime | None = None
    follows: UUID | None = None


@audited("submit-request")
async def submit_request(
    services: Services,
    caller: Caller,
    submission: Submission,
    *,
    verification: Verification | None = None,
    on_commit: SaveResponse | None = None,
) -> SubmittedRequest:
    """Submit a request.

    If the identity matches no one, the request is stored as well, without its details, and expires later: the answer is
    the same. Two requests for the same thing are linked, and each is verified on its own.

    Args:
        caller: staff, an app, or the person in their own session.
        verification: of the person in their own session. If the kind of request needs a fresher one, the request stays
            ``received``.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        Denied: the caller may not submit requests.
        InvalidInput: a part of the submission is invalid; with all faults.
        NotFound: there is no subject of this id, or no such earlier request.
        TooMany: the caller has searched for too many people.
    """
    if caller.principal.id != THE_PERSON:
        # An app that vouches does so afterwards, in an operation that is recorded.
        verification = None
        await require_permission(services, caller, "vault:requests", "submit", audit_action="submit-request")
    elif verification is None or submission.subject is None:
        raise Denied("a person submits requests in a session of their own", code="not-granted")
    await begin_once(on_commit)
    kind = services.request_kinds[submission.kind]
    policy_set = services.policies.active(caller.tenant).policy_set
    _check(policy_set, submission, services.clock.now())
    kind.check_details(policy_set, submission.scope, submission.details or {})
    submission = replace(submission, scope=_canonical(policy_set.catalogue, submission.scope))
    match = await _match(services, caller, submission)
    # Where no one matches, the same steps run for an id that belongs to no one, so that timing reveals nothing.
    person = match.subject or SubjectId(new_id())
    keys = await services.keyring.subject_keys(caller.tenant, [person])
    row_keys = await services.keyring.row_keys(caller.tenant)
    async with services.data.transaction() as connection:
        # The lock makes two requests for the same thing see each other, and keeps an erasure from coming in between.
        row = await services.subjects.locked(connection, caller.tenant, person)
        pseudonym = None if row is None or row.state in GONE else row.pseudonym
        if pseudonym is None and submission.subject is not None:
            raise subject_not_found()
        found = None if pseudonym is None else person
        current = {} if found is None else await current_keys(services, connection, caller.tenant, keys)
        request = _request(policy_set, caller, submission, found, services.clock.now())
        request, shown = await _linked(connection, row_keys, caller, request, person)
        if submission.follows is not None and request.follows is None and submission.identity is None:
            raise no_request()
        change = RequestChange(services, caller, connection, request, None, [], pseudonym, current.get(person))
        change.receive(code=match.code)
        if submission.details:
            change.set_details(submission.details)
        if verification is not None and kind.accepts(verification):
            await verify(change, verification)
        # A duplicate would reveal that a claimed identity is known, so only who named the person by id learns of it.
        submitted = SubmittedRequest.of(change.request, duplicate_of=None if submission.identity else shown)
        await add_request(connection, row_keys, change.request, change.details, change.events)
        await services.audit_log.append_in(connection, change.entries("submit-request"))
        if on_commit is not None:
            await on_commit(connection, submitted)
    await start_approved(services, caller.tenant, change.request)
    is_first = change.request.duplicate_of is None or (caller.principal.id == THE_PERSON and shown is None)
    # A request that is approved at once is answered at once: the letter with the answer is the only one, for two could
    # arrive in the wrong order.
    if is_first and change.request.state != "approved":
        # The letter informs the person, who can object if the request is not theirs. It is sent once for the same
        # thing; what others asked in the person's name does not take away the letter about the person's own request.
        await services.jobs.start("tell-received", caller.tenant, request.id, run=change.request.run)
    return submitted


async def _match(services: Services, caller: Caller, submission: Submission) -> Match:
    subject, identity = submission.subject, submission.identity
    if identity is not None and subject is None:
        await services.limits.take(caller.principal, "search", 1)
        return await find_person(services, caller.tenant, identity)
    if subject is None or identity is not None:
        fault = Fault("/subject", "invalid-identity", "name the person by `subject`, or else by `identity`")
        raise InvalidInput("a request needs either `subject` or `identity`", faults=[fault], code="invalid-identity")
    (row,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    if row is None or row.state in GONE:
        raise subject_not_found()
    return Match(subject)


def _request(
    policy_set: PolicySet, caller: Caller, submission: Submission, subject: SubjectId | None, now: datetime
) -> Request:
    received = submission.received_at or now
    jurisdiction = submission.jurisdiction or default_jurisdiction(policy_set)
    legal = due(submission.regime, received, jurisdiction)
    return Request(
        id=new_id(),
        subject=subject,
        kind=submission.kind,
        state="received",
        regime=submission.regime,
        jurisdiction=jurisdiction,
        received_at=received,
        due=legal,
        internal_due=internal_due(policy_set, legal, received, jurisdiction),
        language=policy_set.requests.language(submission.language),
        recorder=caller.principal.id,
        channel=submission.channel,
        scope=submission.scope,
        follows=submission.follows,
    )


async def _linked(
    connection: AsyncConnection, keys: RowKeys, caller: Caller, request: Request, subject: SubjectId
) -> tuple[Request, UUID | None]:
    """Link a request to an open one for the same thing, and to the earlier one that it continues.

    An earlier request of another person is not linked. A link has no effect: neither request is verified by the other.

    Returns:
        the request, and which open one for the same thing the caller may learn of. The link itself is for staff.
    """
    others = await open_requests_of(connection, keys, subject)
    same = [other for other in others if (other.kind, other.scope) == (request.kind, request.scope)]
    earlier = None if request.follows is None else await find_request(connection, keys, request.follows)
    is_same_person = earlier is not None and earlier.request.subject == subject
    linked = msgspec.structs.replace(
        request, duplicate_of=same[0].id if same else None, follows=request.follows if is_same_person else None
    )
    return linked, next((other.id for other in same if _is_the_askers(caller, other)), None)


def _is_the_askers(caller: Caller, other: Request) -> bool:
    """Return whether an open request about the same person was made by the same asker.

    Anyone can ask in a person's name, by the form of the same app too: that a request is the person's own is known once
    it was verified, or if it was made in a session of theirs.
    """
    if caller.principal.id == OPERATOR:
        return True
    if caller.principal.id == THE_PERSON:
        return other.recorder == THE_PERSON or other.verification is not None
    return other.recorder == caller.principal.id and other.verification is not None


def _check(policy_set: PolicySet, submission: Submission, now: datetime) -> None:
    """Check everything except the person and the details."""
    faults = _form_faults(submission)
    try:
        if len(msgspec.json.encode(submission.details or {})) > MOST_DETAILS:
            faults.append(Fault("/details", "too-long", f"at most {MOST_DETAILS // 1024} KiB of JSON"))
    except (UnicodeEncodeError, RecursionError):
        detail = "not JSON: it has half of a surrogate pair, or is nested too deeply"
        faults.append(Fault("/details", "bad-format", detail))
    faults += _scope_faults(policy_set, submission.scope)
    if faults:
        raise InvalidInput("the request is invalid", faults=faults, code=faults[0].code)
    received_at = submission.received_at
    check_moment(received_at, at="/received_at", latest=now + SKEW)
    if received_at is not None and received_at < now - OLDEST:
        fault = Fault("/received_at", "out-of-range", f"a moment of the last {OLDEST.days} days")
        raise InvalidInput("`received_at` is out of range", faults=[fault], code="invalid-value")


def _form_faults(submission: Submission) -> list[Fault]:
    faults = []
    if submission.jurisdiction is not None and not is_jurisdiction(submission.jurisdiction):
        detail = "A country by ISO 3166-1, such as IE, or a part of one by ISO 3166-2, such as US-CA."
        faults.append(Fault("/jurisdiction", "invalid-jurisdiction", detail))
    if submission.language is not None and not LANGUAGE.fullmatch(submission.language):
        faults.append(Fault("/language", "unknown-language", "A language tag, such as en or de-AT."))
    if submission.channel is not None and not is_slug(submission.channel):
        faults.append(Fault("/channel", "invalid-channel", "1 to 64 of a-z, 0-9, - and _, such as web or phone."))
    return faults


def _scope_faults(policy_set: PolicySet, scope: Scope) -> list[Fault]:
    """Check the names in a scope. Faults name positions and never echo the names."""
    catalogue = policy_set.catalogue
    checks: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
        ("fields", "unknown-field", lambda name: _is_field(catalogue, name)),
        ("collections", "unknown-collection", lambda name: name in catalogue.collections),
        ("purposes", "unknown-purpose", lambda name: name in policy_set.purposes),
    )
    faults = []
    for part, code, is_known in checks:
        names = getattr(scope, part)
        if len(names) > MOST_NAMES:
            faults.append(Fault(f"/scope/{part}", "too-many", f"at most {MOST_NAMES} names"))
            continue
        detail = f"unknown name: the policies declare no such {part}"
        faults += [Fault(f"/scope/{part}/{i}", code, detail) for i, name in enumerate(names) if not is_known(name)]
    return faults


def _canonical(catalogue: Catalogue, scope: Scope) -> Scope:
    """Return a scope in canonical form, so that two can be compared: full names, sorted, without duplicates."""
    return Scope(
        tuple(sorted({catalogue.field(name).whole for name in scope.fields})),
        tuple(sorted(set(scope.collections))),
        tuple(sorted(set(scope.purposes))),
    )


def _is_field(catalogue: Catalogue, name: str) -> bool:
    try:
        catalogue.field(name)
    except UnknownName:
        return False
    return True
