"""``cdv db``: the tables of a vault's databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from vault.cli.options import HERE, Json, VaultFolder, examples, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import run

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

group = make_group("The tables of a vault's databases.", "cdv db status", "cdv db upgrade")


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="db")


@group.command(epilog=examples("cdv db upgrade --vault my-vault"))
def upgrade(vault: VaultFolder = HERE, as_json: Json = False) -> None:
    """Bring all databases up to this version of the program. Make a backup first."""
    from vault.bootstrap import read_settings, upgrade_databases

    read_settings(vault)  # says that there is no vault, before files are made for one
    changed = run(upgrade_databases(vault))
    if as_json:
        emit({which: {"before": before, "after": after} for which, (before, after) in changed.items()})
        return
    for which, (before, after) in changed.items():
        note(f"{which}: {after} already" if before == after else f"{which}: {before or 'empty'} -> {after}")


@group.command(epilog=examples("cdv db status --json"))
def status(vault: VaultFolder = HERE, as_json: Json = False) -> None:
    """Tell whether all databases have the tables that this version runs on; exit status 1 if one has not.

    So it is where the vault was restored from a backup and has yet to learn what happened since.
    """
    found = run(_status(vault))
    waits = run(_restored(vault)) if all(current for _, _, current in found) else None
    if as_json:
        told: dict[str, Any] = {which: {"dialect": dialect, "current": current} for which, dialect, current in found}
        emit(told if waits is None else {**told, "restored": {"backed_up_at": waits, "replayed": False}})
    else:
        rows = [(which, dialect, "current" if current else "to be upgraded") for which, dialect, current in found]
        show_table(("database", "kind", "state"), rows, empty="")
    if not all(current for _, _, current in found):
        if not as_json:
            note("hint: run `cdv db upgrade`")
        raise typer.Exit(1)
    if waits is not None:
        if not as_json:
            note(f"restored from a backup of {waits:%Y-%m-%d %H:%M:%SZ} and not yet replayed: closed to readers")
            note("hint: run `cdv restore --continue`")
        raise typer.Exit(1)


async def _status(folder: Path) -> list[tuple[str, str, bool]]:
    from vault.bootstrap import databases_of, read_settings
    from vault.storage.database import Database
    from vault.storage.migrate import is_current

    settings = read_settings(folder)
    found: list[tuple[str, str, bool]] = []
    for which, url in databases_of(settings).items():
        database = Database(url, timeout=settings.database_timeout)
        try:
            found.append((which, database.dialect, await is_current(database, which)))
        finally:
            await database.close()
    return found


async def _restored(folder: Path) -> datetime | None:
    """Return of when the backup is that was brought in and is not replayed yet; none: the vault is open."""
    from vault.backup.gate import waiting
    from vault.bootstrap import read_settings
    from vault.storage.database import Database

    settings = read_settings(folder)
    database = Database(settings.data_url, timeout=settings.database_timeout)
    try:
        restore = await waiting(database)
    finally:
        await database.close()
    return None if restore is None else restore.backed_up_at
