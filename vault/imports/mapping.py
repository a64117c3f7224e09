"""What the columns of a file mean: a TOML file beside the data. ``docs/import.md`` explains every key.

.. code-block:: toml

    purpose = "order-fulfilment"      # why the data is kept
    source = "old-crm"                # kept with each value
    collection = "profile"            # or one of many records, such as purchase

    [external_ids]                    # profile: the customer's numbers elsewhere; by them a second import finds them
    shop = "customer_no"

    [fields]
    email = "E-Mail"
    name = { template = "{first} {last}" }
    gender = { column = "sex", values = { m = "male", f = "female" } }
    address = { object = { street = "street", city = "town", country = { constant = "DE" } } }

Templates over columns: ``{first} {last}``.

A mapping for files whose columns are named like the fields of the profile.
"""

from __future__ import annotations

import codecs
import string
import tomllib
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import UNSET, UnsetType

from vault.catalogue.types import TYPES
from vault.errors import Fault, InvalidInput
from vault.ids import is_slug
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from vault.catalogue.model import Catalogue


Format = Literal["csv", "jsonl", "parquet"]
FORMATS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
}  # fmt: skip


class Cell(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """Where one value comes from: a column, a constant, a template over columns, or an object of such.

    Attributes:
        values: what the file writes -> what it means; what is not listed follows ``otherwise``.
        date_format: how dates are written, as ``strptime`` has it (``%d.%m.%Y``).
        decimal_comma: ``1.234,50`` means 1234.50.
    """

    column: str | None = None
    constant: Any | UnsetType = UNSET
    template: str | None = None
    object: dict[str, str | Cell] | None = None
    values: dict[str, Any] | None = None
    otherwise: Literal["refuse", "keep", "leave-out"] = "refuse"
    date_format: str | None = None
    decimal_comma: bool = False


Given = str | Cell
"""A column's name, or more about it."""


class FileForm(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """How the file is written; by its name's ending where nothing is said."""

    format: Format | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()


class SubjectCell(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Whose record a line is: the person's number in another system."""

    system: str
    id: Given


class RecordCells(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """What a record is known by in its own system, and when it happened."""

    external_id: Given
    occurred_at: Given | None = None
    time_zone: str = "UTC"


class FileMapping(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """What the lines of a file are, and what its columns mean."""

    fields: dict[str, Given] = {}
    collection: str = PROFILE
    purpose: str | None = None
    source: str | None = None
    file: FileForm = FileForm()
    external_ids: dict[str, Given] = {}
    subject: SubjectCell | None = None
    record: RecordCells | None = None

    @property
    def many(self) -> bool:
        """Tell whether lines are records of people who are there already, and not people."""
        return self.collection != PROFILE


def read_mapping(path: Path) -> FileMapping:
    """Read a mapping.

    Raises:
        InvalidInput: the file is not there, is no TOML, or says what cannot be.
    """
    return parse_mapping(mapping_text(path))


def mapping_text(path: Path) -> str:
    """Read a mapping's text.

    Raises:
        InvalidInput: the file is not there, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidInput("the mapping cannot be read", code="mapping-invalid", hint="name a TOML file") from None


def parse_mapping(text: str) -> FileMapping:
    """Read a mapping's text; raises InvalidInput."""
    try:
        found = msgspec.convert(tomllib.loads(text), FileMapping)
    except tomllib.TOMLDecodeError as error:
        raise _invalid([Fault("/", "not-toml", str(error))]) from None
    except msgspec.ValidationError as error:
        raise _invalid([Fault("/", "wrong-key", str(error))]) from None
    faults = list(_faults(found))
    if faults:
        raise _invalid(faults)
    return found


def format_of(mapping: FileMapping, path: Path) -> Format:
    """Tell how a file is written: as the mapping says, or by its name.

    Raises:
        InvalidInput: neither says.
    """
    found = mapping.file.format or FORMATS.get(path.suffix.lower())
    if found is None:
        raise InvalidInput(
            "the file's name does not say how it is written",
            code="unknown-format",
            hint="end it in .csv, .jsonl or .parquet, or write `format` under [file] in the mapping",
        )
    return found


def cell(given: Given) -> Cell:
    """Write the short form of a cell, a column's name, in the long one."""
    return Cell(column=given) if isinstance(given, str) else given


def cells(mapping: FileMapping) -> Iterator[tuple[str, Cell]]:
    """Go through all cells with their places."""
    for group, members in (("fields", mapping.fields), ("external_ids", mapping.external_ids)):
        for name, given in members.items():
            yield f"/{group}/{name}", cell(given)
    if mapping.subject is not None:
        yield "/subject/id", cell(mapping.subject.id)
    if mapping.record is not None:
        yield "/record/external_id", cell(mapping.record.external_id)
        if mapping.record.occurred_at is not None:
            yield "/record/occurred_at", cell(mapping.record.occurred_at)


def _faults(mapping: FileMapping) -> Iterator[Fault]:
    for at, each in cells(mapping):
        yield from _cell_faults(at, each)
    yield from _shape_faults(mapping)
    yield from _form_faults(mapping)
    for system in [*mapping.external_ids, *([mapping.subject.system] if mapping.subject else [])]:
        if not is_slug(system):
            yield Fault("/external_ids", "invalid-system", "a system's name has only a-z, 0-9, - and _")


def _shape_faults(mapping: FileMapping) -> Iterator[Fault]:
    if mapping.many:
        if mapping.subject is None:
            yield Fault("/subject", "missing-key", "say whose the records are: [subject] with system and id")
        if mapping.record is None:
            yield Fault("/record", "missing-key", "say what each record is known by: [record] with external_id")
        if mapping.external_ids:
            yield Fault("/external_ids", "needless-key", "records find their person by [subject]")
        if not mapping.fields:
            yield Fault("/fields", "missing-key", "name at least one field")
    else:
        if not mapping.external_ids:
            yield Fault("/external_ids", "missing-key", "name at least one, so that a second import finds the people")
        if mapping.subject is not None or mapping.record is not None:
            yield Fault("/collection", "missing-key", "[subject] and [record] belong to a collection of many records")


def _form_faults(mapping: FileMapping) -> Iterator[Fault]:
    if mapping.file.delimiter is not None and len(mapping.file.delimiter) != 1:
        yield Fault("/file/delimiter", "wrong-value", "a delimiter is one character")
    if not _splits_at_line_feeds(mapping.file.encoding):
        yield Fault("/file/encoding", "wrong-value", "use an encoding that has ASCII in it, such as utf-8 or cp1252")
    if mapping.record is not None and not is_zone(mapping.record.time_zone):
        yield Fault("/record/time_zone", "wrong-value", "use a name of the tz database, such as Europe/Berlin")


def _cell_faults(at: str, each: Cell) -> Iterator[Fault]:
    kinds = [each.column, each.template, each.object, None if each.constant is UNSET else True]
    if sum(kind is not None for kind in kinds) != 1:
        yield Fault(at, "wrong-cell", "say exactly one of column, constant, template and object")
    if each.otherwise != "refuse" and each.values is None:
        yield Fault(at, "wrong-cell", "`otherwise` goes with `values`")
    if each.template is not None and not _is_template(each.template):
        yield Fault(at, "wrong-template", "a template has columns in braces: {first} {last}; write {{ for a brace")
    for name, part in (each.object or {}).items():
        yield from _cell_faults(f"{at}/{name}", cell(part))


def _is_template(template: str) -> bool:
    try:
        return bool(columns_in(template))
    except ValueError:
        return False


def is_zone(name: str) -> bool:
    """Tell whether a name is one of the tz database."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _splits_at_line_feeds(encoding: str) -> bool:
    try:
        return codecs.encode('a,"\n', encoding) in {b'a,"\n', codecs.BOM_UTF8 + b'a,"\n'}
    except (LookupError, TypeError, ValueError):
        return False


def _invalid(faults: Iterable[Fault]) -> InvalidInput:
    return InvalidInput(
        "the mapping says what cannot be",
        faults=list(faults),
        code="mapping-invalid",
        hint="docs/import.md explains it",
    )


def columns_in(template: str) -> set[str]:
    """List the columns in a template.

    Raises:
        ValueError: it is none: a brace is left open, or a column has a format or an attribute.
    """
    found = set()
    for _text, name, form, conversion in string.Formatter().parse(template):
        if name is not None:
            if not name or form or conversion or set(name) & set("[]"):
                raise ValueError("a template has plain names of columns in braces")
            found.add(name)
    return found


EXTERNAL = "external_ids."


def guess_mapping(columns: Sequence[str], catalogue: Catalogue, base: FileMapping | None = None) -> FileMapping:
    """Map columns to the fields of their names: ``email``, ``address.city``, and ``external_ids.shop`` for numbers.

    Raises:
        InvalidInput: a column has the name of no field, or none holds an external id. Columns are told by position:
            a file without a first line of names would else show its first customer.
    """
    fields: dict[str, Given] = {}
    ids: dict[str, Given] = {}
    parts: dict[str, dict[str, str | Cell]] = {}
    faults = []
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
            detail = f"column {position} has the name of no field of the profile"
            faults.append(Fault("/columns", "unknown-column", detail))
    if not ids:
        faults.append(
            Fault("/columns", "no-external-id", f"no column is called {EXTERNAL}<system>, such as {EXTERNAL}shop")
        )
    if faults:
        raise InvalidInput(
            "the file's columns do not say what they are",
            faults=faults,
            code="mapping-needed",
            hint="write a mapping and name it by --mapping; docs/import.md shows how",
        )
    fields |= {name: Cell(object=members) for name, members in parts.items()}
    return msgspec.structs.replace(base or FileMapping(), fields=fields, external_ids=ids)
