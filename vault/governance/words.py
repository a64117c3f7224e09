"""What the record says in words where people read it: periods, grounds, who read what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.controller import Contact, Controller
    from vault.governance.record_schema import Activity, Retention, Use

_UNITS: Mapping[str, str] = {"Y": "year", "M": "month", "D": "day"}
_STARTS: Mapping[str, str] = {
    "collected": "it was collected",
    "last-contact": "the last contact",
    "relationship-ended": "the end of the relationship",
    "contract-ended": "the end of the contract",
    "claim-closed": "the claim was closed",
    "draw-held": "the draw",
}


def controller(found: Controller | None) -> str:
    """Say who answers for the processing, and where to reach them."""
    if found is None:
        return "not stated"
    return _joined(found.name, found.address, found.country, found.email, found.phone, found.url)


def contact(found: Contact | None) -> str:
    """Say how to reach somebody."""
    return "none stated" if found is None else _joined(found.name, found.email, found.phone, found.address)


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def kept(retention: Retention | None) -> str:
    """Say how long data is kept and why."""
    if retention is None:
        return "no period is declared"
    start = f"after {_STARTS[retention.since]}"
    exceptions = [f"{name} {_span(keep)}" for name, keep in retention.fields.items()]
    others = f" ({', '.join(exceptions)})" if exceptions else ""
    return f"{_span(retention.keep)} {start}{others}: {retention.reason}"


def ground(activity: Activity) -> str:
    """Say on which ground a purpose rests, with the law, the interest or the notice that it names."""
    named = [
        ("", activity.law),
        ("", activity.interest),
        ("notice ", activity.notice),
    ]
    said = [f"{before}{text}" for before, text in named if text is not None]
    return f"{activity.legal_article}, {activity.legal_basis}" + (f": {'; '.join(said)}" if said else "")


def condition(activity: Activity) -> str:
    """Say under which condition special categories are used."""
    if activity.special_condition is None:
        return "no special categories"
    return f"{activity.special_article}, {activity.special_condition}"


def times(use: Use) -> str:
    """Say how often a purpose was used."""
    if use.first is None:
        return "not used"
    counted = [(use.reads, "read", "reads"), (use.searches, "search", "searches"), (use.writes, "write", "writes")]
    said = ", ".join(f"{count:,} {one if count == 1 else many}" for count, one, many in counted if count)
    people = "1 person" if use.people == 1 else f"{use.people:,} people"
    return f"{said}; {people} shown; first {use.first[:10]}, last {(use.last or use.first)[:10]}"


def _span(iso: str) -> str:
    parts = [(int(count), _UNITS[unit]) for count, unit in re.findall(r"(\d+)([YMD])", iso)]
    return " and ".join(f"{count} {unit}" if count == 1 else f"{count} {unit}s" for count, unit in parts)
