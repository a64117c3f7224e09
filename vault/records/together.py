"""Subjects that are created, and records that are appended, at the same moment share one transaction.

Under load, a transaction for each call costs ten times as much as what it does. So calls that wait while a transaction
runs form the next one. Every step of a single write is done for all of them: locks, the legal ground under the locks,
keys, rows, an audit entry and a stored response for each. A write that may not be done does not affect the others: it
is left out, and is tried alone, where its reason is found and recorded. If the shared transaction fails, all of them
are tried alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from vault.access.authorization import audit_entry
from vault.access.recording import granted_facts
from vault.consent.legal_ground import write_refusal
from vault.errors import Unavailable
from vault.lifecycle.key_fence import current_keys
from vault.lifecycle.tombstones import digests_of, erased_before, tombstones_among
from vault.retention.clocks import Newest
from vault.subjects.rows import record_rows
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse, WriteResult
    from vault.audit.entry import Action, Entry
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.policy.decision import Decision
    from vault.subjects.rows import Maker, NewRecord
    from vault.subjects.store import StoredSubject

Rows = dict["Table", list[tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class Call:
    """What all writes are made of: who writes, by which decision, and how the response is saved and given."""

    services: Services
    caller: Caller
    decision: Decision
    result: WriteResult
    on_commit: SaveResponse | None

    def entry(self, action: Action, pseudonym: Pseudonym, **facts: object) -> Entry:
        """Return the audit entry of the write."""
        granted = granted_facts(self.decision, pseudonym)
        return audit_entry(self.services, self.caller, action=action, decision="allowed", **granted, **facts)


@dataclass(frozen=True, slots=True)
class Creation:
    """A new subject whose profile is valid, granted and sealed."""

    call: Call
    pseudonym: Pseudonym
    profile: NewRecord
    rows: Mapping[Table, Sequence[tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class Append:
    """A record that is valid and granted, for a subject that exists, with the keys that seal it."""

    call: Call
    maker: Maker
    record: NewRecord
    keys: SubjectKeys


Write = TypeVar("Write", Creation, Append)
Outcome = bool | Unavailable
"""Whether a write is done. If not, it is to be tried alone; or the error that concerns all of them."""


async def create_together(creations: list[Creation]) -> list[Outcome]:
    """Create the subjects of each tenant in one transaction."""
    return await _by_tenant(creations, _create_all)


async def append_together(appends: list[Append]) -> list[Outcome]:
    """Append the records of each tenant in one transaction."""
    return await _by_tenant(appends, _append_all)


async def _by_tenant(
    writes: list[Write], run: Callable[[AsyncConnection, TenantId, Sequence[Write]], Awaitable[list[bool]]]
) -> list[Outcome]:
    """Run the writes of each tenant in a transaction. A failure of one tenant does not affect the others."""
    groups: defaultdict[TenantId, list[int]] = defaultdict(list)
    for place, write in enumerate(writes):
        groups[write.call.caller.tenant].append(place)
    outcomes: dict[int, Outcome] = {}
    for tenant, places in groups.items():
        group = [writes[place] for place in places]
        results: Sequence[Outcome]
        try:
            async with group[0].call.services.data.transaction() as connection:
                results = await run(connection, tenant, group)
        except Unavailable as error:
            results = [error] * len(group)
        except Exception:  # noqa: BLE001 - the fault of one of them, which finds its reason alone
            results = [False] * len(group)
        outcomes.update(zip(places, results, strict=True))
    return [outcomes[place] for place in range(len(writes))]


async def _create_all(connection: AsyncConnection, tenant: TenantId, creations: Sequence[Creation]) -> list[bool]:
    services = creations[0].call.services
    rows: Rows = {SUBJECT: [], RECORD: [], EXTERNAL_REF: [], BLIND_INDEX: []}
    for creation in creations:
        for table, added in creation.rows.items():
            rows[table] += added
    # In one order, so that two transactions that meet over the same ids cannot deadlock.
    rows[EXTERNAL_REF].sort(key=lambda row: row[1])  # type: ignore[arg-type, return-value]
    entries = [creation.call.entry("create", creation.pseudonym) for creation in creations]
    await services.data.insert(connection, rows | services.audit_log.rows_of(entries))
    key = await services.keyring.token_key(tenant)
    digests = {
        digest for creation in creations for digest in digests_of(key, creation.profile.fields, creation.profile.values)
    }
    # After the rows are written: an earlier erasure is seen, and a later one finds them.
    if await tombstones_among(connection, tenant, sorted(digests)):
        raise erased_before()
    await _save_responses(connection, creations)
    return [True] * len(creations)


async def _append_all(connection: AsyncConnection, tenant: TenantId, appends: Sequence[Append]) -> list[bool]:
    subjects = list({append.record.subject for append in appends})
    stored = await appends[0].call.services.subjects.shared(connection, tenant, subjects)
    results = [_is_allowed(append, stored) for append in appends]
    allowed = [append for append, result in zip(appends, results, strict=True) if result]
    if allowed:
        await _insert_records(connection, tenant, allowed, stored)
        await _save_responses(connection, allowed)
    return results


def _is_allowed(append: Append, stored: Mapping[SubjectId, StoredSubject]) -> bool:
    """Return whether the subject exists, and the legal ground holds on the state under the lock."""
    row, call = stored.get(append.record.subject), append.call
    return row is not None and write_refusal(call.services, call.caller, call.decision, row) is None


async def _insert_records(
    connection: AsyncConnection,
    tenant: TenantId,
    appends: Sequence[Append],
    stored: Mapping[SubjectId, StoredSubject],
) -> None:
    services = appends[0].call.services
    cached = {append.record.subject: append.keys for append in appends}
    keys = await current_keys(services, connection, tenant, cached)
    newest = Newest(appends[0].maker.now)
    rows: Rows = {RECORD: [], BLIND_INDEX: []}
    entries = []
    for append in appends:
        subject = append.record.subject
        row, index = record_rows(append.maker, keys[subject], append.record)
        rows[RECORD].append(row)
        rows[BLIND_INDEX] += index
        newest.add(subject, append.record.collection, append.record.occurred_at)
        entries.append(append.call.entry("append", stored[subject].pseudonym, target=append.record.id))
    await newest.keep(connection, tenant)
    await services.data.insert(connection, rows | services.audit_log.rows_of(entries))


async def _save_responses(connection: AsyncConnection, writes: Sequence[Write]) -> None:
    """Save each response under its idempotency key: it and the write are durable together, or not at all."""
    for write in writes:
        if write.call.on_commit is not None:
            await write.call.on_commit(connection, write.call.result)
