"""Which purposes apply to a person, since when not any more, and so until when each of their values is kept. Pure.

This is where consent meets retention: a consent taken back, an objection upheld or a purpose that is over ends the
claim of the purpose. A restriction (Art. 18) does not: restricted data is kept, and not used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vault.catalogue.model import HOME
from vault.consent.event import EXPLICIT
from vault.consent.lawfulness import purpose_ground
from vault.consent.state import UNSAID
from vault.retention.ends import Ends, Person, Value
from vault.retention.schedule import DAY, Schedule
from vault.storage.columns import EPOCH
from vault.subjects.record_body import happened_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

    from vault.catalogue.model import Purpose
    from vault.consent.state import PurposeStanding, Standing
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.subjects.record_body import Stored


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
        said = standing.purposes.get(name, UNSAID)
        if not _ever_applied(policy_set, purpose, said, today):
            continue
        ends = [None if purpose.valid_until is None else purpose.valid_until.toordinal()]
        if purpose.rests_on_consent:
            ends += _consented_until(policy_set, purpose, said, today)
        if said.objection == "upheld" and said.objected_at is not None:
            ends.append(day_of(said.objected_at) - 1)
        found[name] = min((day for day in ends if day is not None), default=None)
    return found


def values_of(
    row: Any, body: Mapping[str, Stored], kept: Mapping[str, int] | None = None, *, collection: str | None = None
) -> dict[str, Value]:
    """Describe the values of a record, by the names under which they lie in its body.

    Args:
        row: the record's.
        body: its values.
        kept: the last day on which a review keeps a value, by those names.
        collection: of the record; none: the row tells.
    """
    collection = collection or str(row.collection)
    happened, arrived = day_of(happened_at(row, body)), row.created_at.date().toordinal()
    return {
        name: value_of(collection, name, stored, happened, None if kept is None else kept.get(name), arrived)
        for name, stored in body.items()
    }


def value_of(
    collection: str,
    name: str,
    stored: Stored,
    happened: int,
    kept_until: int | None = None,
    arrived: int | None = None,
) -> Value:
    """Describe one value.

    Args:
        collection: of its record.
        name: under which it lies in the body: of what was generalised, ``field.view``.
        stored: the value.
        happened: the day of its record.
        kept_until: the last day on which a review keeps it.
        arrived: the day on which its record came into the vault.
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
        arrived=arrived,
    )


def day_of(microseconds: int) -> int:
    """Return the number of the day (UTC) of a moment, as the proleptic calendar counts days."""
    return microseconds // DAY + EPOCH.toordinal()


def _ever_applied(policy_set: PolicySet, purpose: Purpose, said: PurposeStanding, today: date) -> bool:
    if purpose.valid_from is not None and today < purpose.valid_from:
        return False
    if not purpose.rests_on_consent:
        return True
    explicit = purpose_ground(policy_set, purpose, today).explicit
    if said.state == "given" and explicit and said.method not in EXPLICIT:
        return False  # never a consent at all to what needs an explicit one (Art. 9(2)(a))
    return said.state not in {"none", "pending"}


def _consented_until(
    policy_set: PolicySet, purpose: Purpose, said: PurposeStanding, today: date
) -> tuple[int | None, ...]:
    """Tell the last days of a consent.

    One that was taken back ended with the day before. One to a text of which a newer version asks for more is not used
    any more, and what rests on it is kept a while longer, so that people can be asked anew.
    """
    expires = None if said.valid_until is None else day_of(said.valid_until - 1)
    if said.state in {"refused", "withdrawn"}:
        return (expires, day_of(said.since) - 1)
    if said.state == "expired":
        return (expires, day_of(said.since - 1))
    if said.notice in purpose_ground(policy_set, purpose, today).notices:
        return (expires,)
    return (expires, _overtaken_until(policy_set, purpose, said, today))


def _overtaken_until(policy_set: PolicySet, purpose: Purpose, said: PurposeStanding, today: date) -> int:
    """Tell until when what rests on a consent to an older text is kept; where nobody knows since when, no longer."""
    name, _, number = (said.notice or "").partition("@")
    days = [
        each.valid_from
        for each in policy_set.notices.versions(name)
        if number.isdecimal() and each.version > int(number) and each.material and each.in_force(today)
    ]
    if purpose.notice is None or purpose.notice.partition("@")[0] != name or not days or None in days:
        return today.toordinal() - 1
    first = min(day for day in days if day is not None)
    return policy_set.schedule.unclaimed.after(first).toordinal()
