"""From a line of a file to what is to be written, or to what is wrong with it. Pure; made once for a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vault.catalogue.types import TYPES, ValueProblem
from vault.imports.lines import columns_of, make, make_moment
from vault.subjects.rows import composed, is_external_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from vault.catalogue.model import Field
    from vault.imports.lines import Get
    from vault.imports.mapping import FileMapping, Given
    from vault.imports.reader import Line, Reader

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
            (name, get(given), TYPES[fields[name].type].normalise, fields[name].options, _texts(fields[name]))
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
        for name, get, normalise, options, texts in self._fields:
            try:
                raw = get(row)
                if raw is not None:
                    if texts and raw.__class__ is int:
                        raw = str(raw)  # files know numbers where the catalogue knows texts
                    values[name] = normalise(raw, options)
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


def _texts(field: Field) -> bool:
    return field.type in {"text", "phone", "enumeration", "national_id"}
