"""The record as Markdown, for people: what an authority or an auditor is handed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vault.governance import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vault.governance.record_schema import Activity, Record

_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def write(record: Record) -> str:
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
    rows = [("Controller", words.controller(found))]
    if found is not None:
        rows += [("Data protection officer", words.contact(found.dpo))]
        rows += [("Representative", words.contact(found.representative))]
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
        ("Legal ground", words.ground(activity)),
        ("Special categories", words.condition(activity)),
        ("Answers for it", activity.owner),
        ("In force", _in_force(activity)),
        ("People concerned", ", ".join(activity.data_subjects)),
        ("Recipients", ", ".join(activity.recipients) or "none outside"),
        ("Recipients within, by role", ", ".join(activity.roles) or "none"),
        ("Transfers to third countries", activity.transfers),
        ("Kept", words.kept(activity.retention)),
        ("Used in the period", words.times(activity.use)),
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
