"""Note that values were checked and are accurate (Art. 5(1)(d) GDPR): ``verified_at``, which packages show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, decide, require_all
from vault.access.recording import WriteResult, audited, writing
from vault.clock import to_microseconds
from vault.consent.legal_ground import require_ground
from vault.errors import NotFound
from vault.ids import RecordId
from vault.subjects.changes import change_record, locked_record, locked_subject
from vault.subjects.record_body import pack, unpack
from vault.subjects.store import GONE, PROFILE, SubjectQuery
from vault.subjects.validation import fields_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.access.recording import SaveResponse
    from vault.context import Caller, Services
    from vault.ids import SubjectId


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
    tenant = caller.tenant
    (stored,) = await services.subjects.find(SubjectQuery(tenant, (subject,), profile=False))
    await require_ground(services, caller, decision, "verify-value", stored)
    pseudonym = None if stored is None else stored.pseudonym
    async with writing(services, caller, "verify-value", decision, pseudonym, taken=None) as connection:
        person = await locked_subject(connection, tenant, subject)
        row = await locked_record(connection, tenant, subject, PROFILE, RecordId(subject))
        if stored is None or person is None or person.state in GONE or row is None:
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
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
