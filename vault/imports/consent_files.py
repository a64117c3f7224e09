"""Import a file of consents, and the batches of API calls.

A file is imported in batches. If an import was interrupted, the same command completes it; nothing is written twice. A
mapping says what the columns mean; ``docs/import.md`` explains every key:

.. code-block:: toml

    source = "old-crm"
    system = "shop"                   # the system of the column `external_id`
    time_zone = "Europe/Berlin"       # of times without a time zone

    [columns]
    external_id = "customer_no"
    purpose = { constant = "direct-marketing" }
    decision = { column = "newsletter", values = { Y = "given", N = "withdrawn" } }
    occurred_at = { column = "changed", date_format = "%d.%m.%Y %H:%M" }

Without a mapping, the columns are named like the keys under ``[columns]``.
"""

from __future__ import annotations

import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from vault.access.authorization import require_permission
from vault.access.callers import operator_caller
from vault.access.recording import audited
from vault.catalogue.toml_document import load_toml
from vault.catalogue.types import ValueProblem
from vault.consent.validation import STATEMENT_FIELDS, ConsentStatement
from vault.errors import Fault, InvalidInput
from vault.ids import DEFAULT_TENANT, SubjectId, is_slug
from vault.imports.consents import MOST, ConsentItem, check_batch, import_batch
from vault.imports.lines import LineFault, build_getter, build_time_getter, columns_of_all, locate_cells
from vault.imports.mapping import CellSpec, FileForm, FileMapping, as_cell, cell_faults, is_zone, mapping_text
from vault.imports.readers import JsonlReader, open_reader
from vault.imports.run import Watcher
from vault.imports.views import ConsentImportSummary
from vault.subjects.rows import is_external_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.imports.consents import BatchResult
    from vault.imports.readers import Line, Reader, Row


MOMENTS = frozenset({"occurred_at", "valid_until"})


class ConsentLineParser:
    """Parses lines into statements.

    Args:
        reader: locates columns.

    Raises:
        InvalidInput: the mapping names a column that the file does not have.
    """

    def __init__(self, mapping: ConsentMapping, reader: Reader) -> None:
        missing, locate = frozenset(mapping.file.missing), locate_cells(mapping.file, reader)
        self._system = mapping.system
        self._has_default_columns = mapping.columns == {name: name for name in COLUMNS}
        self._texts = {
            name: build_getter(spec, locate, missing) for name, spec in mapping.columns.items() if name not in MOMENTS
        }
        self._moments = {
            name: build_time_getter(mapping.columns[name], mapping.time_zone, locate, missing)
            for name in MOMENTS & mapping.columns.keys()
        }

    def read(self, line: Line) -> ConsentItem | list[LineFault]:
        """Parse a line; returns its faults if there are any."""
        number, row = line
        if row is None:
            return [LineFault(number, "not-a-line", None, "the line is malformed")]
        if self._has_default_columns and isinstance(row, dict) and not row.keys() <= set(COLUMNS):
            return [LineFault(number, "unknown-key", None, "the line has an unknown key")]
        faults: list[LineFault] = []
        texts = {name: self._text(number, row, name, faults) for name in self._texts}
        moments = {name: self._moment(number, row, name, faults) for name in self._moments}
        subject, external = self._subject(number, texts, faults)
        for name in ("purpose", "decision"):
            if texts.get(name) is None and not any(fault.field == name for fault in faults):
                faults.append(LineFault(number, "missing", name, "the line does not say it"))
        if faults:
            return faults
        statement: dict[str, Any] = {
            name: text for name, text in texts.items() if text is not None and name in STATEMENT_FIELDS
        }
        statement.update(moments)
        return ConsentItem(subject, external, ConsentStatement(**statement))

    def _text(self, number: int, row: Row, name: str, faults: list[LineFault]) -> str | None:
        try:
            raw = self._texts[name](row)
        except ValueProblem as problem:
            faults.append(LineFault(number, problem.code, name, problem.detail))
            return None
        if raw.__class__ is int:
            raw = str(raw)  # a number in the file, a text in the other system
        if raw is None or isinstance(raw, str):
            return None if raw is None else raw.strip()
        faults.append(LineFault(number, "wrong-type", name, "must be a text"))
        return None

    def _moment(self, number: int, row: Row, name: str, faults: list[LineFault]) -> datetime | None:
        try:
            return self._moments[name](row)
        except ValueProblem as problem:
            faults.append(LineFault(number, problem.code, name, problem.detail))
            return None

    def _subject(
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
            faults.append(LineFault(number, "no-external-id", None, "the line has no external id of a person"))
        elif system is None or not is_slug(system):
            faults.append(LineFault(number, "invalid-system", "system", "a-z, 0-9, - and _ name a system"))
        elif not is_external_id(external):
            detail = "an external id is a text of 1 to 200 printable characters"
            faults.append(LineFault(number, "invalid-external-id", "external_id", detail))
        else:
            return None, (system, external)
        return None, None


COLUMNS: Final = (
    "subject", "system", "external_id", "purpose", "decision", "notice", "language", "channel", "method", "by",
    "evidence", "jurisdiction", "occurred_at", "valid_until",
)  # fmt: skip
NEEDED: Final = ("purpose", "decision", "occurred_at")


class ConsentMapping(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """The meaning of the columns of a file of consents."""

    columns: dict[str, CellSpec] = {}
    file: FileForm = FileForm()
    source: str | None = None
    system: str | None = None
    time_zone: str = "UTC"


def read_consent_mapping(path: Path) -> ConsentMapping:
    """Read a mapping.

    Raises:
        InvalidInput: the file does not exist, is not TOML, or is inconsistent.
    """
    try:
        mapping = msgspec.convert(load_toml(mapping_text(path)), ConsentMapping)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise _invalid([Fault("/", "wrong-key", str(error))]) from None
    faults = list(_faults(mapping))
    if faults:
        raise _invalid(faults)
    return mapping


def with_columns_of(mapping: ConsentMapping, columns: Sequence[str]) -> ConsentMapping:
    """Use the columns of a file that have the default names, if the mapping names none.

    Raises:
        InvalidInput: a required column is missing, or there is an unknown column. An unknown column is not ignored,
            because it could be the end of a consent under another name.
    """
    if not mapping.columns:
        if not set(columns) <= set(COLUMNS):
            raise InvalidInput(
                "the file has unknown columns",
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
            "the system of the external ids is missing",
            code="no-system",
            hint="use --system shop, or write `system` in the mapping",
        )
    return mapping


def _faults(mapping: ConsentMapping) -> Iterator[Fault]:
    for name, spec in mapping.columns.items():
        yield from cell_faults(f"/columns/{name}", as_cell(spec))
        if name not in COLUMNS:
            yield Fault("/columns", "unknown-key", "the columns are: " + ", ".join(COLUMNS))
    if mapping.system is not None and not is_slug(mapping.system):
        yield Fault("/system", "invalid-system", "a system's name has only a-z, 0-9, - and _")
    if not is_zone(mapping.time_zone):
        yield Fault("/time_zone", "wrong-value", "use a name of the tz database, such as Europe/Berlin")


def _invalid(faults: list[Fault]) -> InvalidInput:
    return InvalidInput(
        "the mapping is inconsistent", faults=faults, code="mapping-invalid", hint="docs/import.md explains it"
    )


@dataclass(frozen=True, slots=True)
class ConsentFile:
    """What to import, and how."""

    path: Path
    mapping: ConsentMapping = field(default_factory=ConsentMapping)
    tenant: TenantId = DEFAULT_TENANT
    source: str | None = None
    system: str | None = None
    dry_run: bool = False


async def import_consents_file(
    services: Services, request: ConsentFile, watcher: Watcher | None = None
) -> ConsentImportSummary:
    """Import a file of consents, as the operator.

    Args:
        watcher: receives the progress.

    Raises:
        InvalidInput: the file or the mapping is invalid, or the source is missing.
        Misconfigured: the library for Parquet files is not installed.
        Unavailable: a database does not answer. Completed batches stay, and the same command completes the import.
    """
    watcher, started = watcher or Watcher(), time.monotonic()
    source = checked_import_source(request.source or request.mapping.source)
    mapping = msgspec.structs.replace(request.mapping, system=request.system or request.mapping.system)
    reader = open_reader(FileMapping(file=mapping.file), request.path)
    mapping = with_columns_of(mapping, COLUMNS if isinstance(reader, JsonlReader) else reader.columns)
    needed = columns_of_all(mapping.columns.values())
    if not isinstance(reader, JsonlReader):
        reader = open_reader(FileMapping(file=mapping.file), request.path, needed)
    parser = ConsentLineParser(mapping, reader)
    watcher.began(sum(1 for _line in reader.scan(set())), resumed=False)
    batch = _FileBatch(services, request, source, watcher)
    for located in reader.scan(needed):
        await batch.add(located.line.number, parser.read(located.line))
    await batch.flush()
    counts, codes = batch.counts, dict(batch.codes)
    seconds = round(time.monotonic() - started, 3)
    return ConsentImportSummary(dry_run=request.dry_run, **counts, codes=codes, seconds=seconds)


def checked_import_source(source: str | None, *, hint: str = "use --source old-crm") -> str:
    """Check the name of the system from which consents come. It decides which statements replace earlier ones.

    Args:
        hint: how the caller says it; by default as the command line does.

    Raises:
        InvalidInput: the source is missing, or is not a slug.
    """
    if source is None or not is_slug(source):
        raise InvalidInput(
            "an import of consents names its source: 1 to 64 of a-z, 0-9, - and _",
            faults=[Fault("/source", "invalid-source", "the name of a system: 1 to 64 of a-z, 0-9, - and _")],
            code="invalid-source",
            hint=hint,
        )
    return source


class _FileBatch:
    """Collects the statements of a file, imports them in batches of :data:`MOST`, and counts the lines."""

    def __init__(self, services: Services, request: ConsentFile, source: str, watcher: Watcher) -> None:
        self._services = services
        self._caller = operator_caller(request.tenant)
        self._import = check_batch if request.dry_run else import_batch
        self._source = source
        self._watcher = watcher
        self._lines: list[int] = []
        self._items: list[ConsentItem] = []
        self.counts = {"lines": 0, "written": 0, "there": 0, "refused": 0}
        self.codes: Counter[str] = Counter()

    async def add(self, line: int, parsed: ConsentItem | list[LineFault]) -> None:
        """Add a parsed line."""
        self.counts["lines"] += 1
        if isinstance(parsed, list):
            self._refuse(parsed)
            return
        self._lines.append(line)
        self._items.append(parsed)
        if len(self._items) == MOST:
            await self.flush()

    async def flush(self) -> None:
        """Import the statements that were added."""
        if not self._items:
            return
        batch = await self._import(self._services, self._caller, self._items, self._source)
        for line, result in zip(self._lines, batch.results, strict=True):
            if result.faults:
                self._refuse(
                    [LineFault(line, fault.code, fault.at.removeprefix("/"), fault.detail) for fault in result.faults]
                )
                continue
            self.counts["written" if result.is_new else "there"] += 1
            self._watcher.advanced(1)
        self._lines, self._items = [], []

    def _refuse(self, faults: list[LineFault]) -> None:
        self.counts["refused"] += 1
        for fault in faults:
            self.codes[fault.code] += 1
            self._watcher.refused(fault)
        self._watcher.advanced(1)


@audited("import-consents")
async def import_consents(
    services: Services, caller: Caller, items: Sequence[ConsentItem | Fault], *, source: str | None
) -> BatchResult:
    """Import statements from another system. Faults are reported item by item, and the other items are imported.

    Args:
        items: 1 to 1,000; a fault stands for an item that could not be read.
        source: the system from which they come, a slug.

    Raises:
        InvalidInput: no items or too many, or no source.
        Denied: the caller may not import consents.
    """
    await require_permission(services, caller, "vault:consents", "import", audit_action="import-consents")
    source = checked_import_source(source, hint="add ?source=old-crm to the address")
    if not 1 <= len(items) <= MOST:
        raise InvalidInput(f"an import has 1 to {MOST:,} items", code="too-many-items")
    return await import_batch(services, caller, items, source, always_audit=True)
