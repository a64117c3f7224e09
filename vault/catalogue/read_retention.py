"""Reads retention.toml into :mod:`vault.catalogue.retention`, noting every mistake where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vault.catalogue.findings import did_you_mean
from vault.catalogue.model import HOME, UnknownName
from vault.catalogue.purposes import unknown_remedy
from vault.catalogue.retention import (
    ENDINGS,
    ERASE,
    PERIOD,
    REVIEW,
    Limit,
    Period,
    Relationship,
    Retention,
    Rule,
    Since,
    is_within,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.model import Catalogue, Purpose
    from vault.catalogue.toml_document import Document, Table

MOST_A_MINUTE: Final = 10_000_000
DEFAULTS: Final = Retention()


def load_retention(document: Document, catalogue: Catalogue | None, purposes: Mapping[str, Purpose]) -> Retention:
    """Read the rules, noting every mistake in the document's findings."""
    root = document.root()
    rules = {name: _rule(name, table, catalogue, purposes) for name, table in root.table("purpose").tables()}
    limits = {name: _limit(name, table, catalogue) for name, table in root.table("limit").tables()}
    draws = {}
    for name, table in root.table("source").tables():
        draws[name] = table.day("draw_held")
        table.finish()
    relationship, unclaimed, sweep = (root.table(name) for name in ("relationship", "unclaimed", "sweep"))
    found = Retention(
        rules,
        limits,
        draws,
        frozenset(_collections(relationship, "customer_by", catalogue)) or DEFAULTS.customer_by,
        _optional_period(relationship, "inactive"),
        _optional_period(unclaimed, "keep") or DEFAULTS.unclaimed,
        sweep.number("per_minute", least=1, most=MOST_A_MINUTE) or DEFAULTS.per_minute,
        sweep.number("most_percent", least=1, most=100) or DEFAULTS.most_percent,
    )
    for table in (relationship, unclaimed, sweep, root):
        table.finish()
    return found


def _rule(name: str, table: Table, catalogue: Catalogue | None, purposes: Mapping[str, Purpose]) -> Rule:
    if purposes and name not in purposes:
        remedy = did_you_mean(name, purposes, "take it out, or declare it in purposes.toml")
        table.fault(None, "unknown-purpose", f"{table.where} is about an unknown purpose", remedy)
    rule = Rule(
        name,
        _period(table, "keep", table.text("keep", most=20)),
        table.choice("since", Since) or Since.COLLECTED,
        table.text("reason"),
        _fields(table.table("fields"), catalogue),
        _collections(table, "brought_by", catalogue),
        _categories(table.table("categories"), catalogue),
        _optional_period(table, "least"),
        table.optional("article"),
        _by_relationship(table.table("by_relationship")),
        _then(table, "then", table.optional("then") or ERASE, catalogue),
        _at_end(table.table("at_end"), catalogue),
    )
    table.finish()
    return rule


def _limit(name: str, table: Table, catalogue: Catalogue | None) -> Limit:
    fields, categories = table.texts("fields"), table.texts("categories")
    limit = Limit(
        name,
        _period(table, "most", table.text("most", most=20)),
        table.choice("since", Since) or Since.COLLECTED,
        table.text("reason"),
        tuple(
            canonical for number, each in enumerate(fields) if (canonical := _canonical(table, each, catalogue, number))
        ),
        categories,
        table.texts("sources"),
        table.optional("article"),
        _then(table, "then", table.optional("then") or ERASE, catalogue),
    )
    for each in categories:
        _check_category(table, "categories", each, catalogue)
    if not (fields or categories or limit.sources):
        table.fault(None, "missing-key", f"{table.where} limits nothing", "name `fields`, `categories` or `sources`")
    table.finish()
    return limit


def _fields(table: Table, catalogue: Catalogue | None) -> dict[str, Period]:
    found: dict[str, Period] = {}
    for name in table.data:
        period = _period(table, name, table.optional(name, most=20) or "")
        canonical = _canonical(table, name, catalogue, name)
        if canonical is not None:
            found[canonical] = period
    return found


def _categories(table: Table, catalogue: Catalogue | None) -> dict[str, Period]:
    found = {}
    for name in table.data:
        found[name] = _period(table, name, table.optional(name, most=20) or "")
        _check_category(table, name, name, catalogue)
    return found


def _check_category(table: Table, key: str, name: str, catalogue: Catalogue | None) -> None:
    if catalogue is not None and not any(is_within(field.category, name) for field in catalogue.fields()):
        message = f"{table.where} names the category `{name[:80]}`, which no field has"
        table.fault(key, "unknown-category", message, "name a category of catalogue.toml, or one above it")


def _by_relationship(table: Table) -> dict[Relationship, Period]:
    found = {}
    for name in table.data:
        period = _period(table, name, table.optional(name, most=20) or "")
        try:
            found[Relationship(name)] = period
        except ValueError:
            remedy = did_you_mean(name, [each.value for each in Relationship], "take it out")
            table.fault(name, "wrong-value", f"`{name[:80]}` is no relationship", remedy)
    return found


def _at_end(table: Table, catalogue: Catalogue | None) -> dict[str, str]:
    found = {}
    for name in table.data:
        canonical = _canonical(table, name, catalogue, name)
        ending = _then(table, name, table.optional(name) or ERASE, catalogue, of=canonical)
        if canonical is not None:
            found[canonical] = ending
    return found


def _then(table: Table, key: str, text: str, catalogue: Catalogue | None, *, of: str | None = None) -> str:
    """Read what happens at an end; a view has to be one of the very field that it stands for."""
    if text in ENDINGS or catalogue is None:
        return text
    remedy = "write erase, restrict or review; or in `at_end`, for one field, the name of one of its views"
    try:
        shown = catalogue.view(text)
    except UnknownName:
        table.fault(key, "wrong-value", f"`{key[:80]}` of {table.where} is no way to end", remedy)
        return REVIEW
    if of is None or shown.field.whole != of or shown.view == "clear":
        table.fault(key, "wrong-value", f"`{key[:80]}` of {table.where} is no view of that field", remedy)
        return REVIEW
    return str(shown.name)


def _collections(table: Table, key: str, catalogue: Catalogue | None) -> tuple[str, ...]:
    names = table.texts(key)
    for number, name in enumerate(names):
        if catalogue is not None and (name == HOME or name not in catalogue.collections):
            message = f"{table.where} names `{name[:80]}`, which is no collection of records"
            many = [each for each in catalogue.collections if each != HOME]
            at = (*table.path, key, number)
            table.document.fault(at, "unknown-collection", message, did_you_mean(name, many, "take it out"))
    return tuple(names)


def _canonical(table: Table, name: str, catalogue: Catalogue | None, key: str | int) -> str | None:
    if catalogue is None:
        return None
    try:
        return catalogue.canonical(name)
    except UnknownName:
        message = f"{table.where} names `{name[:80]}`, which the catalogue does not declare"
        table.fault(
            key if isinstance(key, str) else "fields", "unknown-field", message, unknown_remedy(name, catalogue)
        )
        return None


def _optional_period(table: Table, key: str) -> Period | None:
    text = table.optional(key, most=20)
    return None if text is None else _period(table, key, text)


def _period(table: Table, key: str, text: str) -> Period:
    match = PERIOD.fullmatch(text)
    if match:
        years, months, days = (int(part or 0) for part in match.groups())
        if years * 12 + months or days:
            return Period(years * 12 + months, days)
    if text:
        message = f"`{key[:80]}` of {table.where} is no duration"
        table.fault(key, "wrong-value", message, "write P3Y, P6M, P30D or P1Y6M")
    return Period(0, 0)
