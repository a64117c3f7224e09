"""Take a request in: for a person, by the person, or for somebody whom nobody may know.

This stands beside the packages of operations and not in one of them, because what a request says is checked by those
who will carry it out.

What a request to rectify, restrict, object or review says, checked against the catalogue when it comes in. Pure.

A rectification says one or more of these::

    {"changes": {"email": "new@example.org", "salutation": null}}
    {"records": [{"collection": "purchase", "id": "0199…", "fields": {"amount": "12.90"}}]}
    {"dispute": "I never lived there.", "fields": ["address"], "restrict": true}
    {"statement": "I go by my second name."}

All faults are told at once, and no value in them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args
from uuid import UUID

import msgspec

from vault.access.authorization import SUBJECT_NOT_FOUND, require_permission
from vault.access.callers import THE_PERSON
from vault.access.recording import audited
from vault.catalogue.consent import is_jurisdiction
from vault.catalogue.model import Scope, UnknownName
from vault.catalogue.notices import LANGUAGE
from vault.consent.restrictions import Ground
from vault.consent.validation import words_fault
from vault.errors import Denied, Fault, InvalidInput, NotFound
from vault.ids import SubjectId, is_slug, new_id
from vault.lifecycle.key_fence import current_keys
from vault.requests.deadlines import both_dues, default_jurisdiction
from vault.requests.execution import may_object_to
from vault.requests.model import Due, Request
from vault.requests.store import add_events, add_request, find_request, open_requests_of
from vault.requests.transaction import RequestChange, no_request
from vault.requests.verification import Who, find_person, start_approved, suffices, verify
from vault.subjects.changes import locked_subject
from vault.subjects.store import GONE, PROFILE, Wanted
from vault.subjects.validation import check_moment, fields_of, normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.catalogue.model import Catalogue
    from vault.context import Caller, Services
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Kind, Regime, Verification


MOST_DETAILS: Final = 64 * 1024
"""Bytes of JSON that a request may say."""
MOST_NAMES: Final = 100
"""Names of each sort in the scope of a request."""
LONGEST_WAY: Final = timedelta(days=60)
"""How long ago a request may have come in that is entered now, such as a letter."""
SKEW: Final = timedelta(seconds=60)


class Asked(NamedTuple):
    """What is asked for, as it came in.

    Attributes:
        jurisdiction: whose holidays count; none: what the policies say.
        received_at: when it reached the controller; none: now.
        follows: an earlier request of the same person that it takes up again.
    """

    kind: Kind
    regime: Regime = "gdpr"
    jurisdiction: str | None = None
    language: str | None = None
    channel: str | None = None
    scope: Scope = Scope()
    details: Mapping[str, Any] | None = None
    received_at: datetime | None = None
    follows: UUID | None = None


class Submitted(NamedTuple):
    """What became of a request; the same for somebody whom the vault knows and for somebody whom it does not.

    ``duplicate_of`` is told only to callers who named the person by id: to others it would tell that there is one.
    """

    id: UUID
    state: str
    due: Due
    internal_due: Due
    duplicate_of: UUID | None = None


@audited("submit-request")
async def submit_request(
    services: Services,
    caller: Caller,
    asked: Asked,
    *,
    subject: SubjectId | None = None,
    identity: Mapping[str, Any] | None = None,
    verification: Verification | None = None,
    on_commit: SaveResponse | None = None,
) -> Submitted:
    """Take a request in.

    An identity that leads to nobody is taken in as well, without its details, and expires by itself: the answer is the
    same. Two requests for the same thing are linked, and each is verified on its own.

    Args:
        caller: staff, an app, or the person in a session of their own.
        asked: what is asked for.
        subject: the person's id.
        identity: whom else the person claims to be, see :func:`vault.requests.verification.find_person`.
        verification: where the person is known already: from their session. A request that needs a fresher one stays
            ``received``.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        Denied: no role of the caller's may submit requests.
        InvalidInput: something does not have its form; all faults at once.
        NotFound: there is no such person, where the id was given; or no such earlier request.
        TooMany: the caller has looked for too many people.
    """
    if caller.principal.id != THE_PERSON:
        verification = None  # whoever vouches does so after this, and on record
        await require_permission(services, caller, "vault:requests", "submit", audit_action="submit-request")
    elif verification is None or subject is None:
        raise Denied("a person submits requests in a session of their own", code="not-granted")
    policy_set = services.policies.active(caller.tenant).policy_set
    _check(policy_set, asked, services.clock.now())
    asked = asked._replace(scope=_canonical(policy_set.catalogue, asked.scope))
    who = await _who(services, caller, subject, identity)
    # Whoever is not there is looked for all the same, under an id that is nobody's.
    whom = who.subject or SubjectId(new_id())
    keys = await services.keyring.subject_keys(caller.tenant, [whom])
    async with services.data.transaction() as connection:
        pseudonym = await _locked(connection, caller, whom)
        if pseudonym is None and subject is not None:
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        sealing = (
            None if pseudonym is None else (await current_keys(services, connection, caller.tenant, keys)).get(whom)
        )
        known = None if pseudonym is None else whom
        made = _request(policy_set, caller, asked, known, services.clock.now())
        request = await _linked(connection, caller, made, whom)
        if asked.follows is not None and request.follows is None and identity is None:
            raise no_request()
        change = RequestChange(services, caller, connection, request, None, [], pseudonym, sealing)
        change.receive(code="several-people" if who.several else None)
        if asked.details:
            change.set_details(dict(asked.details))
        if verification is not None and suffices(asked.kind, verification):
            await verify(services, change, verification)
        submitted = _answer(change.request, tell_duplicate=identity is None)
        await add_request(connection, caller.tenant, change.request, change.details, change.events[0])
        await add_events(connection, caller.tenant, request.id, change.events[1:])
        await services.audit_log.append_in(connection, change.entries("submit-request"))
        if on_commit is not None:
            await on_commit(connection, submitted)
    await _after(services, caller, change.request)
    return submitted


async def _locked(connection: AsyncConnection, caller: Caller, whom: SubjectId) -> UUID | None:
    """Lock a person's row and return their pseudonym; none of somebody who is not there, or no longer.

    Locked, so that two requests for the same thing see each other, and no erasure comes in between.
    """
    row = await locked_subject(connection, caller.tenant, whom)
    return None if row is None or row.state in GONE else row.pseudonym


async def _after(services: Services, caller: Caller, request: Request) -> None:
    """Begin what is approved, and let the person know that a request came in: if it was not theirs, they say so."""
    await start_approved(services, caller.tenant, request)
    if request.duplicate_of is None:
        await services.jobs.start("tell-received", caller.tenant, request.id, run=request.run)


async def _who(
    services: Services, caller: Caller, subject: SubjectId | None, identity: Mapping[str, Any] | None
) -> Who:
    if (subject is None) == (identity is None):
        fault = Fault("/subject", "invalid-identity", "name the person by `subject`, or else by `identity`")
        raise InvalidInput("say whose request it is", faults=[fault], code="invalid-identity")
    if identity is not None:
        await services.limits.take(caller.principal, "search", 1)
        return await find_person(services, caller.tenant, identity)
    assert subject is not None  # noqa: S101 - one of the two is there
    (found,) = await services.subjects.find(Wanted(caller.tenant, (subject,), profile=False))
    if found is None or found.state in GONE:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    return Who(subject)


def _request(policy_set: PolicySet, caller: Caller, asked: Asked, subject: SubjectId | None, now: datetime) -> Request:
    received = asked.received_at or now
    jurisdiction = asked.jurisdiction or default_jurisdiction(policy_set)
    legal, own = both_dues(policy_set, asked.regime, received, jurisdiction)
    return Request(
        id=new_id(),
        subject=subject,
        kind=asked.kind,
        state="received",
        regime=asked.regime,
        jurisdiction=jurisdiction,
        received_at=received,
        due=legal,
        internal_due=own,
        language=policy_set.requests.language(asked.language),
        recorder=caller.principal.id,
        channel=asked.channel,
        scope=asked.scope,
        follows=asked.follows,
    )


async def _linked(connection: AsyncConnection, caller: Caller, request: Request, whom: SubjectId) -> Request:
    """Link a request to an open one for the same thing, and to the one that it takes up if that is the same person's.

    A link leads from the later to the earlier one, and nothing is taken over: neither is verified by the other.
    """
    others = await open_requests_of(connection, caller.tenant, whom)
    same = [each.id for each in others if (each.kind, each.scope) == (request.kind, request.scope)]
    earlier = None if request.follows is None else await find_request(connection, caller.tenant, request.follows)
    is_theirs = earlier is not None and earlier.request.subject == whom
    return msgspec.structs.replace(
        request, duplicate_of=same[0] if same else None, follows=request.follows if is_theirs else None
    )


def _answer(request: Request, *, tell_duplicate: bool) -> Submitted:
    duplicate = request.duplicate_of if tell_duplicate else None
    return Submitted(request.id, request.state, request.due, request.internal_due, duplicate)


def _check(policy_set: PolicySet, asked: Asked, now: datetime) -> None:
    """Check everything that is said; whom it is about is none of it."""
    faults = _form_faults(asked) + _scope_faults(policy_set, asked.scope)
    if faults:
        raise InvalidInput("the request does not have its form", faults=faults, code=faults[0].code)
    check_moment(asked.received_at, at="/received_at")
    if asked.received_at is not None and not now - LONGEST_WAY <= asked.received_at <= now + SKEW:
        detail = f"a moment of the last {LONGEST_WAY.days} days"
        fault = Fault("/received_at", "out-of-range", detail)
        raise InvalidInput("the request came in at another time", faults=[fault], code="invalid-value")
    check_details(policy_set, asked.kind, asked.scope, asked.details or {})


def _form_faults(asked: Asked) -> list[Fault]:
    faults = []
    if asked.jurisdiction is not None and not is_jurisdiction(asked.jurisdiction):
        detail = "A country by ISO 3166-1, such as IE, or a part of one by ISO 3166-2, such as US-CA."
        faults.append(Fault("/jurisdiction", "invalid-jurisdiction", detail))
    if asked.language is not None and not LANGUAGE.fullmatch(asked.language):
        faults.append(Fault("/language", "unknown-language", "A language tag, such as en or de-AT."))
    if asked.channel is not None and not is_slug(asked.channel):
        faults.append(Fault("/channel", "invalid-channel", "1 to 64 of a-z, 0-9, - and _, such as web or phone."))
    faults += _details_faults(asked.details or {})
    return faults


def _details_faults(details: Mapping[str, Any]) -> list[Fault]:
    try:
        size = len(msgspec.json.encode(details))
    except (UnicodeEncodeError, RecursionError):
        return [Fault("/details", "bad-format", "JSON of whole characters: one is half of a pair, or it is too deep")]
    return [Fault("/details", "too-long", f"at most {MOST_DETAILS // 1024} KiB of JSON")] if size > MOST_DETAILS else []


def _scope_faults(policy_set: PolicySet, scope: Scope) -> list[Fault]:
    """Check the names in a scope. Faults give positions and no names, for those came from outside."""
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
        detail = f"the policies know no such name among their {part}"
        faults += [Fault(f"/scope/{part}/{i}", code, detail) for i, name in enumerate(names) if not is_known(name)]
    return faults


def _canonical(catalogue: Catalogue, scope: Scope) -> Scope:
    """Write a scope in the one form in which two of them can be compared: whole names, in order, each once."""
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


MOST_RECORDS: Final = 100
"""Records that one request corrects."""
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "rectification": frozenset({"changes", "records", "dispute", "fields", "restrict", "statement", "reason"}),
    # What staff keep from an erasure stands in its details too: that is for them to say, and for nobody who asks.
    "erasure": frozenset({"statement", "reason"}),
    "restriction": frozenset({"ground", "reason"}),
    "objection": frozenset({"reason"}),
    "withdrawal": frozenset({"reason"}),
    "review": frozenset({"statement", "reason"}),
}
"""What each kind of request may say; of the other kinds there is nothing to check here."""


class Correction(NamedTuple):
    """What is to be corrected in one record: a merge patch, and where it stood in the request."""

    collection: str
    record: UUID | None
    patch: Mapping[str, Any]
    at: str


def check_details(policy_set: PolicySet, kind: str, scope: Scope, details: Mapping[str, Any]) -> None:
    """Check what came in with a request, before it is kept.

    Args:
        policy_set: in force.
        kind: of the request; kinds that say nothing of their own pass.
        scope: of the request.
        details: what came in.

    Raises:
        InvalidInput: with a fault for everything that cannot be carried out as it stands.
    """
    if kind not in _KEYS:
        return
    faults = [
        Fault("/details", "unknown-field", f"key {position} says nothing that a request of this kind can say")
        for position, name in enumerate(details, 1)
        if name not in _KEYS[kind]
    ]
    for name in ("reason", "statement", "dispute"):
        faults += _word_faults(details.get(name), at=f"/details/{name}")
    if kind == "rectification":
        faults += _rectification_faults(policy_set.catalogue, details)
    elif kind == "restriction" and details.get("ground") not in get_args(Ground):
        detail = f"One of {', '.join(get_args(Ground))} (Art. 18(1)(a) to (d))."
        faults.append(Fault("/details/ground", "unknown-code", detail))
    elif kind == "objection":
        faults += _objection_faults(policy_set, scope)
    elif kind == "withdrawal":
        faults += _withdrawal_faults(policy_set, scope)
    if faults:
        raise InvalidInput("the request cannot be carried out as it stands", faults=faults, code="invalid-details")


def corrections_of(details: Mapping[str, Any]) -> list[Correction]:
    """List what is to be corrected, record by record: the profile's first, then in the order of the request."""
    found = []
    if details.get("changes"):
        found.append(Correction(PROFILE, None, details["changes"], "/details/changes"))
    for position, each in enumerate(details.get("records") or ()):
        at = f"/details/records/{position}/fields"
        found.append(Correction(each["collection"], UUID(each["id"]), each["fields"], at))
    return found


def disputed_fields(catalogue: Catalogue, names: Iterable[Any]) -> list[str]:
    """Name the fields that a dispute is about, each within the profile and once.

    Raises:
        InvalidInput: one of them is no field of the profile.
    """
    profile = catalogue.collections[PROFILE].fields
    short = [name.removeprefix(f"{PROFILE}.") if isinstance(name, str) else "" for name in names]
    wrong = [position for position, name in enumerate(short, 1) if name not in profile]
    if wrong or not short:
        detail = f"name {wrong[0]} is no field of the profile" if wrong else "name at least one field of the profile"
        raise InvalidInput(
            "a dispute is about fields of the profile",
            faults=[Fault("/fields", "unknown-field", detail)],
            code="unknown-field",
        )
    return list(dict.fromkeys(short))


def _rectification_faults(catalogue: Catalogue, details: Mapping[str, Any]) -> list[Fault]:
    if not any(details.get(name) for name in ("changes", "records", "dispute", "statement")):
        detail = "Say what is to be corrected (`changes`, `records`), or what is wrong (`dispute`, `statement`)."
        return [Fault("/details", "missing", detail)]
    faults = _shape_faults(details)
    if faults:
        return faults
    for each in corrections_of(details):
        faults += _correction_faults(catalogue, each)
    if details.get("dispute"):
        try:
            disputed_fields(catalogue, details.get("fields") or ())
        except InvalidInput as error:
            faults += [Fault(f"/details{fault.at}", fault.code, fault.detail) for fault in error.faults]
    return faults


def _shape_faults(details: Mapping[str, Any]) -> list[Fault]:
    """Check the outer form, so that the rest may rely on it."""
    faults = []
    if not isinstance(details.get("changes") or {}, dict):
        faults.append(Fault("/details/changes", "wrong-type", "an object of fields of the profile"))
    if not isinstance(details.get("fields") or [], list):
        faults.append(Fault("/details/fields", "wrong-type", "a list of names of fields"))
    if not isinstance(details.get("restrict") or False, bool):
        faults.append(Fault("/details/restrict", "wrong-type", "true or false"))
    records = details.get("records") or []
    if not isinstance(records, list) or len(records) > MOST_RECORDS:
        return [*faults, Fault("/details/records", "wrong-type", f"a list of at most {MOST_RECORDS} records")]
    return faults + [
        Fault(f"/details/records/{position}", "wrong-type", "an object with `collection`, `id` and `fields`")
        for position, each in enumerate(records)
        if not _is_record(each)
    ]


def _is_record(given: Any) -> bool:
    return (
        isinstance(given, dict)
        and given.keys() == {"collection", "id", "fields"}
        and isinstance(given["collection"], str)
        and isinstance(given["fields"], dict)
        and _is_id(given["id"])
    )


def _is_id(given: Any) -> bool:
    try:
        return isinstance(given, str) and str(UUID(given)) == given
    except ValueError:
        return False


def _correction_faults(catalogue: Catalogue, correction: Correction) -> list[Fault]:
    """Check one correction as far as the catalogue tells; whether there is such a record shows when it is made."""
    known = catalogue.collections.get(correction.collection)
    if known is None or known.many is (correction.record is None):
        at = correction.at.removesuffix("/fields") + "/collection"
        return [Fault(at, "unknown-collection", "The catalogue declares no such collection of records.")]
    try:
        fields = fields_of(catalogue, correction.collection, correction.patch, at=correction.at)
        given = {name: value for name, value in correction.patch.items() if not _is_partial(value)}
        normalised(fields, given, at=correction.at)
    except InvalidInput as error:
        return list(error.faults)
    return []


def _is_partial(value: Any) -> bool:
    """Tell whether a value only becomes whole with the one that is there: nothing, or a patch of an object."""
    return value is None or isinstance(value, dict)


def _word_faults(words: Any, *, at: str) -> list[Fault]:
    if words is not None and not isinstance(words, str):
        return [Fault(at, "wrong-type", "words, in one line")]
    fault = words_fault(words, at=at, code="invalid-words")
    return [] if fault is None else [fault]


def _objection_faults(policy_set: PolicySet, scope: Scope) -> list[Fault]:
    allowed = may_object_to(policy_set, scope)
    faults = _purpose_faults(policy_set, scope)
    if not faults and (not allowed or any(name not in allowed for name in scope.purposes)):
        detail = "There is no right to object to what rests on this ground (Art. 21); a consent can be withdrawn."
        faults.append(Fault("/scope/purposes", "no-right-to-object", detail))
    return faults


def _withdrawal_faults(policy_set: PolicySet, scope: Scope) -> list[Fault]:
    faults = _purpose_faults(policy_set, scope)
    if not faults and any(not policy_set.purposes[name].rests_on_consent for name in scope.purposes):
        detail = "This purpose does not rest on consent, so there is none to take back."
        faults.append(Fault("/scope/purposes", "purpose-without-consent", detail))
    return faults


def _purpose_faults(policy_set: PolicySet, scope: Scope) -> list[Fault]:
    if all(name in policy_set.purposes for name in scope.purposes):
        return []
    return [Fault("/scope/purposes", "unknown-purpose", "There is no such purpose; GET /v1/purposes lists them.")]
