"""Look at what is there of a person, without opening a value, and decide what an erasure would do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vault.consent.standing import unpack as unpack_standing
from vault.operations.erasure.scope import in_scope
from vault.operations.erasure.verdict import Item, Value, laws_of, verdicts
from vault.storage.columns import from_microseconds
from vault.subjects.records import happened_at, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vault.operations.erasure.verdict import Claim, Verdicts
    from vault.policy.policy_set import PolicySet
    from vault.requests.request import Scope


def decided(
    policy_set: PolicySet, row: Any, records: Sequence[Any], scope: Scope, claims: Sequence[Claim], now: datetime
) -> Verdicts:
    """Decide about every value of a person that is in scope.

    Args:
        policy_set: in force.
        row: the person's.
        records: all rows of records.
        scope: what is to be erased.
        claims: what staff keep for legal claims.
        now: the moment.
    """
    today = now.date()
    laws = laws_of(policy_set.catalogue, policy_set.purposes.values(), policy_set.retention, today)
    test = in_scope(policy_set, scope, unpack_standing(row.standing), now)
    return verdicts(laws, [_item(each) for each in records], test, claims, today)


def _item(record: Any) -> Item:
    body = unpack(record.body)
    values = tuple(Value(name, stored.purpose, stored.collected_at) for name, stored in body.items())
    return Item(record.collection, record.id, from_microseconds(happened_at(record, body)), values)
