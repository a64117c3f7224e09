"""A chunk of people: who is new, whose values have changed, and the rows of both.

What an import changes about people who are there: only values that differ, by the rules of every upsert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, delete, select, update

from vault.catalogue.types import decode, encode
from vault.consent.guardians import BIRTH_DATE, expire_childrens_consents
from vault.consent.state import unpack as unpack_standing
from vault.consent.state import unpack as unpack_state
from vault.crypto.seal import record_aad
from vault.errors import Conflict, Unavailable
from vault.ids import RecordId, SubjectId, new_id
from vault.imports.lines import DUPLICATE, LineFault
from vault.imports.store import Outcome
from vault.lifecycle.key_fence import current_keys
from vault.lifecycle.tombstones import erased_before, have_tombstones
from vault.retention.holds import require_not_held
from vault.subjects.blind_index import digests
from vault.subjects.merged import locked_subjects
from vault.subjects.record_body import coarser, pack, seal_values, unpack
from vault.subjects.rows import EXTERNAL_IDS, external_digest, external_rows, record_rows, subject_row, unknown
from vault.subjects.store import GONE, PROFILE, Wanted
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD
from vault.subjects.validation import merged, normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.state import ConsentState
    from vault.crypto.seal import SubjectKeys
    from vault.ids import Pseudonym
    from vault.imports.lines import Draft
    from vault.imports.task import Work
    from vault.subjects.store import Found


NOT_FOUND = "subject-not-found"


class NewRows(NamedTuple):
    """Whole rows of new people, for each table."""

    subjects: list[tuple[Any, ...]]
    records: list[tuple[Any, ...]]
    external: list[tuple[Any, ...]]
    digests: list[tuple[Any, ...]]


class People:
    """A chunk of lines about people. Made by :func:`sort_out`; then :meth:`seal`, :meth:`write`, in that order."""

    def __init__(self, work: Work, new: list[Draft], changed: list[Change], unchanged: int) -> None:
        self._work = work
        self._new = [(draft, SubjectId(new_id())) for draft in new]
        self._changed = changed
        self._rows = NewRows([], [], [], [])
        self.outcome = Outcome(len(new), len(changed), unchanged)

    async def seal(self) -> None:
        """Make keys for the new ones, durable before anything is written under them, and seal their values."""
        work = self._work
        keys = await work.services.keyring.new_subject_keys(work.tenant, [subject for _draft, subject in self._new])
        rows = self._rows
        for draft, subject in self._new:
            values = {**draft.values, EXTERNAL_IDS: draft.external_ids}
            record, index = record_rows(
                work.rows, keys[subject], subject, PROFILE, RecordId(subject), work.fields, values, work.origin
            )
            rows.subjects.append(subject_row(work.rows, subject))
            rows.records.append(record)
            rows.external.extend(external_rows(work.rows, subject, draft.external_ids))
            rows.digests.extend(index)
        # Two imports of the same people wait for each other instead of locking each other out.
        rows.external.sort(key=lambda row: row[1])

    async def write(self, connection: AsyncConnection) -> list[Pseudonym]:
        """Write all of it; returns whom it is about."""
        rows, work = self._rows, self._work
        await work.services.subjects.add(
            connection, subjects=rows.subjects, records=rows.records, external=rows.external, index=rows.digests
        )
        changed = await write_changes(work, connection, self._changed)
        return [row[2] for row in rows.subjects] + changed

    async def undo(self) -> None:
        """Destroy the keys of people who did not come to be."""
        work = self._work
        await work.services.keyring.destroy_subject_keys(work.tenant, [subject for _draft, subject in self._new])


async def sort_out(work: Work, drafts: list[Draft], faults: list[LineFault]) -> People:
    """Find out who is there already and what differs; lines that cannot be followed go to ``faults``."""
    keys = work.rows.index_keys
    digests = [
        [external_digest(keys, system, value) for system, value in draft.external_ids.items()] for draft in drafts
    ]
    found = await work.services.subjects.by_external(work.tenant, [each for some in digests for each in some])
    new: list[Draft] = []
    known: dict[SubjectId, Draft] = {}
    for draft, its in zip(drafts, digests, strict=True):
        people = {found[digest] for digest in its if digest in found}
        if not people:
            new.append(draft)
        elif len(people) > 1:
            faults.append(LineFault(draft.line, "two-people-match", None, "its external ids lead to two people"))
        elif known.setdefault(people.pop(), draft) is not draft:
            faults.append(LineFault(draft.line, DUPLICATE, None, "an earlier line is about the same person"))
    new = await _not_erased(work, new, [{**each.values, EXTERNAL_IDS: each.external_ids} for each in new], faults)
    changes, unchanged = await _compare(work, known, faults) if known else ([], 0)
    return People(work, new, changes, unchanged)


async def _not_erased(
    work: Work, drafts: list[Draft], values: list[dict[str, Any]], faults: list[LineFault]
) -> list[Draft]:
    """Leave out lines that would bring somebody back who was erased."""
    stand = await have_tombstones(work.services, work.tenant, work.fields, values)
    error = erased_before()
    for draft, stands in zip(drafts, stand, strict=True):
        if stands:
            faults.append(LineFault(draft.line, error.code, None, error.detail))
    return [draft for draft, stands in zip(drafts, stand, strict=True) if not stands]


async def _compare(work: Work, known: dict[SubjectId, Draft], faults: list[LineFault]) -> tuple[list[Change], int]:
    ids = tuple(known)
    present = await work.services.subjects.find(Wanted(work.tenant, ids, profile=True))
    keys = await work.services.keyring.subject_keys(work.tenant, ids)
    changes: list[tuple[Change, dict[str, Any]]] = []
    unchanged = 0
    for subject, each in zip(ids, present, strict=True):
        draft = known[subject]
        if not _is_there(each) or each is None or each.profile is None or subject not in keys:
            faults.append(LineFault(draft.line, NOT_FOUND, None, "this person is no longer in the vault"))
            continue
        stopped = work.stopped(each)
        if stopped is not None:
            faults.append(LineFault(draft.line, stopped.code, None, stopped.detail))
            continue
        change = Change(subject, each.pseudonym, draft, keys[subject], unpack_state(each.standing))
        try:
            differs = changed_values(work, change, each.profile)
        except Differs:
            detail = "this person has another id in that system already; two accounts are united by a merge"
            faults.append(LineFault(draft.line, "external-id-differs", None, detail))
            continue
        except Conflict as error:
            faults.append(LineFault(draft.line, error.code, None, error.detail))
            continue
        if differs:
            changes.append((change, differs.new))
        else:
            unchanged += 1
    drafts = await _not_erased(work, [each.draft for each, _new in changes], [new for _each, new in changes], faults)
    lines = {draft.line for draft in drafts}
    return [change for change, _new in changes if change.draft.line in lines], unchanged


def _is_there(found: Found | None) -> bool:
    return found is not None and found.state not in GONE


class Differs(Exception):
    """The person has another id in a system than the line says."""


class Change(NamedTuple):
    """A person who is there, and the line about them."""

    subject: SubjectId
    pseudonym: Pseudonym
    draft: Draft
    keys: SubjectKeys
    standing: ConsentState


class Values(NamedTuple):
    """A person's values before and after; only those that differ, and only those before that there were."""

    old: dict[str, Any]
    new: dict[str, Any]

    def __bool__(self) -> bool:
        return bool(self.new)


def changed_values(work: Work, change: Change, packed: bytes) -> Values:
    """Compare a person's profile with a line. A line never takes a value away: an empty cell says nothing.

    Raises:
        Differs: an external id is another one.
        Conflict: a hold covers a value that would be overwritten.
    """
    body = unpack(packed)
    where = record_aad(work.tenant, change.subject, PROFILE, change.subject)
    found = Values({}, {})
    given = {**change.draft.values, EXTERNAL_IDS: change.draft.external_ids}
    for name, value in given.items():
        stored = body.get(name)
        plain = None if stored is None else change.keys.open(name, stored.sealed, where)
        if plain is not None and plain == encode(value):
            continue
        old = None if plain is None else decode(plain)
        new = _after(work, name, old, value)
        if plain is None or plain != encode(new):
            found.new[name] = new
            if plain is not None:
                found.old[name] = old
    lost = found.old | {name: body[name] for name in coarser(body, found.new)}
    require_not_held(change.standing, PROFILE, 0, lost, found.new)  # of a profile the day does not matter
    return found


async def write_changes(work: Work, connection: AsyncConnection, changes: list[Change]) -> list[Pseudonym]:
    """Write what still differs once the records are locked; returns whom it is about."""
    if not changes:
        return []
    by_subject = {change.subject: change for change in changes}
    records: list[dict[str, Any]] = []
    gone: list[dict[str, Any]] = []
    external: list[tuple[Any, ...]] = []
    come: list[tuple[Any, ...]] = []
    whom: list[Pseudonym] = []
    born: dict[SubjectId, object] = {}
    # The people's rows before their records, as everywhere, so that nobody waits in a ring.
    rows = await locked_subjects(connection, work.tenant, list(by_subject))
    if any(subject not in rows or rows[subject].state in GONE for subject in by_subject):
        raise Unavailable("somebody in the file was merged or erased at this moment")  # then it is looked at anew
    keys = {subject: change.keys for subject, change in by_subject.items()}
    keys = await current_keys(work.services, connection, work.tenant, keys)
    by_subject = {
        subject: change._replace(keys=keys[subject], standing=unpack_standing(rows[subject].standing))
        for subject, change in by_subject.items()
    }
    for row in await _locked(work, connection, list(by_subject)):
        change = by_subject[row.subject_id]
        try:
            values = changed_values(work, change, row.body)
        except Conflict:
            raise Unavailable("somebody in the file was put under a hold at this moment") from None  # as above
        if not values:
            continue
        whom.append(change.pseudonym)
        records.append(_record(work, change, row, values))
        before, after = _digests(work, values.old), _digests(work, values.new)
        gone.extend({**_record_key(work, row), "b_digest": digest} for digest in before - after)
        come.extend(
            (work.tenant, digest, row.subject_id, row.id, work.rows.index_keys.version) for digest in after - before
        )
        added = values.new.get(EXTERNAL_IDS, {}).items() - values.old.get(EXTERNAL_IDS, {}).items()
        external.extend(external_rows(work.rows, change.subject, dict(added)))
        if BIRTH_DATE in values.new:
            born[change.subject] = values.new[BIRTH_DATE]
    await _write(work, connection, records, external, come, gone)
    await expire_childrens_consents(work.services, work.caller, connection, born)
    return whom


async def _write(
    work: Work,
    connection: AsyncConnection,
    records: list[dict[str, Any]],
    external: list[tuple[Any, ...]],
    come: list[tuple[Any, ...]],
    gone: list[dict[str, Any]],
) -> None:
    if records:
        await connection.execute(_UPDATE, records)
    if gone:
        await connection.execute(_UNINDEX, gone)
    await work.services.data.bulk(connection, BLIND_INDEX, come)
    await work.services.data.bulk(connection, EXTERNAL_REF, sorted(external, key=lambda row: bytes(row[1])))


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
_UNINDEX = delete(BLIND_INDEX).where(
    BLIND_INDEX.c.tenant_id == bindparam("b_tenant"),
    BLIND_INDEX.c.digest == bindparam("b_digest"),
    BLIND_INDEX.c.subject_id == bindparam("b_subject"),
    BLIND_INDEX.c.record_id == bindparam("b_record"),
)


async def _locked(work: Work, connection: AsyncConnection, subjects: list[SubjectId]) -> list[Any]:
    """Lock profiles in the order of their ids, so that two imports cannot wait for each other in a ring."""
    statement = (
        select(RECORD)
        .where(RECORD.c.tenant_id == work.tenant, RECORD.c.collection == PROFILE, RECORD.c.subject_id.in_(subjects))
        .order_by(RECORD.c.subject_id)
        .with_for_update()
    )
    return list((await connection.execute(statement)).all())


def _after(work: Work, name: str, old: Any, value: Any) -> Any:
    """Work out the value that comes to stand: objects are merged part by part (RFC 7396), all else is replaced."""
    if name == EXTERNAL_IDS:
        before = old or {}
        value = unknown(before, value)
        if any(before.get(system, its) != its for system, its in value.items()):
            raise Differs
        return {**before, **value}
    if isinstance(value, dict) and isinstance(old, dict):
        return normalise(work.fields[name], merged(old, value))
    return value


def _record(work: Work, change: Change, row: Any, values: Values) -> dict[str, Any]:
    where = record_aad(work.tenant, change.subject, PROFILE, row.id)
    encoded = {name: encode(value) for name, value in values.new.items()}
    before = unpack(row.body)
    stale = coarser(before, encoded)
    body = {name: stored for name, stored in before.items() if name not in stale}
    body |= seal_values(change.keys, where, encoded, work.origin)
    return {**_record_key(work, row), "b_body": pack(body, None), "b_updated": work.rows.now}


def _record_key(work: Work, row: Any) -> dict[str, Any]:
    return {"b_tenant": work.tenant, "b_subject": row.subject_id, "b_record": row.id}


def _digests(work: Work, values: Mapping[str, Any]) -> set[bytes]:
    return {
        digest for name, value in values.items() for digest in digests(work.rows.index_keys, work.fields[name], value)
    }
