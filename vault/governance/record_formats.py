"""The record as CSV (RFC 4180), one row a purpose, for whoever keeps the company's register in a spreadsheet."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from vault.governance import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.governance.record_schema import Activity, Finding, Record

HEADINGS = (
    "controller",
    "data protection officer",
    "representative",
    "purpose",
    "title",
    "description",
    "in force",
    "legal ground",
    "special categories",
    "owner",
    "people concerned",
    "categories of data",
    "fields",
    "recipients",
    "roles",
    "transfers",
    "retention",
    "use in the period",
    "read by",
    "fields read",
    "findings",
    "period",
    "policy version",
    "security measures",
)

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet may take for the beginning of a formula; some read the wide forms as well."""


def write(record: Record) -> str:
    """Write the record."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(HEADINGS)
    for activity in record.activities:
        writer.writerow(map(safe, _row(record, activity)))
    declared = {activity.purpose for activity in record.activities}
    for purpose in sorted({finding.purpose for finding in record.findings} - declared):
        writer.writerow(map(safe, _undeclared(record, purpose)))
    return out.getvalue()


def safe(cell: str) -> str:
    """Keep a spreadsheet from running a cell as a formula: an apostrophe before it makes it a text."""
    return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell


def _row(record: Record, activity: Activity) -> list[str]:
    use = activity.use
    return [
        *_controller(record),
        activity.purpose,
        activity.title,
        activity.description,
        "yes" if activity.in_force else "no",
        words.ground(activity),
        words.condition(activity),
        activity.owner,
        _joined(activity.data_subjects),
        _joined(each.category for each in activity.data),
        _joined(name for each in activity.data for name in each.fields),
        _joined(activity.recipients),
        _joined(activity.roles),
        activity.transfers,
        words.kept(activity.retention),
        words.times(use),
        _joined(f"{reader.name} ({reader.reads})" for reader in use.readers),
        _joined(sorted({each.field for reader in use.readers for each in reader.fields})),
        _findings(record, activity.purpose),
        *_same_for_all(record),
    ]


def _undeclared(record: Record, purpose: str) -> list[str]:
    """Make the row of a purpose that is declared no more and was used in the period, or of the record as a whole."""
    blank = [""] * (HEADINGS.index("findings") - HEADINGS.index("title"))
    return [*_controller(record), purpose, *blank, _findings(record, purpose), *_same_for_all(record)]


def _controller(record: Record) -> list[str]:
    found = record.controller
    contacts = (None, None) if found is None else (found.dpo, found.representative)
    return [words.controller(found), *map(words.contact, contacts)]


def _same_for_all(record: Record) -> list[str]:
    period = record.period
    return [f"{period.since[:10]} to {period.until[:10]}", record.policy_version, " ".join(record.security)]


def _findings(record: Record, purpose: str) -> str:
    return " ".join(_sentence(each) for each in record.findings if each.purpose == purpose)


def _sentence(finding: Finding) -> str:
    return f"{finding.detail} {finding.remedy}"


def _joined(parts: Iterable[str]) -> str:
    return "; ".join(parts)
