"""Write the record of processing activities as JSON, as CSV (RFC 4180, one row a purpose) and as Markdown."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Literal, get_args

from vault.governance import views
from vault.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def write_markdown(record: views.ProcessingRecord) -> str:
    """Write the record as Markdown, for people: an authority or an auditor."""
    parts = [
        "# Record of processing activities",
        f"Art. 30(1) GDPR. Tenant `{record.tenant}`, policies `{record.policy_version}`.",
        _controller_table(record),
        f"What was read is taken from the audit log, from {record.period.since} to {record.period.until}.",
    ]
    for activity in record.activities:
        parts += _activity(activity)
    parts += ["## Security measures", "\n".join(f"- {plain(measure)}" for measure in record.security)]
    parts += ["## Findings", _findings_table(record)]
    return "\n\n".join(parts) + "\n"


def _controller_table(record: views.ProcessingRecord) -> str:
    rows = [("Controller", _describe_controller(record.controller))]
    if record.controller is not None:
        rows += [("Data protection officer", _describe_contact(record.controller.dpo))]
        rows += [("Representative", _describe_contact(record.controller.representative))]
    return _table(("", ""), ((name, plain(text)) for name, text in rows))


def plain(text: str) -> str:
    """Escape a text for Markdown, in one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _activity(activity: views.ProcessingActivity) -> Iterator[str]:
    yield f"## {plain(activity.title)}"
    yield f"`{activity.purpose}`. {plain(activity.description)}"
    yield _table(("", ""), _declared(activity))
    if activity.use.readers:
        yield "Readers:"
        yield _table(("who", "state", "reads", "people", "first", "last", "fields"), _readers(activity))


def _declared(activity: views.ProcessingActivity) -> Iterator[tuple[str, ...]]:
    rows = (
        ("Legal ground", _describe_ground(activity)),
        ("Special categories", _describe_condition(activity)),
        ("Owner", activity.owner),
        ("In force", _in_force(activity)),
        ("People concerned", ", ".join(activity.data_subjects)),
        ("Recipients", ", ".join(activity.recipients) or "none outside"),
        ("Recipients within, by role", ", ".join(activity.roles) or "none"),
        ("Transfers to third countries", activity.transfers),
        ("Retained", _describe_retention(activity.retention)),
        ("Used in the period", _describe_use(activity.use)),
    )
    yield from ((plain(name), plain(text)) for name, text in rows)
    for category in activity.data:
        special = " (Art. 9)" if category.special else ""
        yield f"Data: {plain(category.category)}{special}", _names(category.fields)


def _in_force(activity: views.ProcessingActivity) -> str:
    in_force = "yes" if activity.in_force else "no"
    bounds = [("from", activity.valid_from), ("until", activity.valid_until)]
    return ", ".join([in_force, *(f"{word} {day}" for word, day in bounds if day is not None)])


def _readers(activity: views.ProcessingActivity) -> Iterator[tuple[str, ...]]:
    for reader in activity.use.readers:
        yield (
            plain(reader.name),
            reader.state if reader.named else f"{reader.state}, not named",
            f"{reader.reads:,}",
            f"{reader.people:,}",
            reader.first[:10],
            reader.last[:10],
            _names(use.field for use in reader.fields),
        )


def _findings_table(record: views.ProcessingRecord) -> str:
    if not record.findings:
        return "None: what is declared is used, and what was read is declared."
    rows = [
        (f"`{finding.code}`", f"`{finding.purpose}`", plain(finding.detail), plain(finding.remedy))
        for finding in record.findings
    ]
    return _table(("finding", "purpose", "what", "what to do"), rows)


def _names(fields: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in fields)


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
"""Prefixes that a spreadsheet may read as the beginning of a formula; some read the full-width forms too."""


def write_csv(record: views.ProcessingRecord) -> str:
    """Write the record as CSV, for a register in a spreadsheet."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, HEADINGS, restval="", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writeheader()
    rows = {activity.purpose: _cells(activity) for activity in record.activities}
    # Purposes that are no longer declared but were used, and the whole record, have findings only.
    for purpose in sorted({finding.purpose for finding in record.findings} - rows.keys()):
        rows[purpose] = {"purpose": purpose}
    for purpose, cells in rows.items():
        row = {**_record_cells(record), **cells, "findings": _findings_cell(record, purpose)}
        writer.writerow({heading: safe(cell) for heading, cell in row.items()})
    return out.getvalue()


def safe(cell: str) -> str:
    """Prefix a cell with an apostrophe if a spreadsheet could run it as a formula."""
    # Leading spaces do not keep a spreadsheet from running a formula.
    return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell


def _cells(activity: views.ProcessingActivity) -> dict[str, str]:
    readers = activity.use.readers
    return {
        "purpose": activity.purpose,
        "title": activity.title,
        "description": activity.description,
        "in force": "yes" if activity.in_force else "no",
        "legal ground": _describe_ground(activity),
        "special categories": _describe_condition(activity),
        "owner": activity.owner,
        "people concerned": _joined(activity.data_subjects),
        "categories of data": _joined(category.category for category in activity.data),
        "fields": _joined(name for category in activity.data for name in category.fields),
        "recipients": _joined(activity.recipients),
        "roles": _joined(activity.roles),
        "transfers": activity.transfers,
        "retention": _describe_retention(activity.retention),
        "use in the period": _describe_use(activity.use),
        "read by": _joined(f"{reader.name} ({reader.reads})" for reader in readers),
        "fields read": _joined(sorted({field.field for reader in readers for field in reader.fields})),
    }


def _record_cells(record: views.ProcessingRecord) -> dict[str, str]:
    controller = record.controller
    return {
        "controller": _describe_controller(controller),
        "data protection officer": _describe_contact(None if controller is None else controller.dpo),
        "representative": _describe_contact(None if controller is None else controller.representative),
        "period": f"{record.period.since[:10]} to {record.period.until[:10]}",
        "policy version": record.policy_version,
        "security measures": " ".join(record.security),
    }


def _findings_cell(record: views.ProcessingRecord, purpose: str) -> str:
    return " ".join(f"{finding.detail} {finding.remedy}" for finding in record.findings if finding.purpose == purpose)


def _joined(parts: Iterable[str]) -> str:
    return "; ".join(parts)


_UNITS: Mapping[str, str] = {"Y": "year", "M": "month", "D": "day"}
_STARTS: Mapping[str, str] = {
    "collected": "it was collected",
    "last-contact": "the last contact",
    "relationship-ended": "the end of the relationship",
    "contract-ended": "the end of the contract",
    "claim-closed": "the claim was closed",
    "draw-held": "the draw",
}


def _describe_controller(controller: views.ControllerDetails | None) -> str:
    if controller is None:
        return "not stated"
    return _comma_separated(
        controller.name, controller.address, controller.country, controller.email, controller.phone, controller.url
    )


def _describe_contact(contact: views.ControllerContact | None) -> str:
    if contact is None:
        return "none stated"
    return _comma_separated(contact.name, contact.email, contact.phone, contact.address)


def _comma_separated(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _describe_retention(retention: views.RetentionPeriod | None) -> str:
    if retention is None:
        return "no period is declared"
    start = f"after {_STARTS[retention.since]}"
    exceptions = [f"{name} {_span(keep)}" for name, keep in retention.fields.items()]
    others = f" ({', '.join(exceptions)})" if exceptions else ""
    return f"{_span(retention.keep)} {start}{others}: {retention.reason}"


def _describe_ground(activity: views.ProcessingActivity) -> str:
    named = (("", activity.law), ("", activity.interest), ("notice ", activity.notice))
    details = [f"{prefix}{text}" for prefix, text in named if text is not None]
    return f"{activity.legal_article}, {activity.legal_basis}" + (f": {'; '.join(details)}" if details else "")


def _describe_condition(activity: views.ProcessingActivity) -> str:
    if activity.special_condition is None:
        return "no special categories"
    return f"{activity.special_article}, {activity.special_condition}"


def _describe_use(use: views.PurposeUse) -> str:
    if use.first is None:
        return "not used"
    counts = [(use.reads, "read", "reads"), (use.searches, "search", "searches"), (use.writes, "write", "writes")]
    requests = ", ".join(counted(count, one, many) for count, one, many in counts if count)
    people = counted(use.people, "person", "people")
    return f"{requests}; {people} shown; first {use.first[:10]}, last {(use.last or use.first)[:10]}"


def _span(iso: str) -> str:
    parts = [(int(count), _UNITS[unit]) for count, unit in re.findall(r"(\d+)([YMD])", iso)]
    return " and ".join(counted(count, unit) for count, unit in parts)


Form = Literal["json", "csv", "markdown"]

FORMS: tuple[Form, ...] = get_args(Form)

MEDIA_TYPES: Mapping[Form, str] = {"json": "application/json", "csv": "text/csv", "markdown": "text/markdown"}


def write_record(record: views.ProcessingRecord, form: Form) -> bytes:
    """Write the record in a form."""
    writers: Mapping[Form, Callable[[views.ProcessingRecord], str]] = {
        "json": views.ProcessingRecord.model_dump_json,
        "csv": write_csv,
        "markdown": write_markdown,
    }
    return writers[form](record).encode()
