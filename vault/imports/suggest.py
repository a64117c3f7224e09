"""Suggest the mapping of a file, from the names of its columns and the forms of its values.

The suggestion has names of columns and no values. It is a start: what it leaves out is listed as comments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from vault.catalogue.types import TYPES, ValueProblem
from vault.errors import InvalidInput
from vault.imports.damage import NO_VALUES
from vault.imports.mapping import FileForm, FileMapping, format_of
from vault.imports.readers import LINES_LOOKED_AT, open_reader
from vault.subjects.store import PROFILE
from vault.unicode import is_stream_safe, normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from vault.catalogue.model import Catalogue, Field

WORDS: Final[Mapping[str, str]] = {
    word: name
    for name, words in {
        "email": "email mail emailaddress emailadresse courriel",
        "phone": "phone telephone tel telefon telefonnummer mobile mobil handy telephonenumber phonenumber portable",
        "name": "name fullname customername kundenname nomcomplet",
        "given_name": "firstname givenname first vorname prenom forename",
        "family_name": "lastname familyname surname last nachname familienname nom",
        "birth_date": "birthdate dateofbirth dob birthday born geburtsdatum geburtstag geboren naissance",
        "language": "language lang sprache langue locale",
        "gender": "gender sex geschlecht sexe",
        "iban": "iban bankaccount kontonummer",
        "address.street": "street address1 addressline1 strasse anschrift adresse rue address",
        "address.postal_code": "zip zipcode postcode postalcode plz postleitzahl codepostal",
        "address.city": "city town ort stadt wohnort ville",
        "address.region": "state region province bundesland",
        "address.country": "country land pays countrycode",
        "external_id": "id customerid customerno customernumber kundennummer kundennr kdnr clientid number nr",
    }.items()
    for word in words.split()
}
"""What columns of customers are called, in English, German and French, without case, accents and punctuation."""
DATE_FORMATS: Final = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y%m%d", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y")
"""Tried in this order; a file whose days fit two of them says nothing about which is meant, and the comment says so."""
BY_CONTENT: Final = (("email", "email"), ("iban", "iban"), ("phone", "phone"))
"""Types whose values tell what a column is, whatever its name, and the field."""
NAME_LENGTH: Final = 64
_DATA: Final = re.compile(r"[^@\n]*@[^.\n]*\..*|[0-9 .,/+-]{4,}")


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the file, and the first of its values that are not missing."""

    name: str
    values: tuple[str, ...]

    def all_fit(self, fits: Callable[[str], bool]) -> bool:
        return bool(self.values) and all(map(fits, self.values))


def suggest_mapping(path: Path, catalogue: Catalogue, today: date) -> str:
    """Return the text of a mapping for a file of people.

    Args:
        today: its year is the pivot of two-digit years.

    Raises:
        InvalidInput: the file cannot be read, or its first line has values and not names.
    """
    form = _form(path)
    reader = open_reader(FileMapping(file=form), path)
    names = list(reader.columns)
    if not all(map(_is_name, names)):
        raise InvalidInput(
            "the first line of the file has values and no names of columns",
            code="no-header",
            hint="write a line of names above it",
        )
    rows = [line.row for line, _start, _end in islice(reader.scan(set(names)), LINES_LOOKED_AT) if line.row is not None]
    columns, missing = [], set[str]()
    for name in names:
        get = reader.locate(name)
        texts = [str(raw).strip() for row in rows if (raw := get(row)) is not None and str(raw).strip()]
        missing |= {text for text in texts if text.lower() in NO_VALUES}
        columns.append(_Column(name, tuple(text for text in texts if text.lower() not in NO_VALUES)))
    file = msgspec.structs.replace(form, missing=tuple(sorted(missing)))
    return "\n".join(_text(columns, file, catalogue.collections[PROFILE].fields, today)) + "\n"


def _is_name(column: str) -> bool:
    fine = len(column) <= NAME_LENGTH and column.isprintable() and is_stream_safe(column)
    return fine and not _DATA.fullmatch(column)


def _form(path: Path) -> FileForm:
    """Find the encoding: UTF-8, or else the one of Windows."""
    if format_of(FileMapping(), path) != "csv":
        return FileForm()
    try:
        with path.open(encoding="utf-8") as file:
            for _line in islice(file, LINES_LOOKED_AT):
                pass
    except UnicodeDecodeError:
        return FileForm(encoding="cp1252")
    except OSError as error:
        raise InvalidInput(f"the file cannot be read: {error.strerror}", code="unreadable-file") from None
    return FileForm()


def _text(columns: Sequence[_Column], form: FileForm, fields: Mapping[str, Field], today: date) -> Iterator[str]:
    ids: dict[str, str] = {}
    cells: dict[str, str] = {}
    parts: dict[str, dict[str, str]] = {}
    left: list[str] = []
    for column in columns:
        known = WORDS.get(_plain(column.name)) or _by_content(column, fields)
        target = column.name if column.name in fields and not fields[column.name].system else known
        name, _, part = (target or "").partition(".")
        if target == "external_id" and not ids:
            ids["crm"] = _quoted(column.name)
        elif name not in fields or name in cells or part in parts.get(name, {}):
            left.append(column.name)
        elif part:
            parts.setdefault(name, {})[part] = _quoted(column.name)
        else:
            cells[name] = _cell(column, fields[name], today)
    cells |= {name: _object(members) for name, members in parts.items()}
    yield "# A suggestion, from the names of the columns and the forms of their values. Check every line."
    yield 'purpose = "order-fulfilment"  # what the data is for: a purpose of purposes.toml'
    if not ids:
        yield 'unnumbered = "this-file"      # no column looks like a customer number: people get one of their line'
    if form.encoding != "utf-8" or form.missing:
        yield "\n[file]"
        yield from [f"encoding = {_quoted(form.encoding)}"] if form.encoding != "utf-8" else []
        yield from [f"missing = [{', '.join(map(_quoted, form.missing))}]"] if form.missing else []
    if ids:
        yield "\n[external_ids]  # the system that gives the number, and its column"
        yield from (f"{system} = {column}" for system, column in ids.items())
    yield "\n[fields]"
    yield from (f"{name} = {cell}" for name, cell in cells.items())
    yield from (f"# {_quoted(name)}: which field is it?" for name in left)


def _by_content(column: _Column, fields: Mapping[str, Field]) -> str | None:
    for kind, name in BY_CONTENT:
        if name in fields and column.all_fit(lambda text, kind=kind: _is_valid(kind, text)):  # type: ignore[misc]
            return name
    return None


def _is_valid(kind: str, text: str) -> bool:
    try:
        TYPES[kind].normalise(text, {})
    except ValueProblem:
        return False
    return True


def _cell(column: _Column, field: Field, today: date) -> str:
    quoted = _quoted(column.name)
    if field.type == "date" and not column.all_fit(lambda text: _is_valid("date", text)):
        formats = [form for form in DATE_FORMATS if column.all_fit(lambda text, form=form: _is_date(text, form))]  # type: ignore[misc]
        chosen = formats[:1] or list(DATE_FORMATS[:1])
        pivot = f", pivot = {today.year}" if "%y" in chosen[0] else ""
        doubt = "" if len(formats) == 1 else "  # check the form of the dates"
        return f'{{ column = {quoted}, date_format = "{chosen[0]}"{pivot} }}{doubt}'
    if field.type == "phone" and not column.all_fit(lambda text: text.startswith(("+", "00"))):
        return f'{{ column = {quoted}, region = "DE" }}  # the country of numbers without +'
    if field.type == "enumeration":
        return f'{{ column = {quoted}, values = {{}}, otherwise = "leave-out" }}  # what the file writes -> what it is'
    return quoted


def _is_date(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - only its form counts
    except ValueError:
        return False
    return True


def _object(members: Mapping[str, str]) -> str:
    inside = ", ".join(f"{part} = {column}" for part, column in members.items())
    country = "" if "country" in members else ', country = { constant = "DE" }'
    return f"{{ object = {{ {inside}{country} }} }}"


def _plain(name: str) -> str:
    """Return a column's name without case, accents, blanks and punctuation."""
    letters = normalize("NFKD", name.replace("ß", "ss").casefold())
    return "".join(letter for letter in letters if letter.isalnum())


def _quoted(text: str) -> str:
    """Write a text as TOML: a basic string is a JSON string."""
    return msgspec.json.encode(text).decode()
