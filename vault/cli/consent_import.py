"""``cdv consent import``: what people said elsewhere, with its evidence."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vault.cli.consent import app
from vault.cli.errors import FAILED
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples
from vault.cli.output import emit, note, warn
from vault.cli.session import known_tenant, run

if TYPE_CHECKING:
    from vault.imports.consent_files import ConsentFile, ConsentReport

TIMEOUT = 30.0
"""Seconds for one statement: a batch is more work than a request."""


def register(_root: typer.Typer) -> None:
    """Add nothing to the root: the command belongs to the group ``consent``."""


@app.command(
    "import",
    epilog=examples(
        "cdv consent import consents.csv --source old-crm --system shop --dry-run",
        "cdv consent import export.jsonl --mapping consents.toml --errors refused.jsonl",
    ),
)
def import_(
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
    from vault.imports.consent_files import ConsentFile
    from vault.imports.consent_import_mapping import ConsentMapping, read_consent_mapping

    meaning = ConsentMapping() if mapping is None else read_consent_mapping(mapping)
    asked = ConsentFile(file, meaning, source=source, system=system, dry_run=dry_run)
    report = run(_import(vault, tenant, asked, errors, quiet=as_json))
    if as_json:
        emit(_as_json(report))
    else:
        _tell(report)
    if report.refused:
        raise typer.Exit(FAILED)


async def _import(vault: Path, tenant: str, asked: ConsentFile, errors: Path | None, *, quiet: bool) -> ConsentReport:
    from vault.bootstrap import open_vault
    from vault.cli.import_screen import Screen
    from vault.imports.consent_files import import_consents_file

    async with open_vault(vault, database_timeout=TIMEOUT) as opened:
        asked = asked._replace(tenant=await known_tenant(opened.house, tenant))
        with Screen(asked.path, "consents", errors, quiet=quiet) as screen:
            return await import_consents_file(opened.house, asked, screen)


def _tell(report: ConsentReport) -> None:
    would = "would be " if report.dry_run else ""
    rate = report.lines / report.seconds if report.seconds else 0.0
    note(
        f"{report.lines:,} lines in {report.seconds:,.1f} s ({rate:,.0f}/s): {report.written:,} {would}written, "
        f"{report.there:,} there already, {report.refused:,} refused"
    )
    if report.codes:
        warn("refused: " + ", ".join(f"{code} {count:,}" for code, count in sorted(report.codes.items())))


def _as_json(report: ConsentReport) -> dict[str, Any]:
    return {
        "dry_run": report.dry_run,
        "lines": report.lines,
        "written": report.written,
        "there": report.there,
        "refused": report.refused,
        "codes": dict(report.codes),
        "seconds": round(report.seconds, 3),
    }
