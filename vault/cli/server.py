"""``cdv init``, ``cdv serve`` and ``cdv db``: make a vault, serve it, and keep the tables of its databases."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vault.backup.gate import waiting
from vault.backup.views import DatabaseState, DatabaseStates, DatabaseUpgrade, DatabaseUpgrades, PendingRestore
from vault.bootstrap import databases_of, init_vault, read_settings, shipped_policies, upgrade_databases
from vault.catalogue.company import COUNTRY, EMAIL, URL
from vault.cli.background import announce as announce_server
from vault.cli.background import start
from vault.cli.command import (
    HERE,
    TOP_LEVEL,
    Json,
    VaultFolder,
    command,
    make_group,
    run,
    warn_of_variables,
    without_collection,
)
from vault.cli.output import FAILED, emit, note, show_table
from vault.errors import Unavailable
from vault.policy.example import FILE as CONTROLLER
from vault.policy.example import keys_left
from vault.storage.database import Database
from vault.storage.diagnosis import explained
from vault.storage.migrate import is_current

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.backup.gate import Restore
    from vault.catalogue.toml_document import Form


def _text(most: int, form: Form | None = None) -> Callable[[str], str]:
    """Return a parser of an option that is written into controller.toml."""

    def parse(typed: str) -> str:
        if form is not None and not form.fits(typed):
            raise typer.BadParameter(f"it {form.complaint}; {form.remedy}")
        if not typed.strip() or len(typed) > most or not typed.isprintable():
            raise typer.BadParameter(f"write a text on one line, 1 to {most} characters")
        return typed

    return parse


@command(
    TOP_LEVEL,
    "cdv init my-vault",
    "cdv init my-vault --controller 'Acme SE' --country DE --address 'Hauptstr. 1, 10115 Berlin' "
    "--email privacy@acme.example --privacy-policy https://acme.example/privacy",
    name="init",
)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet, or an empty one.")],
    controller: Annotated[
        str | None,
        typer.Option(metavar="NAME", parser=_text(200), help="The company that signs papers."),
    ] = None,
    country: Annotated[
        str | None, typer.Option(metavar="CC", parser=_text(2, COUNTRY), help="Its country, such as DE.")
    ] = None,
    address: Annotated[str | None, typer.Option(metavar="TEXT", parser=_text(300), help="Its postal address.")] = None,
    email: Annotated[
        str | None, typer.Option(metavar="ADDRESS", parser=_text(254, EMAIL), help="Where it is asked about data.")
    ] = None,
    privacy_policy: Annotated[
        str | None, typer.Option(metavar="URL", parser=_text(500, URL), help="Where its privacy policy is.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a vault in a folder: databases, a root key, settings, and a copy of the shipped policies to edit.

    The policies name an example company. The options write yours into `policies/controller.toml`.
    """
    warn_of_variables()
    values = {
        "name": controller, "country": country, "address": address, "email": email, "privacy_policy": privacy_policy,
    }  # fmt: skip
    given = {key: value for key, value in values.items() if value is not None}
    settings = run(init_vault(folder, controller=given))
    if as_json:
        emit({"vault": settings.vault, "policies": settings.policies})
        return
    typer.echo(f"The vault is in {folder}:")
    if settings.root_key.startswith("file:"):
        typer.echo("  root.key   decrypts everything else: keep a copy of it, separate from backups")
    typer.echo("  policies/  who may read what, for which purpose; edit them")
    typer.echo("  cdv.toml   settings")
    typer.echo("\nNext:")
    where = shlex.quote(str(folder))
    left = keys_left((settings.policies / CONTROLLER).read_text(encoding="utf-8"), shipped_policies())
    if left:
        names = ", ".join(".".join(map(str, key)) for key in left)
        typer.echo(f"  edit {where}/policies/{CONTROLLER}, where {names} are the example's, then:")
        typer.echo(f"  cdv policy apply --vault {where}")
    typer.echo(f"  cdv apps add my-app --role fulfilment --vault {where}")
    typer.echo(f"  cdv serve --vault {where}")


@command(
    TOP_LEVEL,
    "cdv serve --vault my-vault",
    "cdv serve --background",
    "cdv serve --port 8300 --workers 4",
    name="serve",
)
def serve(
    vault: VaultFolder = HERE,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="as in cdv.toml")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on.", show_default="as in cdv.toml")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Number of processes.", show_default="as in cdv.toml")
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Start it, wait until it is ready, and return. `cdv stop` ends it.")
    ] = False,
    announce: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the HTTP API of a vault until Ctrl-C, or in the background."""
    if background:
        given = {"--host": host, "--port": port, "--workers": workers}
        start(vault, [text for name, value in given.items() if value is not None for text in (name, str(value))])
        return
    with without_collection():  # the web framework: half a second that no other command needs
        from vault.server import serve as serve_http

    warn_of_variables()
    listening = None if announce is None else partial(announce_server, announce)
    serve_http(vault, host=host, port=port, workers=workers, listening=listening)


db_group = make_group("cdv db status", "cdv db upgrade")


@command(db_group, "cdv db upgrade --vault my-vault")
def upgrade(vault: VaultFolder = HERE, as_json: Json = False) -> None:
    """Migrate all databases to this version of the program. Make a backup first."""
    read_settings(vault)  # says that there is no vault, before files are made for one
    changed = run(upgrade_databases(vault))
    if as_json:
        upgrades = {which: DatabaseUpgrade(before=before, after=after) for which, (before, after) in changed.items()}
        emit(DatabaseUpgrades(**upgrades))
        return
    for which, (before, after) in changed.items():
        note(f"{which}: {after} already" if before == after else f"{which}: {before or 'empty'} -> {after}")


@command(db_group, "cdv db status --json")
def status(vault: VaultFolder = HERE, as_json: Json = False) -> None:
    """Show whether all databases are at this version of the program; exit status 1 if one is not.

    Exit status 1 also if the vault was restored from a backup and the restore ledger is not replayed yet.
    """
    databases, restored = run(_status(vault))
    current = all(is_up_to_date for _, _, is_up_to_date in databases)
    if as_json:
        states = {which: DatabaseState(dialect=kind, current=state) for which, kind, state in databases}
        pending = None if restored is None else PendingRestore(backed_up_at=restored.backed_up_at)
        emit(DatabaseStates(**states, restored=pending))
    else:
        rows = [(which, kind, "current" if state else "to be upgraded") for which, kind, state in databases]
        show_table(("database", "kind", "state"), rows, empty="")
        if not current:
            note("hint: run `cdv db upgrade`")
        if restored is not None:
            moment = f"{restored.backed_up_at:%Y-%m-%d %H:%M:%SZ}"
            note(f"restored from a backup of {moment} and not yet replayed: closed to readers")
            note("hint: run `cdv restore --continue`")
    if not current or restored is not None:
        raise typer.Exit(FAILED)


async def _status(folder: Path) -> tuple[list[tuple[str, str, bool]], Restore | None]:
    """Return name, dialect and currency of each database; and the restore that is not replayed yet, if there is one."""
    settings = read_settings(folder)
    databases: list[tuple[str, str, bool]] = []
    restored = None
    for which, url in databases_of(settings).items():
        database = Database(url, timeout=settings.database_timeout)
        try:
            try:
                databases.append((which, database.dialect, await is_current(database, which)))
            except Unavailable as error:
                raise await explained(which, url, settings.database_timeout, error) from error
            if which == "data" and databases[-1][2]:
                restored = await waiting(database)
        finally:
            await database.close()
    return databases, restored if all(current for _, _, current in databases) else None
