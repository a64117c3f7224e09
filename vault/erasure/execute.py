"""Erase: the transaction of every erasure, of one subject on request and of many subjects by a sweep of retention.

All of it happens in one transaction, in which the subjects' requests and rows are locked:

1. A further data key is made for each subject of which something stays. It is made under the lock, so that nothing is
   sealed with it that is about to be erased. A writer that sealed with an older key waits for the lock, and is then
   refused (:mod:`vault.lifecycle.key_fence`).
2. The records that stay are sealed again. A value that does not open stops the erasure before anything is written.
3. Each owner of personal data deletes or reseals what it has (:mod:`vault.lifecycle.personal_data`).
4. The new rows of records are inserted, and the rows of wholly erased subjects are closed.

An erasure on request also notifies recipients (Art. 19 GDPR), sets tombstones, and writes the audit entry. If the
transaction fails, the new keys open nothing, and the next attempt makes others. The older keys are destroyed after the
commit.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from vault.access.authorization import audit_entry, subject_not_found
from vault.access.callers import system_caller
from vault.catalogue.types import decode, encode, show
from vault.clock import LAST, to_microseconds
from vault.consent.model import ConsentState
from vault.consent.model import pack as pack_state
from vault.consent.model import unpack as unpack_state
from vault.crypto.seal import record_aad
from vault.erasure.letter import Addressee, find_addressee
from vault.erasure.start import claims_of
from vault.erasure.verdict import (
    decide,
    in_scope,
    keeps_any,
    purposes_kept_for,
    summarize,
    widened,
    without_later_values,
)
from vault.errors import CannotOpen, Unavailable
from vault.ids import SubjectId, new_id
from vault.lifecycle.erasures import find_erasure, save_erasure
from vault.lifecycle.personal_data import ErasureContext, Resealer
from vault.lifecycle.restore_ledger import ErasureLine, add_line
from vault.lifecycle.tombstones import add_tombstones, digests_of, identifies
from vault.recipients.outbox import EVERYTHING, DataChange, notify_recipients
from vault.requests.store import request_ids_of, requests_of
from vault.retention.clocks import clocks_of_one
from vault.retention.ends import SubjectData
from vault.retention.schedule import DAY
from vault.subjects.rows import EXTERNAL_IDS, digests, pack, unpack, view_name
from vault.subjects.store import PROFILE, aliases_of, records_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Catalogue, Field, LegalClaim, Scope
    from vault.context import Services
    from vault.crypto.derive import IndexKeys, TokenKey
    from vault.crypto.seal import SubjectKeys
    from vault.erasure.verdict import Verdict, Verdicts
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import IsErased
    from vault.policy.policy_set import PolicySet
    from vault.subjects.rows import Stored
    from vault.subjects.store import State


@dataclass(frozen=True, slots=True)
class RetainedRecord:
    """What stays of one record.

    Attributes:
        row: the record's, as it was.
        values: those that stay as they are, by their names in the body.
        due: when a sweep looks at the record next.
        generalised: values of which only a view stays, with the whole name of the view; they are not in ``values``.
        stays_empty: whether the record stays without any value.
    """

    row: Any
    values: Mapping[str, Stored]
    due: datetime
    generalised: Mapping[str, tuple[Stored, str]] = field(default_factory=dict)
    stays_empty: bool = False


@dataclass(frozen=True, slots=True)
class SubjectErasure:
    """What an erasure does with one subject.

    Attributes:
        row: the subject's, locked.
        retained: what stays of its records.
        is_whole: whether everything else goes too; else the subject goes on.
        retained_state: of a subject that is erased as a whole, the packed consent state if something stays.
        erased_state: the same if nothing stays.
        loses_external_ids: of a subject that goes on, whether its ids in other systems are erased.
    """

    row: Any
    retained: Sequence[RetainedRecord]
    is_whole: bool
    retained_state: bytes | None = None
    erased_state: bytes | None = None
    loses_external_ids: bool = False

    @property
    def subject(self) -> SubjectId:
        """Return the subject's id."""
        return SubjectId(self.row.id)


@dataclass(frozen=True, slots=True)
class ErasedSubject:
    """What happened to one subject.

    Attributes:
        key_version: of the data key under which the rest was sealed; None if nothing stayed.
        aliases: ids of subjects that had been merged into this one, if it was erased as a whole.
    """

    key_version: int | None
    aliases: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordResealer:
    """Makes the new rows of records, sealed with the newest data key of their subjects.

    Attributes:
        now: when the records change.
        records: whole rows of records.
        index: whole rows of the index that leads to them.
    """

    catalogue: Catalogue
    index_keys: IndexKeys
    now: datetime
    records: list[tuple[Any, ...]] = field(default_factory=list)
    index: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, keys: SubjectKeys, retained: Sequence[RetainedRecord], *, is_indexed: bool) -> None:
        """Add the rows of one subject.

        Args:
            keys: the subject's, the newest of which seals.
            is_indexed: whether the index leads to the subject. It does not if only a law keeps something of it.

        Raises:
            CannotOpen: a value that stays does not open.
        """
        for record in retained:
            row = record.row
            collection = self.catalogue.collections.get(row.collection)
            fields: Mapping[str, Field] = {} if collection is None else collection.fields
            body = self._reseal(keys, record, fields, is_indexed=is_indexed)
            if body or record.stays_empty:
                # Nothing may lead to a subject that only a law still keeps: no search, and no id of another
                # system.
                external_digest = row.external_digest if is_indexed else None
                self.records.append((
                    row.tenant_id, row.subject_id, row.collection, row.id, row.revision + 1, row.created_at, self.now,
                    row.occurred_at, record.due, external_digest, pack(body, row.occurred_at),
                ))  # fmt: skip

    def _reseal(
        self, keys: SubjectKeys, record: RetainedRecord, fields: Mapping[str, Field], *, is_indexed: bool
    ) -> dict[str, Stored]:
        row, body = record.row, {}
        aad = record_aad(row.tenant_id, row.subject_id, row.collection, row.id)
        for name, stored in record.values.items():
            plain = keys.open(name, stored.sealed, aad)
            body[name] = replace(stored, sealed=keys.seal(name, plain, aad))
            if is_indexed and name in fields and fields[name].indexes:
                self.index.extend(
                    (row.tenant_id, digest, row.subject_id, row.id, self.index_keys.version)
                    for digest in digests(self.index_keys, fields[name], decode(plain))
                )
        for name, (stored, view) in record.generalised.items():
            view_name = view.rpartition(".")[2]
            value = decode(keys.open(name, stored.sealed, aad))
            shown = show(fields[name].type, view_name, value, self.now.date())
            if shown is not None:  # a view may show nothing of a value
                form = f"{name}.{view_name}"
                body[form] = replace(stored, sealed=keys.seal(form, encode(shown), aad))
        return body


async def erase_subjects(
    services: Services, erasing: ErasureContext, subjects: Sequence[SubjectErasure], resealer: RecordResealer
) -> dict[SubjectId, ErasedSubject]:
    """Erase subjects, each as a whole or in part.

    Args:
        erasing: the transaction, still without resealers and unlinked subjects.

    Raises:
        CannotOpen: a value that stays does not open, or a subject that goes on has no data key.
    """
    connection, tenant = erasing.connection, erasing.tenant
    resealers = await _reseal(services, erasing, subjects, resealer)
    whole = [erasure.subject for erasure in subjects if erasure.is_whole]
    partial = [erasure.subject for erasure in subjects if not erasure.is_whole]
    unlinked = frozenset(erasure.subject for erasure in subjects if erasure.loses_external_ids)
    aliases = await aliases_of(connection, tenant, whole) if whole else {}
    erasing = dataclasses.replace(erasing, resealers=resealers, unlinked=unlinked)
    for owner in services.personal_data:
        if whole:
            await owner.erase(erasing, whole)
        if partial:
            await owner.reseal(erasing, partial)
    await services.subjects.add(connection, records=resealer.records, index=list(dict.fromkeys(resealer.index)))
    closings: dict[SubjectId, tuple[State, bytes | None]] = {
        erasure.subject: ("retained", erasure.retained_state)
        if erasure.subject in resealers
        else ("erased", erasure.erased_state)
        for erasure in subjects
        if erasure.is_whole
    }
    await services.subjects.close(connection, tenant, closings)
    return {
        erasure.subject: ErasedSubject(
            resealers[erasure.subject].target.keys.current_version if erasure.subject in resealers else None,
            tuple(aliases.get(erasure.subject, ())),
        )
        for erasure in subjects
    }


async def _reseal(
    services: Services, erasing: ErasureContext, subjects: Sequence[SubjectErasure], resealer: RecordResealer
) -> dict[SubjectId, Resealer]:
    """Seal what stays of the records; returns the resealers of the subjects of which something stays."""
    staying = [erasure for erasure in subjects if erasure.retained or not erasure.is_whole]
    subject_ids = [erasure.subject for erasure in staying]
    # Durable before the values are sealed under it. If the transaction fails, a key too many is left, and no value.
    keys = await services.keyring.renew_many(erasing.tenant, subject_ids) if staying else {}
    resealers: dict[SubjectId, Resealer] = {}
    for erasure in staying:
        renewed = keys.get(erasure.subject)
        if renewed is None:
            if erasure.is_whole and erasure.subject not in keys:
                continue  # the subject has lost all keys: nothing of it opens any more, so nothing can stay
            raise CannotOpen
        resealer.add(renewed, erasure.retained, is_indexed=not erasure.is_whole and erasure.row.state != "retained")
        resealers[erasure.subject] = Resealer.renewed(erasing.tenant, erasure.subject, renewed)
        await asyncio.sleep(0)  # a large batch must not keep other requests of this process waiting
    return resealers


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
        addressee: to whom the letter about it goes.
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
    addressee: Addressee

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
    # Before the transaction, as it asks both databases. After a restore no second letter is sent.
    addressee = Addressee() if replayed is not None else await find_addressee(services, tenant, erasure)
    row_keys = await services.keyring.row_keys(tenant)
    async with services.data.transaction() as connection:
        # Requests are locked before the subject's row (the global lock order), to avoid a deadlock.
        requests = await requests_of(connection, row_keys, [subject], lock=True)
        row = await services.subjects.locked(connection, tenant, subject)
        current = await find_erasure(connection, tenant, erasure.id, lock=True)
        # Read again under the lock: another process may have executed it since this job began.
        if current is None or current.state != "begun":
            return
        if row is None:
            raise subject_not_found()
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
            is_replay=replayed is not None, addressee=addressee,
        )  # fmt: skip
        await (_erase_whole(execution) if current.is_whole else _erase_part(execution))


async def _erase_whole(execution: Execution) -> None:
    """Erase a subject as a whole; what a law keeps stays, for the purposes it is kept for and no others."""
    connection, tenant, subject = execution.connection, execution.tenant, execution.subject
    # First of all: recipients are found on the audit log by the pseudonym, and the erasure gives the row another one.
    notices = await _notify(execution, EVERYTHING)
    # Before anything is erased: what identifies the person has to be opened once more to be digested.
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
    # The ledger comes last, as it is another database: if it does not answer, all of the above is rolled back.
    hexadecimal = {digest.hex(): kind for digest, kind in tombstones.items()}
    await _add_to_restore_ledger(execution, aliases=aliases, tombstones=hexadecimal)


async def _erase_part(execution: Execution) -> None:
    """Erase a part of a subject's data; the subject goes on as before."""
    tenant, subject, row = execution.tenant, execution.subject, execution.data.row
    versions = (await execution.services.keyring.key_versions(tenant, [subject])).get(subject)
    if row.state == "erased" or versions is None:
        raise subject_not_found()
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
    row_keys = await execution.services.keyring.row_keys(execution.tenant)
    erasing = ErasureContext(execution.connection, execution.tenant, row_keys, is_erased, erasures=erasures)
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
    """Digest what identifies the subject."""
    fields = execution.policy_set.catalogue.collections[PROFILE].fields
    profile = next((row for row in execution.data.records if row.collection == PROFILE), None)
    keys = execution.secrets.subject
    if profile is None or keys is None:
        return {}
    aad = record_aad(execution.tenant, execution.subject, PROFILE, profile.id)
    values = {}
    for name, stored in unpack(profile.body).items():
        if name == EXTERNAL_IDS or identifies(fields.get(name)):
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
        min(to_microseconds(datetime.combine(keep.until, time(), UTC)) + DAY, LAST)
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
    facts |= {"lines": summary, "erased_at": execution.now, "entry": entry_id, "letter": execution.addressee.outcome}
    saved = replace(
        execution.erasure,
        state="taken",
        changed_at=execution.now,
        key_version=erased.key_version,
        addressee=execution.addressee.seal(execution.tenant, execution.erasure, execution.secrets.subject),
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
