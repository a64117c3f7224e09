"""From a line of a file to what somebody said, or to what is wrong with it. Pure; made once for a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from vault.catalogue.types import ValueProblem
from vault.consent.validation import Said
from vault.ids import SubjectId, is_slug
from vault.imports.consent_import_mapping import COLUMNS
from vault.imports.consents import Told
from vault.imports.importing_lines import LineFault
from vault.imports.lines import columns_of, make, make_moment
from vault.imports.mapping import RecordCells
from vault.subjects.rows import is_external_id

if TYPE_CHECKING:
    from datetime import datetime

    from vault.imports.consent_import_mapping import ConsentMapping
    from vault.imports.lines import Get
    from vault.imports.reader import Line, Reader

MOMENTS = frozenset({"occurred_at", "valid_until"})


class ConsentLines:
    """Turns lines into what was said.

    Args:
        mapping: what the columns mean.
        reader: finds columns.

    Raises:
        InvalidInput: the mapping names a column that the file does not have.
    """

    def __init__(self, mapping: ConsentMapping, reader: Reader) -> None:
        missing = frozenset(mapping.file.missing)
        self._system = mapping.system
        self._is_ours = mapping.columns == {name: name for name in COLUMNS}
        self._texts = {
            name: make(given, reader.locate, missing) for name, given in mapping.columns.items() if name not in MOMENTS
        }
        self._moments: dict[str, Get] = {}
        for name in MOMENTS & mapping.columns.keys():
            cells = RecordCells("-", occurred_at=mapping.columns[name], time_zone=mapping.time_zone)
            moment = make_moment(cells, reader.locate, missing)
            if moment is not None:
                self._moments[name] = moment

    def read(self, line: Line) -> Told | list[LineFault]:
        """Read a line; returns what is wrong with it, if anything is."""
        number, row = line
        if row is None:
            return [LineFault(number, "not-a-line", None, "the line does not have the form of its file")]
        if self._is_ours and isinstance(row, dict) and not row.keys() <= set(COLUMNS):
            return [LineFault(number, "unknown-key", None, "the line has a key that means nothing here")]
        faults: list[LineFault] = []
        texts = {name: self._text(number, row, name, faults) for name in self._texts}
        moments = {name: self._moment(number, row, name, faults) for name in self._moments}
        subject, external = self._whom(number, texts, faults)
        for name in ("purpose", "decision"):
            if texts.get(name) is None and not any(fault.field == name for fault in faults):
                faults.append(LineFault(number, "missing", name, "the line does not say it"))
        if faults:
            return faults
        said: dict[str, Any] = {name: text for name, text in texts.items() if text is not None and name in Said._fields}
        said.update(moments)
        return Told(subject, external, Said(**said))

    def _text(self, number: int, row: Any, name: str, faults: list[LineFault]) -> str | None:
        try:
            raw = self._texts[name](row)
        except ValueProblem as problem:
            faults.append(LineFault(number, problem.code, name, problem.detail))
            return None
        if raw.__class__ is int:
            raw = str(raw)  # files know numbers where systems know texts
        if raw is None or isinstance(raw, str):
            return None if raw is None else raw.strip()
        faults.append(LineFault(number, "wrong-type", name, "must be a text"))
        return None

    def _moment(self, number: int, row: Any, name: str, faults: list[LineFault]) -> datetime | None:
        try:
            moment: datetime | None = self._moments[name](row)
        except (ValueProblem, OverflowError):
            detail = "must be a date or time as the mapping says that they are written"
            faults.append(LineFault(number, "bad-format", name, detail))
            return None
        return moment

    def _whom(
        self, number: int, texts: dict[str, str | None], faults: list[LineFault]
    ) -> tuple[SubjectId | None, tuple[str, str] | None]:
        subject, external = texts.get("subject"), texts.get("external_id")
        system = texts.get("system") or self._system
        if subject is not None:
            try:
                return SubjectId(UUID(subject)), None
            except ValueError:
                faults.append(LineFault(number, "bad-format", "subject", "must be the id of a person, a UUID"))
        elif external is None:
            faults.append(LineFault(number, "no-external-id", None, "the line does not say whom it is about"))
        elif system is None or not is_slug(system):
            faults.append(LineFault(number, "invalid-system", "system", "a-z, 0-9, - and _ name a system"))
        elif not is_external_id(external):
            detail = "an external id is a text of 1 to 200 printable characters"
            faults.append(LineFault(number, "invalid-external-id", "external_id", detail))
        else:
            return None, (system, external)
        return None, None


def needed_by(mapping: ConsentMapping) -> set[str]:
    """List all columns that a mapping needs."""
    return {name for given in mapping.columns.values() for name in columns_of(given)}
