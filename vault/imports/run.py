"""Import a file: survey it, resume an earlier attempt, distribute its chunks, and report."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, defaultdict
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from vault.errors import InvalidInput
from vault.ids import DEFAULT_TENANT
from vault.imports.lines import DUPLICATE
from vault.imports.mapping import FileMapping, infer_mapping
from vault.imports.readers import open_reader
from vault.imports.store import Outcome, begin_run, finish_run, outcomes
from vault.imports.survey import survey_file
from vault.imports.task import ImportTask, open_import
from vault.imports.views import ImportSummary
from vault.imports.workers import Workers, apply_in_process
from vault.subjects.validation import checked_source

if TYPE_CHECKING:
    from pathlib import Path

    from vault.context import Services
    from vault.ids import TenantId
    from vault.imports.lines import LineFault
    from vault.imports.store import ImportRun
    from vault.imports.survey import Chunk
    from vault.imports.workers import Opener

CHUNK_LINES = 2_000
"""Lines of one transaction: enough that commits cost little, few enough that their values take a few MB."""
SOURCE = "import"
WORTH_PROCESSES = 1024 * 1024
"""Bytes of a file from which on several processes are used by default."""


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What to import, and how."""

    path: Path
    mapping: FileMapping | None = None
    tenant: TenantId = DEFAULT_TENANT
    purpose: str | None = None
    source: str | None = None
    dry_run: bool = False
    processes: int | None = None
    chunk_lines: int = CHUNK_LINES


class Watcher:
    """Receives the progress of an import. This base class ignores it."""

    def surveying(self, done: int) -> None:
        """Receive the position of the first pass: bytes, or rows of a Parquet file."""

    def began(self, lines: int, *, resumed: bool) -> None:
        """Receive the number of lines, and whether an earlier attempt is resumed."""

    def advanced(self, lines: int) -> None:
        """Receive how many more lines are done."""

    def refused(self, fault: LineFault) -> None:
        """Receive what is wrong with a line."""


async def import_file(
    services: Services, opener: Opener, request: ImportRequest, watcher: Watcher | None = None
) -> ImportSummary:
    """Import a file, as the operator.

    Args:
        opener: opens the vault in other processes.
        watcher: receives the progress.

    Raises:
        InvalidInput: the file, the mapping or the purpose is invalid or does not exist.
        Denied: the purpose does not allow writing a field; recorded in the audit log.
        Misconfigured: the library for Parquet files is not installed.
        Unavailable: a database does not answer. Completed chunks stay, and the next attempt resumes after them.
    """
    watcher, started = watcher or Watcher(), time.monotonic()
    task = _task(services, request)
    context = await open_import(services, task)
    size, earlier, resumed = request.chunk_lines, {}, False
    if not request.dry_run:
        run = await _begin_or_resume(services, task, request.chunk_lines)
        size, resumed = run.chunk_lines, run.resumed
        context = await open_import(services, replace(task, run=run.id, started_at=run.started_at))
        async with services.data.reading() as connection:
            earlier = await outcomes(connection, task.tenant, run.id)
    total, codes, notes = Outcome(), Counter[str](), defaultdict[str, Counter[str]](Counter)

    def add(chunk: Chunk, outcome: Outcome) -> None:
        nonlocal total
        total += outcome
        for fault in outcome.faults:
            codes[fault.code] += 1
            watcher.refused(fault)
        for code, field, count in outcome.notes:
            notes[code][field] += count
        watcher.advanced(chunk.lines)

    with ExitStack() as stack:
        workers = _workers(services, opener, context.task, request.processes)
        if workers is not None:
            stack.callback(workers.close)
        file = survey_file(context.reader, context.parser, size, watcher.surveying)
        watcher.began(file.lines, resumed=resumed)
        for chunk in file.chunks:
            if chunk.number in earlier:
                add(chunk, earlier[chunk.number])
        left = [chunk for chunk in file.chunks if chunk.number not in earlier]
        async with aclosing(apply_in_process(context, left) if workers is None else workers.apply(left)) as completed:
            async for chunk, outcome in completed:
                add(chunk, outcome)
    if context.task.run is not None:
        await finish_run(services.data, task.tenant, context.task.run, total, now=services.clock.now())
    return ImportSummary(
        dry_run=request.dry_run,
        lines=file.lines,
        created=total.created,
        updated=total.updated,
        unchanged=total.unchanged,
        refused=total.refused,
        duplicates=codes[DUPLICATE],
        codes=dict(codes),
        notes={code: dict(counts) for code, counts in sorted(notes.items())},
        resumed=resumed,
        processes=1 if workers is None else workers.processes,
        seconds=round(time.monotonic() - started, 3),
    )


def _task(services: Services, request: ImportRequest) -> ImportTask:
    catalogue = services.policies.active(request.tenant).policy_set.catalogue
    mapping = request.mapping
    if mapping is None or not (mapping.fields or mapping.external_ids):
        reader = open_reader(mapping or FileMapping(), request.path)
        mapping = infer_mapping(reader.columns, catalogue, mapping)
    purpose = request.purpose or mapping.purpose
    if purpose is None:
        raise InvalidInput(
            "the purpose of the import is missing",
            code="no-purpose",
            hint="name a purpose of purposes.toml by --purpose, or as `purpose` in the mapping",
        )
    source = checked_source(request.source or mapping.source, fallback=SOURCE)
    return ImportTask(request.path.resolve(), mapping, request.tenant, purpose, source, services.clock.now())


async def _begin_or_resume(services: Services, task: ImportTask, chunk_lines: int) -> ImportRun:
    """Resume the unfinished run of the same file, mapping, purpose and source, or begin one."""
    with task.path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    facts = msgspec.json.encode([content, task.mapping, task.purpose, task.source])
    tokens = await services.keyring.token_key(task.tenant)
    fingerprint = tokens.digest("import-run", facts)
    return await begin_run(services.data, task.tenant, fingerprint, chunk_lines=chunk_lines, now=services.clock.now())


def _workers(services: Services, opener: Opener, task: ImportTask, wanted: int | None) -> Workers | None:
    """Start worker processes, or none: SQLite has one writer, and a small file is imported before a process starts."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    small = task.path.stat().st_size < WORTH_PROCESSES
    processes = wanted or (1 if small else processors)
    return None if services.data.dialect == "sqlite" or processes == 1 else Workers(opener, task, processes)
