"""Merge two entries of one person: one stays, with what both had, and the other's id leads to it.

Data and keys lie in two databases. So that a crash loses nothing, whenever it comes:

1. Both people's keys are there already, and no new one is made.
2. One transaction moves everything, sealed anew, and writes the audit entry and the alias. It locks requests first,
   then people, then their records, as everything else does.
3. Only then are the other's keys destroyed. If that is lost, the same call finds the alias and does it again; so does
   every later merge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.types import encode
from vault.crypto.seal import record_aad
from vault.errors import Fault, InvalidInput, NotFound, SubjectMerged
from vault.ids import new_id
from vault.lifecycle.key_fence import current_keys
from vault.lifecycle.restore_lines import note_merge
from vault.merging.related_data import (
    carry_consents,
    carry_holds,
    carry_rectifications,
    carry_requests,
    end_access,
    require_at_rest,
    tell_asked,
)
from vault.merging.reseal import Move, Side, move_records
from vault.recipients.outbox import EVERYTHING, tell_recipients
from vault.requests.store import locked_requests_of
from vault.retention.clocks import join_clocks
from vault.retention.review_store import move_reviews
from vault.subjects.changes import mark_due
from vault.subjects.merged import lead_to, locked_subjects, merged_into, newest_aliases, take_away
from vault.subjects.record_body import view_name
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId
    from vault.merging.reseal import Moved
    from vault.requests.model import Request
    from vault.requests.store import Kept

LONGEST_EVIDENCE = 500
FINISHED_ALONG = 100
"""People merged last whose keys are destroyed once more, should that have been lost."""


class Merged(NamedTuple):
    """What became of a merge.

    Attributes:
        id: the person who stays.
        records: how many records came over, the profile not counted.
        same: records that both had, with the same id in another system and the same values; one of each stayed.
        apart: records that came over without their id in another system, which a record of the survivor's has.
        conflicts: names of the profile's fields of which both had a value and the survivor's stayed.
        consents: how many events went along into the ledger of consents.
        created: whether it happened now; false where the two were one already.
    """

    id: SubjectId
    records: int = 0
    same: int = 0
    apart: int = 0
    conflicts: tuple[str, ...] = ()
    consents: int = 0
    created: bool = False


class _Both(NamedTuple):
    """What is locked of the two: their rows, and their requests."""

    mine: Any
    theirs: Any
    requests: list[Kept]


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
    """Merge two people who are one, as somebody with the right to it decides; never by itself.

    Args:
        caller: who decides.
        survivor: the id that stays.
        duplicate: the id that will lead to the other.
        evidence: why they are the same person; kept sealed on the audit log.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: one and the same id twice, or no evidence.
        Denied: no role of the caller's may merge.
        NotFound: one of the two is not there, or no longer; :class:`SubjectMerged` where it was merged elsewhere.
        Conflict: a request of one of the two is being carried out, or a value would be lost that a hold covers.
        Unavailable: a database did not answer; the same call again ends the merge, or begins it.
    """
    await require_permission(services, caller, "vault:subjects", "merge", audit_action="merge")
    return await unite(services, caller, survivor=survivor, duplicate=duplicate, evidence=evidence, on_commit=on_commit)


async def unite(
    services: Services,
    caller: Caller,
    *,
    survivor: SubjectId,
    duplicate: SubjectId,
    evidence: str,
    on_commit: SaveResponse | None = None,
) -> Merged:
    """Merge two people for a caller whose right to it is settled; raises what :func:`merge_subjects` raises."""
    _check_form(survivor, duplicate, evidence)
    tenant = caller.tenant
    keys = await services.keyring.subject_keys(tenant, [survivor, duplicate])
    index_keys = await services.keyring.index_keys(tenant)
    asked: list[Request] = []
    async with services.data.transaction() as connection:
        requests = await locked_requests_of(connection, tenant, [survivor, duplicate])
        rows = await locked_subjects(connection, tenant, [survivor, duplicate])
        done = await merged_into(connection, tenant, duplicate)
        if done == survivor:
            merged = Merged(survivor)
        else:
            keys = await current_keys(services, connection, tenant, keys)
            mine, theirs = [await _present(connection, tenant, rows, keys, each) for each in (survivor, duplicate)]
            catalogue = services.policies.active(tenant).policy_set.catalogue
            move = Move(tenant, Side(survivor, keys[survivor]), Side(duplicate, keys[duplicate]), index_keys, catalogue)
            await require_at_rest(connection, move, requests)
            both = _Both(mine, theirs, requests)
            merged, asked = await _merge(services, connection, caller, move, both, evidence)
        if on_commit is not None:
            await on_commit(connection, merged)
    await tell_asked(services, caller, asked)
    await finish_merges(services, tenant, duplicate)
    return merged


async def finish_merges(services: Services, tenant: TenantId, *duplicates: SubjectId) -> int:
    """Destroy the keys of people who were merged: these, and those merged last, should theirs be there still.

    Returns:
        how many keys went.

    Raises:
        Unavailable: the key store does not answer.
    """
    others = await newest_aliases(services.data, tenant, most=FINISHED_ALONG)
    return await services.keyring.destroy_subject_keys(tenant, [*duplicates, *others])


async def _merge(
    services: Services, connection: AsyncConnection, caller: Caller, move: Move, both: _Both, evidence: str
) -> tuple[Merged, list[Request]]:
    entry_id = new_id()
    mine, theirs = both.mine, both.theirs
    records = await move_records(services, connection, move)
    consents = await carry_consents(services, connection, caller, move, mine, theirs, records.profile.born)
    await carry_rectifications(connection, move)
    asked = await carry_requests(
        services, connection, caller, move, both.requests, pseudonym=mine.pseudonym, events=consents
    )
    await end_access(services, connection, move)
    await carry_holds(connection, move, theirs, records.profile.conflicts)
    await join_clocks(connection, move.tenant, of=move.duplicate.id, to=move.survivor.id)
    await move_reviews(connection, move.tenant, of=move.duplicate.id, to=move.survivor.id)
    await mark_due(connection, move.tenant, [move.survivor.id], services.clock.now())
    await take_away(connection, move.tenant, move.duplicate.id)
    await lead_to(
        connection,
        move.tenant,
        old=move.duplicate.id,
        new=move.survivor.id,
        entry=entry_id,
        now=services.clock.now(),
    )
    await note_merge(services, move.tenant, survivor=move.survivor.id, duplicate=move.duplicate.id)
    if (mine.state == "restricted") != (theirs.state == "restricted"):
        await _tell_restricted(services, connection, move, mine)
    await _note(services, connection, caller, move, (mine.pseudonym, theirs.pseudonym), entry_id, records, evidence)
    merged = Merged(
        move.survivor.id,
        records.records,
        records.same,
        records.apart,
        tuple(records.profile.conflicts),
        len(consents),
        created=True,
    )
    return merged, asked


async def _tell_restricted(services: Services, connection: AsyncConnection, move: Move, mine: Any) -> None:
    """Tell all who read of either that what they have is restricted now (Art. 19); only one of the two was."""
    await tell_recipients(
        services,
        connection,
        move.tenant,
        move.survivor.id,
        mine.pseudonym,
        kind="subject.restricted",
        fields=EVERYTHING,
        request=None,
    )


async def _note(
    services: Services,
    connection: AsyncConnection,
    caller: Caller,
    move: Move,
    pseudonyms: tuple[UUID, UUID],
    entry_id: UUID,
    records: Moved,
    evidence: str,
) -> None:
    """Write down that the two are one: the entry names both, so that it is found from either."""
    where = record_aad(move.tenant, move.survivor.id, "audit", entry_id)
    sealed = move.survivor.keys.seal("reason", encode(evidence), where)
    made = audit_entry(
        services,
        caller,
        id=entry_id,
        action="merge",
        decision="allowed",
        subjects=pseudonyms,
        fields=tuple(f"profile.{view_name(name)}" for name in (*records.profile.taken, *records.profile.conflicts)),
        reasons=(sealed, b""),
        policy=services.policies.active(move.tenant).version,
    )
    await services.audit_log.append_in(connection, [made])


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
