"""Verify that a request is the person's: the one place where a request becomes verified, by any of the ways.

Checks of a code, a session, a vouching app or staff's evidence all end in :func:`verify`. There is no other way from an
unverified request to one that can be approved.

:func:`find_person` finds the person of a claimed identity. The result must not be visible to the claimant.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from vault.access.callers import system_caller
from vault.catalogue.company import Approve
from vault.catalogue.types import ValueProblem, decode, index_text
from vault.clock import to_microseconds
from vault.contacts.changes import young_contacts
from vault.crypto.seal import record_aad
from vault.errors import Conflict, Fault, InvalidInput
from vault.ids import SubjectId
from vault.lifecycle.key_fence import open_fenced
from vault.requests.deadlines import with_deadlines
from vault.requests.kind import kind_of
from vault.requests.model import Approval
from vault.retention.filter import over_values
from vault.subjects.index_builds import index_name, unbuilt
from vault.subjects.rows import EXTERNAL_IDS, checked_external_ids, external_digest, search_digest, unpack
from vault.subjects.stand_in import stand_in
from vault.subjects.store import GONE, PROFILE, SubjectQuery
from vault.subjects.validation import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.model import Catalogue, Field, Index
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import RecordId, TenantId
    from vault.requests.model import Request, Verification
    from vault.requests.transaction import RequestChange


class NotFreshEnough(Conflict):
    """This kind of request needs a proof of identity that is at most minutes old."""

    code = "fresh-identity-needed"


async def verify(change: RequestChange, verification: Verification, *, note: str | None = None) -> None:
    """Make a request verified, stop at once what it stops, and approve it if the rules approve it automatically.

    Call it within the transaction on the request, and call :func:`start_approved` after it.

    Args:
        note: staff's evidence; sealed.

    Raises:
        NotFreshEnough: the kind of request needs a fresh verification.
        WrongState: the request can no longer be verified.
    """
    kind = kind_of(change)
    if not kind.accepts(verification):
        raise NotFreshEnough(
            "this request needs a fresh proof of identity",
            hint="ask for a one-time code, or sign in again and send the request at once",
        )
    before = change.request.state
    young = await _rests_on_young_contact(change, verification)
    verification = replace(verification, young_contact=young)
    change.move("verify", code=verification.how, note=note, verification=verification)
    spans = change.request.suspensions
    if spans and spans[-1].until is None:  # the question about identity is answered, and the period continues
        ended = replace(spans[-1], until=change.now)
        change.request = with_deadlines(change.policy_set, replace(change.request, suspensions=(*spans[:-1], ended)))
    if kind.stop_at_once is not None and not change.is_carried_out:
        await kind.stop_at_once(change)
    by_rule = kind.approval(change.policy_set, change.request.scope) == Approve.AUTOMATIC
    if before != "in_review" and by_rule and not young:
        approvals = (*change.request.approvals, Approval(change.now))
        change.move("approve", code="by-rule", by=system_caller(change.caller.tenant), approvals=approvals)


async def _rests_on_young_contact(change: RequestChange, verification: Verification) -> bool:
    """Return whether only an address proves the person, and one of theirs was changed lately: then staff decide."""
    if verification.how not in {"code", "session"} or change.request.subject is None:
        return False
    subject = SubjectId(change.request.subject)
    return bool(await young_contacts(change.services, change.connection, change.caller.tenant, subject))


async def start_approved(services: Services, tenant: TenantId, request: Request) -> None:
    """Start the job of a request if it is approved. Call it after the commit.

    A crash between the commit and this call loses nothing: missing jobs are found and started.
    """
    if request.state == "approved":
        await services.jobs.start(request.kind, tenant, request.id, run=request.run)


EMAIL = "email"
EXTERNAL_ID = "external_id"
MOST_CANDIDATES = 50
"""Subjects compared for one address. An address that leads to more proves no one."""


class Match(NamedTuple):
    """The person whom a claimed identity matches.

    ``several`` if it matches more than one, and so none for certain; ``wide`` if it leads to more than are compared.
    ``people`` has the ``several``, with the field that has the claimed address; None where external ids were claimed.
    """

    subject: SubjectId | None
    several: bool = False
    wide: bool = False
    people: Mapping[SubjectId, str | None] = MappingProxyType({})

    @property
    def code(self) -> str | None:
        """Return why no one was found although the identity leads to people, for staff; None if that is not so."""
        return "too-many-people" if self.wide else "several-people" if self.several else None


class _TooWide(Exception):
    """An identity leads to more subjects than are compared."""


async def find_person(services: Services, tenant: TenantId, identity: Mapping[str, object]) -> Match:
    """Find the person by an e-mail address, or by ids in other systems.

    The caller must not let the claimant see the result.

    Args:
        identity: ``{"email": "…"}`` or ``{"external_id": {"shop": "4711"}}``.

    Raises:
        InvalidInput: it is neither, or a value is invalid.
    """
    external_ids = identity.get(EXTERNAL_ID)
    candidates: Mapping[SubjectId, str | None]
    if set(identity) == {EMAIL}:
        try:
            candidates = await _by_email(services, tenant, identity[EMAIL])
        except _TooWide:
            return Match(None, wide=True)
    elif set(identity) == {EXTERNAL_ID} and isinstance(external_ids, dict) and external_ids:
        candidates = dict.fromkeys(await _by_external(services, tenant, external_ids))
    else:
        raise _no_identity("an identity is an e-mail address, or ids in other systems", at="/identity")
    query = SubjectQuery(tenant, tuple(sorted(candidates)), profile=False)
    rows = await services.subjects.find(query) if candidates else []
    people = {row.id: candidates[row.id] for row in rows if row is not None and row.state not in GONE}
    if len(people) == 1:
        return Match(next(iter(people)))
    return Match(None, several=True, people=people) if people else Match(None)


async def _by_external(services: Services, tenant: TenantId, given: Mapping[str, object]) -> set[SubjectId]:
    """Find subjects by external ids, all of which must belong to the same person."""
    ids = checked_external_ids(given)
    keys = await services.keyring.index_keys(tenant)
    digests = [external_digest(keys, system, value) for system, value in ids.items()]
    holders = await services.subjects.by_external(tenant, digests)
    expired = await _with_expired(services, tenant, set(holders.values()), EXTERNAL_IDS)
    holders = {digest: subject for digest, subject in holders.items() if subject not in expired}
    people = set(holders.values())
    return people if len(people) > 1 or len(holders) == len(set(digests)) else set()


async def _by_email(services: Services, tenant: TenantId, given: object) -> dict[SubjectId, str | None]:
    """Search every field of the profile that holds an e-mail address and has an exact index."""
    people: dict[SubjectId, str | None] = {}
    missing = await unbuilt(services.data, tenant)
    for field, index in _email_fields(services.policies.active(tenant).policy_set.catalogue):
        if index_name(field, index.kind) in missing:
            raise _TooWide  # a match among those to whom the index leads already would prove nothing about the others
        try:
            text = index_text(field.type, normalise(field, given))
        except ValueProblem:
            raise _no_identity("not an e-mail address", at="/identity/email") from None
        found = await _holders(services, tenant, field, index, text)
        people = {**dict.fromkeys(found, field.name), **people}
    return people


async def _holders(services: Services, tenant: TenantId, field: Field, index: Index, text: str) -> set[SubjectId]:
    """Find the subjects that have this address: the digest gives candidates, which are compared after unsealing."""
    digest = search_digest(await services.keyring.index_keys(tenant), field, index, text)
    at: list[tuple[SubjectId, RecordId]] = await services.subjects.by_digest(tenant, digest, most=MOST_CANDIDATES + 1)
    if len(at) > MOST_CANDIDATES:
        raise _TooWide  # a single match among the first would prove nothing about the others
    no_one = None if at else stand_in(tenant, field.name)
    if no_one is not None:  # the same work as for a person, so that it does not show whether there is one
        at = [(no_one.subject.id, no_one.record.id)]
    keys = await services.keyring.subject_keys(tenant, [subject for subject, _record in at])
    rows = await services.subjects.rows(tenant, at)
    if no_one is not None:
        keys, rows = {no_one.subject.id: no_one.keys}, {at[0]: no_one.record}
    now = to_microseconds(services.clock.now())
    holders = set()
    for subject, record in at:
        row = rows.get((subject, record))
        stored = None if row is None else unpack(row.body).get(field.name)
        # A short digest may lead to a record of another collection that has a field of the same name.
        if row is None or row.collection != PROFILE or stored is None or subject not in keys:
            continue
        if stored.expires_at is not None and stored.expires_at <= now:
            continue
        sealed, aad = stored.sealed, record_aad(tenant, subject, row.collection, row.id)

        def has_text(current: SubjectKeys, sealed: bytes = sealed, aad: bytes = aad) -> bool:
            return index_text(field.type, decode(current.open(field.name, sealed, aad))) == text

        if await open_fenced(services, tenant, subject, keys[subject], has_text):
            holders.add(subject)
    return holders - await _with_expired(services, tenant, holders, field.name)


async def _with_expired(services: Services, tenant: TenantId, people: set[SubjectId], name: str) -> set[SubjectId]:
    """Return the people whose value of a profile field is expired: it finds no one, even before the next sweep."""
    rows = await services.subjects.find(SubjectQuery(tenant, tuple(sorted(people)), profile=True)) if people else []
    expired = await over_values(services, tenant, rows)
    return {subject for subject, names in expired.items() if name in names}


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
