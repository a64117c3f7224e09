"""What a hold may say, checked before anything is done. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.catalogue.model import UnknownName
from vault.errors import Fault, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import date

    from vault.catalogue.model import Catalogue, Purpose
    from vault.ids import SubjectId
    from vault.policy.policy_set import PolicySet

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
