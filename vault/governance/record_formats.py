"""The record as Markdown, for people: what an authority or an auditor is handed.

The record as CSV (RFC 4180), one row a purpose, for whoever keeps the company's register in a spreadsheet.

What the record says in words where people read it: periods, grounds, who read what.

The forms in which the record is handed out.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from vault.catalogue.controller import Contact, Controller
    from vault.governance.record_schema import Activity, Finding, Made, Record, Retention, Use


_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def write_html(record: Record) -> str:
    """Write the record."""
    parts = [
        "# Record of processing activities",
        f"Art. 30(1) GDPR. Tenant `{record.tenant}`, policies `{record.policy_version}`.",
        _controller(record),
        f"What was read is taken from the audit log, from {record.period.since} to {record.period.until}.",
    ]
    for activity in record.activities:
        parts += _activity(activity)
    parts += ["## Security measures", "\n".join(f"- {plain(each)}" for each in record.security)]
    parts += ["## Findings", _findings(record)]
    return "\n\n".join(parts) + "\n"


def _controller(record: Record) -> str:
    found = record.controller
    rows = [("Controller", controller(found))]
    if found is not None:
        rows += [("Data protection officer", contact(found.dpo))]
        rows += [("Representative", contact(found.representative))]
    return _table(("", ""), ((name, plain(told)) for name, told in rows))


def plain(text: str) -> str:
    """Write words so that nothing in them is taken for markup, in one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _activity(activity: Activity) -> Iterator[str]:
    yield f"## {plain(activity.title)}"
    yield f"`{activity.purpose}`. {plain(activity.description)}"
    yield _table(("", ""), _declared(activity))
    if activity.use.readers:
        yield "Who really read:"
        yield _table(("who", "state", "reads", "people", "first", "last", "fields"), _readers(activity))


def _declared(activity: Activity) -> Iterator[tuple[str, ...]]:
    rows = (
        ("Legal ground", ground(activity)),
        ("Special categories", condition(activity)),
        ("Answers for it", activity.owner),
        ("In force", _in_force(activity)),
        ("People concerned", ", ".join(activity.data_subjects)),
        ("Recipients", ", ".join(activity.recipients) or "none outside"),
        ("Recipients within, by role", ", ".join(activity.roles) or "none"),
        ("Transfers to third countries", activity.transfers),
        ("Kept", kept(activity.retention)),
        ("Used in the period", times(activity.use)),
    )
    yield from ((plain(name), plain(told)) for name, told in rows)
    for each in activity.data:
        special = " (Art. 9)" if each.special else ""
        yield f"Data: {plain(each.category)}{special}", _names(each.fields)


def _in_force(activity: Activity) -> str:
    said = "yes" if activity.in_force else "no"
    bounds = [("from", activity.valid_from), ("until", activity.valid_until)]
    return ", ".join([said, *(f"{word} {day}" for word, day in bounds if day is not None)])


def _readers(activity: Activity) -> Iterator[tuple[str, ...]]:
    for reader in activity.use.readers:
        yield (
            plain(reader.name),
            reader.state if reader.named else f"{reader.state}, not named",
            f"{reader.reads:,}",
            f"{reader.people:,}",
            reader.first[:10],
            reader.last[:10],
            _names(each.field for each in reader.fields),
        )


def _findings(record: Record) -> str:
    if not record.findings:
        return "None: what is declared is used, and what was read is declared."
    rows = [(f"`{each.code}`", f"`{each.purpose}`", plain(each.detail), plain(each.remedy)) for each in record.findings]
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
"""What a spreadsheet may take for the beginning of a formula; some read the wide forms as well."""


def write_csv(record: Record) -> str:
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
        *_controller_record_formats(record),
        activity.purpose,
        activity.title,
        activity.description,
        "yes" if activity.in_force else "no",
        ground(activity),
        condition(activity),
        activity.owner,
        _joined(activity.data_subjects),
        _joined(each.category for each in activity.data),
        _joined(name for each in activity.data for name in each.fields),
        _joined(activity.recipients),
        _joined(activity.roles),
        activity.transfers,
        kept(activity.retention),
        times(use),
        _joined(f"{reader.name} ({reader.reads})" for reader in use.readers),
        _joined(sorted({each.field for reader in use.readers for each in reader.fields})),
        _findings_record_formats(record, activity.purpose),
        *_same_for_all(record),
    ]


def _undeclared(record: Record, purpose: str) -> list[str]:
    """Make the row of a purpose that is declared no more and was used in the period, or of the record as a whole."""
    blank = [""] * (HEADINGS.index("findings") - HEADINGS.index("title"))
    return [
        *_controller_record_formats(record),
        purpose,
        *blank,
        _findings_record_formats(record, purpose),
        *_same_for_all(record),
    ]


def _controller_record_formats(record: Record) -> list[str]:
    found = record.controller
    contacts = (None, None) if found is None else (found.dpo, found.representative)
    return [controller(found), *map(contact, contacts)]


def _same_for_all(record: Record) -> list[str]:
    period = record.period
    return [f"{period.since[:10]} to {period.until[:10]}", record.policy_version, " ".join(record.security)]


def _findings_record_formats(record: Record, purpose: str) -> str:
    return " ".join(_sentence(each) for each in record.findings if each.purpose == purpose)


def _sentence(finding: Finding) -> str:
    return f"{finding.detail} {finding.remedy}"


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


def controller(found: Controller | None) -> str:
    """Say who answers for the processing, and where to reach them."""
    if found is None:
        return "not stated"
    return _joined_words(found.name, found.address, found.country, found.email, found.phone, found.url)


def contact(found: Contact | None) -> str:
    """Say how to reach somebody."""
    return "none stated" if found is None else _joined_words(found.name, found.email, found.phone, found.address)


def _joined_words(*parts: str | None) -> str:
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


Form = Literal["json", "csv", "markdown"]

FORMS: tuple[Form, ...] = get_args(Form)

MEDIA_TYPES: Mapping[Form, str] = {"json": "application/json", "csv": "text/csv", "markdown": "text/markdown"}


def write_record(made: Made, form: Form) -> bytes:
    """Write the record; as JSON with the id of the audit entry of its making."""
    writers: Mapping[Form, Callable[[], bytes]] = {
        "json": lambda: msgspec.json.encode({**msgspec.structs.asdict(made.record), "audit": made.audit}),
        "csv": lambda: write_csv(made.record).encode(),
        "markdown": lambda: write_html(made.record).encode(),
    }
    return writers[form]()
