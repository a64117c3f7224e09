"""From a line of a file to what is to be written, or to what is wrong with it. Pure; made once for a file.

From a mapping's cells to functions over lines: made once for a file, called for every line.
"""

from __future__ import annotations

import string
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import UNSET

from vault.catalogue.types import TYPES, ValueProblem
from vault.imports.mapping import cell, columns_in
from vault.subjects.rows import composed, is_external_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from vault.catalogue.model import Field
    from vault.imports.mapping import Cell, FileMapping, Given, RecordCells
    from vault.imports.reader import Line, Reader

    Row = Any
    Get = Callable[[Row], Any]
    Locate = Callable[[str], Get]


DUPLICATE = "duplicate-in-file"
SEPARATOR = "\0"
"""Between the parts of a name: no external id has it, for it is not printable."""


class LineFault(NamedTuple):
    """What is wrong with a line. There is no place for a value in it."""

    line: int
    code: str
    field: str | None
    detail: str


class Draft(NamedTuple):
    """A line that is right in itself: normalised values, and by what person and record are known.

    ``external_ids`` are the person's, by system; ``record`` is the record's own in its collection.
    """

    line: int
    external_ids: dict[str, str]
    record: str | None
    occurred_at: datetime | None
    values: dict[str, Any]


class LineMaker:
    """Turns lines into drafts.

    Args:
        mapping: what the columns mean.
        fields: those of the mapping, as the catalogue declares them.
        reader: finds columns.

    Raises:
        InvalidInput: the mapping names a column that the file does not have.
    """

    def __init__(self, mapping: FileMapping, fields: Mapping[str, Field], reader: Reader) -> None:
        missing = frozenset(mapping.file.missing)

        def get(given: Given) -> Get:
            return make(given, reader.locate, missing)

        known_by = dict(mapping.external_ids)
        if mapping.subject is not None:
            known_by = {mapping.subject.system: mapping.subject.id}
        self.identifying: list[Given] = list(known_by.values())
        self._people = [(system, get(given)) for system, given in known_by.items()]
        self._record = None
        self._moment = None
        if mapping.record is not None:
            self.identifying.append(mapping.record.external_id)
            self._record = get(mapping.record.external_id)
            self._moment = make_moment(mapping.record, reader.locate, missing)
        self._fields = [
            (name, get(given), TYPES[fields[name].type].read_cell, fields[name].options)
            for name, given in mapping.fields.items()
        ]
        self._many = mapping.many

    def names(self, row: Any) -> list[str]:
        """List the names by which a line is told from others: two lines that share one are duplicates."""
        found = [(system, get(row)) for system, get in self._people]
        people = [system + SEPARATOR + str(value).strip() for system, value in found if value is not None]
        if self._record is None or not people:
            return people
        record = self._record(row)
        return [] if record is None else [people[0] + SEPARATOR + str(record).strip()]

    def drafts(self, lines: Iterable[Line], duplicates: tuple[int, ...], faults: list[LineFault]) -> Iterator[Draft]:
        """Make drafts of lines, and say into ``faults`` what is wrong with the others."""
        skipped = frozenset(duplicates)
        for number, row in lines:
            if row is None:
                faults.append(LineFault(number, "not-a-line", None, "the line does not have the form of its file"))
            elif number in skipped:
                faults.append(
                    LineFault(number, DUPLICATE, None, "an earlier line of the file has the same external id")
                )
            else:
                draft = self._draft(number, row, faults)
                if draft is not None:
                    yield draft

    def _draft(self, line: int, row: Any, faults: list[LineFault]) -> Draft | None:
        before = len(faults)
        ids = {}
        for system, get in self._people:
            try:
                raw = get(row)
            except ValueProblem as problem:
                faults.append(LineFault(line, problem.code, f"external_ids.{system}", problem.detail))
                continue
            if raw is not None:
                ids[system] = self._checked_id(line, raw, f"external_ids.{system}", faults)
        if not ids and len(faults) == before:
            faults.append(LineFault(line, "no-external-id", None, "the line does not say whom it is about"))
        record, moment = self._record_part(line, row, faults)
        values = self._values(line, row, faults)
        if len(faults) != before:
            return None
        return Draft(line, ids, record, moment, values)

    def _record_part(self, line: int, row: Any, faults: list[LineFault]) -> tuple[str | None, datetime | None]:
        if self._record is None:
            return None, None
        record, moment = None, None
        try:
            raw = self._record(row)
            if raw is None:
                faults.append(LineFault(line, "no-external-id", "record", "the line lacks the record's external id"))
            else:
                record = self._checked_id(line, raw, "record", faults)
            moment = None if self._moment is None else self._moment(row)
        except ValueProblem as problem:
            faults.append(LineFault(line, problem.code, "occurred_at" if record else "record", problem.detail))
        return record, moment

    def _values(self, line: int, row: Any, faults: list[LineFault]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        before = len(faults)
        for name, get, read_cell, options in self._fields:
            try:
                raw = get(row)
                if raw is not None:
                    values[name] = read_cell(raw, options)
            except ValueProblem as problem:
                faults.append(LineFault(line, problem.code, name, problem.detail))
        if self._many and not values and len(faults) == before:
            faults.append(LineFault(line, "no-fields", None, "the line has no value for any field"))
        return values

    @staticmethod
    def _checked_id(line: int, raw: Any, field: str, faults: list[LineFault]) -> str:
        text = composed(raw.strip()) if isinstance(raw, str) else str(raw) if raw.__class__ is int else ""
        if not is_external_id(text):
            detail = "an external id is a text of 1 to 200 printable characters"
            faults.append(LineFault(line, "invalid-external-id", field, detail))
        return text


def needed(mapping: FileMapping) -> set[str]:
    """List all columns that a mapping needs."""
    from vault.imports.mapping import cells

    return {name for _at, each in cells(mapping) for name in columns_of(each)}


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
