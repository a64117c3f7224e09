"""From a line of a file to what somebody said, or to what is wrong with it. Pure; made once for a file.

What the columns of a file of consents mean. ``docs/import.md`` explains every key.

.. code-block:: toml

    source = "old-crm"
    system = "shop"                   # whose numbers `external_id` holds
    time_zone = "Europe/Berlin"       # of times that name none

    [columns]
    external_id = "customer_no"
    purpose = { constant = "direct-marketing" }
    decision = { column = "newsletter", values = { Y = "given", N = "withdrawn" } }
    occurred_at = { column = "changed", date_format = "%d.%m.%Y %H:%M" }

Without a mapping the columns are named like the keys under ``[columns]``.

Bring a file of consents in, batch by batch. The same command ends one that was stopped: nothing is written twice.

Bring in what somebody who calls has: many items at once, each with its result.
"""

from __future__ import annotations

import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import msgspec

from vault.access.authorization import require_permission
from vault.access.callers import operator_caller
from vault.access.recording import audited
from vault.catalogue.types import ValueProblem
from vault.consent.validation import STATEMENT_FIELDS, ConsentStatement
from vault.errors import Fault, InvalidInput
from vault.ids import DEFAULT_TENANT, SubjectId, is_slug
from vault.imports.consents import MOST, Told, bring_in
from vault.imports.lines import LineFault, columns_of, make, make_moment
from vault.imports.mapping import FileForm, FileMapping, Given, RecordCells, is_zone, mapping_text
from vault.imports.readers import JsonlReader, open_reader
from vault.imports.run import Watcher
from vault.subjects.rows import is_external_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.imports.consents import Brought
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
        said: dict[str, Any] = {
            name: text for name, text in texts.items() if text is not None and name in STATEMENT_FIELDS
        }
        said.update(moments)
        return Told(subject, external, ConsentStatement(**said))

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


COLUMNS: Final = (
    "subject", "system", "external_id", "purpose", "decision", "notice", "language", "channel", "method", "by",
    "evidence", "jurisdiction", "occurred_at", "valid_until",
)  # fmt: skip
NEEDED: Final = ("purpose", "decision", "occurred_at")


class ConsentMapping(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """What the columns of a file of consents mean."""

    columns: dict[str, Given] = {}
    file: FileForm = FileForm()
    source: str | None = None
    system: str | None = None
    time_zone: str = "UTC"

    @property
    def as_file(self) -> FileMapping:
        """Return what the readers of files need to know."""
        return FileMapping(file=self.file)


def read_consent_mapping(path: Path) -> ConsentMapping:
    """Read a mapping.

    Raises:
        InvalidInput: the file is not there, is no TOML, or says what cannot be.
    """
    try:
        found = msgspec.convert(tomllib.loads(mapping_text(path)), ConsentMapping)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise _invalid([Fault("/", "wrong-key", str(error))]) from None
    faults = list(_faults(found))
    if faults:
        raise _invalid(faults)
    return found


def with_columns_of(mapping: ConsentMapping, columns: Sequence[str]) -> ConsentMapping:
    """Let the columns of a file that are named like ours mean what they say, where the mapping names none.

    Raises:
        InvalidInput: what is needed is not among them; or a column is, of which nobody says what it means: it could be
            the day on which a consent ends, under another name.
    """
    if not mapping.columns:
        if not set(columns) <= set(COLUMNS):
            raise InvalidInput(
                "the file has columns that mean nothing here",
                code="unknown-column",
                hint="name the columns like the keys that docs/import.md lists, or write a mapping",
            )
        mapping = msgspec.structs.replace(mapping, columns={name: name for name in COLUMNS if name in columns})
    missing = [name for name in NEEDED if name not in mapping.columns]
    if "subject" not in mapping.columns and "external_id" not in mapping.columns:
        missing.append("subject or external_id")
    if missing:
        faults = [Fault("/columns", "missing-key", f"nothing says what `{name}` is") for name in missing]
        raise InvalidInput(
            "the file lacks columns",
            faults=faults,
            code="missing-column",
            hint="name its columns like that, or write a mapping; docs/import.md explains it",
        )
    if "external_id" in mapping.columns and "system" not in mapping.columns and mapping.system is None:
        raise InvalidInput(
            "nothing says which system the external ids are of",
            code="no-system",
            hint="say --system shop, or write `system` in the mapping",
        )
    return mapping


def _faults(mapping: ConsentMapping) -> Iterator[Fault]:
    for name in mapping.columns:
        if name not in COLUMNS:
            yield Fault("/columns", "unknown-key", "the columns are: " + ", ".join(COLUMNS))
    if mapping.system is not None and not is_slug(mapping.system):
        yield Fault("/system", "invalid-system", "a system's name has only a-z, 0-9, - and _")
    if not is_zone(mapping.time_zone):
        yield Fault("/time_zone", "wrong-value", "use a name of the tz database, such as Europe/Berlin")


def _invalid(faults: list[Fault]) -> InvalidInput:
    return InvalidInput(
        "the mapping says what cannot be", faults=faults, code="mapping-invalid", hint="docs/import.md explains it"
    )


class ConsentFile(NamedTuple):
    """What is to be imported, and how."""

    path: Path
    mapping: ConsentMapping = ConsentMapping()
    tenant: TenantId = DEFAULT_TENANT
    source: str | None = None
    system: str | None = None
    dry_run: bool = False


@dataclass(slots=True)
class ConsentReport:
    """What became of a file: lines by what became of them, and faults by their code."""

    dry_run: bool
    lines: int = 0
    written: int = 0
    there: int = 0
    refused: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class _Waiting(NamedTuple):
    line: int
    told: Told


async def import_consents_file(
    services: Services, request: ConsentFile, watcher: Watcher | None = None
) -> ConsentReport:
    """Import a file of consents as the command line's own work.

    Args:
        request: what and how.
        watcher: is told how it goes.

    Raises:
        InvalidInput: the file or the mapping does not have its form, or nothing names the source.
        Misconfigured: a Parquet file without the library for it.
        Unavailable: a database does not answer; what is done stays, and the same command ends it.
    """
    watcher, began = watcher or Watcher(), time.monotonic()
    caller, report = operator_caller(request.tenant), ConsentReport(request.dry_run)
    source = checked_import_source(request.source or request.mapping.source)
    mapping = msgspec.structs.replace(request.mapping, system=request.system or request.mapping.system)
    reader = open_reader(mapping.as_file, request.path)
    mapping = with_columns_of(mapping, COLUMNS if isinstance(reader, JsonlReader) else reader.columns)
    if not isinstance(reader, JsonlReader):
        reader = open_reader(mapping.as_file, request.path, needed_by(mapping))
    lines, wanted = ConsentLines(mapping, reader), needed_by(mapping)
    watcher.began(sum(1 for _spot in reader.scan(set())), resumed=False)
    waiting: list[_Waiting] = []
    for spot in reader.scan(wanted):
        _take(report, watcher, lines, spot.line, waiting)
        if len(waiting) == MOST:
            await _flush(services, caller, source, report, watcher, waiting)
    await _flush(services, caller, source, report, watcher, waiting)
    report.seconds = time.monotonic() - began
    return report


def checked_import_source(source: str | None) -> str:
    """Check the name of the system from which consents come: a slug, for it decides whose yes may follow whose no.

    Raises:
        InvalidInput: there is none, or it is no slug.
    """
    if source is None or not is_slug(source):
        raise InvalidInput(
            "an import of consents names its source: 1 to 64 of a-z, 0-9, - and _",
            code="invalid-source",
            hint="say --source old-crm",
        )
    return source


def _take(report: ConsentReport, watcher: Watcher, lines: ConsentLines, line: Line, waiting: list[_Waiting]) -> None:
    report.lines += 1
    told = lines.read(line)
    if isinstance(told, list):
        _refuse(report, watcher, told)
    else:
        waiting.append(_Waiting(line.number, told))


async def _flush(
    services: Services, caller: Caller, source: str, report: ConsentReport, watcher: Watcher, waiting: list[_Waiting]
) -> None:
    if not waiting:
        return
    items = [each.told for each in waiting]
    brought = await bring_in(services, caller, items, source=source, dry_run=report.dry_run)
    for (line, _told), result in zip(waiting, brought.results, strict=True):
        if result.faults:
            _refuse(report, watcher, [_line_fault(line, fault) for fault in result.faults])
            continue
        report.written += result.is_new
        report.there += not result.is_new
        watcher.advanced(1)
    waiting.clear()


def _refuse(report: ConsentReport, watcher: Watcher, faults: list[LineFault]) -> None:
    report.refused += 1
    report.codes.update(fault.code for fault in faults)
    for fault in faults:
        watcher.refused(fault)
    watcher.advanced(1)


def _line_fault(line: int, fault: Fault) -> LineFault:
    return LineFault(line, fault.code, fault.at.removeprefix("/"), fault.detail)


@audited("import-consents")
async def import_consents(
    services: Services, caller: Caller, items: Sequence[Told | Fault], *, source: str | None
) -> Brought:
    """Import what people said elsewhere; what is wrong is told item by item, and the rest goes in.

    Args:
        caller: who imports.
        items: 1 to 1,000; those of which nothing could be read are faults already.
        source: the system from which they come, a slug.

    Raises:
        InvalidInput: no items or too many, or no source.
        Denied: no role of the caller's may import consents.
    """
    await require_permission(services, caller, "vault:consents", "import", audit_action="import-consents")
    source = checked_import_source(source)
    if not 1 <= len(items) <= MOST:
        raise InvalidInput(f"an import has 1 to {MOST:,} items", code="too-many-items")
    return await bring_in(services, caller, items, source=source, note=True)
