"""Parse lines of a file into drafts of subjects and records, or into faults. Pure.

The cells of a mapping are compiled into functions once per file, which are then called for each line.
"""

from __future__ import annotations

import string
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import UNSET

from vault.catalogue.types import TYPES, ValueProblem
from vault.imports.mapping import as_cell, columns_in, iter_cells
from vault.moments import RANGE, in_utc, moment_fault, read_moment
from vault.subjects.rows import composed, is_external_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from vault.catalogue.model import Field
    from vault.catalogue.types import JsonValue
    from vault.imports.mapping import Cell, CellSpec, FileMapping
    from vault.imports.readers import Getter, Line, Reader, Row

    Locate = Callable[[str], Getter]
    TimeGetter = Callable[[Row], datetime | None]


DUPLICATE = "duplicate-in-file"
SEPARATOR = "\0"
"""Separates the parts of a key. No external id contains it, because it is not printable."""


class LineFault(NamedTuple):
    """What is wrong with a line. It never contains a value."""

    line: int
    code: str
    field: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A valid line.

    Attributes:
        external_ids: of the subject, by system.
        record: external id of the record in its collection.
        values: normalised.
    """

    line: int
    external_ids: dict[str, str]
    record: str | None
    occurred_at: datetime | None
    values: dict[str, JsonValue]


class LineParser:
    """Parses lines into drafts.

    Args:
        fields: of the mapping, as the catalogue declares them.
        reader: locates columns.
        latest: the last moment at which a record may have happened.

    Raises:
        InvalidInput: the mapping names a column that the file does not have.
    """

    def __init__(
        self, mapping: FileMapping, fields: Mapping[str, Field], reader: Reader, *, latest: datetime | None = None
    ) -> None:
        missing = frozenset(mapping.file.missing)

        def get(spec: CellSpec) -> Getter:
            return build_getter(spec, reader.locate, missing)

        subject_ids = dict(mapping.external_ids)
        if mapping.subject is not None:
            subject_ids = {mapping.subject.system: mapping.subject.id}
        self.identifying: list[CellSpec] = list(subject_ids.values())
        self._subject_ids = [(system, get(spec)) for system, spec in subject_ids.items()]
        self._record: Getter | None = None
        self._moment: TimeGetter | None = None
        if (record := mapping.record) is not None:
            self.identifying.append(record.external_id)
            self._record = get(record.external_id)
            if record.occurred_at is not None:
                self._moment = build_time_getter(record.occurred_at, record.time_zone, reader.locate, missing)
        self._fields = [
            (name, get(spec), TYPES[fields[name].type].read_cell, fields[name].options)
            for name, spec in mapping.fields.items()
        ]
        self._many = mapping.many
        self._latest = latest

    def ids(self, row: Row) -> list[str]:
        """List the keys of a line: lines that share one are duplicates."""
        values = [(system, get(row)) for system, get in self._subject_ids]
        subjects = [system + SEPARATOR + str(value).strip() for system, value in values if value is not None]
        if self._record is None or not subjects:
            return subjects
        record = self._record(row)
        return [] if record is None else [subjects[0] + SEPARATOR + str(record).strip()]

    def drafts(self, lines: Iterable[Line], duplicates: tuple[int, ...], faults: list[LineFault]) -> Iterator[Draft]:
        """Parse lines; adds what is wrong with the invalid ones to ``faults``."""
        skipped = frozenset(duplicates)
        for number, row in lines:
            if row is None:
                faults.append(LineFault(number, "not-a-line", None, "the line is malformed"))
            elif number in skipped:
                faults.append(
                    LineFault(number, DUPLICATE, None, "an earlier line of the file has the same external id")
                )
            else:
                draft = self._draft(number, row, faults)
                if draft is not None:
                    yield draft

    def _draft(self, line: int, row: Row, faults: list[LineFault]) -> Draft | None:
        before = len(faults)
        ids = {}
        for system, get in self._subject_ids:
            try:
                raw = get(row)
            except ValueProblem as problem:
                faults.append(LineFault(line, problem.code, f"external_ids.{system}", problem.detail))
                continue
            if raw is not None:
                ids[system] = self._checked_id(line, raw, f"external_ids.{system}", faults)
        if not ids and len(faults) == before:
            faults.append(LineFault(line, "no-external-id", None, "the line has no external id of a person"))
        record, moment = self._record_part(line, row, faults)
        values = self._values(line, row, faults)
        if len(faults) != before:
            return None
        return Draft(line, ids, record, moment, values)

    def _record_part(self, line: int, row: Row, faults: list[LineFault]) -> tuple[str | None, datetime | None]:
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
            fault = moment_fault(moment, at="occurred_at", latest=self._latest)
            if fault is not None:
                faults.append(LineFault(line, fault.code, fault.at, fault.detail))
        except ValueProblem as problem:
            faults.append(LineFault(line, problem.code, "occurred_at" if record else "record", problem.detail))
        return record, moment

    def _values(self, line: int, row: Row, faults: list[LineFault]) -> dict[str, JsonValue]:
        values: dict[str, JsonValue] = {}
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
    def _checked_id(line: int, raw: object, field: str, faults: list[LineFault]) -> str:
        text = composed(raw.strip()) if isinstance(raw, str) else str(raw) if raw.__class__ is int else ""
        if not is_external_id(text):
            detail = "an external id is a text of 1 to 200 printable characters"
            faults.append(LineFault(line, "invalid-external-id", field, detail))
        return text


def needed_columns(mapping: FileMapping) -> set[str]:
    """Return all columns that a mapping needs."""
    return columns_of_all(cell for _path, cell in iter_cells(mapping))


MIDNIGHT = time()


def build_getter(spec: CellSpec, locate: Locate, missing: frozenset[str]) -> Getter:
    """Compile a cell into a function that gets its value from a line, or None.

    The function raises :class:`ValueProblem` for a value that the mapping does not allow.
    """
    cell = as_cell(spec)
    get = _base_getter(cell, locate, missing)
    if cell.values is not None:
        get = _translated(get, cell)
    if cell.date_format is not None:
        get = _dated(get, cell.date_format)
    if cell.decimal_comma:
        get = _with_decimal_point(get)
    return get


def build_time_getter(spec: CellSpec, time_zone: str, locate: Locate, missing: frozenset[str]) -> TimeGetter:
    """Compile the cell of a time into a function that returns an aware UTC time, or None.

    The function raises :class:`ValueProblem` for what is no time, or is out of range.
    """
    cell, zone = as_cell(spec), ZoneInfo(time_zone)
    get = _base_getter(cell, locate, missing)

    def moment(row: Row) -> datetime | None:
        raw = get(row)
        if raw is None:
            return None
        time = in_utc(_moment(raw, cell.date_format), zone)
        if time is None:
            raise ValueProblem("out-of-range", f"must have {RANGE}")
        return time

    return moment


def columns_of(spec: CellSpec) -> set[str]:
    """Return the columns that a cell needs."""
    cell = as_cell(spec)
    if cell.column is not None:
        return {cell.column}
    if cell.template is not None:
        return columns_in(cell.template)
    return columns_of_all((cell.object or {}).values())


def _base_getter(cell: Cell, locate: Locate, missing: frozenset[str]) -> Getter:
    if cell.constant is not UNSET:
        constant = to_json_value(cell.constant)
        return lambda _row: constant
    if cell.template is not None:
        return _templated(cell.template, locate, missing)
    if cell.object is not None:
        return _composed(cell.object, locate, missing)
    return _present(locate(cell.column or ""), missing)


def _present(get: Getter, missing: frozenset[str]) -> Getter:
    def value(row: Row) -> object:
        raw = get(row)
        if raw.__class__ is str:
            return None if raw in missing or not raw or raw.isspace() else raw
        return None if raw is None else to_json_value(raw)

    return value


def to_json_value(raw: object) -> object:
    """Convert values that only some formats have (dates, decimals) to JSON values."""
    if isinstance(raw, datetime) and raw.tzinfo is None and raw.time() == MIDNIGHT:
        return raw.date().isoformat()  # Parquet files may store dates as times
    if isinstance(raw, (date, datetime)):
        return raw.isoformat()
    if isinstance(raw, Decimal):
        return format(raw, "f")
    return raw


def _templated(template: str, locate: Locate, missing: frozenset[str]) -> Getter:
    """Fill in a template. If one of its columns is missing, there is no value, rather than an incomplete one."""
    parts: list[tuple[str, Getter | None]] = [
        (text, None if name is None else _present(locate(name), missing))
        for text, name, _format, _conversion in string.Formatter().parse(template)
    ]

    def value(row: Row) -> str | None:
        pieces = []
        for text, get in parts:
            pieces.append(text)
            if get is not None:
                raw = get(row)
                if raw is None:
                    return None
                pieces.append(raw if raw.__class__ is str else str(raw))
        return "".join(pieces)

    return value


def _composed(parts: dict[str, CellSpec], locate: Locate, missing: frozenset[str]) -> Getter:
    """Build an object from its parts. An object with constants only is no value."""
    getters = [(name, build_getter(part, locate, missing)) for name, part in parts.items()]
    variable = [name for name, part in parts.items() if columns_of(part)]

    def value(row: Row) -> dict[str, object] | None:
        members = {name: raw for name, get in getters if (raw := get(row)) is not None}
        return members if not variable or any(name in members for name in variable) else None

    return value


def _translated(get: Getter, cell: Cell) -> Getter:
    meanings, otherwise = cell.values or {}, cell.otherwise

    def value(row: Row) -> object:
        raw = get(row)
        if raw is None:
            return None
        text = raw if raw.__class__ is str else str(raw)
        if text in meanings:
            return to_json_value(meanings[text])
        if otherwise == "refuse":
            raise ValueProblem("unmapped-value", "must be one of the values that the mapping lists")
        return raw if otherwise == "keep" else None

    return value


def _dated(get: Getter, date_format: str) -> Getter:
    def value(row: Row) -> str | None:
        raw = get(row)
        return None if raw is None else _moment(raw, date_format).date().isoformat()

    return value


def _moment(raw: object, date_format: str | None) -> datetime:
    if isinstance(raw, str):
        with suppress(ValueError):
            moment = datetime.strptime(raw, date_format) if date_format else read_moment(raw.strip())  # noqa: DTZ007 - as below
            if moment is not None:
                return moment  # the caller sets the zone
    raise ValueProblem("bad-format", "must be a date or time in the format of the mapping")


def _with_decimal_point(get: Getter) -> Getter:
    def value(row: Row) -> object:
        raw = get(row)
        return raw.replace(".", "").replace(",", ".") if raw.__class__ is str else raw

    return value


def columns_of_all(specs: Iterable[CellSpec]) -> set[str]:
    """Return the columns that several cells need."""
    return {name for spec in specs for name in columns_of(spec)}
