"""Place, change and lift legal holds. Each is one transaction, with its audit entry and its line in the restore ledger.

The input is checked before the transaction begins. A transaction locks the row of the hold first, and then the rows of
subjects by id: one lock order for all, so that two transactions cannot deadlock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.model import UnknownName
from vault.errors import Conflict, Fault, InvalidInput, NotFound, Unavailable
from vault.holds.restore_lines import log_hold
from vault.holds.resume_erasures import release
from vault.holds.views import Hold
from vault.ids import new_id
from vault.retention.holds import (
    LegalHold,
    add_hold,
    add_subjects,
    find_hold,
    put_marks,
    save_hold,
    subjects_of,
    subjects_with_waiting_erasure,
)
from vault.subjects.merged import locked_subjects

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.audit.entry import Action
    from vault.catalogue.model import Catalogue, Purpose
    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.policy.policy_set import PolicySet


RESOURCE: Final = "vault:holds"
IN_ONE_ENTRY: Final = 1_000
"""Subjects that one audit entry lists."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of a hold: the caller, the open transaction, and the audit action."""

    services: Services
    caller: Caller
    connection: AsyncConnection
    action: Action

    async def audit(self, hold: LegalHold, rows: Mapping[SubjectId, Any]) -> None:
        """Append the audit entries of the change, with the subjects that it is about."""
        pseudonyms = [row.pseudonym for row in rows.values()]
        entries = [
            audit_entry(
                self.services,
                self.caller,
                action=self.action,
                decision="allowed",
                purpose=hold.purpose,
                subjects=tuple(pseudonyms[start : start + IN_ONE_ENTRY]),
                target=hold.id,
                policy=self.services.policies.active(self.caller.tenant).version,
            )
            for start in range(0, max(len(pseudonyms), 1), IN_ONE_ENTRY)
        ]
        await self.services.audit_log.append_in(self.connection, entries)


@audited("place-hold")
async def place_hold(
    services: Services, caller: Caller, draft: HoldDraft, *, on_commit: SaveResponse | None = None
) -> Hold:
    """Place a hold: from now on nothing deletes what it covers, and only the hold's purposes may use it.

    Args:
        draft: what the hold is about.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        Denied: the caller may not manage holds.
        InvalidInput: the draft is invalid.
        NotFound: a subject does not exist or is erased; for merged subjects, name the survivor.
        Unavailable: a database does not answer; nothing has happened.
    """
    await require_permission(services, caller, RESOURCE, "manage", audit_action="place-hold")
    now, policy_set = services.clock.now(), services.policies.active(caller.tenant).policy_set
    checked = check_draft(policy_set, draft, now.date())
    hold = LegalHold(
        id=new_id(),
        matter=checked.matter,
        owner=checked.owner,
        purpose=checked.purpose,
        also_for=tuple(checked.also_for),
        names=tuple(checked.names),
        since=checked.since,
        until=checked.until,
        review_on=checked.review_on,
        people=len(checked.subjects),
        placed_at=now,
        placed_by=caller.principal.id,
    )
    view = Hold.of(hold)
    async with services.data.transaction() as connection:
        change = _Change(services, caller, connection, "place-hold")
        rows = await _lock_existing(change, draft.subjects, at="/subjects")
        await add_hold(connection, caller.tenant, hold)
        await add_subjects(connection, caller.tenant, hold.id, list(rows))
        await put_marks(connection, caller.tenant, rows, hold)
        await change.audit(hold, rows)
        if on_commit is not None:
            await on_commit(connection, view)
        await log_hold(services, caller.tenant, hold, added=list(rows))
    return view


@audited("change-hold")
async def change_hold(services: Services, caller: Caller, hold_id: UUID, changes: HoldChanges) -> Hold:
    """Change the owner of a hold, its review, the purposes that may go on, or the subjects that it covers.

    A subject that it no longer covers is as free as if the hold had been lifted.

    Raises:
        Denied: the caller may not manage holds.
        NotFound: there is no such hold, or a subject to be added does not exist.
        InvalidInput: a change is invalid.
        Conflict: the hold is lifted, or would cover no one.
        Unavailable: a database does not answer, or two of its subjects were merged at this moment.
    """
    await require_permission(services, caller, RESOURCE, "manage", audit_action="change-hold")
    policy_set = services.policies.active(caller.tenant).policy_set
    check_changes(policy_set, changes, services.clock.now().date())
    async with services.data.transaction() as connection:
        change = _Change(services, caller, connection, "change-hold")
        before, subjects = await _lock_active(change, hold_id)
        added = sorted({*changes.add} - {*subjects})
        removed = sorted({*changes.remove} & {*subjects})
        after = _changed(before, changes, people=len(subjects) + len(added) - len(removed))
        await _require_at_rest(change, hold_id, added)
        rows = await _lock_subjects(change, hold_id, subjects, changes.add)
        released = {subject: rows[subject] for subject in removed if subject in rows}
        covered = {subject: row for subject, row in rows.items() if subject not in released}
        await add_subjects(connection, caller.tenant, hold_id, added)
        marked = covered if after.also_for != before.also_for else {subject: rows[subject] for subject in added}
        await put_marks(connection, caller.tenant, marked, after)
        await release(services, connection, caller.tenant, hold_id, released)
        await save_hold(connection, caller.tenant, after)
        await change.audit(after, {**marked, **released})
        await log_hold(services, caller.tenant, after, added=added, removed=removed)
    return Hold.of(after)


@audited("lift-hold")
async def lift_hold(services: Services, caller: Caller, hold_id: UUID, *, reason: str) -> Hold:
    """Lift a hold: what ended in the meantime is swept, and erasures that waited for the hold continue.

    Args:
        hold_id: the hold.
        reason: why, as a reference such as the file number of a judgment; no name of a person.

    Raises:
        Denied: the caller may not manage holds.
        NotFound: there is no such hold.
        InvalidInput: the reason is not a reference.
        Conflict: the hold is already lifted.
        Unavailable: a database does not answer, or two of its subjects were merged at this moment.
    """
    await require_permission(services, caller, RESOURCE, "manage", audit_action="lift-hold")
    check_reason(reason)
    async with services.data.transaction() as connection:
        change = _Change(services, caller, connection, "lift-hold")
        before, subjects = await _lock_active(change, hold_id)
        rows = await _lock_subjects(change, hold_id, subjects, [])
        await release(services, connection, caller.tenant, hold_id, rows)
        lifted = replace(
            before, state="lifted", lifted_at=services.clock.now(), lifted_by=caller.principal.id, because=reason
        )
        await save_hold(connection, caller.tenant, lifted)
        await change.audit(lifted, rows)
        await log_hold(services, caller.tenant, lifted, removed=subjects)
    return Hold.of(lifted)


def hold_not_found() -> NotFound:
    """Return the error for a hold that does not exist."""
    return NotFound("there is no such hold", code="hold-not-found", hint="`cdv holds list --all` lists them")


async def _lock_active(change: _Change, hold_id: UUID) -> tuple[LegalHold, list[SubjectId]]:
    """Lock an active hold, and return it with the subjects that it covers."""
    hold = await find_hold(change.connection, change.caller.tenant, hold_id, lock=True)
    if hold is None:
        raise hold_not_found()
    if hold.state == "lifted":
        raise Conflict("the hold is lifted already", code="hold-lifted", hint="place another one")
    return hold, await subjects_of(change.connection, change.caller.tenant, hold_id)


async def _lock_subjects(
    change: _Change, hold_id: UUID, covered: Sequence[SubjectId], added: Sequence[SubjectId]
) -> dict[SubjectId, Any]:
    """Lock the rows of all subjects that a hold covers or is to cover, in the order of their ids."""
    if added:
        rows = await _lock_existing(change, added, at="/add", also=covered)
    else:
        rows = await locked_subjects(change.connection, change.caller.tenant, covered)
    # A merge that committed in between replaced one of these subjects by another one, whose row is not locked.
    if await subjects_of(change.connection, change.caller.tenant, hold_id) != list(covered):
        raise Unavailable("some of these subjects were merged at this moment; repeat the call")
    return rows


async def _lock_existing(
    change: _Change, subjects: Sequence[SubjectId], *, at: str, also: Sequence[SubjectId] = ()
) -> dict[SubjectId, Any]:
    """Lock subjects' rows; the error for subjects that do not exist points to the first of them."""
    rows = await locked_subjects(change.connection, change.caller.tenant, sorted({*subjects, *also}))
    missing = [
        index for index, subject in enumerate(subjects) if subject not in rows or rows[subject].state == "erased"
    ]
    if missing:
        hint = f"{len(missing):,} of the named subjects do not exist, or were merged or erased: {at}/{missing[0]} first"
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code, hint=hint)
    return rows


async def _require_at_rest(change: _Change, hold_id: UUID, added: Sequence[SubjectId]) -> None:
    """Refuse to cover subjects again while an erasure continues that the hold has released."""
    if await subjects_with_waiting_erasure(change.connection, change.caller.tenant, hold_id, added):
        raise Conflict(
            "the erasure of one of these subjects continues, because the hold released it",
            code="erasure-under-way",
            hint="wait until it has ended, or place another hold",
        )


def _changed(before: LegalHold, changes: HoldChanges, *, people: int) -> LegalHold:
    if not 1 <= people <= MOST_PEOPLE:
        raise Conflict(
            f"a hold covers 1 to {MOST_PEOPLE} subjects", code="hold-size", hint="lift it, or place another one"
        )
    also = before.also_for if changes.also_for is None else also_for(changes.also_for, before.purpose)
    return replace(
        before,
        owner=before.owner if changes.owner is None else changes.owner,
        review_on=before.review_on if changes.review_on is None else changes.review_on,
        also_for=also,
        people=people,
    )


MOST_PEOPLE: Final = 10_000
MOST_NAMES: Final = 200
LONGEST: Final = 80
_REFERENCE: Final = re.compile(r"[!-~](?:[ -~]{0,78}[!-~])?")


@dataclass(frozen=True, slots=True)
class HoldDraft:
    """A hold to be placed.

    Attributes:
        matter: a reference, such as the file number; no name of a person.
        owner: who is responsible for it, as a reference: a department, a staff number.
        purpose: the purpose for which what it covers is used.
        subjects: the subjects that it covers, 1 to 10,000.
        review_on: when to check whether it is still needed.
        also_for: purposes that may go on using what it covers.
        names: fields and collections that it covers; ``*`` is everything.
        since: the first day of the records that it covers.
        until: the last such day.
    """

    matter: str
    owner: str
    purpose: str
    subjects: Sequence[SubjectId]
    review_on: date
    also_for: Sequence[str] = ()
    names: Sequence[str] = ("*",)
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True, slots=True)
class HoldChanges:
    """Changes of a hold; None leaves an attribute as it is."""

    owner: str | None = None
    review_on: date | None = None
    also_for: Sequence[str] | None = None
    add: Sequence[SubjectId] = ()
    remove: Sequence[SubjectId] = ()


def check_draft(policy_set: PolicySet, draft: HoldDraft, today: date) -> HoldDraft:
    """Check a draft, and return it with canonical names of its fields, and each subject and purpose once.

    Raises:
        InvalidInput: with all faults.
    """
    faults = [*_reference("/matter", draft.matter), *_reference("/owner", draft.owner)]
    faults += _purposes(policy_set.purposes, "/purpose", [draft.purpose], indexed=False)
    faults += _purposes(policy_set.purposes, "/also_for", draft.also_for)
    faults += _review("/review_on", draft.review_on, today)
    if draft.since is not None and draft.until is not None and draft.until < draft.since:
        faults.append(Fault("/until", "invalid-value", "a day that is not before `since`"))
    if not draft.subjects or len(set(draft.subjects)) > MOST_PEOPLE:
        faults.append(Fault("/subjects", "invalid-value", f"name 1 to {MOST_PEOPLE} subjects"))
    names = [_canonical(policy_set.catalogue, name) for name in draft.names]
    if not names or len(names) > MOST_NAMES:
        faults.append(Fault("/fields", "invalid-value", f"name 1 to {MOST_NAMES} fields or collections, or `*`"))
    faults += [
        Fault(f"/fields/{position}", "unknown-field", "the catalogue declares no field or collection of that name")
        for position, name in enumerate(names)
        if name is None
    ]
    require(faults)
    declared = tuple(dict.fromkeys(name for name in names if name is not None))
    also = also_for(draft.also_for, draft.purpose)
    return replace_fields(draft, names=declared, also_for=also, subjects=sorted(set(draft.subjects)))


def check_changes(policy_set: PolicySet, changes: HoldChanges, today: date) -> None:
    """Check changes.

    Raises:
        InvalidInput: with all faults.
    """
    faults = [] if changes.owner is None else _reference("/owner", changes.owner)
    if changes.review_on is not None:
        faults += _review("/review_on", changes.review_on, today)
    faults += _purposes(policy_set.purposes, "/also_for", changes.also_for or ())
    if set(changes.add) & set(changes.remove):
        faults.append(Fault("/remove", "invalid-value", "a subject cannot be added and removed at once"))
    require(faults)


def check_reason(reason: str) -> None:
    """Check the reason for lifting a hold.

    Raises:
        InvalidInput: it is not a reference.
    """
    require(_reference("/reason", reason))


def also_for(purposes: Sequence[str], purpose: str) -> tuple[str, ...]:
    """Return the purposes that may go on as they are stored: sorted, each once, without the hold's own."""
    return tuple(sorted(set(purposes) - {purpose}))


def require(faults: Collection[Fault]) -> None:
    """Raise ``InvalidInput`` if there are faults."""
    if faults:
        raise InvalidInput("the hold is invalid", faults=list(faults), code="invalid-hold")


def _reference(at: str, text: str) -> list[Fault]:
    if _REFERENCE.fullmatch(text):
        return []
    detail = f"a reference of 1 to {LONGEST} printable ASCII characters, such as a file number; no name of a person"
    return [Fault(at, "invalid-reference", detail)]


def _review(at: str, day: date, today: date) -> list[Fault]:
    return [] if day > today else [Fault(at, "invalid-value", "a day in the future")]


def _purposes(known: Mapping[str, Purpose], at: str, names: Sequence[str], *, indexed: bool = True) -> list[Fault]:
    return [
        Fault(f"{at}/{position}" if indexed else at, "unknown-purpose", "the policies declare no such purpose")
        for position, name in enumerate(names)
        if name not in known
    ]


def _canonical(catalogue: Catalogue, name: str) -> str | None:
    """Return the canonical name of a field or collection; None if it is not declared, or is a view."""
    if name == "*":
        return name
    if name.endswith(".*"):
        return name if name[:-2] in catalogue.collections else None
    try:
        return catalogue.field(name).whole
    except UnknownName:
        return None
