"""What differs between two versions of the policies: what a role may now read that it could not, and the other way.

A line of a table says little about its effect, because a denial outweighs a grant and a purpose needs only some fields.
So reads are evaluated under both versions, for each role and purpose; names and lines are compared besides.
"""

from __future__ import annotations

from dataclasses import fields as attributes
from difflib import unified_diff
from typing import TYPE_CHECKING

from vault.governance.record_facts import grants_of
from vault.views import View

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

    from vault.policy.policy_set import PolicySet


class AccessChange(View):
    """Fields that a role may, or may no longer, read for a purpose."""

    role: str
    purpose: str
    fields: tuple[str, ...]


class Names(View):
    """What was added, removed and changed, by name."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self.added or self.removed or self.changed)


class PolicyDifference(View):
    """The difference between two versions."""

    before: str
    after: str
    opened: tuple[AccessChange, ...]
    closed: tuple[AccessChange, ...]
    fields: Names
    purposes: Names
    rules_added: tuple[str, ...]
    rules_removed: tuple[str, ...]
    files: Names


def difference(before: PolicySet, after: PolicySet, tenant: str, day: date) -> PolicyDifference:
    """Compare two versions of a tenant's policies, as they are on a day.

    This takes about half a second: do not call it in the event loop.
    """
    old, new = _reads(before, tenant, day), _reads(after, tenant, day)
    lines = [{rule.text: None for rule in policy_set.rules.rules} for policy_set in (before, after)]
    return PolicyDifference(
        before=before.version,
        after=after.version,
        opened=tuple(_more(old, new)),
        closed=tuple(_more(new, old)),
        fields=_names(*({field.whole: field for field in each.catalogue.fields()} for each in (before, after))),
        purposes=_names(before.purposes, after.purposes),
        rules_added=tuple(line for line in lines[1] if line not in lines[0]),
        rules_removed=tuple(line for line in lines[0] if line not in lines[1]),
        files=_names(before.files, after.files),
    )


def changed_lines(before: PolicySet, after: PolicySet) -> Iterator[str]:
    """Yield the changed lines of all files, as ``diff -u`` shows them."""
    for path in sorted({*before.files, *after.files}):
        old, new = (each.files.get(path, "").splitlines() for each in (before, after))
        yield from unified_diff(old, new, f"{before.version[:15]}/{path}", f"{after.version[:15]}/{path}", lineterm="")


_Reads = dict[tuple[str, str], frozenset[str]]


def _reads(policy_set: PolicySet, tenant: str, day: date) -> _Reads:
    return {
        (role, purpose): frozenset(grant.allowed - grant.denied)
        for purpose, by_role in grants_of(policy_set, tenant, day).items()
        for role, grant in by_role.items()
    }


def _more(old: _Reads, new: _Reads) -> Iterator[AccessChange]:
    for role, purpose in sorted(new):
        if more := new[role, purpose] - old.get((role, purpose), frozenset()):
            yield AccessChange(role=role, purpose=purpose, fields=tuple(sorted(more)))


def _names(before: Mapping[str, object], after: Mapping[str, object]) -> Names:
    return Names(
        added=_sorted(after.keys() - before.keys()),
        removed=_sorted(before.keys() - after.keys()),
        changed=_sorted(name for name in before.keys() & after.keys() if not _equal(before[name], after[name])),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _equal(one: object, other: object) -> bool:
    """Compare texts, and fields and purposes by what is written of them; these are equal only to themselves."""
    if isinstance(one, str):
        return one == other
    return all(repr(getattr(one, each.name)) == repr(getattr(other, each.name)) for each in attributes(one))  # type: ignore[arg-type]
