"""Parse lines of a file into drafts of subjects and records, or into faults. Pure.

The cells of a mapping are compiled into functions once per file, which are then called for each line.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import UNSET

from vault.catalogue.types import TYPES, ValueProblem
from vault.catalogue.types.dates import NO_SUCH_DAY, day_of, is_written_day
from vault.export.formulas import unescape_formula
from vault.imports.damage import (
    is_serial_date,
    refuse,
    require_undamaged,
    require_whole_postal_code,
    stands_for_nothing,
)
from vault.imports.mapping import as_cell, columns_in, iter_cells
from vault.moments import RANGE, in_utc, moment_fault, read_moment
from vault.subjects.rows import composed, external_id_fault

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from vault.catalogue.model import Field
    from vault.catalogue.types import FieldType, JsonValue
    from vault.catalogue.types.base import Options
    from vault.imports.mapping import Cell, CellSpec, FileForm, FileMapping
    from vault.imports.readers import Getter, Line, Reader, Row

    Note = tuple[str, str]
    """What is odd and was taken, and the field."""
    Locate = Callable[[str], Getter]
    TimeGetter = Callable[[Row], datetime | None]


DUPLICATE = "duplicate-in-file"
LEFT_OUT = "left-out"
"""A note: values that are not of their field's type were left out, as the mapping says."""
LOOKS_EMPTY = "looks-empty"
"""A note: values were taken although other systems write them for no value."""
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


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the time of an import decides about its lines.

    Attributes:
        latest: the last moment at which a record may have happened.
        today: the day after which no one is born.
        file: the beginning of the ids of people who have none, if the mapping gives them one.
    """

    latest: datetime | None = None
    today: date = date.max
    file: str = ""


class FieldCell(NamedTuple):
    """How a line's value of a field is found, read and checked."""

    name: str
    get: Getter
    type: FieldType
    options: Options
    leaves_out: bool

    @classmethod
    def of(cls, field: Field, spec: CellSpec, get: Getter) -> FieldCell:
        """Return how a field is read."""
        cell = as_cell(spec)
        options = field.options if cell.region is None else {**field.options, "region": cell.region}
        return cls(field.name, get, TYPES[field.type], options, cell.otherwise == "leave-out")

    def read(self, raw: object, today: date) -> JsonValue:
        """Return the normalised value of what a line has; raises ValueProblem."""
        try:
            value = self.type.read_cell(raw, self.options)
        except ValueProblem as problem:
            code, detail = problem.code, problem.detail
        else:
            self.type.check_today(value, self.options, today)
            require_whole_postal_code(value)
            return value
        if self.type is TYPES["date"] and is_serial_date(raw):
            refuse()
        if code == "ambiguous" and "region" in self.type.options:
            detail += ", or the mapping says the country by `region`, such as DE"
        raise ValueProblem(code, detail)


class LineParser:
    """Parses lines into drafts.

    Args:
        fields: of the mapping, as the catalogue declares them.
        reader: locates columns.
        bounds: of times and days.

    Raises:
        InvalidInput: the mapping names a column that the file does not have.
    """

    def __init__(
        self, mapping: FileMapping, fields: Mapping[str, Field], reader: Reader, bounds: Bounds = Bounds()
    ) -> None:
        missing, locate = frozenset(mapping.file.missing), locate_cells(mapping.file, reader)

        def get(spec: CellSpec) -> Getter:
            return build_getter(spec, locate, missing)

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
                self._moment = build_time_getter(record.occurred_at, record.time_zone, locate, missing)
        self._fields = [FieldCell.of(fields[name], spec, get(spec)) for name, spec in mapping.fields.items()]
        self._many = mapping.many
        self._unnumbered = mapping.unnumbered
        self._bounds = bounds

    def ids(self, row: Row) -> list[str]:
        """List the keys of a line: lines that share one are duplicates."""
        values = [(system, get(row)) for system, get in self._subject_ids]
        subjects = [system + SEPARATOR + str(value).strip() for system, value in values if value is not None]
        if self._record is None or not subjects:
            return subjects
        record = self._record(row)
        return [] if record is None else [subjects[0] + SEPARATOR + str(record).strip()]

    def drafts(
        self, lines: Iterable[Line], duplicates: tuple[int, ...], faults: list[LineFault], notes: Counter[Note]
    ) -> Iterator[Draft]:
        """Parse lines; adds what is wrong with the invalid ones to ``faults``, and counts what is odd in the others."""
        skipped = frozenset(duplicates)
        for number, row in lines:
            if row is None:
                faults.append(LineFault(number, "not-a-line", None, "the line is malformed"))
            elif number in skipped:
                faults.append(
                    LineFault(number, DUPLICATE, None, "an earlier line of the file has the same external id")
                )
            else:
                draft = self._draft(number, row, faults, notes)
                if draft is not None:
                    yield draft

    def _draft(self, line: int, row: Row, faults: list[LineFault], notes: Counter[Note]) -> Draft | None:
        odd: list[Note] = []
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
                odd += [(LOOKS_EMPTY, f"external_ids.{system}")] if stands_for_nothing(raw) else []
        if not ids and self._unnumbered is not None and len(faults) == before:
            ids[self._unnumbered] = f"{self._bounds.file}-{line}"
        if not ids and len(faults) == before:
            faults.append(LineFault(line, "no-external-id", None, "the line has no external id of a person"))
        record, moment = self._record_part(line, row, faults)
        values = self._values(line, row, faults, odd)
        if len(faults) != before:
            return None
        notes.update(odd)
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
            fault = moment_fault(moment, at="occurred_at", latest=self._bounds.latest)
            if fault is not None:
                faults.append(LineFault(line, fault.code, fault.at, fault.detail))
        except ValueProblem as problem:
            faults.append(LineFault(line, problem.code, "occurred_at" if record else "record", problem.detail))
        return record, moment

    def _values(self, line: int, row: Row, faults: list[LineFault], odd: list[Note]) -> dict[str, JsonValue]:
        values: dict[str, JsonValue] = {}
        before = len(faults)
        for cell in self._fields:
            try:
                raw = cell.get(row)
                if raw is None:
                    continue
                values[cell.name] = cell.read(raw, self._bounds.today)
            except ValueProblem as problem:
                if cell.leaves_out:
                    odd.append((LEFT_OUT, cell.name))
                else:
                    faults.append(LineFault(line, problem.code, cell.name, problem.detail))
                continue
            if stands_for_nothing(raw):
                odd.append((LOOKS_EMPTY, cell.name))
        if self._many and not values and len(faults) == before:
            faults.append(LineFault(line, "no-fields", None, "the line has no value for any field"))
        return values

    @staticmethod
    def _checked_id(line: int, raw: object, field: str, faults: list[LineFault]) -> str:
        text = composed(raw.strip()) if isinstance(raw, str) else str(raw) if raw.__class__ is int else ""
        wrong = external_id_fault(text, at=field, name="the external id")
        if wrong is not None:
            faults.append(LineFault(line, wrong.code, field, wrong.detail))
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
    if cell.date_formats:
        get = _dated(get, cell)
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
        time = in_utc(_moment(raw, cell), zone)
        if time is None:
            raise ValueProblem("out-of-range", f"must have {RANGE}")
        return time

    return moment


def locate_cells(form: FileForm, reader: Reader) -> Locate:
    """Return the function that locates a column of a file, without the apostrophes of a guarded one."""
    if not form.spreadsheet_guard:
        return reader.locate

    def locate(column: str) -> Getter:
        get = reader.locate(column)

        def value(row: Row) -> object:
            raw = get(row)
            return unescape_formula(raw) if isinstance(raw, str) else raw

        return value

    return locate


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
            if raw in missing or not raw or raw.isspace():
                return None
            require_undamaged(raw)
            return raw
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


def _dated(get: Getter, cell: Cell) -> Getter:
    def value(row: Row) -> str | None:
        raw = get(row)
        return None if raw is None else _moment(raw, cell).date().isoformat()

    return value


def _moment(raw: object, cell: Cell) -> datetime:
    """Read a time, which has no zone if the file states none."""
    detail = "must be a date or time in the format of the mapping"
    text = raw.strip() if isinstance(raw, str) else ""
    if not cell.date_formats:
        moment = read_moment(text)
        if moment is not None:
            return moment
        if is_written_day(text[:10]) and day_of(text[:10]) is None:
            detail = NO_SUCH_DAY
    for date_format in cell.date_formats:
        try:
            moment = datetime.strptime(text, date_format)  # noqa: DTZ007 - the caller sets the zone
            return moment if cell.pivot is None else _in_century(moment, date_format, cell.pivot)
        except ValueError as error:
            # The text of an error of the form quotes the value, and that of a day that does not exist has none.
            is_written = not str(error).startswith(("time data", "unconverted data"))
            detail = NO_SUCH_DAY if is_written else detail
    if is_serial_date(raw):
        refuse()
    raise ValueProblem("bad-format", detail)


def _in_century(moment: datetime, date_format: str, pivot: int) -> datetime:
    """Return a time with the latest year up to the pivot that its last two digits can mean."""
    if "%y" not in date_format.replace("%%", ""):
        return moment
    return moment.replace(year=pivot - (pivot - moment.year) % 100)


def _with_decimal_point(get: Getter) -> Getter:
    def value(row: Row) -> object:
        raw = get(row)
        return raw.replace(".", "").replace(",", ".") if raw.__class__ is str else raw

    return value


def columns_of_all(specs: Iterable[CellSpec]) -> set[str]:
    """Return the columns that several cells need."""
    return {name for spec in specs for name in columns_of(spec)}
