"""Reads retention.toml: how long values are kept for each purpose, and what must not be kept longer."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from vault.catalogue.model import HOME, covers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.model import FieldView, Purpose

Day = TypeVar("Day", bound=date)

CONTACTS: Final = frozenset({"interaction", "purchase"})
"""Collections whose newest record is the last contact: the last order or message."""
ERASE: Final = "erase"
RESTRICT: Final = "restrict"
REVIEW: Final = "review"
ENDINGS: Final = frozenset({ERASE, RESTRICT, REVIEW})
"""What may happen at the end of a value; else it is the name of a view, to which the value is generalised."""


class Since(StrEnum):
    """What a period counts from."""

    COLLECTED = "collected"
    LAST_CONTACT = "last-contact"
    RELATIONSHIP_ENDED = "relationship-ended"
    CONTRACT_ENDED = "contract-ended"
    CLAIM_CLOSED = "claim-closed"
    DRAW_HELD = "draw-held"


class Relationship(StrEnum):
    """How a person stands to the company; each has a clock of its own."""

    PROSPECT = "prospect"
    CUSTOMER = "customer"
    FORMER = "former"


@dataclass(frozen=True, slots=True)
class Period:
    """A span by the calendar (ISO 8601 §5.5.2): years and months together, and days on top."""

    months: int
    days: int

    def after(self, start: Day) -> Day:
        """Return when the period ends; a month without that day ends on its last (Reg. (EEC) 1182/71 Art. 3(2)(c)).

        What would end after the year 9999 ends on its last day.
        """
        years, month = divmod(start.month - 1 + self.months, 12)
        year, month = start.year + years, month + 1
        try:
            day = min(start.day, calendar.monthrange(year, month)[1])
            return start.replace(year=year, month=month, day=day) + timedelta(days=self.days)
        except (ValueError, OverflowError, calendar.IllegalMonthError):
            return start.replace(year=9999, month=12, day=31)

    @property
    def least_days(self) -> int:
        """Return a number of days that the period has wherever it begins, or fewer."""
        return self.months * 28 + self.days

    def __str__(self) -> str:
        years, months = divmod(self.months, 12)
        parts = ((years, "Y"), (months, "M"), (self.days, "D"))
        return "P" + ("".join(f"{count}{unit}" for count, unit in parts if count) or "0D")


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """How long values are kept for one purpose; ``fields`` (canonical names) and ``categories`` have their own periods.

    ``least`` is how long a law demands that they are kept: until then nothing erases them. ``brought_by`` names the
    collections whose records bring an obligation about: of a person without one of those, in its period, the purpose
    keeps nothing from an erasure. Empty: any collection of records that the purpose needs. ``by_relationship`` has
    other periods for prospects or for former customers. ``then`` is what happens at the end, ``at_end`` the same for
    some fields: one of :data:`ENDINGS`, or the whole name of a view.
    """

    purpose: str
    keep: Period
    since: Since
    reason: str
    fields: Mapping[str, Period] = field(default_factory=dict)
    brought_by: tuple[str, ...] = ()
    categories: Mapping[str, Period] = field(default_factory=dict)
    least: Period | None = None
    article: str | None = None
    by_relationship: Mapping[Relationship, Period] = field(default_factory=dict)
    then: str = ERASE
    at_end: Mapping[str, str] = field(default_factory=dict)

    def bringing(self, purpose: Purpose) -> frozenset[str]:
        """Return the collections whose records bring this purpose's obligation about."""
        needed = frozenset(name.partition(".")[0] for name in purpose.views)
        return frozenset(self.brought_by) or needed - {HOME}

    def period(self, shown: FieldView, relationship: Relationship | None = None) -> Period:
        """Return the period of a field: the narrowest name that covers it decides, then the narrowest category."""
        return (
            self._own_period(shown) or (self.by_relationship.get(relationship) if relationship else None) or self.keep
        )

    def periods(self, shown: FieldView) -> tuple[Period, ...]:
        """Return all periods that the field may have, whatever the relationship."""
        own = self._own_period(shown)
        return (own,) if own is not None else (self.keep, *self.by_relationship.values())

    def ending(self, whole: str) -> str:
        """Return what happens to a field (by its whole name) at the end of this rule."""
        names = [name for name in self.at_end if covers(whole, name)]
        return self.at_end[max(names, key=len)] if names else self.then

    def _own_period(self, shown: FieldView) -> Period | None:
        names = [name for name in self.fields if covers(shown.name, name)]
        if names:
            return self.fields[max(names, key=len)]
        above = [name for name in self.categories if is_within(shown.field.category, name)]
        return self.categories[max(above, key=len)] if above else None


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """What must not be kept longer, whatever a purpose claims: by field, by category, or by the source it came from.

    All selectors that are given have to fit. ``then`` is what happens at the end, as with a rule.
    """

    name: str
    most: Period
    since: Since
    reason: str
    fields: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    article: str | None = None
    then: str = ERASE

    def fits(self, whole: str, category: str) -> bool:
        """Tell whether a field may come under the limit; whether a value does, its source decides."""
        named = not self.fields or any(covers(whole, name) for name in self.fields)
        return named and (not self.categories or any(is_within(category, each) for each in self.categories))


@dataclass(frozen=True, slots=True, eq=False)
class Retention:
    """All that retention.toml says.

    Attributes:
        rules: by purpose.
        limits: by name.
        draws: when the draw of a source was held; none where it is still to come.
        customer_by: collections a record of which makes a customer.
        inactive: a customer without contact for so long is a former one; none: only by an event.
        unclaimed: how long what no purpose has ever claimed is kept.
        per_minute: how many people a sweep looks at in a minute, at most.
        most_percent: of how many people in a hundred a sweep may take something before somebody has confirmed that.
    """

    rules: Mapping[str, Rule] = field(default_factory=dict)
    limits: Mapping[str, Limit] = field(default_factory=dict)
    draws: Mapping[str, date | None] = field(default_factory=dict)
    customer_by: frozenset[str] = frozenset({"purchase"})
    inactive: Period | None = None
    unclaimed: Period = Period(0, 30)
    per_minute: int = 60_000
    most_percent: int = 10


PERIOD: Final = re.compile(r"P(?=\d)(?:(\d{1,3})Y)?(?:(\d{1,4})M)?(?:(\d{1,5})D)?")


def is_within(category: str, above: str) -> bool:
    """Tell whether a category is another, or lies below it."""
    return category == above or category.startswith(above + ".")
