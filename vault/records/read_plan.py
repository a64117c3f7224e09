"""The plan of a read: what it opens of each subject, computed once for each cached decision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from vault.catalogue.model import CLEAR
from vault.clock import to_microseconds
from vault.retention.ends import schedule_of
from vault.subjects.record_body import Picker
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    from vault.catalogue.model import Field
    from vault.context import Caller, Services
    from vault.policy.decision import Decision
    from vault.retention.schedule import Lasting, Schedule


class Item(NamedTuple):
    """One view to show: the name in the request, the field in its record, and the view (None for the clear value)."""

    asked: str
    field: str
    type: str
    view: str | None


class Items(NamedTuple):
    """The views to show of one collection's records, and what the hot loop would otherwise compute for each record.

    ``lasts`` is the time in microseconds after its start for which a record is shown, whichever subject and source it
    has: the only value that is compared each time. ``lasting`` decides about older records.
    """

    each: tuple[Item, ...]
    asked: tuple[str, ...]
    fields: tuple[str, ...]
    needed: frozenset[str]
    all_clear: bool
    template: bytes
    picker: Picker
    lasts: int
    lasting: Lasting

    @classmethod
    def of(cls, items: Iterable[Item], lasting: Lasting) -> Items:
        """Build the items of one collection."""
        each = tuple(items)
        return cls(
            each,
            tuple(item.asked for item in each),
            tuple(item.field for item in each),
            frozenset(item.field for item in each),
            all(item.view is None for item in each),
            b"{" + b",".join([msgspec.json.encode(item.asked).replace(b"%", b"%%") + b":%b" for item in each]) + b"}",
            Picker(tuple(dict.fromkeys(item.field for item in each))),
            lasting.least,
            lasting,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What to open of each subject, computed once for each cached decision."""

    profile: Items | None
    many: tuple[tuple[str, Items], ...]
    is_clear_profile: bool = False

    @property
    def collections(self) -> tuple[str, ...]:
        """Return the needed collections of many records."""
        return tuple(name for name, _items in self.many)


@dataclass(frozen=True, slots=True)
class Moment:
    """The current time, in the forms that rendering needs."""

    day: date
    microseconds: int

    @classmethod
    def of(cls, now: datetime) -> Moment:
        """Convert a time."""
        return cls(now.date(), to_microseconds(now))


@lru_cache(maxsize=4096)
def plan(decision: Decision, schedule: Schedule) -> Plan:
    """Sort the granted views of a decision by collection. Both arguments compare by identity, so a hit is cheap."""
    by_collection: dict[str, list[Item]] = {}
    fields: dict[str, list[Field]] = {}
    for asked, shown in decision.granted:
        field = shown.field
        item = Item(asked, field.name, field.type, None if shown.view == CLEAR else shown.view)
        by_collection.setdefault(field.collection, []).append(item)
        fields.setdefault(field.collection, []).append(field)
    items_of = {
        name: Items.of(items, schedule.lasting(decision.purpose.name, fields[name]))
        for name, items in sorted(by_collection.items())
    }
    profile = items_of.pop(PROFILE, None)
    many = tuple(items_of.items())
    is_clear = profile is not None and profile.all_clear and not many and len(profile.needed) == len(profile.each)
    return Plan(profile, many, is_clear)


def plan_of(services: Services, caller: Caller, decision: Decision) -> Plan:
    """Return the plan of a decision under the policies in force."""
    return plan(decision, schedule_of(services.policies.active(caller.tenant).policy_set))
