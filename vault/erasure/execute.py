"""The transaction of an erasure that was requested: what goes is deleted, what stays is sealed again.

In the same transaction notices to recipients are put into the outbox (Art. 19 GDPR), tombstones are set, and the audit
entry is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry
from vault.access.callers import system_caller
from vault.catalogue.types import decode
from vault.consent.model import ConsentState
from vault.consent.model import pack as pack_standing
from vault.consent.model import unpack as unpack_standing
from vault.crypto.seal import record_aad
from vault.erasure.claims import claims_of
from vault.erasure.engine import SubjectErasure, erase_subjects
from vault.erasure.reseal import RecordResealer, retained_records
from vault.erasure.start import in_scope, widened
from vault.erasure.verdict import decide, purposes_kept_for, summarize, without_later_values
from vault.errors import CannotOpen, NotFound, Unavailable
from vault.ids import SubjectId, new_id
from vault.lifecycle.erasures import add_tombstones, find_erasure, save_erasure
from vault.lifecycle.restore_lines import note_erasure
from vault.lifecycle.tombstones import EMAIL, digests_of
from vault.recipients.outbox import EVERYTHING, notify_recipients
from vault.requests.store import request_ids_of, requests_of
from vault.retention.clocks import NO_CLOCKS, clocks_in
from vault.subjects.changes import aliases_of, locked_subject, records_of
from vault.subjects.record_body import unpack, view_name
from vault.subjects.rows import EXTERNAL_IDS
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Scope
    from vault.context import Services
    from vault.crypto.derive import IndexKeys, TokenKey
    from vault.crypto.seal import SubjectKeys
    from vault.erasure.engine import ErasedSubject
    from vault.erasure.verdict import Verdicts
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Claim, Erasure, Line
    from vault.lifecycle.personal_data import IsErased
    from vault.policy.policy_set import PolicySet


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
        row: the subject's, locked.
        records: all rows of the subject's records.
        claims: what staff keep for legal claims.
        is_replay: whether this repeats an erasure after a restore.
    """

    services: Services
    connection: AsyncConnection
    tenant: TenantId
    secrets: Secrets
    erasure: Erasure
    row: Any
    records: Sequence[Any]
    verdicts: Verdicts
    now: datetime
    claims: Sequence[Claim]
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
    replayed: Sequence[Claim] | None = None,
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
        if await request_ids_of(connection, tenant, [subject]) - {kept.request.id for kept in requests}:
            # It is not locked, and what it says would be left under a destroyed key.
            raise Unavailable("a request of this person came in between the locks")
        records = await records_of(connection, tenant, subject)
        now = services.clock.now()
        claims = [*claims_of(tenant, requests, current, secrets.subject), *(replayed or ())]
        clocks = (await clocks_in(connection, tenant, [subject])).get(subject, NO_CLOCKS)
        scope = current.facts.scope if current.is_whole else widened(current.facts.scope, gone)
        policy_set = services.policies.active(tenant).policy_set
        verdicts = decide(policy_set, row, records, scope, claims, now, clocks)
        verdicts = without_later_values(verdicts, records, current.facts.rests)
        execution = Execution(
            services, connection, tenant, secrets, current, row, records, verdicts, now, claims, scope,
            is_replay=replayed is not None,
        )  # fmt: skip
        await (_erase_whole(execution) if current.is_whole else _erase_part(execution))


async def _erase_whole(execution: Execution) -> None:
    """Erase a subject as a whole; what a law keeps stays, for the purposes it is kept for and no others."""
    connection, tenant, subject = execution.connection, execution.tenant, execution.subject
    notices = await _notify(execution, EVERYTHING)
    tombstones = _tombstones(execution)
    aliases = (await aliases_of(connection, tenant, [subject])).get(subject, [])
    versions = await execution.services.keyring.key_versions(tenant, [subject, *map(SubjectId, aliases)])
    keeps = any(verdict for fields in execution.verdicts.values() for verdict in fields.values())
    retained = retained_records(execution.records, execution.verdicts, execution.now, ends=True) if keeps else []
    plan = SubjectErasure(execution.row, retained, is_whole=True, retained_standing=_standing(execution))
    erased = await _erase(execution, plan, lambda *_value: True)
    await add_tombstones(connection, tenant, execution.erasure.id, tombstones, execution.now)
    newest = max([erased.key_version or 0, *(numbers[-1] for numbers in versions.values())])
    keys = sum(map(len, versions.values()))
    await _save(execution, erased, told=notices, aliases=tuple(aliases), newest=newest, keys=keys)
    await _add_to_restore_ledger(execution, aliases=aliases, tombstones=tombstones)


async def _erase_part(execution: Execution) -> None:
    """Erase a part of a subject's data; the subject goes on as before."""
    tenant, subject = execution.tenant, execution.subject
    versions = (await execution.services.keyring.key_versions(tenant, [subject])).get(subject)
    if execution.row.state == "erased" or versions is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    gone = [line.field for line in summarize(execution.verdicts) if line.ground is None]
    notices = await _notify(execution, gone)
    ends = execution.row.state == "retained"
    plan = SubjectErasure(
        execution.row,
        retained_records(execution.records, execution.verdicts, execution.now, ends=ends),
        is_whole=False,
        loses_external_ids=f"{PROFILE}.{EXTERNAL_IDS}" in gone,
    )
    standing = unpack_standing(execution.row.standing)
    is_in_scope = in_scope(execution.policy_set, execution.scope, standing, execution.now)
    erased = await _erase(
        execution, plan, lambda _subject, collection, _record, name: is_in_scope(f"{collection}.{name}")
    )
    await _save(execution, erased, told=notices, newest=erased.key_version or 0, keys=len(versions))
    await _add_to_restore_ledger(execution, gone=gone)


async def _erase(execution: Execution, plan: SubjectErasure, is_erased: IsErased) -> ErasedSubject:
    resealer = RecordResealer(execution.policy_set.catalogue, execution.secrets.index, execution.now)
    erased = await erase_subjects(
        execution.services,
        execution.connection,
        execution.tenant,
        [plan],
        resealer,
        is_erased,
        erasures={execution.erasure.id, *execution.erasure.facts.resumes},
    )
    return erased[execution.subject]


async def _notify(execution: Execution, fields: Sequence[str]) -> int:
    """Put notices to recipients of the data into the outbox; none for a subject that was erased before."""
    if execution.row.state in {"erased", "retained"}:
        return 0
    return await notify_recipients(
        execution.services,
        execution.connection,
        execution.tenant,
        execution.subject,
        execution.row.pseudonym,
        kind="subject.erased",
        fields=fields,
        request=execution.erasure.request,
    )


def _tombstones(execution: Execution) -> dict[bytes, str]:
    """Digest the subject's ids and addresses. A value that does not open gets none, and does not stop the erasure."""
    fields = execution.policy_set.catalogue.collections[PROFILE].fields
    profile = next((row for row in execution.records if row.collection == PROFILE), None)
    keys = execution.secrets.subject
    if profile is None or keys is None:
        return {}
    aad = record_aad(execution.tenant, execution.subject, PROFILE, profile.id)
    values = {}
    for name, stored in unpack(profile.body).items():
        if name == EXTERNAL_IDS or (name in fields and fields[name].type == EMAIL):
            try:
                values[name] = decode(keys.open(name, stored.sealed, aad))
            except CannotOpen:
                continue
    return digests_of(execution.secrets.token, fields, values)


def _standing(execution: Execution) -> bytes | None:
    """Pack the consent state of a subject of which something stays, with the purposes for which it is kept.

    To answer the subject about it is always one of them.
    """
    answers = [name for name, purpose in execution.policy_set.purposes.items() if purpose.answers_people]
    before = unpack_standing(execution.row.standing)
    kept_for = sorted({*purposes_kept_for(execution.verdicts), *before.kept_for, *answers})
    return pack_standing(ConsentState(restricted_at=before.restricted_at, kept_for=tuple(kept_for), holds=before.holds))


async def _save(execution: Execution, erased: ErasedSubject, **facts: Any) -> None:
    """Write the audit entry, and save what happened in the erasure's own row."""
    entry_id = new_id()
    summary = summarize(execution.verdicts)
    entry = audit_entry(
        execution.services,
        system_caller(execution.tenant),
        id=entry_id,
        action="erase",
        decision="allowed",
        fields=_erased_fields(execution, summary),
        subjects=(execution.row.pseudonym,),
        target=execution.erasure.id,
        policy=execution.policy_set.version,
    )
    await execution.services.audit_log.append_in(execution.connection, [entry])
    done = replace(execution.erasure.facts, lines=summary, erased_at=execution.now, entry=entry_id, **facts)
    saved = replace(
        execution.erasure, state="taken", changed_at=execution.now, key_version=erased.key_version, facts=done
    )
    await save_erasure(execution.connection, execution.tenant, saved)


async def _add_to_restore_ledger(execution: Execution, **facts: Any) -> None:
    """Write the erasure to the restore ledger, as the last thing before the commit: no backup may undo it."""
    if not execution.is_replay:
        await note_erasure(execution.services, execution.tenant, execution.erasure, claims=execution.claims, **facts)


def _erased_fields(execution: Execution, summary: Sequence[Line]) -> tuple[str, ...]:
    catalogue = execution.policy_set.catalogue
    gone = dict.fromkeys(line.field.partition(".") for line in summary if line.ground is None)
    names = (f"{collection}.{view_name(name)}" for collection, _dot, name in gone)
    return tuple(name for name in names if name in catalogue)
