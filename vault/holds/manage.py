"""Place, change, lift and show legal holds, and replay changes of holds after a restore.

The input is checked before the transaction begins. A transaction locks the row of the hold first, and then the rows of
subjects by id: one lock order for all, so that two transactions cannot deadlock. Each change has its audit entry, and a
line in the restore ledger that is written before the change commits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

import msgspec
from msgspec.structs import replace

from vault.access.authorization import audit_entry, require_permission, subject_not_found
from vault.access.paging import check_page, cut
from vault.access.recording import audited, begin_once
from vault.catalogue.model import UnknownName
from vault.errors import Conflict, Fault, InvalidInput, NotFound, Unavailable
from vault.holds.resume_erasures import release
from vault.holds.views import Hold, HoldDetails, HoldPage
from vault.ids import SubjectId, new_id
from vault.retention import holds as store
from vault.retention.holds import LegalHold
from vault.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.audit.entry import Action
    from vault.catalogue.model import Catalogue
    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.lifecycle.restore_ledger import Kind
    from vault.policy.policy_set import PolicySet
    from vault.storage.columns import AnyRow


RESOURCE: Final = "vault:holds"
AT_ONCE: Final = 1_000
"""Subjects in one audit entry, and in one line of the restore ledger."""
PAGE_LIMIT: Final = 200
Which = Literal["active", "due", "lifted", "all"]


class HoldLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the restore ledger: a hold after one change, and the subjects that the change added or removed."""

    hold: LegalHold
    added: tuple[UUID, ...] = ()
    removed: tuple[UUID, ...] = ()


_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of a hold: the caller, the open transaction, and the audit action."""

    services: Services
    caller: Caller
    connection: AsyncConnection
    action: Action

    async def record(
        self,
        hold: LegalHold,
        rows: Mapping[SubjectId, AnyRow],
        *,
        added: Sequence[SubjectId] = (),
        removed: Sequence[SubjectId] = (),
    ) -> None:
        """Append the audit entries of the change, and then its lines in the restore ledger.

        Args:
            hold: the hold after the change.
            rows: the rows of the subjects that the change is about.
            added: subjects that the hold covers from now on.
            removed: subjects that it no longer covers.

        Raises:
            Unavailable: the ledger does not answer; then the change must not commit.
        """
        pseudonyms = [row.pseudonym for row in rows.values()]
        entries = [
            audit_entry(
                self.services,
                self.caller,
                action=self.action,
                decision="allowed",
                purpose=hold.purpose,
                subjects=tuple(pseudonyms[start : start + AT_ONCE]),
                target=hold.id,
                policy=self.services.policies.active(self.caller.tenant).version,
            )
            for start in range(0, max(len(pseudonyms), 1), AT_ONCE)
        ]
        await self.services.audit_log.append_in(self.connection, entries)
        lines = [
            HoldLine(hold, tuple(added[start : start + AT_ONCE]), tuple(removed[start : start + AT_ONCE]))
            for start in range(0, max(len(added), len(removed), 1), AT_ONCE)
        ]
        kind: Kind = "hold-lifted" if hold.state == "lifted" else "hold"
        # Last, because the restore ledger is no part of the transaction.
        await self.services.restore_ledger.add(
            self.caller.tenant, kind, self.services.clock.now(), [(None, _encode(line)) for line in lines]
        )


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
    await begin_once(on_commit)
    now, policy_set = services.clock.now(), services.policies.active(caller.tenant).policy_set
    checked = _check_draft(policy_set, draft, now.date())
    hold = LegalHold(
        id=new_id(),
        matter=checked.matter,
        owner=checked.owner,
        purpose=checked.purpose,
        also_for=tuple(checked.also_for),
        fields=tuple(checked.fields),
        since=checked.since,
        until=checked.until,
        review_on=checked.review_on,
        people=len(checked.subjects),
        placed_at=now,
        placed_by=caller.principal.id,
    )
    view = Hold.model_validate(hold)
    async with services.data.transaction() as connection:
        change = _Change(services, caller, connection, "place-hold")
        # Locked before the marks are set: an erasure or a sweep of these subjects has ended, or sees the hold.
        rows = await _lock_existing(change, draft.subjects, at="/subjects")
        await store.add_hold(connection, caller.tenant, hold)
        await store.add_subjects(connection, caller.tenant, hold.id, list(rows))
        await store.put_marks(services.subjects, connection, caller.tenant, rows, hold)
        if on_commit is not None:
            await on_commit(connection, view)
        # Last: the ledger is another database, and the lines are true only if the transaction commits.
        await change.record(hold, rows, added=list(rows))
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
    _check_changes(policy_set, changes, services.clock.now().date())
    async with services.data.transaction() as connection:
        change = _Change(services, caller, connection, "change-hold")
        before, subjects = await _lock_active(change, hold_id)
        added = sorted({*changes.add} - {*subjects})
        # Only those that it covers: to remove others is no error, and is not on record.
        removed = sorted({*changes.remove} & {*subjects})
        after = _changed(before, changes, people=len(subjects) + len(added) - len(removed))
        await _require_at_rest(change, hold_id, added)
        rows = await _lock_covered(change, hold_id, subjects, changes.add)
        released = {subject: rows[subject] for subject in removed if subject in rows}
        covered = {subject: row for subject, row in rows.items() if subject not in released}
        await store.add_subjects(connection, caller.tenant, hold_id, added)
        marked = covered if after.also_for != before.also_for else {subject: rows[subject] for subject in added}
        await store.put_marks(services.subjects, connection, caller.tenant, marked, after)
        await release(services, connection, caller.tenant, hold_id, released)
        await store.save_hold(connection, caller.tenant, after)
        await change.record(after, {**marked, **released}, added=added, removed=removed)
    return Hold.model_validate(after)


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
    _require_valid(_check_reference("/reason", reason))
    async with services.data.transaction() as connection:
        change = _Change(services, caller, connection, "lift-hold")
        before, subjects = await _lock_active(change, hold_id)
        rows = await _lock_covered(change, hold_id, subjects)
        # What ended in the meantime becomes due here, in the transaction that lifts the hold.
        await release(services, connection, caller.tenant, hold_id, rows)
        lifted = replace(
            before, state="lifted", lifted_at=services.clock.now(), lifted_by=caller.principal.id, reason=reason
        )
        await store.save_hold(connection, caller.tenant, lifted)
        await change.record(lifted, rows, removed=subjects)
    return Hold.model_validate(lifted)


async def _lock_active(change: _Change, hold_id: UUID) -> tuple[LegalHold, list[SubjectId]]:
    """Lock an active hold, and return it with the subjects that it covers."""
    hold = await _find(change.connection, change.caller.tenant, hold_id, lock=True)
    if hold.state == "lifted":
        raise Conflict("the hold is lifted already", code="hold-lifted", hint="place another one")
    return hold, await store.subjects_of(change.connection, change.caller.tenant, hold_id)


async def _lock_covered(
    change: _Change, hold_id: UUID, covered: Sequence[SubjectId], added: Sequence[SubjectId] = ()
) -> dict[SubjectId, AnyRow]:
    """Lock the rows of all subjects that a hold covers or is to cover, in the order of their ids."""
    rows = await _lock_existing(change, added, at="/add", also=covered)
    # A merge that committed in between replaced one of these subjects by another one, whose row is not locked.
    if await store.subjects_of(change.connection, change.caller.tenant, hold_id) != list(covered):
        raise Unavailable("some of these subjects were merged at this moment; repeat the call")
    return rows


async def _lock_existing(
    change: _Change, subjects: Sequence[SubjectId], *, at: str, also: Sequence[SubjectId] = ()
) -> dict[SubjectId, AnyRow]:
    """Lock subjects' rows; the error for subjects that do not exist points to the first of them."""
    rows = await change.services.subjects.locked_many(
        change.connection, change.caller.tenant, sorted({*subjects, *also})
    )
    missing = [
        index for index, subject in enumerate(subjects) if subject not in rows or rows[subject].state == "erased"
    ]
    if missing:
        number = counted(len(missing), "named subject does not exist", "named subjects do not exist")
        hint = f"{number}, or merged or erased: {at}/{missing[0]} first"
        raise subject_not_found(hint=hint)
    return rows


async def _require_at_rest(change: _Change, hold_id: UUID, added: Sequence[SubjectId]) -> None:
    """Refuse to cover subjects again while an erasure continues that the hold has released."""
    if await store.subjects_with_waiting_erasure(change.connection, change.caller.tenant, hold_id, added):
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
    also = before.also_for if changes.also_for is None else _further(changes.also_for, before.purpose)
    return replace(
        before,
        owner=before.owner if changes.owner is None else changes.owner,
        review_on=before.review_on if changes.review_on is None else changes.review_on,
        also_for=also,
        people=people,
    )


MOST_PEOPLE: Final = 10_000
MOST_NAMES: Final = 200
_REFERENCE: Final = re.compile(r"[!-~](?:[ -~]{0,78}[!-~])?")
_UNKNOWN_PURPOSE: Final = ("unknown-purpose", "the policies declare no such purpose")


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
        fields: fields and collections that it covers; ``*`` is everything.
        since: the first day of the records that it covers.
        until: the last such day.
    """

    matter: str
    owner: str
    purpose: str
    subjects: Sequence[SubjectId]
    review_on: date
    also_for: Sequence[str] = ()
    fields: Sequence[str] = ("*",)
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


def _check_draft(policy_set: PolicySet, draft: HoldDraft, today: date) -> HoldDraft:
    """Check a draft, and return it with canonical names of its fields, and each subject and purpose once."""
    faults = [*_check_reference("/matter", draft.matter), *_check_reference("/owner", draft.owner)]
    if draft.purpose not in policy_set.purposes:
        faults.append(Fault("/purpose", *_UNKNOWN_PURPOSE))
    faults += _check_further(policy_set, draft.also_for)
    faults += _check_review(draft.review_on, today)
    if draft.since is not None and draft.until is not None and draft.until < draft.since:
        faults.append(Fault("/until", "invalid-value", "a day that is not before `since`"))
    if not draft.subjects or len(set(draft.subjects)) > MOST_PEOPLE:
        faults.append(Fault("/subjects", "invalid-value", f"name 1 to {MOST_PEOPLE} subjects"))
    names = [_canonical(policy_set.catalogue, name) for name in draft.fields]
    if not names or len(names) > MOST_NAMES:
        faults.append(Fault("/fields", "invalid-value", f"name 1 to {MOST_NAMES} fields or collections, or `*`"))
    faults += [
        Fault(f"/fields/{position}", "unknown-field", "the catalogue declares no field or collection of that name")
        for position, name in enumerate(names)
        if name is None
    ]
    _require_valid(faults)
    declared = tuple(dict.fromkeys(name for name in names if name is not None))
    also_for = _further(draft.also_for, draft.purpose)
    return replace_fields(draft, fields=declared, also_for=also_for, subjects=sorted(set(draft.subjects)))


def _check_changes(policy_set: PolicySet, changes: HoldChanges, today: date) -> None:
    faults = [] if changes.owner is None else _check_reference("/owner", changes.owner)
    if changes.review_on is not None:
        faults += _check_review(changes.review_on, today)
    faults += _check_further(policy_set, changes.also_for or ())
    if set(changes.add) & set(changes.remove):
        faults.append(Fault("/remove", "invalid-value", "a subject cannot be added and removed at once"))
    _require_valid(faults)


def _further(purposes: Sequence[str], purpose: str) -> tuple[str, ...]:
    """Return the purposes that may go on as they are stored: sorted, each once, without the hold's own."""
    return tuple(sorted(set(purposes) - {purpose}))


def _require_valid(faults: list[Fault]) -> None:
    if faults:
        raise InvalidInput("the hold is invalid", faults=faults, code="invalid-hold")


def _check_reference(at: str, text: str) -> list[Fault]:
    if _REFERENCE.fullmatch(text):
        return []
    detail = "a reference of 1 to 80 printable ASCII characters, such as a file number; no name of a person"
    return [Fault(at, "invalid-reference", detail)]


def _check_review(day: date, today: date) -> list[Fault]:
    return [] if day > today else [Fault("/review_on", "invalid-value", "a day in the future")]


def _check_further(policy_set: PolicySet, names: Sequence[str]) -> list[Fault]:
    return [
        Fault(f"/also_for/{position}", *_UNKNOWN_PURPOSE)
        for position, name in enumerate(names)
        if name not in policy_set.purposes
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


@audited("read-holds")
async def list_holds(
    services: Services, caller: Caller, *, which: Which = "active", after: UUID | None = None, limit: int = 50
) -> HoldPage:
    """List holds, the next due for review first.

    Args:
        which: active holds; those of them whose review is due; lifted holds; or all.
        after: the last hold of the previous page.
        limit: 1 to 200.

    Raises:
        Denied: the caller may not see holds.
        InvalidInput: the limit is not within 1 to 200.
        NotFound: there is no hold with the id ``after``.
    """
    check_page(limit, PAGE_LIMIT, "holds")
    await require_permission(services, caller, RESOURCE, "read", audit_action="read-holds")
    states: Mapping[Which, tuple[store.State, ...]] = {"lifted": ("lifted",), "all": ("active", "lifted")}
    async with services.data.reading() as connection:
        holds = await store.list_holds(
            connection,
            caller.tenant,
            states=states.get(which, ("active",)),
            due_by=services.clock.now().date() if which == "due" else None,
            after=None if after is None else await _find(connection, caller.tenant, after),
            limit=limit + 1,
        )
    await services.audit_log.append(audit_entry(services, caller, action="read-holds", decision="allowed"))
    page, cursor = cut(holds, limit)
    return HoldPage(holds=[Hold.model_validate(hold) for hold in page], next=cursor)


@audited("read-holds")
async def show_hold(services: Services, caller: Caller, hold_id: UUID) -> HoldDetails:
    """Show a hold and the subjects that it covers.

    Raises:
        Denied: the caller may not see holds.
        NotFound: there is no such hold.
    """
    await require_permission(services, caller, RESOURCE, "read", audit_action="read-holds")
    async with services.data.reading() as connection:
        hold = await _find(connection, caller.tenant, hold_id)
        subjects = await store.subjects_of(connection, caller.tenant, hold_id)
    entry = audit_entry(services, caller, action="read-holds", decision="allowed", target=hold_id)
    await services.audit_log.append(entry)
    return HoldDetails(**dict(Hold.model_validate(hold)), subjects=subjects)


async def _find(connection: AsyncConnection, tenant: TenantId, hold_id: UUID, *, lock: bool = False) -> LegalHold:
    hold = await store.find_hold(connection, tenant, hold_id, lock=lock)
    if hold is None:
        raise NotFound("there is no such hold", code="hold-not-found", hint="`cdv holds list --all` lists them")
    return hold


async def replay_hold(services: Services, tenant: TenantId, line: HoldLine) -> None:
    """Apply a line of the restore ledger to a restored database; applying it again changes nothing.

    Nothing is written to the ledger, which has the line.
    """
    async with services.data.transaction() as connection:
        before = await store.find_hold(connection, tenant, line.hold.id, lock=True)
        if before is None:
            await store.add_hold(connection, tenant, line.hold)
        elif before.state == "lifted":
            return
        else:
            await store.save_hold(connection, tenant, line.hold)
        covered = await store.subjects_of(connection, tenant, line.hold.id)
        lifted = line.hold.state == "lifted"
        removed = covered if lifted else sorted({*map(SubjectId, line.removed)} & {*covered})
        rows = await services.subjects.locked_many(connection, tenant, removed)
        await release(services, connection, tenant, line.hold.id, rows)
        if lifted:
            return
        remaining = sorted({*covered, *map(SubjectId, line.added)} - {*removed})
        rows = await services.subjects.locked_many(connection, tenant, remaining)
        new = [subject for subject in rows if subject not in covered]
        # An erasure that continued after a release has left a row.
        await store.remove_subjects(connection, tenant, line.hold.id, new)
        await store.add_subjects(connection, tenant, line.hold.id, new)
        await store.put_marks(services.subjects, connection, tenant, rows, line.hold)
