"""``cdv import``: customers and their records from files.

What an import shows while it runs: a bar on a terminal, and a file of refused lines. Neither holds a value.

``cdv consent import``: what people said elsewhere, with its evidence.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vault.cli.consent import app
from vault.cli.errors import FAILED
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples
from vault.cli.output import emit, note, warn
from vault.cli.session import known_tenant, run

if TYPE_CHECKING:
    from vault.imports.consent_files import ConsentFile, ConsentReport
    from vault.imports.run import Report, Request


DATASETS = ("completejourney",)
TIMEOUT = 30.0
"""Seconds for one statement: a chunk is more work than a request."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "import",
        epilog=examples(
            "cdv import customers.csv --purpose order-fulfilment --dry-run",
            "cdv import orders.jsonl --mapping orders.toml --errors orders.errors.jsonl",
            "cdv import --dataset completejourney --limit-purchases 50000",
        ),
    )(import_)


def import_(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A .csv, .jsonl or .parquet file.", exists=True, dir_okay=False),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="M.toml", help="What the columns mean; without it they are named like fields."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, count, write nothing.")] = False,
    errors: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write which lines were refused, without values.")
    ] = None,
    purpose: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the data is for; goes before the mapping's.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the data comes from; goes before the mapping's.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=64, help="How many; one for each processor by default.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="A public data set: completejourney.")] = None,
    limit_purchases: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Of the data set, only so many purchase lines.")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Import customers or their records from a file.

    A second import of the same file changes nothing, and one that was stopped goes on where it stopped. Ends with
    status 1 where lines were refused; the others are in.
    """
    from vault.imports.mapping import read_mapping
    from vault.imports.run import Request

    if (file is None) == (dataset is None):
        raise typer.BadParameter("name a FILE, or a data set by --dataset", param_hint="'FILE'")
    if dataset is not None:
        _check_dataset(dataset, dry_run=dry_run, others=(mapping, purpose, source))
        reports = _import_dataset(vault, tenant, errors, processes, limit_purchases, as_json=as_json)
    else:
        asked = Request(
            Path(file or ""),
            None if mapping is None else read_mapping(mapping),
            purpose=purpose,
            source=source,
            dry_run=dry_run,
            processes=processes,
        )
        reports = {"": run(_import(vault, tenant, asked, errors, as_json=as_json))}
        _tell("", reports[""], as_json=as_json)
    if as_json:
        told = {name: _as_json(report) for name, report in reports.items()}
        emit(told.get("", told))
    if any(report.total.refused for report in reports.values()):
        raise typer.Exit(FAILED)


def _check_dataset(name: str, *, dry_run: bool, others: tuple[Any, ...]) -> None:
    if name not in DATASETS:
        raise typer.BadParameter(f"the data sets are: {', '.join(DATASETS)}", param_hint="'--dataset'")
    if dry_run or any(each is not None for each in others):
        raise typer.BadParameter(
            "a data set brings its own mapping, and its people before their purchases: leave the other options out",
            param_hint="'--dataset'",
        )


def _import_dataset(
    vault: Path, tenant: str, errors: Path | None, processes: int | None, purchases: int | None, *, as_json: bool
) -> dict[str, Report]:
    from vault.imports.completejourney import prepare
    from vault.imports.run import Request

    reports = {}
    with tempfile.TemporaryDirectory(prefix="cdv-import-") as folder:
        for part in prepare(Path(folder), purchases=purchases):
            asked = Request(part.path, part.mapping, processes=processes)
            its = None if errors is None else errors.with_name(f"{errors.stem}-{part.name}{errors.suffix}")
            reports[part.name] = run(_import(vault, tenant, asked, its, as_json=as_json, title=part.name))
            _tell(part.name, reports[part.name], as_json=as_json)
    return reports


async def _import(
    vault: Path, tenant: str, asked: Request, errors: Path | None, *, as_json: bool, title: str = ""
) -> Report:
    from vault.bootstrap import open_vault

    # merged
    from vault.imports.run import import_file

    opener = partial(open_vault, vault, database_timeout=TIMEOUT)
    async with opener() as opened:
        asked = asked._replace(tenant=await known_tenant(opened.services, tenant))
        from vault.cli.import_progress import Screen

        with Screen(asked.path, title, errors, quiet=as_json) as screen:
            return await import_file(opened.services, opener, asked, screen)


def _tell(name: str, report: Report, *, as_json: bool) -> None:
    """Say what became of the lines; on standard error, so that ``--json`` stays alone on standard output."""
    total = report.total
    if not as_json:
        would = "would be " if report.dry_run else ""
        rate = report.lines / report.seconds if report.seconds else 0.0
        note(
            f"{name + ': ' if name else ''}{report.lines:,} lines in {report.seconds:,.1f} s ({rate:,.0f}/s): "
            f"{total.created:,} {would}created, {total.updated:,} {would}updated, {total.unchanged:,} unchanged, "
            f"{total.refused:,} refused"
        )
    if report.codes:
        warn("refused: " + ", ".join(f"{code} {count:,}" for code, count in sorted(report.codes.items())))


def _as_json(report: Report) -> dict[str, Any]:
    total = report.total
    return {
        "dry_run": report.dry_run,
        "lines": report.lines,
        "created": total.created,
        "updated": total.updated,
        "unchanged": total.unchanged,
        "refused": total.refused,
        "duplicates": report.duplicates,
        "codes": dict(report.codes),
        "resumed": report.resumed,
        "processes": report.processes,
        "seconds": round(report.seconds, 3),
    }


def register_consent_import(_root: typer.Typer) -> None:
    """Add nothing to the root: the command belongs to the group ``consent``."""


@app.command(
    "import",
    epilog=examples(
        "cdv consent import consents.csv --source old-crm --system shop --dry-run",
        "cdv consent import export.jsonl --mapping consents.toml --errors refused.jsonl",
    ),
)
def import_consents(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .csv, .jsonl or .parquet file.", exists=True, dir_okay=False)
    ],
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where they come from; goes before the mapping's. One of both is needed."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which system's numbers the column external_id has.")
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="M.toml", help="What the columns mean; without it they have the names in the docs."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, count, write nothing.")] = False,
    errors: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write which lines were refused, without values.")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Import consents, refusals, withdrawals and objections from a file.

    A yes from a file never outweighs a no that is there. The same file again writes nothing. Ends with status 1 where
    lines were refused; the others are in.
    """
    from vault.imports.consent_files import ConsentFile, ConsentMapping, read_consent_mapping

    meaning = ConsentMapping() if mapping is None else read_consent_mapping(mapping)
    asked = ConsentFile(file, meaning, source=source, system=system, dry_run=dry_run)
    report = run(_import_consent_import(vault, tenant, asked, errors, quiet=as_json))
    if as_json:
        emit(_as_json_consent_import(report))
    else:
        _tell_consent_import(report)
    if report.refused:
        raise typer.Exit(FAILED)


async def _import_consent_import(
    vault: Path, tenant: str, asked: ConsentFile, errors: Path | None, *, quiet: bool
) -> ConsentReport:
    from vault.bootstrap import open_vault

    # merged
    from vault.imports.consent_files import import_consents_file

    async with open_vault(vault, database_timeout=TIMEOUT) as opened:
        asked = asked._replace(tenant=await known_tenant(opened.services, tenant))
        from vault.cli.import_progress import Screen

        with Screen(asked.path, "consents", errors, quiet=quiet) as screen:
            return await import_consents_file(opened.services, asked, screen)


def _tell_consent_import(report: ConsentReport) -> None:
    would = "would be " if report.dry_run else ""
    rate = report.lines / report.seconds if report.seconds else 0.0
    note(
        f"{report.lines:,} lines in {report.seconds:,.1f} s ({rate:,.0f}/s): {report.written:,} {would}written, "
        f"{report.there:,} there already, {report.refused:,} refused"
    )
    if report.codes:
        warn("refused: " + ", ".join(f"{code} {count:,}" for code, count in sorted(report.codes.items())))


def _as_json_consent_import(report: ConsentReport) -> dict[str, Any]:
    return {
        "dry_run": report.dry_run,
        "lines": report.lines,
        "written": report.written,
        "there": report.there,
        "refused": report.refused,
        "codes": dict(report.codes),
        "seconds": round(report.seconds, 3),
    }
