"""A chunk of people: who is new, whose values have changed, and the rows of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vault.consent.state import unpack
from vault.errors import Conflict
from vault.ids import RecordId, SubjectId, new_id
from vault.imports.importing_lines import DUPLICATE, LineFault
from vault.imports.profiles import Change, Differs, changed_values, write_changes
from vault.imports.store import Outcome
from vault.lifecycle.tombstones import erased_before, which_stand
from vault.subjects.rows import EXTERNAL_IDS, external_digest, external_rows, record_rows, subject_row
from vault.subjects.store import GONE, PROFILE, Wanted

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import Pseudonym
    from vault.imports.importing_lines import Draft
    from vault.imports.importing_task import Work
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
        keys = await work.house.keyring.new_subject_keys(work.tenant, [subject for _draft, subject in self._new])
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
        await work.house.subjects.add(
            connection, subjects=rows.subjects, records=rows.records, external=rows.external, index=rows.digests
        )
        changed = await write_changes(work, connection, self._changed)
        return [row[2] for row in rows.subjects] + changed

    async def undo(self) -> None:
        """Destroy the keys of people who did not come to be."""
        work = self._work
        await work.house.keyring.destroy_subject_keys(work.tenant, [subject for _draft, subject in self._new])


async def sort_out(work: Work, drafts: list[Draft], faults: list[LineFault]) -> People:
    """Find out who is there already and what differs; lines that cannot be followed go to ``faults``."""
    keys = work.rows.index_keys
    digests = [
        [external_digest(keys, system, value) for system, value in draft.external_ids.items()] for draft in drafts
    ]
    found = await work.house.subjects.by_external(work.tenant, [each for some in digests for each in some])
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
    stand = await which_stand(work.house, work.tenant, work.fields, values)
    error = erased_before()
    for draft, stands in zip(drafts, stand, strict=True):
        if stands:
            faults.append(LineFault(draft.line, error.code, None, error.detail))
    return [draft for draft, stands in zip(drafts, stand, strict=True) if not stands]


async def _compare(work: Work, known: dict[SubjectId, Draft], faults: list[LineFault]) -> tuple[list[Change], int]:
    ids = tuple(known)
    present = await work.house.subjects.find(Wanted(work.tenant, ids, profile=True))
    keys = await work.house.keyring.subject_keys(work.tenant, ids)
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
        change = Change(subject, each.pseudonym, draft, keys[subject], unpack(each.standing))
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
