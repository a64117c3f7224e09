"""Merge a duplicate into a survivor: the survivor keeps what both had, and the duplicate's id leads to it.

Data and keys are in two databases. A crash at any point loses nothing:

1. Both subjects have keys already, and no new one is made.
2. One transaction moves everything, resealed, and writes the audit entry and the alias. It locks requests first, then
   subjects, then their records (the global lock order).
3. Only then are the duplicate's keys destroyed. If a crash prevents that, the same call finds the alias and repeats it;
   so does every later merge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.types import encode
from vault.crypto.seal import record_aad
from vault.errors import Conflict, Fault, InvalidInput, NotFound, SubjectMerged, Unavailable
from vault.ids import new_id
from vault.lifecycle.erasures import erasures_of
from vault.lifecycle.key_fence import current_keys
from vault.lifecycle.personal_data import KeyHolder, MergeContext, Resealer
from vault.lifecycle.restore_lines import note_merge
from vault.merging.reseal import RecordMove, move_records
from vault.recipients.outbox import EVERYTHING, notify_recipients
from vault.requests.store import locked_requests_of, request_ids_of
from vault.subjects.changes import mark_due
from vault.subjects.merged import locked_subjects, merged_into, newest_aliases
from vault.subjects.record_body import view_name
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.context import Caller, Services
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId
    from vault.merging.reseal import MovedRecords
    from vault.requests.store import StoredRequest

UNDER_WAY: Final = frozenset({"approved", "in_progress"})
LONGEST_EVIDENCE = 500
FINISHED_ALONG = 100
"""So many of the last duplicates have their keys destroyed again, in case a crash prevented it."""


class Merged(NamedTuple):
    """The result of a merge.

    Attributes:
        id: the survivor.
        records: how many records moved, without the profile.
        same: records that both had, with the same id in another system and the same values; one of each stays.
        apart: records that moved without their id in another system, which a record of the survivor has.
        conflicts: names of the profile's fields of which both had a value; the survivor's stays.
        consents: how many consent events moved.
        created: whether the merge happened now; false if the two were merged already.
    """

    id: SubjectId
    records: int = 0
    same: int = 0
    apart: int = 0
    conflicts: tuple[str, ...] = ()
    consents: int = 0
    created: bool = False


@audited("merge")
async def merge_subjects(
    services: Services,
    caller: Caller,
    *,
    survivor: SubjectId,
    duplicate: SubjectId,
    evidence: str,
    on_commit: SaveResponse | None = None,
) -> Merged:
    """Merge two subjects that are the same person. A caller decides that; the vault never merges by itself.

    Args:
        survivor: the subject that stays.
        duplicate: the subject whose id will lead to the survivor.
        evidence: why they are the same person; stored sealed in the audit log.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: the two ids are the same, or there is no evidence.
        Denied: the caller may not merge.
        NotFound: one of the two does not exist or is erased; :class:`SubjectMerged` if it was merged into another.
        Conflict: a request of one of the two is being carried out, or a value would be lost that a hold covers.
        Unavailable: a database did not answer; repeating the call begins or completes the merge.
    """
    await require_permission(services, caller, "vault:subjects", "merge", audit_action="merge")
    return await merge_authorized(
        services, caller, survivor=survivor, duplicate=duplicate, evidence=evidence, on_commit=on_commit
    )


async def merge_authorized(
    services: Services,
    caller: Caller,
    *,
    survivor: SubjectId,
    duplicate: SubjectId,
    evidence: str,
    on_commit: SaveResponse | None = None,
) -> Merged:
    """Merge for a caller whose permission is checked already; raises what :func:`merge_subjects` raises."""
    _check_form(survivor, duplicate, evidence)
    tenant = caller.tenant
    keys = await services.keyring.subject_keys(tenant, [survivor, duplicate])
    index_keys = await services.keyring.index_keys(tenant)
    async with services.data.transaction() as connection:
        requests = await locked_requests_of(connection, tenant, [survivor, duplicate])
        rows = await locked_subjects(connection, tenant, [survivor, duplicate])
        reverify: list[tuple[UUID, int]] = []
        if await merged_into(connection, tenant, duplicate) == survivor:
            result = Merged(survivor)
        else:
            keys = await current_keys(services, connection, tenant, keys)
            survivor_row, duplicate_row = [
                await _present(connection, tenant, rows, keys, subject) for subject in (survivor, duplicate)
            ]
            source, target = KeyHolder(duplicate, keys[duplicate]), KeyHolder(survivor, keys[survivor])
            merge = MergeContext(
                services, caller, connection, Resealer(tenant, source, target), survivor_row, duplicate_row,
                entry=new_id(), now=services.clock.now(),
            )  # fmt: skip
            await require_at_rest(merge, requests)
            result = await _merge(merge, index_keys, evidence)
            reverify = merge.reverify
        if on_commit is not None:
            await on_commit(connection, result)
    for request, revision in reverify:
        await services.jobs.start("tell-identity", tenant, request, run=revision)
    await finish_merges(services, tenant, duplicate)
    return result


async def finish_merges(services: Services, tenant: TenantId, *duplicates: SubjectId) -> int:
    """Destroy the keys of duplicates: of these, and of those merged last, in case a crash prevented it.

    Returns:
        how many keys were destroyed.

    Raises:
        Unavailable: the key store does not answer.
    """
    others = await newest_aliases(services.data, tenant, most=FINISHED_ALONG)
    return await services.keyring.destroy_subject_keys(tenant, [*duplicates, *others])


async def require_at_rest(merge: MergeContext, requests: Sequence[StoredRequest]) -> None:
    """Go on only if no request of either subject is being carried out.

    Raises:
        Conflict: one is. An erasure above all must not lose the subject it is about.
        Unavailable: a request came in between the locks; it is not among ``requests``.
    """
    connection, both = merge.connection, (merge.survivor, merge.duplicate)
    if await request_ids_of(connection, merge.tenant, both) - {kept.request.id for kept in requests}:
        raise Unavailable("a request of one of the two came in at this moment", hint="send it again")
    erasures = [erasure for subject in both for erasure in await erasures_of(connection, merge.tenant, subject)]
    # An erasure without a request, by a sweep or after a hold, has no request that could begin it again.
    half_erased = any(
        erasure.finished_at is None and (erasure.state != "begun" or erasure.request is None) for erasure in erasures
    )
    if half_erased or any(kept.request.state in UNDER_WAY for kept in requests):
        raise Conflict(
            "a request of one of the two is being carried out",
            code="request-under-way",
            hint="merge them once it is completed",
        )


async def _merge(merge: MergeContext, index_keys: IndexKeys, evidence: str) -> Merged:
    services, connection, tenant = merge.services, merge.connection, merge.tenant
    catalogue = services.policies.active(tenant).policy_set.catalogue
    moved = await move_records(merge, RecordMove(merge.resealer, index_keys, catalogue))
    merge.birth_date, merge.conflicts = moved.profile.birth_date, moved.profile.conflicts
    for owner in services.personal_data:
        await owner.move(merge)
    await mark_due(connection, tenant, [merge.survivor], merge.now)
    await note_merge(services, tenant, survivor=merge.survivor, duplicate=merge.duplicate)
    if (merge.survivor_row.state == "restricted") != (merge.duplicate_row.state == "restricted"):
        await _notify_restricted(merge)
    await _write_audit_entry(merge, moved, evidence)
    return Merged(
        merge.survivor,
        moved.records,
        moved.same,
        moved.apart,
        tuple(moved.profile.conflicts),
        len(merge.events),
        created=True,
    )


async def _notify_restricted(merge: MergeContext) -> None:
    """Notify recipients of either subject's data that it is restricted now (Art. 19); only one of the two was."""
    await notify_recipients(
        merge.services,
        merge.connection,
        merge.tenant,
        merge.survivor,
        merge.survivor_row.pseudonym,
        kind="subject.restricted",
        fields=EVERYTHING,
        request=None,
    )


async def _write_audit_entry(merge: MergeContext, moved: MovedRecords, evidence: str) -> None:
    """Write that the two are one: the entry names both pseudonyms, so that it is found from either."""
    aad = record_aad(merge.tenant, merge.survivor, "audit", merge.entry)
    sealed = merge.resealer.target.keys.seal("reason", encode(evidence), aad)
    entry = audit_entry(
        merge.services,
        merge.caller,
        id=merge.entry,
        action="merge",
        decision="allowed",
        subjects=(merge.survivor_row.pseudonym, merge.duplicate_row.pseudonym),
        fields=tuple(f"profile.{view_name(name)}" for name in (*moved.profile.taken, *moved.profile.conflicts)),
        reasons=(sealed, b""),
        policy=merge.services.policies.active(merge.tenant).version,
    )
    await merge.services.audit_log.append_in(merge.connection, [entry])


async def _present(
    connection: AsyncConnection,
    tenant: TenantId,
    rows: Mapping[SubjectId, Any],
    keys: Mapping[SubjectId, SubjectKeys],
    subject: SubjectId,
) -> Any:
    row = rows.get(subject)
    if row is not None and row.state not in GONE and subject in keys:
        return row
    into = await merged_into(connection, tenant, subject)
    if into is not None:
        raise SubjectMerged(into)
    raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)


def _check_form(survivor: SubjectId, duplicate: SubjectId, evidence: str) -> None:
    if survivor == duplicate:
        fault = Fault("/duplicate", "same-subject", "name two different ids")
        raise InvalidInput("a person cannot be merged with themselves", faults=[fault], code="same-subject")
    if not evidence.strip() or len(evidence) > LONGEST_EVIDENCE:
        detail = f"say why they are the same person, in 1 to {LONGEST_EVIDENCE} characters"
        fault = Fault("/evidence", "invalid-evidence", detail)
        raise InvalidInput("a merge needs to be accounted for", faults=[fault], code="invalid-evidence")
