"""Bring a file in: survey it, take up where an earlier attempt stopped, let processes work, tell how it goes."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from vault.errors import InvalidInput
from vault.ids import DEFAULT_TENANT
from vault.imports import store as runs
from vault.imports.lines import DUPLICATE
from vault.imports.mapping import FileMapping, guess_mapping
from vault.imports.readers import open_reader
from vault.imports.store import Outcome
from vault.imports.survey import survey
from vault.imports.task import Task, make_ready
from vault.imports.workers import Workers, in_this_process
from vault.subjects.validation import checked_source

if TYPE_CHECKING:
    from pathlib import Path

    from vault.context import Services
    from vault.ids import TenantId
    from vault.imports.lines import LineFault
    from vault.imports.survey import Chunk
    from vault.imports.task import Work
    from vault.imports.workers import Opener

CHUNK_LINES = 2_000
"""Lines of one transaction: enough that commits cost little, few enough that their values are a few MB."""
SOURCE = "import"
WORTH_PROCESSES = 1024 * 1024
"""Bytes of a file from which on other processes are begun unless somebody says how many."""


class Request(NamedTuple):
    """What is to be imported, and how."""

    path: Path
    mapping: FileMapping | None = None
    tenant: TenantId = DEFAULT_TENANT
    purpose: str | None = None
    source: str | None = None
    dry_run: bool = False
    processes: int | None = None
    chunk_lines: int = CHUNK_LINES


class Watcher:
    """Is told how an import goes. This one looks away; a door makes its own."""

    def surveying(self, done: int) -> None:
        """Tell how far the first pass is: bytes, or rows of a Parquet file."""

    def began(self, lines: int, *, resumed: bool) -> None:
        """Tell how many lines there are, and whether an earlier attempt did some of them."""

    def advanced(self, lines: int) -> None:
        """Tell that so many more lines are done."""

    def refused(self, fault: LineFault) -> None:
        """Tell what is wrong with a line."""


@dataclass(slots=True)
class Report:
    """What became of a file. ``refused`` counts lines, duplicates among them; ``codes`` counts faults by their code."""

    dry_run: bool
    lines: int
    resumed: bool = False
    total: Outcome = field(default_factory=Outcome)
    codes: Counter[str] = field(default_factory=Counter)
    processes: int = 1
    seconds: float = 0.0

    @property
    def duplicates(self) -> int:
        """Count the lines that repeat an earlier one's external id."""
        return self.codes[DUPLICATE]


async def import_file(services: Services, opener: Opener, request: Request, watcher: Watcher | None = None) -> Report:
    """Import a file as the command line's own work.

    Args:
        opener: opens the vault in other processes.
        request: what and how.
        watcher: is told how it goes.

    Raises:
        InvalidInput: the file, the mapping or the purpose does not have its form or does not exist.
        Denied: the purpose does not let a field be written; it is on the audit log.
        Misconfigured: a Parquet file without the library for it.
        Unavailable: a database does not answer; what is done stays, and the next attempt goes on from there.
    """
    watcher, began = watcher or Watcher(), time.monotonic()
    task = _task(services, request)
    work = await make_ready(services, task)
    size, earlier, resumed = request.chunk_lines, {}, False
    if not request.dry_run:
        run = await _run(services, task, request)
        size, resumed = run.chunk_lines, run.resumed
        work = await make_ready(services, task._replace(run=run.id, started_at=run.started_at))
        async with services.data.reading() as connection:
            earlier = await runs.done(connection, task.tenant, run.id)
    with ExitStack() as stack:
        workers = _workers(services, opener, request, work)
        if workers is not None:
            stack.callback(workers.close)
        found = survey(work.reader, work.maker, size, watcher.surveying)
        report = Report(request.dry_run, found.lines, resumed, processes=1 if workers is None else workers.processes)
        watcher.began(found.lines, resumed=resumed)
        for chunk in found.chunks:
            if chunk.number in earlier:
                _add(report, watcher, chunk, earlier[chunk.number])
        left = [chunk for chunk in found.chunks if chunk.number not in earlier]
        async with aclosing(in_this_process(work, left) if workers is None else workers.bring_in(left)) as ended:
            async for chunk, outcome in ended:
                _add(report, watcher, chunk, outcome)
    if work.task.run is not None:
        await runs.finish(services.data, task.tenant, work.task.run, report.total, now=services.clock.now())
    report.seconds = time.monotonic() - began
    return report


def _add(report: Report, watcher: Watcher, chunk: Chunk, outcome: Outcome) -> None:
    report.total += outcome
    report.codes.update(fault.code for fault in outcome.faults)
    for fault in outcome.faults:
        watcher.refused(fault)
    watcher.advanced(chunk.lines)


def _task(services: Services, request: Request) -> Task:
    catalogue = services.policies.active(request.tenant).policy_set.catalogue
    mapping = request.mapping
    if mapping is None or not (mapping.fields or mapping.external_ids):
        reader = open_reader(mapping or FileMapping(), request.path)
        mapping = guess_mapping(reader.columns, catalogue, mapping)
    purpose = request.purpose or mapping.purpose
    if purpose is None:
        raise InvalidInput(
            "nothing says what the data is for",
            code="no-purpose",
            hint="name a purpose of purposes.toml by --purpose, or as `purpose` in the mapping",
        )
    source = checked_source(request.source or mapping.source, fallback=SOURCE)
    return Task(request.path.resolve(), mapping, request.tenant, purpose, source, services.clock.now(), None)


async def _run(services: Services, task: Task, request: Request) -> runs.Run:
    """Begin a run, or take up the one of the same file, mapping, purpose and source that has not ended."""
    with task.path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    facts = msgspec.json.encode([content, task.mapping, task.purpose, task.source])
    tokens = await services.keyring.token_key(task.tenant)
    fingerprint = tokens.digest("import-run", facts)
    return await runs.begin(
        services.data, task.tenant, fingerprint, chunk_lines=request.chunk_lines, now=services.clock.now()
    )


def _workers(services: Services, opener: Opener, request: Request, work: Work) -> Workers | None:
    """Begin processes, or none: SQLite has one writer, and a small file is done before a process is up."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    small = work.task.path.stat().st_size < WORTH_PROCESSES
    wanted = request.processes or (1 if small else processors)
    return None if services.data.dialect == "sqlite" or wanted == 1 else Workers(opener, work.task, wanted)
