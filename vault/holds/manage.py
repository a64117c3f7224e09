"""Place, change and lift legal holds. Each is one transaction, with its audit entry and its line on the ledger.

A hold's row is locked before people's rows, and those by id, so that nobody waits in a ring.

What a hold may say, checked before anything is done. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.model import UnknownName
from vault.errors import Conflict, Fault, InvalidInput, NotFound, Unavailable
from vault.holds.restore_lines import note_hold
from vault.holds.resume_erasures import release
from vault.ids import new_id
from vault.retention.holds import Hold, add_hold, add_people, find_hold, people_of, put_marks, save_hold, waiting_among
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
"""People whom one audit entry lists."""


class _Turn(NamedTuple):
    """Who changes what, and within which transaction."""

    services: Services
    caller: Caller
    connection: AsyncConnection
    action: Action

    async def note(self, hold: Hold, rows: Mapping[SubjectId, Any]) -> None:
        """Write down what was done, and to whom."""
        whom = [row.pseudonym for row in rows.values()]
        entries = [
            audit_entry(
                self.services,
                self.caller,
                action=self.action,
                decision="allowed",
                purpose=hold.purpose,
                subjects=tuple(whom[start : start + IN_ONE_ENTRY]),
                target=hold.id,
                policy=self.services.policies.active(self.caller.tenant).version,
            )
            for start in range(0, max(len(whom), 1), IN_ONE_ENTRY)
        ]
        await self.services.audit_log.append_in(self.connection, entries)


@audited("place-hold")
async def place_hold(
    services: Services, caller: Caller, asked: Asked, *, on_commit: SaveResponse | None = None
) -> Hold:
    """Place a hold: from now on nothing deletes what it covers, and it is used for little else.

    Args:
        caller: who places it.
        asked: what it is about.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        Denied: no role of the caller's may manage holds.
        InvalidInput: it is not described properly.
        NotFound: a person is not there, or no longer; of people who were merged, name the one who stayed.
        Unavailable: a database does not answer; then nothing has happened.
    """
    await require_permission(services, caller, RESOURCE, "manage", audit_action="place-hold")
    now, policy_set = services.clock.now(), services.policies.active(caller.tenant).policy_set
    named, asked = asked.subjects, checked(policy_set, asked, now.date())
    hold = Hold(
        id=new_id(),
        matter=asked.matter,
        owner=asked.owner,
        purpose=asked.purpose,
        also_for=tuple(asked.also_for),
        names=tuple(asked.names),
        since=asked.since,
        until=asked.until,
        review_on=asked.review_on,
        people=len(asked.subjects),
        placed_at=now,
        placed_by=caller.principal.id,
    )
    async with services.data.transaction() as connection:
        turn = _Turn(services, caller, connection, "place-hold")
        rows = await _present(turn, named, at="/subjects")
        await add_hold(connection, caller.tenant, hold)
        await add_people(connection, caller.tenant, hold.id, list(rows))
        await put_marks(connection, caller.tenant, rows, hold)
        await turn.note(hold, rows)
        if on_commit is not None:
            await on_commit(connection, hold)
        await note_hold(services, caller.tenant, hold, added=list(rows))
    return hold


@audited("change-hold")
async def change_hold(services: Services, caller: Caller, hold: UUID, changes: Changes) -> Hold:
    """Change who answers for a hold, its review, what goes on meanwhile, or whom it covers.

    Whom it does not cover any more is as free as if it had been lifted.

    Raises:
        Denied: no role of the caller's may manage holds.
        NotFound: there is no such hold, or somebody whom it is to cover is not there.
        InvalidInput: a change is not described properly.
        Conflict: it is lifted, or it would cover nobody.
        Unavailable: a database does not answer, or two of its people were merged at this moment.
    """
    await require_permission(services, caller, RESOURCE, "manage", audit_action="change-hold")
    policy_set = services.policies.active(caller.tenant).policy_set
    checked_changes(policy_set, changes, services.clock.now().date())
    async with services.data.transaction() as connection:
        turn = _Turn(services, caller, connection, "change-hold")
        before, people = await _active(turn, hold)
        added = sorted({*changes.add} - {*people})
        removed = sorted({*changes.remove} & {*people})
        after = _changed(before, changes, people=len(people) + len(added) - len(removed))
        await _require_at_rest(turn, hold, added)
        rows = await _locked(turn, hold, people, changes.add)
        gone = {each: rows[each] for each in removed if each in rows}
        stay = {each: row for each, row in rows.items() if each not in gone}
        await add_people(connection, caller.tenant, hold, added)
        again = stay if after.also_for != before.also_for else {each: rows[each] for each in added}
        await put_marks(connection, caller.tenant, again, after)
        await release(services, connection, caller.tenant, hold, gone)
        await save_hold(connection, caller.tenant, after)
        await turn.note(after, {**again, **gone})
        await note_hold(services, caller.tenant, after, added=added, removed=removed)
    return after


@audited("lift-hold")
async def lift_hold(services: Services, caller: Caller, hold: UUID, *, reason: str) -> Hold:
    """Lift a hold: what ended meanwhile is swept, and erasures that waited for it go on by themselves.

    Args:
        caller: who lifts it.
        hold: which.
        reason: why, as a reference such as the file number of the judgment; nobody's name.

    Raises:
        Denied: no role of the caller's may manage holds.
        NotFound: there is no such hold.
        InvalidInput: the reason is no reference.
        Conflict: it is lifted already.
        Unavailable: a database does not answer, or two of its people were merged at this moment.
    """
    await require_permission(services, caller, RESOURCE, "manage", audit_action="lift-hold")
    checked_reason(reason)
    async with services.data.transaction() as connection:
        turn = _Turn(services, caller, connection, "lift-hold")
        before, people = await _active(turn, hold)
        rows = await _locked(turn, hold, people, [])
        await release(services, connection, caller.tenant, hold, rows)
        lifted = replace(
            before, state="lifted", lifted_at=services.clock.now(), lifted_by=caller.principal.id, because=reason
        )
        await save_hold(connection, caller.tenant, lifted)
        await turn.note(lifted, rows)
        await note_hold(services, caller.tenant, lifted, removed=people)
    return lifted


def no_hold() -> NotFound:
    """Make the error for a hold that is not there."""
    return NotFound("there is no such hold", code="hold-not-found", hint="`cdv holds list --all` lists them")


async def _active(turn: _Turn, hold: UUID) -> tuple[Hold, list[SubjectId]]:
    """Lock a hold that stands, and list whom it covers."""
    found = await find_hold(turn.connection, turn.caller.tenant, hold, lock=True)
    if found is None:
        raise no_hold()
    if found.state == "lifted":
        raise Conflict("the hold is lifted already", code="hold-lifted", hint="place another one")
    return found, await people_of(turn.connection, turn.caller.tenant, hold)


async def _locked(
    turn: _Turn, hold: UUID, people: Sequence[SubjectId], added: Sequence[SubjectId]
) -> dict[SubjectId, Any]:
    """Lock the rows of all whom a hold covers and of those whom it is to cover, in one order."""
    if added:
        rows = await _present(turn, added, at="/add", also=people)
    else:
        rows = await locked_subjects(turn.connection, turn.caller.tenant, people)
    if await people_of(turn.connection, turn.caller.tenant, hold) != list(people):
        # A merge that came between put another's row in the place of one of these, and that is not locked.
        raise Unavailable("some of these people were merged at this moment; the same call again does it")
    return rows


async def _present(
    turn: _Turn, subjects: Sequence[SubjectId], *, at: str, also: Sequence[SubjectId] = ()
) -> dict[SubjectId, Any]:
    """Lock people's rows; where somebody is not there, or no longer, it is told where the first of them stands."""
    rows = await locked_subjects(turn.connection, turn.caller.tenant, sorted({*subjects, *also}))
    gone = [place for place, each in enumerate(subjects) if each not in rows or rows[each].state == "erased"]
    if gone:
        hint = f"{len(gone):,} of those who are named are not there, or were merged or erased: {at}/{gone[0]} first"
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code, hint=hint)
    return rows


async def _require_at_rest(turn: _Turn, hold: UUID, added: Sequence[SubjectId]) -> None:
    """Refuse to put people under a hold again while the erasure goes on that it let go on."""
    under_way = await waiting_among(turn.connection, turn.caller.tenant, hold, added)
    if under_way:
        raise Conflict(
            "the erasure of one of these people goes on, because the hold let go of them",
            code="erasure-under-way",
            hint="wait until it has ended, or place another hold",
        )


def _changed(before: Hold, changes: Changes, *, people: int) -> Hold:
    if not 1 <= people <= MOST_PEOPLE:
        raise Conflict(
            f"a hold covers 1 to {MOST_PEOPLE} people", code="hold-size", hint="lift it, or place another one"
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


class Asked(NamedTuple):
    """What a new hold is to be about.

    Attributes:
        matter: a reference, such as the file number; nobody's name.
        owner: who answers for it, as a reference: a department, a staff number.
        purpose: for which what it covers is used.
        subjects: whom it covers, 1 to 10,000 people.
        review_on: when somebody looks whether it is needed still.
        also_for: purposes that go on with what it covers.
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


class Changes(NamedTuple):
    """What is to be changed of a hold; what is none stays as it is."""

    owner: str | None = None
    review_on: date | None = None
    also_for: Sequence[str] | None = None
    add: Sequence[SubjectId] = ()
    remove: Sequence[SubjectId] = ()


def checked(policy_set: PolicySet, asked: Asked, today: date) -> Asked:
    """Check a new hold and write the names of its fields in the form in which they are kept.

    Raises:
        InvalidInput: with all that is wrong.
    """
    faults = [*_reference("/matter", asked.matter), *_reference("/owner", asked.owner)]
    faults += _purposes(policy_set.purposes, "/purpose", [asked.purpose], indexed=False)
    faults += _purposes(policy_set.purposes, "/also_for", asked.also_for)
    faults += _review("/review_on", asked.review_on, today)
    if asked.since is not None and asked.until is not None and asked.until < asked.since:
        faults.append(Fault("/until", "invalid-value", "a day that is not before `since`"))
    if not asked.subjects or len(set(asked.subjects)) > MOST_PEOPLE:
        faults.append(Fault("/subjects", "invalid-value", f"name 1 to {MOST_PEOPLE} people"))
    names = [_canonical(policy_set.catalogue, name) for name in asked.names]
    if not names or len(names) > MOST_NAMES:
        faults.append(Fault("/fields", "invalid-value", f"name 1 to {MOST_NAMES} fields or collections, or `*`"))
    faults += [
        Fault(f"/fields/{position}", "unknown-field", "the catalogue declares no field or collection of that name")
        for position, name in enumerate(names)
        if name is None
    ]
    require(faults)
    kept = tuple(dict.fromkeys(name for name in names if name is not None))
    also = also_for(asked.also_for, asked.purpose)
    return asked._replace(names=kept, also_for=also, subjects=sorted(set(asked.subjects)))


def checked_changes(policy_set: PolicySet, changes: Changes, today: date) -> None:
    """Check what is to be changed.

    Raises:
        InvalidInput: with all that is wrong.
    """
    faults = [] if changes.owner is None else _reference("/owner", changes.owner)
    if changes.review_on is not None:
        faults += _review("/review_on", changes.review_on, today)
    faults += _purposes(policy_set.purposes, "/also_for", changes.also_for or ())
    if set(changes.add) & set(changes.remove):
        faults.append(Fault("/remove", "invalid-value", "nobody can be added and removed at once"))
    require(faults)


def checked_reason(reason: str) -> None:
    """Check why a hold is lifted.

    Raises:
        InvalidInput: it is no reference.
    """
    require(_reference("/reason", reason))


def also_for(purposes: Sequence[str], purpose: str) -> tuple[str, ...]:
    """Write the purposes that go on in the form in which they are kept: each once, and not the hold's own."""
    return tuple(sorted(set(purposes) - {purpose}))


def require(faults: Collection[Fault]) -> None:
    """Go on only where nothing is wrong; raises ``InvalidInput`` otherwise."""
    if faults:
        raise InvalidInput("the hold is not described properly", faults=list(faults), code="invalid-hold")


def _reference(at: str, text: str) -> list[Fault]:
    if _REFERENCE.fullmatch(text):
        return []
    detail = f"a reference of 1 to {LONGEST} printable ASCII characters, such as a file number; nobody's name"
    return [Fault(at, "invalid-reference", detail)]


def _review(at: str, day: date, today: date) -> list[Fault]:
    return [] if day > today else [Fault(at, "invalid-value", "a day that is still to come")]


def _purposes(known: Mapping[str, Purpose], at: str, names: Sequence[str], *, indexed: bool = True) -> list[Fault]:
    return [
        Fault(f"{at}/{position}" if indexed else at, "unknown-purpose", "the policies declare no such purpose")
        for position, name in enumerate(names)
        if name not in known
    ]


def _canonical(catalogue: Catalogue, name: str) -> str | None:
    """Return the kept form of a field's or collection's name; none of what is not there, or is a view."""
    if name == "*":
        return name
    if name.endswith(".*"):
        return name if name[:-2] in catalogue.collections else None
    try:
        return catalogue.field(name).whole
    except UnknownName:
        return None
