"""Accuracy of values: what was corrected and disputed, and how staff note and decide disputes and check values.

Disputes: Arts. 16 and 18(1)(a) GDPR; checks: Art. 5(1)(d). A check sets ``verified_at``, which packages show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from msgspec.structs import replace
from pydantic import Field

from vault.access.authorization import (
    audit_entry,
    decide,
    require_all,
    require_permission,
    subject_not_found,
)
from vault.access.callers import OPERATOR
from vault.access.paging import check_page
from vault.access.recording import WriteResult, audited, begin_once, writing
from vault.clock import to_microseconds
from vault.consent.legal_ground import locked_ground, require_ground
from vault.consent.restrictions import restrict_in
from vault.consent.transaction import changing, keys_of, not_found
from vault.consent.validation import require_words
from vault.errors import Conflict, Fault, InvalidInput, NotFound
from vault.ids import RecordId
from vault.lifecycle.key_fence import current_keys, open_fenced
from vault.rectification import store
from vault.rectification.correct import disputed_fields
from vault.subjects.rows import pack, unpack
from vault.subjects.store import GONE, PROFILE, SubjectQuery, change_record, locked_record
from vault.subjects.validation import fields_of
from vault.views import Moment, View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.access.recording import SaveResponse
    from vault.audit.entry import Entry
    from vault.consent.transaction import Change
    from vault.context import Caller, Services
    from vault.ids import SubjectId


class Disputes(View):
    """The dispute of each field, and whether the person's data is restricted."""

    disputes: Annotated[dict[str, UUID], Field(description="The id of the dispute, by field.")]
    state: Literal["active", "restricted"]


class DecidedDispute(View):
    """A dispute that was decided."""

    id: UUID
    state: store.State


class RectificationItem(View):
    """A value that was corrected or is disputed, or a statement of the person; without the values."""

    id: UUID
    request: UUID | None
    collection: str
    record: UUID
    field: Annotated[str, Field(description="`*` for a statement about no field in particular.")]
    state: store.State
    at: Moment
    closed_at: Annotated[Moment | None, Field(description="When a dispute was decided.")]
    statement: str | None
    reason: str | None


class RectificationPage(View):
    """Some rectifications, the oldest first."""

    results: list[RectificationItem]
    next: Annotated[str | None, Field(description="The `cursor` of the next page.")]
    audit: UUID


MOST = 200


@audited("read-requests")
async def list_rectifications(
    services: Services, caller: Caller, subject: SubjectId, *, cursor: str | None = None, limit: int = 50
) -> RectificationPage:
    """List a person's corrections, statements and disputes.

    Statements are opened for callers of the API that a rule permits to read requests. At the command line they
    stay sealed.

    Raises:
        InvalidInput: the limit is out of 1 to 200, or the cursor is invalid.
        Denied: the caller may not read requests.
        NotFound: there is no such subject.
    """
    try:
        after = None if cursor is None else UUID(hex=cursor)
    except ValueError:
        fault = Fault("/cursor", "invalid-cursor", "Pass the previous page's `next` value unchanged.")
        raise InvalidInput("invalid cursor", faults=[fault], code="invalid-cursor") from None
    check_page(limit, MOST, "rectifications")
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    (person,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    if person is None or person.state in GONE:
        raise await not_found(services, caller, "read-requests", subject, person)
    async with services.data.reading() as connection:
        rows = await store.rectifications_of(connection, caller.tenant, subject, after=after, limit=limit + 1)
    results = await _opened(services, caller, subject, rows[:limit])
    entry = audit_entry(services, caller, action="read-requests", decision="allowed", subjects=(person.pseudonym,))
    await services.audit_log.append(entry)
    return RectificationPage(results=results, next=results[-1].id.hex if len(rows) > limit else None, audit=entry.id)


async def _opened(
    services: Services, caller: Caller, subject: SubjectId, rows: list[store.Rectification]
) -> list[RectificationItem]:
    """Return the views of rectifications. Only words are opened; former values stay sealed."""
    words: dict[UUID, dict[str, object]] = {}
    sealed = [row for row in rows if row.state != "corrected" and row.details is not None]
    if sealed and caller.principal.id != OPERATOR:
        words = await open_fenced(
            services,
            caller.tenant,
            subject,
            await keys_of(services, caller, subject),
            lambda current: {row.id: store.open_details(current, caller.tenant, subject, row) for row in sealed},
        )
    return [
        RectificationItem.from_object(
            row, statement=words.get(row.id, {}).get("statement"), reason=words.get(row.id, {}).get("reason")
        )
        for row in rows
    ]


Verdict = Literal["upheld", "refused"]


@audited("dispute")
async def dispute(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    *,
    fields: Sequence[str],
    statement: str,
    restrict: bool = False,
    on_commit: SaveResponse | None = None,
) -> Disputes:
    """Note that a person disputes the accuracy of values, as they said to staff.

    Args:
        fields: names of fields of the profile.
        statement: what the person says, in one line; sealed.
        restrict: whether the data is restricted until the dispute is decided (Art. 18(1)(a)).
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: an unknown field, or an invalid statement.
        NotFound: there is no such subject.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="dispute")
    await begin_once(on_commit)
    require_words(statement, at="/statement", code="invalid-words")
    names = disputed_fields(services.policies.active(caller.tenant).policy_set.catalogue, fields)
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "restrict", subject, silent=True) as change:
        keys = (await current_keys(services, change.connection, caller.tenant, {subject: keys}))[subject]
        sealer = store.Sealer(keys=keys, tenant=caller.tenant, subject=subject, at=change.now, by=caller.principal.id)
        rows = [sealer.statement("disputed", statement, name) for name in names]
        await store.add_rectifications(change.connection, caller.tenant, subject, rows)
        if restrict:
            await restrict_in(change, "accuracy", None)
        await services.audit_log.append_in(change.connection, [_entry(change, names, rows[0].id)])
        disputed = Disputes(
            disputes={row.field: row.id for row in rows},
            state="active" if change.state.restricted_at is None else "restricted",
        )
        return await change.answer(disputed, on_commit)


@audited("dispute")
async def resolve_dispute(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    id: UUID,  # noqa: A002 - the dispute's own id
    *,
    verdict: Verdict,
    reason: str,
    on_commit: SaveResponse | None = None,
) -> DecidedDispute:
    """Decide a dispute: it is upheld if the value is wrong and must be corrected, and refused if the value is right.

    A restriction of the dispute stays until it is lifted, which is announced to the person (Art. 18(3)).

    Raises:
        InvalidInput: the verdict or the reason is invalid.
        NotFound: there is no such subject, or no such dispute of theirs.
        Conflict: the dispute is decided already.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="dispute")
    await begin_once(on_commit)
    if verdict not in {"upheld", "refused"}:
        raise InvalidInput("a dispute is upheld or refused")
    require_words(reason)
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "dispute", subject, silent=True) as change:
        keys = (await current_keys(services, change.connection, caller.tenant, {subject: keys}))[subject]
        row = await store.locked_rectification(change.connection, caller.tenant, subject, id)
        if row is None or row.state in {"corrected", "stated"}:
            raise NotFound("this person has no such dispute", code="dispute-not-found")
        if row.state != "disputed":
            raise Conflict("this dispute is decided already", code="dispute-decided")
        details = {**store.open_details(keys, caller.tenant, subject, row), "reason": reason}
        sealed = store.seal_details(keys, caller.tenant, subject, id, details)
        decided = row._replace(state=verdict, closed_at=change.now, by=caller.principal.id, details=sealed)
        await store.change_rectification(change.connection, caller.tenant, subject, decided)
        await services.audit_log.append_in(change.connection, [_entry(change, [row.field], id, code=verdict)])
        return await change.answer(DecidedDispute(id=id, state=verdict), on_commit)


def _entry(change: Change, names: Sequence[str], target: UUID, *, code: str | None = None) -> Entry:
    return audit_entry(
        change.services,
        change.caller,
        action="dispute",
        decision="allowed",
        code=code,
        fields=tuple(f"profile.{name}.clear" for name in names),
        subjects=(change.pseudonym,),
        target=target,
        policy=change.policy_set.version,
    )


@audited("verify-value")
async def verify_values(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    *,
    fields: Sequence[str],
    purpose: str,
    on_commit: SaveResponse | None = None,
) -> WriteResult:
    """Note that values of a profile were checked now. It needs the permission to write the fields.

    Fields without a value are ignored. The answer does not reveal which: only who may read a field may know whether it
    has a value.

    Args:
        fields: names of fields of the profile.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: an unknown field or purpose.
        Denied: a field may not be written for this purpose.
        NotFound: there is no such subject.
    """
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    named = dict.fromkeys(name.removeprefix(f"{PROFILE}.") for name in fields)
    known = fields_of(catalogue, PROFILE, named, at="/fields")
    decision = await decide(services, caller, "verify-value", purpose, list(known), verb="write")
    await require_all(services, caller, decision, "verify-value")
    await begin_once(on_commit)
    tenant = caller.tenant
    (stored,) = await services.subjects.find(SubjectQuery(tenant, (subject,), profile=False))
    stored = await require_ground(services, caller, decision, "verify-value", stored)
    pseudonym = None if stored is None else stored.pseudonym
    async with writing(services, caller, "verify-value", decision, pseudonym, taken=None) as connection:
        person = await locked_ground(services, caller, connection, decision, subject)
        row = await locked_record(connection, tenant, subject, PROFILE, RecordId(subject))
        if person.state in GONE or row is None:
            raise subject_not_found()
        now = services.clock.now()
        moment = to_microseconds(now)
        body = {
            name: replace(stored, verified_at=moment) if name in known else stored
            for name, stored in unpack(row.body).items()
        }
        changed = pack(body, row.occurred_at)
        await change_record(connection, row, body=changed, revision=row.revision + 1, updated_at=now, due_at=now)
        written = WriteResult(id=subject, revision=row.revision + 1, created=False)
        if on_commit is not None:
            await on_commit(connection, written)
    return written
