"""The transaction of an erasure that was requested: what goes is deleted, what stays is sealed again.

In the same transaction notices to recipients are put into the outbox (Art. 19 GDPR), tombstones are set, and the audit
entry is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry
from vault.access.callers import system_caller
from vault.catalogue.types import decode
from vault.clock import to_microseconds
from vault.consent.model import ConsentState
from vault.consent.model import pack as pack_state
from vault.consent.model import unpack as unpack_state
from vault.crypto.seal import record_aad
from vault.erasure.engine import RecordResealer, RetainedRecord, SubjectErasure, erase_subjects
from vault.erasure.start import claims_of
from vault.erasure.verdict import (
    SubjectData,
    decide,
    in_scope,
    keeps_any,
    purposes_kept_for,
    summarize,
    widened,
    without_later_values,
)
from vault.errors import CannotOpen, NotFound, Unavailable
from vault.ids import SubjectId, new_id
from vault.lifecycle.erasures import find_erasure, save_erasure
from vault.lifecycle.personal_data import ErasureContext
from vault.lifecycle.restore_ledger import ErasureLine, add_line
from vault.lifecycle.tombstones import EMAIL, add_tombstones, digests_of
from vault.recipients.outbox import EVERYTHING, DataChange, notify_recipients
from vault.requests.store import request_ids_of, requests_of
from vault.retention.clocks import clocks_of_one
from vault.subjects.changes import aliases_of, locked_subject, records_of
from vault.subjects.record_body import unpack, view_name
from vault.subjects.rows import EXTERNAL_IDS
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import LegalClaim, Scope
    from vault.context import Services
    from vault.crypto.derive import IndexKeys, TokenKey
    from vault.crypto.seal import SubjectKeys
    from vault.erasure.engine import ErasedSubject
    from vault.erasure.verdict import Verdict, Verdicts
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import IsErased
    from vault.policy.policy_set import PolicySet
    from vault.subjects.record_body import Stored


@dataclass(frozen=True, slots=True)
class Secrets:
    """Keys that are fetched before the transaction: the key store is another database."""

    subject: SubjectKeys | None
    index: IndexKeys
    token: TokenKey


@dataclass(frozen=True, slots=True)
class Execution:
    """What the transaction works on.

    Attributes:
        data: of the subject, whose row is locked.
        claims: what staff keep for legal claims.
        is_replay: whether this repeats an erasure after a restore.
    """

    services: Services
    connection: AsyncConnection
    tenant: TenantId
    secrets: Secrets
    erasure: Erasure
    data: SubjectData
    verdicts: Verdicts
    now: datetime
    claims: Sequence[LegalClaim]
    scope: Scope
    is_replay: bool

    @property
    def subject(self) -> SubjectId:
        """Return the subject that is erased."""
        return SubjectId(self.erasure.subject)

    @property
    def policy_set(self) -> PolicySet:
        """Return the policies in force."""
        return self.services.policies.active(self.tenant).policy_set


async def execute_erasure(
    services: Services,
    tenant: TenantId,
    erasure: Erasure,
    *,
    replayed: Sequence[LegalClaim] | None = None,
    gone: Sequence[str] = (),
) -> None:
    """Execute an erasure; does nothing if it has been executed already.

    Args:
        erasure: as it was stored when it began.
        replayed: if the erasure is repeated after a restore, what staff kept for legal claims the first time. The
            restore ledger has a line for it already.
        gone: for a replayed erasure of a part, the fields that were erased the first time, under policies that may no
            longer be in force.

    Raises:
        NotFound: there is no such subject, or only a part was to be erased and the subject has been erased as a whole.
        CannotOpen: a value that stays does not open; nothing is changed.
        Unavailable: a request of the subject arrived at this moment, or the restore ledger does not answer.
    """
    subject = SubjectId(erasure.subject)
    # All versions of the key are needed, also one that another node made a moment ago.
    services.keyring.evict(tenant, subject)
    secrets = Secrets(
        (await services.keyring.subject_keys(tenant, [subject])).get(subject),
        await services.keyring.index_keys(tenant),
        await services.keyring.token_key(tenant),
    )
    async with services.data.transaction() as connection:
        # Requests are locked before the subject's row (the global lock order), to avoid a deadlock.
        requests = await requests_of(connection, tenant, [subject], lock=True)
        row = await locked_subject(connection, tenant, subject)
        current = await find_erasure(connection, tenant, erasure.id, lock=True)
        if current is None or current.state != "begun":
            return
        if row is None:
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        if await request_ids_of(connection, tenant, [subject]) - {stored.request.id for stored in requests}:
            # It is not locked, and what it says would be left under a destroyed key.
            raise Unavailable("a request of this person came in between the locks")
        clocks = await clocks_of_one(connection, tenant, subject)
        data = SubjectData(row, await records_of(connection, tenant, subject), clocks)
        now = services.clock.now()
        claims = [*claims_of(tenant, requests, current, secrets.subject), *(replayed or ())]
        scope = current.facts.scope if current.is_whole else widened(current.facts.scope, gone)
        verdicts = decide(services.policies.active(tenant).policy_set, data, scope, claims, now)
        verdicts = without_later_values(verdicts, data.records, current.facts.rests)
        execution = Execution(
            services, connection, tenant, secrets, current, data, verdicts, now, claims, scope,
            is_replay=replayed is not None,
        )  # fmt: skip
        await (_erase_whole(execution) if current.is_whole else _erase_part(execution))


async def _erase_whole(execution: Execution) -> None:
    """Erase a subject as a whole; what a law keeps stays, for the purposes it is kept for and no others."""
    connection, tenant, subject = execution.connection, execution.tenant, execution.subject
    notices = await _notify(execution, EVERYTHING)
    tombstones = _tombstones(execution)
    aliases = tuple((await aliases_of(connection, tenant, [subject])).get(subject, ()))
    versions = await execution.services.keyring.key_versions(tenant, [subject, *map(SubjectId, aliases)])
    retained = _retained_records(execution, ends=True) if keeps_any(execution.verdicts) else []
    plan = SubjectErasure(execution.data.row, retained, is_whole=True, retained_state=_retained_state(execution))
    erased = await _erase(execution, plan, lambda *_value: True)
    await add_tombstones(connection, tenant, execution.erasure.id, tombstones, execution.now)
    newest = max([erased.key_version or 0, *(numbers[-1] for numbers in versions.values())])
    keys = sum(map(len, versions.values()))
    await _save(execution, erased, told=notices, aliases=aliases, newest=newest, keys=keys)
    hexadecimal = {digest.hex(): kind for digest, kind in tombstones.items()}
    await _add_to_restore_ledger(execution, aliases=aliases, tombstones=hexadecimal)


async def _erase_part(execution: Execution) -> None:
    """Erase a part of a subject's data; the subject goes on as before."""
    tenant, subject, row = execution.tenant, execution.subject, execution.data.row
    versions = (await execution.services.keyring.key_versions(tenant, [subject])).get(subject)
    if row.state == "erased" or versions is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    gone = tuple(line.field for line in summarize(execution.verdicts) if line.ground is None)
    notices = await _notify(execution, gone)
    retained = _retained_records(execution, ends=row.state == "retained")
    loses_ids = f"{PROFILE}.{EXTERNAL_IDS}" in gone
    plan = SubjectErasure(row, retained, is_whole=False, loses_external_ids=loses_ids)
    is_in_scope = in_scope(execution.policy_set, execution.scope, unpack_state(row.standing), execution.now)
    erased = await _erase(
        execution, plan, lambda _subject, collection, _record, name: is_in_scope(f"{collection}.{name}")
    )
    await _save(execution, erased, told=notices, newest=erased.key_version or 0, keys=len(versions))
    await _add_to_restore_ledger(execution, gone=gone)


async def _erase(execution: Execution, plan: SubjectErasure, is_erased: IsErased) -> ErasedSubject:
    erasures = {execution.erasure.id, *execution.erasure.facts.resumes}
    erasing = ErasureContext(execution.connection, execution.tenant, is_erased, erasures=erasures)
    resealer = RecordResealer(execution.policy_set.catalogue, execution.secrets.index, execution.now)
    return (await erase_subjects(execution.services, erasing, [plan], resealer))[execution.subject]


async def _notify(execution: Execution, fields: Sequence[str]) -> int:
    """Put notices to recipients of the data into the outbox; none for a subject that was erased before."""
    if execution.data.row.state in {"erased", "retained"}:
        return 0
    return await notify_recipients(
        execution.services,
        execution.connection,
        execution.tenant,
        DataChange(
            subject=execution.subject,
            pseudonym=execution.data.row.pseudonym,
            kind="subject.erased",
            fields=fields,
            request=execution.erasure.request,
        ),
    )


def _tombstones(execution: Execution) -> dict[bytes, str]:
    """Digest the subject's ids and addresses."""
    fields = execution.policy_set.catalogue.collections[PROFILE].fields
    profile = next((row for row in execution.data.records if row.collection == PROFILE), None)
    keys = execution.secrets.subject
    if profile is None or keys is None:
        return {}
    aad = record_aad(execution.tenant, execution.subject, PROFILE, profile.id)
    values = {}
    for name, stored in unpack(profile.body).items():
        if name == EXTERNAL_IDS or (name in fields and fields[name].type == EMAIL):
            try:
                values[name] = decode(keys.open(name, stored.sealed, aad))
            except CannotOpen:  # it gets no tombstone, and does not stop the erasure
                continue
    return digests_of(execution.secrets.token, fields, values)


def _retained_records(execution: Execution, *, ends: bool) -> list[RetainedRecord]:
    """Select what verdicts keep of records. A value without a verdict is out of scope, and stays as it is.

    Args:
        ends: whether what is kept ends by itself on the day until which it is kept.
    """
    retained = []
    for row in execution.data.records:
        decided = execution.verdicts.get((row.collection, row.id), {})
        values = {name: stored for name, stored in unpack(row.body).items() if decided.get(name) != ()}
        if ends:
            values = {name: _ending(stored, decided.get(name) or ()) for name, stored in values.items()}
        retained.append(RetainedRecord(row, values, execution.now))
    return retained


def _ending(stored: Stored, verdict: Verdict) -> Stored:
    """Let a kept value end with the last day on which it is kept, or earlier, as it would have anyway."""
    ends = [
        to_microseconds(datetime.combine(keep.until + timedelta(days=1), time(), UTC))
        for keep in verdict
        if keep.until is not None
    ]
    if verdict and not ends:
        return replace(stored, expires_at=None)  # only a hold keeps it; once that is lifted, the erasure goes on
    if stored.expires_at is not None:
        ends = [min(stored.expires_at, max(ends, default=stored.expires_at))]
    return replace(stored, expires_at=max(ends)) if ends else stored


def _retained_state(execution: Execution) -> bytes | None:
    """Pack the consent state of a subject of which something stays, with the purposes for which it is kept."""
    # To answer the subject about what is kept is always one of the purposes.
    answers = [name for name, purpose in execution.policy_set.purposes.items() if purpose.answers_people]
    before = unpack_state(execution.data.row.standing)
    kept_for = sorted({*purposes_kept_for(execution.verdicts), *before.kept_for, *answers})
    return pack_state(ConsentState(restricted_at=before.restricted_at, kept_for=tuple(kept_for), holds=before.holds))


async def _save(execution: Execution, erased: ErasedSubject, **facts: Any) -> None:
    """Write the audit entry, and save what happened in the erasure's own row."""
    entry_id = new_id()
    summary = summarize(execution.verdicts)
    catalogue = execution.policy_set.catalogue
    gone = dict.fromkeys(line.field.partition(".") for line in summary if line.ground is None)
    views = [f"{collection}.{view_name(name)}" for collection, _dot, name in gone]
    entry = audit_entry(
        execution.services,
        system_caller(execution.tenant),
        id=entry_id,
        action="erase",
        decision="allowed",
        fields=tuple(view for view in views if view in catalogue),
        subjects=(execution.data.row.pseudonym,),
        target=execution.erasure.id,
        policy=execution.policy_set.version,
    )
    await execution.services.audit_log.append_in(execution.connection, [entry])
    facts |= {"lines": summary, "erased_at": execution.now, "entry": entry_id}
    saved = replace(
        execution.erasure,
        state="taken",
        changed_at=execution.now,
        key_version=erased.key_version,
        facts=replace(execution.erasure.facts, **facts),
    )
    await save_erasure(execution.connection, execution.tenant, saved)


async def _add_to_restore_ledger(execution: Execution, **facts: Any) -> None:
    """Write the erasure to the restore ledger, as the last thing before the commit: no backup may undo it."""
    if execution.is_replay:
        return
    erasure = execution.erasure
    line = ErasureLine(
        erasure=erasure.id,
        request=erasure.request,
        scope=erasure.facts.scope,
        started_at=erasure.started_at,
        claims=tuple(execution.claims),
        cause=erasure.facts.cause,
        rests=erasure.facts.rests,
        resumes=erasure.facts.resumes,
        **facts,
    )
    await add_line(execution.services, execution.tenant, erasure.subject, line)
