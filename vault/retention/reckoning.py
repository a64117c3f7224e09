"""Periods reckoned by the calendar, and what rules say of fields: kept, for sweeps ask for the same again and again."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vault.catalogue.model import FieldView
    from vault.catalogue.retention import Period, Relationship, Rule


@lru_cache(maxsize=65_536)
def day_after(period: Period, start: int | None) -> int | None:
    """Return the last day of a period that counts from a day; none where it does not count yet."""
    return None if start is None else period.after(date.fromordinal(start)).toordinal()


@lru_cache(maxsize=16_384)
def period_of(rule: Rule, shown: FieldView, stands: Relationship) -> Period:
    """Return a rule's period for a field: :meth:`vault.catalogue.retention.Rule.period`."""
    return rule.period(shown, stands)


@lru_cache(maxsize=16_384)
def ending_of(rule: Rule, whole: str) -> str:
    """Return what happens to a field at the end of a rule: :meth:`vault.catalogue.retention.Rule.ending`."""
    return rule.ending(whole)
