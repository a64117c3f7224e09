"""Bring a file of consents in, batch by batch. The same command ends one that was stopped: nothing is written twice."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from vault.access.operator import at_the_console
from vault.errors import InvalidInput
from vault.ids import DEFAULT_TENANT, is_slug
from vault.imports.consent_import_lines import ConsentLines, needed_by
from vault.imports.consent_import_mapping import COLUMNS, ConsentMapping, with_columns_of
from vault.imports.consents import MOST, bring_in
from vault.imports.importing_lines import LineFault
from vault.imports.readers import JsonlReader, open_reader
from vault.imports.run import Watcher

if TYPE_CHECKING:
    from pathlib import Path

    from vault.context import Caller, House
    from vault.errors import Fault
    from vault.ids import TenantId
    from vault.imports.consents import Told
    from vault.imports.reader import Line


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


async def import_consents_file(house: House, request: ConsentFile, watcher: Watcher | None = None) -> ConsentReport:
    """Import a file of consents as the command line's own work.

    Args:
        house: the rooms.
        request: what and how.
        watcher: is told how it goes.

    Raises:
        InvalidInput: the file or the mapping does not have its form, or nothing names the source.
        Misconfigured: a Parquet file without the library for it.
        Unavailable: a database does not answer; what is done stays, and the same command ends it.
    """
    watcher, began = watcher or Watcher(), time.monotonic()
    caller, report = at_the_console(request.tenant), ConsentReport(request.dry_run)
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
            await _flush(house, caller, source, report, watcher, waiting)
    await _flush(house, caller, source, report, watcher, waiting)
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
    house: House, caller: Caller, source: str, report: ConsentReport, watcher: Watcher, waiting: list[_Waiting]
) -> None:
    if not waiting:
        return
    items = [each.told for each in waiting]
    brought = await bring_in(house, caller, items, source=source, dry_run=report.dry_run)
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
