"""``cdv import``: customers and their records from files."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self, TextIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vault.bootstrap import open_vault
from vault.cli.command import TOP_LEVEL, Opener, command
from vault.cli.output import FAILED, emit, note, warn
from vault.errors import Misconfigured
from vault.imports.completejourney import prepare
from vault.imports.mapping import read_mapping
from vault.imports.run import ImportRequest, Watcher, import_file
from vault.imports.suggest import suggest_mapping as suggested
from vault.wording import counted

if TYPE_CHECKING:
    from types import TracebackType

    from vault.imports.lines import LineFault
    from vault.imports.views import ConsentImportSummary, ImportSummary

DATASETS = ("completejourney",)
IMPORT_TIMEOUT = 30.0
"""Seconds for one statement: a chunk takes longer than a request."""

NOTES = {
    "left-out": "left out, for they are no values of their field",
    "looks-empty": "taken, though they look like no value (null, n/a, -); list them under `missing` if they mean none",
}

DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, count, write nothing.")]
Errors = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File for the refused lines: numbers and reasons, no values.")
]


@command(
    TOP_LEVEL,
    "cdv import customers.csv --purpose order-fulfilment --dry-run",
    "cdv import orders.jsonl --mapping orders.toml --errors orders.errors.jsonl",
    "cdv import customers.csv --suggest-mapping > customers.toml",
    "cdv import --dataset completejourney --limit-purchases 50000",
    name="import",
    database_timeout=IMPORT_TIMEOUT,
)
async def import_(
    opener: Opener,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A .csv, .jsonl or .parquet file.", exists=True, dir_okay=False),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="M.toml", help="Maps columns to fields; without it, columns are named like fields."),
    ] = None,
    dry_run: DryRun = False,
    errors: Errors = None,
    purpose: Annotated[
        str | None, typer.Option(metavar="NAME", help="Purpose of the data; overrides the mapping's.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Source of the data; overrides the mapping's.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=64, help="Number of processes; by default one per processor.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="A public data set: completejourney.")] = None,
    suggest_mapping: Annotated[
        bool,
        typer.Option("--suggest-mapping", help="Print a mapping to start from; import nothing."),
    ] = False,
    limit_purchases: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Import only this many purchase lines of the data set.")
    ] = None,
) -> None:
    """Import customers or their records from a file.

    A second import of the same file changes nothing; an interrupted import continues. Exit status 1 if lines were
    refused; all other lines are imported.
    """
    if (file is None) == (dataset is None):
        raise typer.BadParameter("name a FILE, or a data set by --dataset", param_hint="'FILE'")
    if suggest_mapping:
        if file is None:
            raise typer.BadParameter("name the FILE", param_hint="'--suggest-mapping'")
        async with opener.session() as session:
            catalogue = session.services.policies.active(session.tenant).policy_set.catalogue
            typer.echo(suggested(file, catalogue, session.services.clock.now().date()), nl=False)
        return
    if dataset is not None:
        _check_dataset(dataset, dry_run=dry_run, others=(mapping, purpose, source))
        reports = await _import_dataset(opener, errors, processes, limit_purchases)
    else:
        request = ImportRequest(
            Path(file or ""),
            None if mapping is None else read_mapping(mapping),
            purpose=purpose,
            source=source,
            dry_run=dry_run,
            processes=processes,
        )
        reports = {"": await _import(opener, request, errors)}
    if opener.as_json:
        summaries = {name: report.as_json() for name, report in reports.items()}
        emit(summaries.get("", summaries))
    if any(report.refused for report in reports.values()):
        raise typer.Exit(FAILED)


def _check_dataset(name: str, *, dry_run: bool, others: tuple[object, ...]) -> None:
    if name not in DATASETS:
        raise typer.BadParameter(f"the data sets are: {', '.join(DATASETS)}", param_hint="'--dataset'")
    if dry_run or any(option is not None for option in others):
        raise typer.BadParameter(
            "a data set has its own mapping: leave out the other options",
            param_hint="'--dataset'",
        )


async def _import_dataset(
    opener: Opener, errors: Path | None, processes: int | None, purchases: int | None
) -> dict[str, ImportSummary]:
    reports = {}
    with tempfile.TemporaryDirectory(prefix="cdv-import-") as folder:
        for part in prepare(Path(folder), purchases=purchases):
            request = ImportRequest(part.path, part.mapping, processes=processes)
            refused = None if errors is None else errors.with_name(f"{errors.stem}-{part.name}{errors.suffix}")
            reports[part.name] = await _import(opener, request, refused, title=part.name)
    return reports


async def _import(opener: Opener, request: ImportRequest, errors: Path | None, *, title: str = "") -> ImportSummary:
    for_workers = partial(open_vault, opener.folder, **opener.settings)
    async with opener.session() as session:
        with ImportProgress(request.path, title, errors, quiet=opener.as_json) as progress:
            request = replace(request, tenant=session.tenant)
            report = await import_file(session.services, for_workers, request, progress)
    would = "would be " if report.dry_run else ""
    counts = f"{report.created:,} {would}created, {report.updated:,} {would}updated, {report.unchanged:,} unchanged"
    show_outcome(report, f"{counts}, {report.refused:,} refused", title, quiet=opener.as_json)
    for code, fields in report.notes.items():
        named = ", ".join(f"{field} {count:,}" for field, count in sorted(fields.items()))
        warn(f"{NOTES.get(code, code)}: {named}")
    return report


def show_outcome(
    report: ImportSummary | ConsentImportSummary, counts: str, title: str = "", *, quiet: bool = False
) -> None:
    """Print the result of an import on standard error, so that standard output has only the JSON."""
    if not quiet:
        rate = report.lines / report.seconds if report.seconds else 0.0
        prefix = f"{title}: " if title else ""
        note(f"{prefix}{counted(report.lines, 'line')} in {report.seconds:,.1f} s ({rate:,.0f}/s): {counts}")
    if report.codes:
        warn("refused: " + ", ".join(f"{code} {count:,}" for code, count in sorted(report.codes.items())))


class Rate(ProgressColumn):
    """Shows lines per second."""

    def render(self, task: Task) -> Text:
        """Draw."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class ImportProgress(Watcher):
    """Draws a progress bar on a terminal, and writes refused lines to a file.

    Args:
        path: the imported file; only its size is used.
        title: the part of a larger import.
        errors: the file for refused lines. It is created when the first line is refused.
        quiet: draw nothing.
    """

    def __init__(self, path: Path, title: str, errors: Path | None, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._title = f"{title}: " if title else ""
        self._bytes = path.stat().st_size if path.suffix.lower() != ".parquet" else None
        self._errors = errors
        self._file: TextIO | None = None
        self._bar = self._progress.add_task(f"{self._title}surveying", total=self._bytes)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._file is not None:
            self._file.close()

    def surveying(self, done: int) -> None:
        """Show the progress of the first pass."""
        self._progress.update(self._bar, completed=done)

    def began(self, lines: int, *, resumed: bool) -> None:
        """Start the bar of the import itself."""
        self._progress.remove_task(self._bar)
        verb = "resuming" if resumed else "importing"
        self._bar = self._progress.add_task(f"{self._title}{verb}", total=lines)

    def advanced(self, lines: int) -> None:
        """Advance the bar."""
        self._progress.advance(self._bar, lines)

    def refused(self, fault: LineFault) -> None:
        """Write the fault of a line: its number, a code, a field, a sentence."""
        if self._errors is None:
            return
        if self._file is None:
            self._file = _create(self._errors)
        self._file.write(json.dumps(fault._asdict()) + "\n")


def _create(path: Path) -> TextIO:
    """Create a file that only its owner can read: it says which lines have invalid values."""
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise Misconfigured(
            f"the file for refused lines cannot be written: {error.strerror}", hint="name another by --errors"
        ) from None
    return os.fdopen(opened, "w", encoding="utf-8")
