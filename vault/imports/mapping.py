"""The mapping of a file: a TOML file that says what its columns mean. ``docs/import.md`` explains every key.

.. code-block:: toml

    purpose = "order-fulfilment"      # why the data is stored
    source = "old-crm"                # stored with each value
    collection = "profile"            # or a collection of records, such as purchase

    [external_ids]                    # profile: the customer's ids in other systems; a second import matches by them
    shop = "customer_no"

    [fields]
    email = "E-Mail"
    name = { template = "{first} {last}" }
    gender = { column = "sex", values = { m = "male", f = "female" } }
    address = { object = { street = "street", city = "town", country = { constant = "DE" } } }

If the columns are named like the fields of the profile, :func:`infer_mapping` replaces the file.
"""

from __future__ import annotations

import codecs
import re
import string
import tomllib
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import UNSET, UnsetType

from vault.catalogue.toml_document import load_toml
from vault.catalogue.types import TYPES
from vault.errors import Fault, InvalidInput
from vault.ids import is_slug
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from vault.catalogue.model import Catalogue


Format = Literal["csv", "jsonl", "parquet"]
PIVOTS = range(1999, 2200)
FORMATS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
}  # fmt: skip


class Cell(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """The origin of a value: a column, a constant, a template over columns, or an object of cells.

    Attributes:
        values: maps values of the file to values of the field.
        otherwise: ``keep`` or ``leave-out`` what ``values`` does not list; and ``leave-out`` what is no value of the
            field, instead of refusing the line.
        date_format: of dates, in the syntax of ``strptime`` (``%d.%m.%Y``); of several the first that fits.
        pivot: the last year that two digits (``%y``) can mean.
        region: the country of telephone numbers without a calling code.
        decimal_comma: ``1.234,50`` means 1234.50.
    """

    column: str | None = None
    constant: Any | UnsetType = UNSET
    template: str | None = None
    object: dict[str, str | Cell] | None = None
    values: dict[str, Any] | None = None
    otherwise: Literal["refuse", "keep", "leave-out"] = "refuse"
    date_format: str | tuple[str, ...] | None = None
    pivot: int | None = None
    region: str | None = None
    decimal_comma: bool = False

    @property
    def date_formats(self) -> tuple[str, ...]:
        """Return the formats of dates; empty for the standard one."""
        return (self.date_format,) if isinstance(self.date_format, str) else self.date_format or ()


CellSpec = str | Cell
"""A column's name, or a cell."""


class FileForm(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """The format of a file; by default it follows from the file's suffix.

    Attributes:
        missing: texts that mean nothing.
        spreadsheet_guard: apostrophes in front of what a spreadsheet could take for a formula are no part of the value,
            as in the tables of a package.
    """

    format: Format | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()
    spreadsheet_guard: bool = False


class SubjectCell(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The subject of a record: the external id in another system."""

    system: str
    id: CellSpec


class RecordCells(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """The external id of a record, and when it happened."""

    external_id: CellSpec
    occurred_at: CellSpec | None = None
    time_zone: str = "UTC"


class FileMapping(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """What the lines and columns of a file mean.

    ``unnumbered`` is the system in which people without an external id get one, made of the file and their line.
    """

    fields: dict[str, CellSpec] = {}
    collection: str = PROFILE
    purpose: str | None = None
    source: str | None = None
    file: FileForm = FileForm()
    external_ids: dict[str, CellSpec] = {}
    unnumbered: str | None = None
    subject: SubjectCell | None = None
    record: RecordCells | None = None

    @property
    def many(self) -> bool:
        """Return whether lines are records of existing subjects, and not profiles."""
        return self.collection != PROFILE


def read_mapping(path: Path) -> FileMapping:
    """Read a mapping.

    Raises:
        InvalidInput: the file does not exist, is not TOML, or is inconsistent.
    """
    return parse_mapping(mapping_text(path))


def mapping_text(path: Path) -> str:
    """Return a mapping's text.

    Raises:
        InvalidInput: the file does not exist, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidInput("the mapping cannot be read", code="mapping-invalid", hint="name a TOML file") from None


def parse_mapping(text: str) -> FileMapping:
    """Parse a mapping; raises InvalidInput."""
    try:
        mapping = msgspec.convert(load_toml(text), FileMapping)
    except tomllib.TOMLDecodeError as error:
        raise _invalid([Fault("/", "not-toml", str(error))]) from None
    except msgspec.ValidationError as error:
        raise _invalid([Fault("/", "wrong-key", str(error))]) from None
    faults = list(_faults(mapping))
    if faults:
        raise _invalid(faults)
    return mapping


def format_of(mapping: FileMapping, path: Path) -> Format:
    """Return the format of a file, from the mapping or the file's suffix.

    Raises:
        InvalidInput: neither determines it.
    """
    file_format = mapping.file.format or FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise InvalidInput(
            "the format of the file is unknown",
            code="unknown-format",
            hint="end it in .csv, .jsonl or .parquet, or write `format` under [file] in the mapping",
        )
    return file_format


def as_cell(spec: CellSpec) -> Cell:
    """Return a cell; a name is short for the column of this name."""
    return Cell(column=spec) if isinstance(spec, str) else spec


def iter_cells(mapping: FileMapping) -> Iterator[tuple[str, Cell]]:
    """Iterate over all cells, with their paths in the file."""
    for group, members in (("fields", mapping.fields), ("external_ids", mapping.external_ids)):
        for name, spec in members.items():
            yield f"/{group}/{name}", as_cell(spec)
    if mapping.subject is not None:
        yield "/subject/id", as_cell(mapping.subject.id)
    if mapping.record is not None:
        yield "/record/external_id", as_cell(mapping.record.external_id)
        if mapping.record.occurred_at is not None:
            yield "/record/occurred_at", as_cell(mapping.record.occurred_at)


def _faults(mapping: FileMapping) -> Iterator[Fault]:
    for path, cell in iter_cells(mapping):
        yield from cell_faults(path, cell)
    yield from _shape_faults(mapping)
    yield from _form_faults(mapping)
    named = (mapping.unnumbered, mapping.subject.system if mapping.subject else None)
    for system in [*mapping.external_ids, *(system for system in named if system is not None)]:
        if not is_slug(system):
            yield Fault("/external_ids", "invalid-system", "a system's name has only a-z, 0-9, - and _")


def _shape_faults(mapping: FileMapping) -> Iterator[Fault]:
    if mapping.many:
        if mapping.subject is None:
            yield Fault("/subject", "missing-key", "name the person of the records: [subject] with system and id")
        if mapping.record is None:
            yield Fault("/record", "missing-key", "name the id of the records: [record] with external_id")
        if mapping.external_ids or mapping.unnumbered is not None:
            yield Fault("/external_ids", "needless-key", "records are matched to their person by [subject]")
        if not mapping.fields:
            yield Fault("/fields", "missing-key", "name at least one field")
    else:
        if not mapping.external_ids and mapping.unnumbered is None:
            yield Fault(
                "/external_ids",
                "missing-key",
                "name at least one, so that a second import finds the people; or say `unnumbered`",
            )
        if mapping.subject is not None or mapping.record is not None:
            yield Fault("/collection", "missing-key", "[subject] and [record] belong to a collection of many records")


def _form_faults(mapping: FileMapping) -> Iterator[Fault]:
    if mapping.file.delimiter is not None and len(mapping.file.delimiter) != 1:
        yield Fault("/file/delimiter", "wrong-value", "a delimiter is one character")
    if not _splits_at_line_feeds(mapping.file.encoding):
        yield Fault("/file/encoding", "wrong-value", "use an encoding that has ASCII in it, such as utf-8 or cp1252")
    if mapping.record is not None and not is_zone(mapping.record.time_zone):
        yield Fault("/record/time_zone", "wrong-value", "use a name of the tz database, such as Europe/Berlin")


TWO_DIGITS = frozenset("y")
"""Directives of ``strptime`` that read a year without its century."""
_DIRECTIVE = re.compile(r"%(.)")
_OF_A_LOCALE = frozenset("cxX")


def cell_faults(path: str, cell: Cell) -> Iterator[Fault]:
    """Yield what is wrong with a cell, and with its parts."""
    kinds = [cell.column, cell.template, cell.object, None if cell.constant is UNSET else True]
    if sum(kind is not None for kind in kinds) != 1:
        yield Fault(path, "wrong-cell", "give exactly one of column, constant, template and object")
    if cell.otherwise == "keep" and cell.values is None:
        yield Fault(path, "wrong-cell", '`otherwise = "keep"` goes with `values`')
    if cell.region is not None and not is_region(cell.region):
        yield Fault(path, "wrong-value", "`region` is the ISO 3166-1 code of a country with phone numbers, such as DE")
    yield from _date_faults(path, cell)
    if cell.template is not None and not _is_template(cell.template):
        yield Fault(path, "wrong-template", "a template has columns in braces: {first} {last}; write {{ for a brace")
    for name, part in (cell.object or {}).items():
        yield from cell_faults(f"{path}/{name}", as_cell(part))


def _date_faults(path: str, cell: Cell) -> Iterator[Fault]:
    directives = set(_DIRECTIVE.findall("".join(cell.date_formats)))
    if directives & _OF_A_LOCALE:
        yield Fault(path, "wrong-value", "%c, %x and %X depend on the machine: write the parts of the date")
    if directives & TWO_DIGITS and cell.pivot is None:
        detail = "%y has two digits of the year: say by `pivot` the last year that they can mean, such as pivot = 2026"
        yield Fault(path, "no-pivot", detail)
    if cell.pivot is not None and not directives & TWO_DIGITS:
        yield Fault(path, "wrong-cell", "`pivot` goes with %y in `date_format`")
    if cell.pivot is not None and not PIVOTS[0] <= cell.pivot <= PIVOTS[-1]:
        yield Fault(path, "wrong-value", f"`pivot` is a year from {PIVOTS[0]} to {PIVOTS[-1]}")


def _is_template(template: str) -> bool:
    try:
        return bool(columns_in(template))
    except ValueError:
        return False


def is_region(code: str) -> bool:
    """Return whether a country has telephone numbers."""
    return TYPES["phone"].options["region"].check(code) is None


def is_zone(name: str) -> bool:
    """Return whether the tz database contains a name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _splits_at_line_feeds(encoding: str) -> bool:
    """Return whether an encoding is a superset of ASCII, so that lines and cells can be split before decoding."""
    try:
        return codecs.encode('a,"\n', encoding) in {b'a,"\n', codecs.BOM_UTF8 + b'a,"\n'}
    except (LookupError, TypeError, ValueError):
        return False


def _invalid(faults: Iterable[Fault]) -> InvalidInput:
    return InvalidInput(
        "the mapping is inconsistent",
        faults=list(faults),
        code="mapping-invalid",
        hint="docs/import.md explains it",
    )


def columns_in(template: str) -> set[str]:
    """Return the columns in a template such as ``{first} {last}``.

    Raises:
        ValueError: the template is malformed, or a column has a format or an attribute.
    """
    columns = set()
    for _text, name, format_spec, conversion in string.Formatter().parse(template):
        if name is not None:
            if not name or format_spec or conversion or set(name) & set("[]"):
                raise ValueError("a template has plain names of columns in braces")
            columns.add(name)
    return columns


EXTERNAL = "external_ids."


def infer_mapping(columns: Sequence[str], catalogue: Catalogue, base: FileMapping | None = None) -> FileMapping:
    """Map columns to the fields of their names: ``email``, ``address.city``, or ``external_ids.shop``.

    Raises:
        InvalidInput: a column has no field's name, or none contains an external id.
    """
    # Faults name columns by position. In a file without a header, the names would be the first customer's data.
    fields: dict[str, CellSpec] = {}
    ids: dict[str, CellSpec] = {}
    parts: dict[str, dict[str, str | Cell]] = {}
    unknown = []
    known = catalogue.collections[PROFILE].fields
    for position, column in enumerate(columns, 1):
        name, _, part = column.partition(".")
        field = known.get(name)
        if column.startswith(EXTERNAL) and is_slug(part):
            ids[part] = column
        elif field is not None and not field.system and not part:
            fields[name] = column
        elif field is not None and part in TYPES[field.type].parts:
            parts.setdefault(name, {})[part] = column
        else:
            unknown.append(position)
    faults = []
    if unknown:
        which = f"columns {', '.join(map(str, unknown))} have" if len(unknown) > 1 else f"column {unknown[0]} has"
        faults.append(Fault("/columns", "unknown-column", f"{which} the name of no field of the profile"))
    if not ids and (base is None or base.unnumbered is None):
        faults.append(
            Fault("/columns", "no-external-id", f"no column is called {EXTERNAL}<system>, such as {EXTERNAL}shop")
        )
    if faults:
        raise InvalidInput(
            "the file's columns are not named like fields",
            faults=faults,
            code="mapping-needed",
            hint="write a mapping and name it by --mapping; --suggest-mapping prints one to start from",
        )
    fields |= {name: Cell(object=members) for name, members in parts.items()}
    return msgspec.structs.replace(base or FileMapping(), fields=fields, external_ids=ids)
