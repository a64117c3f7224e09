"""Look at what is there of a person, without opening a value, and decide what an erasure would do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vault.consent.state import unpack as unpack_standing
from vault.erasure.held import as_kept, with_holds
from vault.erasure.scope import in_scope
from vault.erasure.verdict import Item, verdicts
from vault.retention.applying import day_of, ends_of, values_of
from vault.retention.store import NO_CLOCKS
from vault.subjects.record_body import happened_at, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from vault.catalogue.scope import Scope
    from vault.erasure.verdict import Claim, Verdicts
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.subjects.record_body import Stored


def decided(
    policy_set: PolicySet,
    row: Any,
    records: Sequence[Any],
    scope: Scope,
    claims: Sequence[Claim],
    now: datetime,
    clocks: Clocks = NO_CLOCKS,
) -> Verdicts:
    """Decide about every value of a person that is in scope.

    Args:
        policy_set: in force.
        row: the person's.
        records: all rows of records.
        scope: what is to be erased.
        claims: what staff keep for legal claims.
        now: the moment.
        clocks: the person's.
    """
    standing = unpack_standing(row.standing)
    bodies = [(each, unpack(each.body)) for each in records]
    clocks = clocks.at_least({each.collection: day_of(happened_at(each, body)) for each, body in _by_age(bodies)})
    items = [Item(each.collection, each.id, values_of(each, body)) for each, body in bodies]
    test = in_scope(policy_set, scope, standing, now)
    found = verdicts(ends_of(policy_set, standing, clocks, now), items, test, claims, now.date())
    if row.state == "retained":
        found = as_kept(found, records, now)
    return with_holds(found, records, standing)


def _by_age(bodies: Iterable[tuple[Any, Mapping[str, Stored]]]) -> list[tuple[Any, Mapping[str, Stored]]]:
    return sorted(bodies, key=lambda each: happened_at(*each))
