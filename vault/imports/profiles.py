"""Import a chunk of profiles: find new and existing subjects, and create the rows of new and changed ones.

Of an existing subject, only values that differ are changed, by the rules of every upsert.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select, update

from vault.catalogue.types import decode, encode
from vault.consent.expiry import BIRTH_DATE, expire_childrens_consents
from vault.consent.model import unpack as unpack_consent_state
from vault.contacts.changes import ContactHolder, add_changes, changes_of
from vault.crypto.seal import record_aad
from vault.errors import Conflict, Unavailable
from vault.ids import RecordId, SubjectId, new_id
from vault.imports.lines import DUPLICATE, LineFault
from vault.imports.store import Outcome
from vault.lifecycle.key_fence import current_keys
from vault.lifecycle.tombstones import erased_before, have_tombstones, is_part_of_name_and_birth
from vault.recipients.outbox import WrittenValues, notify_of_writes
from vault.retention.holds import require_not_held
from vault.subjects.rows import (
    EXTERNAL_IDS,
    NewRecord,
    coarser,
    external_digest,
    external_rows,
    index_of,
    may_collide,
    pack,
    record_rows,
    seal_values,
    subject_row,
    unknown,
    unpack,
)
from vault.subjects.store import GONE, PROFILE, IndexChange, SubjectQuery, change_index, stored_subject
from vault.subjects.tables import EXTERNAL_REF, RECORD
from vault.subjects.validation import merged, normalise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.types import JsonValue
    from vault.consent.model import ConsentState
    from vault.contacts.changes import ContactChange
    from vault.crypto.seal import SubjectKeys
    from vault.ids import Pseudonym
    from vault.imports.lines import Draft
    from vault.imports.task import ImportContext

    AnyRow = Row[*tuple[object, ...]]
    Values = tuple[Any, ...]
    """The values of a row, in the order of the table's columns."""


NOT_FOUND = "subject-not-found"


@dataclass(frozen=True, slots=True)
class NewRows:
    """Rows of new subjects, by table."""

    subjects: list[Values] = field(default_factory=list)
    records: list[Values] = field(default_factory=list)
    external: list[Values] = field(default_factory=list)
    digests: list[Values] = field(default_factory=list)


class ProfileChunk:
    """A chunk of profiles, as :func:`classify` returns it. Call :meth:`seal` and then :meth:`write`."""

    def __init__(self, context: ImportContext, new: list[Draft], changed: list[Change], unchanged: int) -> None:
        self._context = context
        self._new = [(draft, SubjectId(new_id())) for draft in new]
        self._changed = changed
        self._rows = NewRows()
        self.outcome = Outcome(len(new), len(changed), unchanged)

    async def seal(self) -> None:
        """Create the data keys of new subjects, which are then durable, and seal their values."""
        context = self._context
        keys = await context.services.keyring.new_subject_keys(
            context.tenant, [subject for _draft, subject in self._new]
        )
        rows = self._rows
        for draft, subject in self._new:
            profile = NewRecord(subject, PROFILE, RecordId(subject), context.fields, _values(draft), context.origin)
            record, index = record_rows(context.rows, keys[subject], profile)
            rows.subjects.append(subject_row(context.rows, subject))
            rows.records.append(record)
            rows.external.extend(external_rows(context.rows, subject, draft.external_ids))
            rows.digests.extend(index)
        # All imports insert external ids in the same order, so that two of them wait for each other without deadlock.
        rows.external.sort(key=lambda row: row[1])

    async def write(self, connection: AsyncConnection) -> list[Pseudonym]:
        """Write the rows; returns the pseudonyms of the subjects."""
        rows, context = self._rows, self._context
        await context.services.subjects.add(
            connection, subjects=rows.subjects, records=rows.records, external=rows.external, index=rows.digests
        )
        changed = await write_changes(context, connection, self._changed)
        return [row[2] for row in rows.subjects] + changed

    async def discard(self) -> None:
        """Destroy the data keys of subjects that were not written."""
        context = self._context
        await context.services.keyring.destroy_subject_keys(context.tenant, [subject for _draft, subject in self._new])


async def classify(context: ImportContext, drafts: list[Draft], faults: list[LineFault]) -> ProfileChunk:
    """Find the existing subjects and their differences; invalid lines are added to ``faults``."""
    keys = context.rows.index_keys
    digests = [
        [external_digest(keys, system, value) for system, value in draft.external_ids.items()] for draft in drafts
    ]
    existing = await context.services.subjects.by_external(context.tenant, list(chain.from_iterable(digests)))
    new: list[Draft] = []
    known: dict[SubjectId, Draft] = {}
    for draft, its_digests in zip(drafts, digests, strict=True):
        subjects = {existing[digest] for digest in its_digests if digest in existing}
        if not subjects:
            new.append(draft)
        elif len(subjects) > 1:
            faults.append(LineFault(draft.line, "two-people-match", None, "its external ids lead to two people"))
        elif known.setdefault(subjects.pop(), draft) is not draft:
            faults.append(LineFault(draft.line, DUPLICATE, None, "an earlier line is about the same person"))
    new = await _not_erased(context, new, [_values(draft) for draft in new], faults)
    changes, unchanged = await _compare(context, known, faults) if known else ([], 0)
    return ProfileChunk(context, new, changes, unchanged)


def _values(draft: Draft) -> dict[str, JsonValue]:
    return {**draft.values, EXTERNAL_IDS: {**draft.external_ids}}


async def _not_erased(
    context: ImportContext,
    drafts: list[Draft],
    values: list[dict[str, JsonValue]],
    faults: list[LineFault],
    others: list[dict[str, JsonValue]] | None = None,
) -> list[Draft]:
    """Leave out lines about erased subjects, for whom a tombstone exists."""
    fields = {**context.services.policies.active(context.tenant).policy_set.catalogue.collections[PROFILE].fields}
    tombstones = await have_tombstones(context.services, context.tenant, fields | {**context.fields}, values, others)
    error = erased_before()
    for draft, erased in zip(drafts, tombstones, strict=True):
        if erased:
            faults.append(LineFault(draft.line, error.code, None, error.detail))
    return [draft for draft, erased in zip(drafts, tombstones, strict=True) if not erased]


async def _compare(
    context: ImportContext, known: dict[SubjectId, Draft], faults: list[LineFault]
) -> tuple[list[Change], int]:
    ids = tuple(known)
    subjects = await context.services.subjects.find(SubjectQuery(context.tenant, ids, profile=True))
    keys = await context.services.keyring.subject_keys(context.tenant, ids)
    changes: list[tuple[Change, dict[str, JsonValue]]] = []
    profiles: dict[SubjectId, bytes] = {}
    unchanged = 0
    for subject_id, subject in zip(ids, subjects, strict=True):
        draft = known[subject_id]
        if subject is None or subject.state in GONE or subject.profile is None or subject_id not in keys:
            faults.append(LineFault(draft.line, NOT_FOUND, None, "this person is no longer in the vault"))
            continue
        refusal = context.refusal(subject)
        if refusal is not None:
            faults.append(LineFault(draft.line, refusal.code, None, refusal.detail))
            continue
        consent_state = unpack_consent_state(subject.standing)
        change = Change(subject_id, subject.pseudonym, draft, keys[subject_id], consent_state)
        try:
            difference = compare_values(context, change, subject.profile)
        except ExternalIdDiffers:
            detail = "this person has another id in that system already; two accounts are united by a merge"
            faults.append(LineFault(draft.line, "external-id-differs", None, detail))
            continue
        except Conflict as error:
            faults.append(LineFault(draft.line, error.code, None, error.detail))
            continue
        if difference:
            changes.append((change, difference.new))
            profiles[subject_id] = subject.profile
        else:
            unchanged += 1
    drafts = [change.draft for change, _new in changes]
    staying = [_staying_names(context, change, profiles[change.subject], new) for change, new in changes]
    drafts = await _not_erased(context, drafts, [new for _change, new in changes], faults, staying)
    lines = {draft.line for draft in drafts}
    return [change for change, _new in changes if change.draft.line in lines], unchanged


def _staying_names(
    context: ImportContext, change: Change, packed: bytes, new: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Open the names and dates of birth that a line leaves, if it changes another of them; see the tombstones."""
    fields = context.services.policies.active(context.tenant).policy_set.catalogue.collections[PROFILE].fields
    if not any(is_part_of_name_and_birth(fields.get(name)) for name in new):
        return {}
    aad = record_aad(context.tenant, change.subject, PROFILE, change.subject)
    return {
        name: decode(change.keys.open(name, stored.sealed, aad))
        for name, stored in unpack(packed).items()
        if name not in new and is_part_of_name_and_birth(fields.get(name))
    }


class ExternalIdDiffers(Exception):
    """The subject has another id in a system than the line."""


@dataclass(frozen=True, slots=True)
class Change:
    """An existing subject, and the line about it."""

    subject: SubjectId
    pseudonym: Pseudonym
    draft: Draft
    keys: SubjectKeys
    consent_state: ConsentState


@dataclass(frozen=True, slots=True)
class Difference:
    """The values of a subject that differ, before and after. ``old`` lacks values that did not exist."""

    old: dict[str, JsonValue] = field(default_factory=dict)
    new: dict[str, JsonValue] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether any value differs."""
        return bool(self.new)


def compare_values(context: ImportContext, change: Change, packed: bytes) -> Difference:
    """Compare a subject's profile with a line. A line never deletes a value: an empty cell is ignored.

    Raises:
        ExternalIdDiffers: the subject has another external id in a system.
        Conflict: a hold covers a value that would be overwritten.
    """
    body = unpack(packed)
    aad = record_aad(context.tenant, change.subject, PROFILE, change.subject)
    difference = Difference()
    for name, value in _values(change.draft).items():
        stored = body.get(name)
        plain = None if stored is None else change.keys.open(name, stored.sealed, aad)
        if plain is not None and plain == encode(value):
            continue
        old = None if plain is None else decode(plain)
        new = _merge(context, name, old, value)
        if plain is None or plain != encode(new):
            difference.new[name] = new
            if plain is not None:
                difference.old[name] = old
    lost = difference.old | {name: body[name] for name in coarser(body, difference.new)}
    # Holds cover a profile whatever the day, so 0 will do.
    require_not_held(change.consent_state, PROFILE, 0, lost, difference.new)
    return difference


async def write_changes(context: ImportContext, connection: AsyncConnection, changes: list[Change]) -> list[Pseudonym]:
    """Write the differences that remain once the records are locked; returns the pseudonyms of the subjects."""
    if not changes:
        return []
    by_subject = {change.subject: change for change in changes}
    written = _ChangedRows()
    pseudonyms: list[Pseudonym] = []
    values: list[WrittenValues] = []
    birth_dates: dict[SubjectId, object] = {}
    # Lock subjects before their records (global lock order), to avoid deadlock.
    rows = await context.services.subjects.locked_many(connection, context.tenant, list(by_subject))
    context.require_unchanged(by_subject, {subject: stored_subject(row) for subject, row in rows.items()})
    keys = {subject: change.keys for subject, change in by_subject.items()}
    keys = await current_keys(context.services, connection, context.tenant, keys)
    by_subject = {
        subject: replace(change, keys=keys[subject], consent_state=unpack_consent_state(rows[subject].standing))
        for subject, change in by_subject.items()
    }
    for row in await _locked(context, connection, list(by_subject)):
        change = by_subject[row.subject_id]
        try:
            difference = compare_values(context, change, row.body)
        except Conflict:
            raise Unavailable("a person in the file was put under a hold at this moment") from None
        if not difference:
            continue
        pseudonyms.append(change.pseudonym)
        values.append(WrittenValues(change.subject, change.pseudonym, difference.old, difference.new))
        written.records.append(_record(context, change, row, difference))
        written.index.append(_index_change(context, change, row, difference))
        added = _external_ids(difference.new).items() - _external_ids(difference.old).items()
        written.external.extend(external_rows(context.rows, change.subject, dict(added)))
        holder = ContactHolder(context.tenant, change.subject, change.keys, context.rows.now)
        written.contacts.extend(changes_of(holder, context.fields, difference.old, difference.new))
        if BIRTH_DATE in difference.new:
            birth_dates[change.subject] = difference.new[BIRTH_DATE]
    await _write(context, connection, written)
    await expire_childrens_consents(context.services, context.caller, connection, birth_dates)
    await notify_of_writes(context.services, connection, context.caller, values)
    return pseudonyms


@dataclass(frozen=True, slots=True)
class _ChangedRows:
    """Rows of changed subjects, by table."""

    records: list[dict[str, object]] = field(default_factory=list)
    external: list[Values] = field(default_factory=list)
    index: list[IndexChange] = field(default_factory=list)
    contacts: list[ContactChange] = field(default_factory=list)


async def _write(context: ImportContext, connection: AsyncConnection, rows: _ChangedRows) -> None:
    if rows.records:
        await connection.execute(_UPDATE, rows.records)
    await change_index(connection, rows.index, context.rows.index_keys.version)
    await add_changes(connection, context.tenant, rows.contacts)
    external = sorted(rows.external, key=lambda row: bytes(row[1]))
    await context.services.data.bulk(connection, EXTERNAL_REF, external)


_UPDATE = (
    update(RECORD)
    .where(
        RECORD.c.tenant_id == bindparam("b_tenant"),
        RECORD.c.subject_id == bindparam("b_subject"),
        RECORD.c.collection == PROFILE,
        RECORD.c.id == bindparam("b_record"),
    )
    .values(
        body=bindparam("b_body"),
        revision=RECORD.c.revision + 1,
        updated_at=bindparam("b_updated"),
        due_at=bindparam("b_updated"),
    )
)


async def _locked(context: ImportContext, connection: AsyncConnection, subjects: list[SubjectId]) -> Sequence[AnyRow]:
    """Lock profiles in the order of their ids, so that two imports do not deadlock."""
    statement = (
        select(RECORD)
        .where(RECORD.c.tenant_id == context.tenant, RECORD.c.collection == PROFILE, RECORD.c.subject_id.in_(subjects))
        .order_by(RECORD.c.subject_id)
        .with_for_update()
    )
    return (await connection.execute(statement)).all()


def _merge(context: ImportContext, name: str, old: JsonValue, value: JsonValue) -> JsonValue:
    """Return the resulting value: objects are merged (RFC 7396), other values are replaced."""
    if name == EXTERNAL_IDS and isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        added = unknown(before, value)
        if any(before.get(system, external_id) != external_id for system, external_id in added.items()):
            raise ExternalIdDiffers
        return {**before, **added}
    if isinstance(value, dict) and isinstance(old, dict):
        return normalise(context.fields[name], merged(old, value))
    return value


def _record(context: ImportContext, change: Change, row: AnyRow, difference: Difference) -> dict[str, object]:
    aad = record_aad(context.tenant, change.subject, PROFILE, row.id)
    encoded = {name: encode(value) for name, value in difference.new.items()}
    before = unpack(row.body)
    stale = coarser(before, encoded)
    body = {name: stored for name, stored in before.items() if name not in stale}
    body |= seal_values(change.keys, aad, encoded, context.origin)
    return {**_record_key(context, row), "b_body": pack(body, None), "b_updated": context.rows.now}


def _record_key(context: ImportContext, row: AnyRow) -> dict[str, object]:
    return {"b_tenant": context.tenant, "b_subject": row.subject_id, "b_record": row.id}


def _index_change(context: ImportContext, change: Change, row: AnyRow, difference: Difference) -> IndexChange:
    catalogue, keys = context.services.policies.active(context.tenant).policy_set.catalogue, context.rows.index_keys
    fields = {**catalogue.collections[PROFILE].fields, **context.fields}
    aad = record_aad(context.tenant, change.subject, PROFILE, row.id)
    others = {
        name: decode(change.keys.open(name, stored.sealed, aad))
        for name, stored in unpack(row.body).items()
        if name not in difference.new and name in fields and may_collide(fields[name])
    }
    gone, come, stay = (index_of(keys, fields, values) for values in (difference.old, difference.new, others))
    return IndexChange(row, gone, come, stay)


def _external_ids(values: Mapping[str, JsonValue]) -> dict[str, str]:
    ids = values.get(EXTERNAL_IDS)
    return {system: str(value) for system, value in ids.items()} if isinstance(ids, dict) else {}
