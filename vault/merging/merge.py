"""Merge a duplicate into a survivor: the survivor keeps what both had, and the duplicate's id leads to it.

Data and keys are in two databases. A crash at any point loses nothing:

1. Both subjects have keys already, and no new one is made.
2. One transaction moves everything, resealed, and writes the audit entry and the alias. It locks requests first, then
   subjects, then their records (the global lock order).
3. Only then are the duplicate's keys destroyed. If a crash prevents that, the same call finds the alias and repeats it;
   so does every later merge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vault.access.authorization import audit_entry, require_permission, subject_not_found
from vault.access.recording import audited, begin_once
from vault.catalogue.types import encode
from vault.crypto.seal import record_aad
from vault.errors import Conflict, Fault, InvalidInput, SubjectMerged, Unavailable
from vault.ids import new_id
from vault.lifecycle.erasures import erasures_of
from vault.lifecycle.key_fence import current_keys
from vault.lifecycle.personal_data import KeyHolder, MergeContext, Resealer
from vault.lifecycle.restore_ledger import MergeLine, add_line
from vault.merging.reseal import MergedProfile, RecordMove, move_records
from vault.merging.views import MergeResult
from vault.recipients.outbox import EVERYTHING, DataChange, notify_recipients
from vault.requests.store import request_ids_of, requests_of
from vault.subjects.rows import view_name
from vault.subjects.store import GONE, mark_due, merged_into, newest_aliases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.context import Caller, Services
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId
    from vault.requests.store import StoredRequest
    from vault.storage.columns import AnyRow

UNDER_WAY: Final = frozenset({"approved", "in_progress"})
LONGEST_EVIDENCE = 500
FINISHED_ALONG = 100
"""So many of the last duplicates have their keys destroyed again, in case a crash prevented it."""


class MergeRequest(NamedTuple):
    """Which subjects to merge.

    Attributes:
        survivor: the subject that stays.
        duplicate: the subject whose id will lead to the survivor.
        evidence: why they are the same person; stored sealed in the audit log.
    """

    survivor: SubjectId
    duplicate: SubjectId
    evidence: str

    def check(self) -> None:
        """Raise InvalidInput if the two ids are the same, or the evidence is empty or too long."""
        if self.survivor == self.duplicate:
            fault = Fault("/duplicate", "same-subject", "name two different ids")
            raise InvalidInput("a person cannot be merged with themselves", faults=[fault], code="same-subject")
        if not self.evidence.strip() or len(self.evidence) > LONGEST_EVIDENCE:
            detail = f"say why they are the same person, in 1 to {LONGEST_EVIDENCE} characters"
            fault = Fault("/evidence", "invalid-evidence", detail)
            raise InvalidInput("a merge needs to be accounted for", faults=[fault], code="invalid-evidence")


@audited("merge")
async def merge_subjects(
    services: Services, caller: Caller, request: MergeRequest, on_commit: SaveResponse | None = None
) -> MergeResult:
    """Merge two subjects that are the same person. A caller decides that; the vault never merges by itself.

    Args:
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: the two ids are the same, or there is no evidence.
        Denied: the caller may not merge.
        NotFound: one of the two does not exist or is erased; :class:`SubjectMerged` if it was merged into another.
        Conflict: a request of one of the two is being carried out, or a value would be lost that a hold covers.
        Unavailable: a database did not answer; repeating the call begins or completes the merge.
    """
    await require_permission(services, caller, "vault:subjects", "merge", audit_action="merge")
    await begin_once(on_commit)
    return await merge_authorized(services, caller, request, on_commit)


async def merge_authorized(
    services: Services, caller: Caller, request: MergeRequest, on_commit: SaveResponse | None = None
) -> MergeResult:
    """Merge for a caller whose permission is checked already; raises what :func:`merge_subjects` raises."""
    request.check()
    tenant, both = caller.tenant, [request.survivor, request.duplicate]
    keys = await services.keyring.subject_keys(tenant, both)
    index_keys = await services.keyring.index_keys(tenant)
    row_keys = await services.keyring.row_keys(tenant)
    reverify: list[tuple[UUID, int]] = []
    async with services.data.transaction() as connection:
        # Requests first, then subjects: the global order of locks.
        requests = await requests_of(connection, row_keys, both, lock=True)
        rows = await services.subjects.locked_many(connection, tenant, both)
        # The call before may have committed and lost its answer: a second one completes the merge and succeeds.
        if await merged_into(connection, tenant, request.duplicate) == request.survivor:
            result = MergeResult(
                id=request.survivor, records=0, same=0, apart=0, conflicts=[], consents=0, created=False
            )
        else:
            keys = await current_keys(services, connection, tenant, keys)
            target_row, source_row = [await _present(connection, tenant, rows, keys, subject) for subject in both]
            target, source = [KeyHolder(subject, keys[subject]) for subject in both]
            resealer, now = Resealer(tenant, source, target), services.clock.now()
            merge = MergeContext(services, caller, connection, resealer, target_row, source_row, new_id(), now)
            await require_at_rest(merge, requests)
            result = await _merge(merge, index_keys, request.evidence)
            reverify = merge.reverify
        if on_commit is not None:
            await on_commit(connection, result)
    # After the commit: a letter about a merge that was rolled back would be wrong.
    for unverified, revision in reverify:
        await services.jobs.start("tell-identity", tenant, unverified, run=revision)
    # After the commit, as nothing opens any more under the duplicate's keys. A crash in between is made good by the
    # next merge.
    await finish_merges(services, tenant, request.duplicate)
    return result


async def finish_merges(services: Services, tenant: TenantId, *duplicates: SubjectId) -> int:
    """Destroy the keys of duplicates: of these, and of those merged last, in case a crash prevented it.

    Returns the number of destroyed keys.

    Raises:
        Unavailable: the key store does not answer.
    """
    # To destroy keys that are destroyed already is one statement without an effect.
    others = await newest_aliases(services.data, tenant, most=FINISHED_ALONG)
    return await services.keyring.destroy_subject_keys(tenant, [*duplicates, *others])


async def require_at_rest(merge: MergeContext, requests: Sequence[StoredRequest]) -> None:
    """Require that no request of either subject is being carried out.

    Raises:
        Conflict: one is. An erasure above all must not lose the subject it is about.
        Unavailable: a request was submitted between the locks; it is not among ``requests``.
    """
    connection, both = merge.connection, (merge.survivor, merge.duplicate)
    if await request_ids_of(connection, merge.tenant, both) - {stored.request.id for stored in requests}:
        raise Unavailable("a request of one of the two came in at this moment", hint="send it again")
    erasures = [erasure for subject in both for erasure in await erasures_of(connection, merge.tenant, subject)]
    # An erasure without a request, by a sweep or after a hold, has no request that could begin it again.
    half_erased = any(
        erasure.finished_at is None and (erasure.state != "begun" or erasure.request is None) for erasure in erasures
    )
    if half_erased or any(stored.request.state in UNDER_WAY for stored in requests):
        raise Conflict(
            "a request of one of the two is being carried out",
            code="request-under-way",
            hint="merge them once it is completed",
        )


async def _notify_of_values(merge: MergeContext, profile: MergedProfile) -> None:
    """Notify the apps that were shown a value which is another now: one of the duplicate's, or one that was united."""
    for row, fields in ((merge.duplicate_row, profile.conflicts), (merge.survivor_row, profile.united)):
        if fields:
            await notify_recipients(
                merge.services,
                merge.connection,
                merge.tenant,
                DataChange(
                    subject=merge.survivor,
                    pseudonym=row.pseudonym,
                    kind="subject.rectified",
                    fields=fields,
                    by=merge.caller.principal.id,
                ),
            )


async def _merge(merge: MergeContext, index_keys: IndexKeys, evidence: str) -> MergeResult:
    services, connection, tenant = merge.services, merge.connection, merge.tenant
    catalogue = services.policies.active(tenant).policy_set.catalogue
    moved = await move_records(merge, RecordMove(merge.resealer, index_keys, catalogue))
    profile = moved.profile
    merge.birth_date, merge.conflicts = profile.birth_date, profile.conflicts
    for owner in services.personal_data:
        await owner.move(merge)
    await mark_due(connection, tenant, [merge.survivor], merge.now)
    await add_line(services, tenant, merge.survivor, MergeLine(merge.duplicate))
    if (merge.survivor_row.state == "restricted") != (merge.duplicate_row.state == "restricted"):
        # Recipients of the data of the one that was not restricted have to know that it is now (Art. 19).
        await notify_recipients(
            services,
            connection,
            tenant,
            DataChange(
                subject=merge.survivor,
                pseudonym=merge.survivor_row.pseudonym,
                kind="subject.restricted",
                fields=EVERYTHING,
            ),
        )
    await _notify_of_values(merge, profile)
    aad = record_aad(tenant, merge.survivor, "audit", merge.entry)
    entry = audit_entry(
        services,
        merge.caller,
        id=merge.entry,
        action="merge",
        decision="allowed",
        # Both pseudonyms, so that the entry is found from either.
        subjects=(merge.survivor_row.pseudonym, merge.duplicate_row.pseudonym),
        fields=tuple(f"profile.{view_name(name)}" for name in (*profile.taken, *profile.conflicts)),
        reasons=(merge.resealer.target.keys.seal("reason", encode(evidence), aad), b""),
        policy=services.policies.active(tenant).version,
    )
    await services.audit_log.append_in(connection, [entry])
    return MergeResult(
        id=merge.survivor,
        records=moved.records,
        same=moved.same,
        apart=moved.apart,
        conflicts=list(profile.conflicts),
        consents=len(merge.events),
        created=True,
    )


async def _present(
    connection: AsyncConnection,
    tenant: TenantId,
    rows: Mapping[SubjectId, AnyRow],
    keys: Mapping[SubjectId, SubjectKeys],
    subject: SubjectId,
) -> AnyRow:
    row = rows.get(subject)
    if row is not None and row.state not in GONE and subject in keys:
        return row
    into = await merged_into(connection, tenant, subject)
    if into is not None:
        raise SubjectMerged(into)
    raise subject_not_found()
