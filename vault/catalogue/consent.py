"""Reads consent.toml: ages of consent, and how long confirmations are awaited and consents are valid.

The file is optional. Its defaults are :data:`AGES` and those of :class:`ConsentRules`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from vault.catalogue.retention import Period
from vault.catalogue.toml_document import did_you_mean
from vault.catalogue.types.codes import countries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.model import Purpose
    from vault.catalogue.toml_document import Document, Table

Moment = TypeVar("Moment", date, datetime)
JURISDICTION = re.compile(r"(?P<country>[A-Z]{2})(?:-[A-Z0-9]{1,3})?")
"""A country by ISO 3166-1 alpha-2, or one of its parts by ISO 3166-2: ``FR``, ``US-CA``."""

OTHER_AGE = 16
"""Art. 8(1) GDPR, if no law says otherwise. No member state may require more, so it is the safe default elsewhere."""

AGES: Mapping[str, int] = MappingProxyType(
    {
        "AT": 14, "BE": 13, "BG": 14, "CH": 16, "CY": 14, "CZ": 15, "DE": 16, "DK": 15, "EE": 13, "ES": 14, "FI": 13,
        "FR": 15, "GB": 13, "GR": 15, "HR": 16, "HU": 16, "IE": 16, "IS": 13, "IT": 14, "LI": 16, "LT": 14, "LU": 16,
        "LV": 13, "MT": 13, "NL": 16, "NO": 13, "PL": 16, "PT": 13, "RO": 16, "SE": 13, "SI": 15, "SK": 16,
    }
)  # fmt: skip
"""The age from which a person consents alone (Art. 8(1) GDPR), by country; the shipped consent.toml names the laws."""


@dataclass(frozen=True, slots=True, eq=False)
class ConsentRules:
    """How consents are taken.

    Attributes:
        default_jurisdiction: the country that applies if none is named.
        ages: the age from which a person consents alone, by country or part of a country.
        other_age: that age everywhere else.
        backdate: how long ago a statement may have been made that is recorded now.
        confirm: how long the link of a double opt-in works.
        valid: how long a consent without an end of its own is valid; ``None``: until it is withdrawn.
        valid_for: that span for single purposes.
    """

    default_jurisdiction: str | None = None
    ages: Mapping[str, int] = field(default_factory=lambda: AGES)
    other_age: int = OTHER_AGE
    backdate: timedelta = timedelta(days=30)
    confirm: timedelta = timedelta(hours=48)
    valid: Period | None = None
    valid_for: Mapping[str, Period] = field(default_factory=dict)

    def age(self, jurisdiction: str | None) -> int:
        """Return the age from which a person consents alone (Art. 8 GDPR), by country or part of a country."""
        where = jurisdiction or self.default_jurisdiction or ""
        return self.ages.get(where, self.ages.get(where.partition("-")[0], self.other_age))

    def needs_guardian(self, born: date, day: date, jurisdiction: str | None) -> bool:
        """Return whether a parent has to consent for a person on a day.

        A person born on 29 February is a year older on 1 March of a common year, as in the views of dates.
        """
        years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
        return years < self.age(jurisdiction)

    def expiry(self, purpose: str, start: Moment) -> Moment | None:
        """Return when a consent of that moment expires; ``None`` if it is valid until it is withdrawn."""
        period = self.valid_for.get(purpose, self.valid)
        return None if period is None else period.after(start)


def is_jurisdiction(text: str) -> bool:
    """Return whether a text names a country, or has the form of a part of one."""
    match = JURISDICTION.fullmatch(text)
    return match is not None and countries().get(match["country"].casefold()) == match["country"]


def load_consent(document: Document, purposes: Mapping[str, Purpose] | None) -> ConsentRules:
    """Read the rules, adding every mistake to the document's findings.

    Args:
        document: consent.toml.
        purposes: names that may be used; ``None`` if they could not be read.
    """
    root = document.root()
    default = ConsentRules()
    rules = ConsentRules(
        default_jurisdiction=_jurisdiction(root),
        ages=_ages(root.table("ages")) if "ages" in root.data else AGES,
        other_age=root.number("other_age", least=13, most=18) or default.other_age,
        backdate=_span(root, "backdate_days", "days", most=366, otherwise=default.backdate),
        confirm=_span(root, "confirm_hours", "hours", most=24 * 30, otherwise=default.confirm),
        valid=_months(root),
        valid_for=_purposes(root.table("purpose"), purposes),
    )
    root.finish()
    return rules


def _jurisdiction(root: Table) -> str | None:
    country = root.optional("default_jurisdiction", most=6)
    if country and not is_jurisdiction(country):
        message = "`default_jurisdiction` is no country"
        root.fault("default_jurisdiction", "wrong-value", message, "write a code of ISO 3166-1 such as `IE`")
    return country


def _ages(table: Table) -> dict[str, int]:
    ages: dict[str, int] = {}
    for country in table.data:
        age = table.number(country, least=13, most=18)
        if not is_jurisdiction(country):
            message = f"{table.where} names `{country[:20]}`, which is no country"
            table.fault(country, "wrong-value", message, "write a code of ISO 3166-1 such as `IE`; Greece is `GR`")
        elif age is not None:
            ages[country] = age
    return ages


def _span(root: Table, key: str, unit: str, *, most: int, otherwise: timedelta) -> timedelta:
    count = root.number(key, least=1, most=most)
    return otherwise if count is None else timedelta(**{unit: count})


def _months(table: Table) -> Period | None:
    count = table.number("valid_months", least=1, most=1200)
    return None if count is None else Period(count, 0)


def _purposes(tables: Table, purposes: Mapping[str, Purpose] | None) -> dict[str, Period]:
    periods: dict[str, Period] = {}
    for name, table in tables.tables():
        if purposes is not None and name not in purposes:
            remedy = did_you_mean(name, purposes, "take it out, or declare it in purposes.toml")
            table.fault(None, "unknown-purpose", f"{table.where} is about an unknown purpose", remedy)
        elif purposes is not None and not purposes[name].rests_on_consent:
            message = f"{table.where} is about a purpose that does not rest on consent"
            table.fault(None, "wrong-value", message, "take it out")
        period = _months(table)
        if period is None and "valid_months" not in table.data:
            table.fault(None, "missing-key", f"{table.where} has no `valid_months`", "add it, or take the table out")
        if period is not None:
            periods[name] = period
        table.finish()
    return periods
