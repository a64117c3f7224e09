"""What a read opens of each person, worked out once for each kept decision."""

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
    """One view to show: the name that was asked for, the field in its record, and how to show it (none: in clear)."""

    asked: str
    field: str
    type: str
    view: str | None


class Items(NamedTuple):
    """The views to show of one collection's records, and what the hot loop would otherwise work out each time.

    ``lasts`` is for how many microseconds from its own start on a record is shown whoever it is about and wherever it
    comes from: the one thing that is compared each time. ``lasting`` tells the rest.
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
        """Put items together."""
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
    """What to open of each subject, worked out once for each kept decision."""

    profile: Items | None
    many: tuple[tuple[str, Items], ...]
    is_clear_profile: bool = False

    @property
    def collections(self) -> tuple[str, ...]:
        """Return the collections of many records that are needed."""
        return tuple(name for name, _items in self.many)


@dataclass(frozen=True, slots=True)
class Moment:
    """The present, in the forms in which opening needs it."""

    day: date
    microseconds: int

    @classmethod
    def of(cls, now: datetime) -> Moment:
        """Take a moment apart."""
        return cls(now.date(), to_microseconds(now))


@lru_cache(maxsize=4096)
def plan(decision: Decision, schedule: Schedule) -> Plan:
    """Sort the granted views of a decision by collection. Both compare by identity, so this is a look-up."""
    by_collection: dict[str, list[Item]] = {}
    fields: dict[str, list[Field]] = {}
    for asked, shown in decision.granted:
        field = shown.field
        item = Item(asked, field.name, field.type, None if shown.view == CLEAR else shown.view)
        by_collection.setdefault(field.collection, []).append(item)
        fields.setdefault(field.collection, []).append(field)
    sorted_out = {
        name: Items.of(items, schedule.lasting(decision.purpose.name, fields[name]))
        for name, items in sorted(by_collection.items())
    }
    one = sorted_out.pop(PROFILE, None)
    many = tuple(sorted_out.items())
    is_clear = one is not None and one.all_clear and not many and len(one.needed) == len(one.each)
    return Plan(one, many, is_clear)


def opening_of(services: Services, caller: Caller, decision: Decision) -> Plan:
    """Return what a decision opens of each person, and how long without a closer look, by the policies in force."""
    return plan(decision, schedule_of(services.policies.active(caller.tenant).policy_set))
