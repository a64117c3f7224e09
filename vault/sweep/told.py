"""What a sweep did with people, in names and numbers. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from vault.lifecycle.erasures import Line
from vault.sweep.store import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.policy.policy_set import PolicySet
    from vault.sweep.evaluate import PersonLook


def code_of(person: PersonLook) -> str:
    """Say the most that was done."""
    if person.is_over:
        return "person-erased"
    if any(look.gone for look in person.records):
        return "erased"
    if any(look.views for look in person.records):
        return "generalised"
    kinds = {each.kind for look in person.records for each in look.ended}
    return "restricted" if kinds == {"restrict"} else "review"


def fields_of(policy_set: PolicySet, person: PersonLook) -> tuple[str, ...]:
    """Name the fields of which something ended, each by the view that went: of what had been generalised, that one."""
    names = (
        f"{look.row.collection}.{name}" if "." in name else f"{look.row.collection}.{name}.clear"
        for look in person.records
        for name in (*look.gone, *look.views, *(each.field for each in look.ended))
    )
    return tuple(name for name in dict.fromkeys(names) if name in policy_set.catalogue)


def lines_of(person: PersonLook) -> tuple[Line, ...]:
    """Sum up what went, field by field."""
    gone = Counter(f"{look.row.collection}.{name}" for look in person.records for name in (*look.gone, *look.views))
    return tuple(Line(field, records) for field, records in sorted(gone.items()))


def counted(looks: Iterable[PersonLook]) -> Counts:
    """Count what was done with people."""
    people = list(looks)
    records = [look for each in people for look in each.records]
    kinds = Counter(each.kind for look in records for each in look.ended)
    return Counts(
        erased=sum(len(look.gone) for look in records),
        generalised=sum(len(look.views) for look in records),
        restricted=kinds["restrict"],
        reviews=kinds["review"],
        whole=sum(each.is_over for each in people),
    )
