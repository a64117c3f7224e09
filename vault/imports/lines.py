"""From a mapping's cells to functions over lines: made once for a file, called for every line."""

from __future__ import annotations

import string
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from msgspec import UNSET

from vault.catalogue.types import ValueProblem
from vault.imports.mapping import cell
from vault.imports.templates import columns_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vault.imports.mapping import Cell, Given, RecordCells

    Row = Any
    Get = Callable[[Row], Any]
    Locate = Callable[[str], Get]

MIDNIGHT = time()


def make(given: Given, locate: Locate, missing: frozenset[str]) -> Get:
    """Make the function that takes one value out of a line; it returns None where there is none.

    The function raises :class:`ValueProblem` where a value is not one that the mapping knows.
    """
    wanted = cell(given)
    get = _plain(wanted, locate, missing)
    if wanted.values is not None:
        get = _translated(get, wanted)
    if wanted.date_format is not None:
        get = _dated(get, wanted.date_format)
    if wanted.decimal_comma:
        get = _with_point(get)
    return get


def make_moment(record: RecordCells, locate: Locate, missing: frozenset[str]) -> Get | None:
    """Make the function that tells when a record happened, as an aware moment; none where the mapping has none."""
    if record.occurred_at is None:
        return None
    wanted, zone = cell(record.occurred_at), ZoneInfo(record.time_zone)
    get = _plain(wanted, locate, missing)
    form = wanted.date_format

    def moment(row: Row) -> datetime | None:
        raw = get(row)
        if raw is None:
            return None
        found = _moment(raw, form)
        return (found if found.tzinfo is not None else found.replace(tzinfo=zone)).astimezone(UTC)

    return moment


def columns_of(given: Given) -> set[str]:
    """List the columns that a cell needs."""
    wanted = cell(given)
    if wanted.column is not None:
        return {wanted.column}
    if wanted.template is not None:
        return columns_in(wanted.template)
    return {name for part in (wanted.object or {}).values() for name in columns_of(part)}


def _plain(wanted: Cell, locate: Locate, missing: frozenset[str]) -> Get:
    if wanted.constant is not UNSET:
        constant = plain(wanted.constant)
        return lambda _row: constant
    if wanted.template is not None:
        return _templated(wanted.template, locate, missing)
    if wanted.object is not None:
        return _composed(wanted.object, locate, missing)
    return _present(locate(wanted.column or ""), missing)


def _present(get: Get, missing: frozenset[str]) -> Get:
    def value(row: Row) -> Any:
        raw = get(row)
        if raw.__class__ is str:
            return None if raw in missing or not raw or raw.isspace() else raw
        return None if raw is None else plain(raw)

    return value


def plain(raw: Any) -> Any:
    """Write what only some files have (dates, decimals, bytes) in the JSON that fields are made of."""
    if isinstance(raw, datetime) and raw.tzinfo is None and raw.time() == MIDNIGHT:
        return raw.date().isoformat()  # Parquet files keep days as moments
    if isinstance(raw, (date, datetime)):
        return raw.isoformat()
    if isinstance(raw, Decimal):
        return format(raw, "f")
    return raw


def _templated(template: str, locate: Locate, missing: frozenset[str]) -> Get:
    """Fill in a template; where one of its columns is missing, there is no value, rather than half of one."""
    parts: list[tuple[str, Get | None]] = [
        (text, None if name is None else _present(locate(name), missing))
        for text, name, _form, _conversion in string.Formatter().parse(template)
    ]

    def value(row: Row) -> str | None:
        written = []
        for text, get in parts:
            written.append(text)
            if get is not None:
                raw = get(row)
                if raw is None:
                    return None
                written.append(raw if raw.__class__ is str else str(raw))
        return "".join(written)

    return value


def _composed(parts: dict[str, Given], locate: Locate, missing: frozenset[str]) -> Get:
    """Make an object of its parts; only constants are no object."""
    getters = [(name, make(part, locate, missing)) for name, part in parts.items()]
    moving = [name for name, part in parts.items() if columns_of(part)]

    def value(row: Row) -> dict[str, Any] | None:
        found = {name: raw for name, get in getters if (raw := get(row)) is not None}
        return found if not moving or any(name in found for name in moving) else None

    return value


def _translated(get: Get, wanted: Cell) -> Get:
    meanings, otherwise = wanted.values or {}, wanted.otherwise

    def value(row: Row) -> Any:
        raw = get(row)
        if raw is None:
            return None
        text = raw if raw.__class__ is str else str(raw)
        if text in meanings:
            return plain(meanings[text])
        if otherwise == "refuse":
            raise ValueProblem("unmapped-value", "must be one of the values that the mapping lists")
        return raw if otherwise == "keep" else None

    return value


def _dated(get: Get, form: str) -> Get:
    def value(row: Row) -> str | None:
        raw = get(row)
        return None if raw is None else _moment(raw, form).date().isoformat()

    return value


def _moment(raw: Any, form: str | None) -> datetime:
    try:
        return datetime.strptime(raw, form) if form else datetime.fromisoformat(raw)  # noqa: DTZ007 - the zone comes next
    except (ValueError, TypeError):
        pass
    raise ValueProblem("bad-format", "must be a date or time as the mapping says that they are written")


def _with_point(get: Get) -> Get:
    def value(row: Row) -> Any:
        raw = get(row)
        return raw.replace(".", "").replace(",", ".") if raw.__class__ is str else raw

    return value


def needed_columns(given: Iterable[Given]) -> set[str]:
    """List the columns that several cells need."""
    return {name for each in given for name in columns_of(each)}
