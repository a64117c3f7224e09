"""Which purposes apply to a person, since when not any more, and so until when each of their values is kept. Pure.

This is where consent meets retention: a consent taken back, an objection upheld or a purpose that is over ends the
claim of the purpose. A restriction (Art. 18) does not: restricted data is kept, and not used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vault.catalogue.model import HOME
from vault.consent.ground import is_consented
from vault.consent.standing import UNSAID
from vault.operations.decide import purpose_ground
from vault.retention.ends import Ends, Person, Value
from vault.retention.schedule import DAY, Schedule
from vault.storage.columns import EPOCH, to_microseconds
from vault.subjects.records import happened_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vault.catalogue.model import Purpose
    from vault.consent.standing import PurposeStanding, Standing
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.subjects.records import Stored


@lru_cache(maxsize=64)
def schedule_of(policy_set: PolicySet) -> Schedule:
    """Return what a policy version says of each field's retention."""
    return Schedule(policy_set.catalogue, policy_set.purposes, policy_set.schedule)


def ends_of(
    policy_set: PolicySet, standing: Standing, clocks: Clocks, now: datetime, *, retained: bool = False
) -> Ends:
    """Return what tells until when each value of a person is kept.

    Args:
        policy_set: in force.
        standing: what the person said.
        clocks: when what happened last.
        now: the present.
        retained: whether the person was erased and a law keeps something: then each value says itself until when.
    """
    person = Person(applies(policy_set, standing, now), clocks, now.date().toordinal(), retained)
    return Ends(schedule_of(policy_set), person)


def applies(policy_set: PolicySet, standing: Standing, now: datetime) -> dict[str, int | None]:
    """Tell which purposes apply to a person, or did, and until which day each does by itself (none: no end in sight).

    A purpose that rests on a consent which was never given is left out, and one that is still to come.
    """
    today = now.date()
    found: dict[str, int | None] = {}
    for name, purpose in policy_set.purposes.items():
        if purpose.valid_from is not None and today < purpose.valid_from:
            continue
        said = standing.purposes.get(name, UNSAID)
        ends = [None if purpose.valid_until is None else purpose.valid_until.toordinal()]
        if purpose.rests_on_consent:
            if said.state in {"none", "pending"}:
                continue
            ends.append(_consented_until(policy_set, purpose, said, now))
        if said.objection == "upheld" and said.objected_at is not None:
            ends.append(day_of(said.objected_at) - 1)
        found[name] = min((day for day in ends if day is not None), default=None)
    return found


def values_of(row: Any, body: Mapping[str, Stored], kept: Mapping[str, int] | None = None) -> dict[str, Value]:
    """Describe the values of a record, by the names under which they lie in its body.

    Args:
        row: the record's.
        body: its values.
        kept: the last day on which a review keeps a value, by those names.
    """
    happened = day_of(happened_at(row, body))
    return {
        name: value_of(row.collection, name, stored, happened, None if kept is None else kept.get(name))
        for name, stored in body.items()
    }


def value_of(collection: str, name: str, stored: Stored, happened: int, kept_until: int | None = None) -> Value:
    """Describe one value.

    Args:
        collection: of its record.
        name: under which it lies in the body: of what was generalised, ``field.view``.
        stored: the value.
        happened: the day of its record.
        kept_until: the last day on which a review keeps it.
    """
    field, _, view = name.partition(".")
    collected = None if stored.collected_at is None else day_of(stored.collected_at)
    start = collected if collection == HOME and collected is not None else happened
    return Value(
        field=f"{collection}.{field}",
        start=start,
        purpose=stored.purpose,
        source=stored.source,
        collected=collected,
        expires=None if stored.expires_at is None else day_of(stored.expires_at - 1),
        form=f"{collection}.{name}" if view else None,
        kept_until=kept_until,
    )


def day_of(microseconds: int) -> int:
    """Return the number of the day (UTC) of a moment, as the proleptic calendar counts days."""
    return microseconds // DAY + EPOCH.toordinal()


def _consented_until(policy_set: PolicySet, purpose: Purpose, said: PurposeStanding, now: datetime) -> int | None:
    """Tell the last day of a consent; one that was taken back ended with the day before."""
    if said.state in {"refused", "withdrawn", "expired"}:
        return day_of(said.since) - 1
    if said.valid_until is not None and said.valid_until <= to_microseconds(now):
        return day_of(said.valid_until - 1)
    if not is_consented(purpose_ground(policy_set, purpose, now.date()), said, to_microseconds(now)):
        return now.date().toordinal() - 1
    return None if said.valid_until is None else day_of(said.valid_until - 1)
