"""Reads retention.toml: how long values are kept for each purpose."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from vault.catalogue.findings import did_you_mean
from vault.catalogue.model import HOME, UnknownName, covers
from vault.catalogue.purposes import unknown_remedy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.document import Document, Table
    from vault.catalogue.model import Catalogue, FieldView, Purpose

Day = TypeVar("Day", bound=date)
_PERIOD = re.compile(r"P(?=\d)(?:(\d{1,3})Y)?(?:(\d{1,4})M)?(?:(\d{1,5})D)?")


CONTACTS: Final = frozenset({"interaction", "purchase"})
"""Collections whose newest record is the last contact: the last order or message."""


class Since(StrEnum):
    """What a period counts from."""

    COLLECTED = "collected"
    LAST_CONTACT = "last-contact"


@dataclass(frozen=True, slots=True)
class Period:
    """A span by the calendar (ISO 8601 §5.5.2): years and months together, and days on top."""

    months: int
    days: int

    def after(self, start: Day) -> Day:
        """Return when the period ends; a month without that day ends on its last (Reg. (EEC) 1182/71 Art. 3(2)(c))."""
        years, month = divmod(start.month - 1 + self.months, 12)
        year, month = start.year + years, month + 1
        day = min(start.day, calendar.monthrange(year, month)[1])
        return start.replace(year=year, month=month, day=day) + timedelta(days=self.days)


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """How long values are kept for one purpose; ``fields`` (canonical names) have periods of their own.

    ``brought_by`` names the collections whose records bring an obligation about: of a person without one of those, in
    its period, the purpose keeps nothing from an erasure. Empty: any collection of records that the purpose needs.
    """

    purpose: str
    keep: Period
    since: Since
    reason: str
    fields: Mapping[str, Period] = field(default_factory=dict)
    brought_by: tuple[str, ...] = ()

    def bringing(self, purpose: Purpose) -> frozenset[str]:
        """Return the collections whose records bring this purpose's obligation about."""
        needed = frozenset(name.partition(".")[0] for name in purpose.views)
        return frozenset(self.brought_by) or needed - {HOME}

    def period(self, shown: FieldView) -> Period:
        """Return the period of a field: the narrowest name that covers it decides."""
        names = [name for name in self.fields if covers(shown.name, name)]
        return self.fields[max(names, key=len)] if names else self.keep


def load_retention(document: Document, catalogue: Catalogue | None, purposes: Mapping[str, Purpose]) -> dict[str, Rule]:
    """Read the rules, noting every mistake in the document's findings."""
    root = document.root()
    rules: dict[str, Rule] = {}
    for name, table in root.table("purpose").tables():
        if purposes and name not in purposes:
            remedy = did_you_mean(name, purposes, "take it out, or declare it in purposes.toml")
            table.fault(None, "unknown-purpose", f"{table.where} is about an unknown purpose", remedy)
        rules[name] = Rule(
            name,
            _period(table, "keep", table.text("keep", most=20)),
            table.choice("since", Since) or Since.COLLECTED,
            table.text("reason"),
            _fields(table.table("fields"), catalogue),
            _brought_by(table, catalogue),
        )
        table.finish()
    root.finish()
    return rules


def _fields(table: Table, catalogue: Catalogue | None) -> dict[str, Period]:
    found: dict[str, Period] = {}
    for name in table.data:
        period = _period(table, name, table.optional(name, most=20) or "")
        if catalogue is None:
            continue
        try:
            found[catalogue.canonical(name)] = period
        except UnknownName:
            message = f"{table.where} names `{name[:80]}`, which the catalogue does not declare"
            table.fault(name, "unknown-field", message, unknown_remedy(name, catalogue))
    return found


def _brought_by(table: Table, catalogue: Catalogue | None) -> tuple[str, ...]:
    names = table.texts("brought_by")
    for number, name in enumerate(names):
        if catalogue is not None and (name == HOME or name not in catalogue.collections):
            message = f"{table.where} is brought by `{name[:80]}`, which is no collection of records"
            many = [each for each in catalogue.collections if each != HOME]
            at = (*table.path, "brought_by", number)
            table.document.fault(at, "unknown-collection", message, did_you_mean(name, many, "take it out"))
    return tuple(names)


def _period(table: Table, key: str, text: str) -> Period:
    match = _PERIOD.fullmatch(text)
    if match:
        years, months, days = (int(part or 0) for part in match.groups())
        if years * 12 + months or days:
            return Period(years * 12 + months, days)
    if text:
        message = f"`{key[:80]}` of {table.where} is no duration"
        table.fault(key, "wrong-value", message, "write P3Y, P6M, P30D or P1Y6M")
    return Period(0, 0)
