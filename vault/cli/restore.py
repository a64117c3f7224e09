"""``cdv restore``: bring a backup back, and replay the restore ledger before the vault opens."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from vault.backup.location import find_backup
from vault.backup.replay import replay
from vault.backup.restore import (
    Target,
    adapted,
    alone,
    carry_out,
    check,
    new_order,
    read_order,
    require_new_folder,
    settings_in,
    write_order,
)
from vault.bootstrap import databases_of, open_vault, postgres_tools, provider_of, read_settings, upgrade_databases
from vault.cli.command import TOP_LEVEL, command
from vault.cli.options import HERE, Json, VaultFolder
from vault.cli.output import emit, note
from vault.cli.progress import transfers
from vault.cli.session import run
from vault.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.backup.replay import Replayed

    Told = Callable[[str, int], None]


@command(
    TOP_LEVEL,
    "cdv restore /backup/data/20260305T120000Z-0199f3a27c1e7b52 --to new-vault --ledger old/ledger.sqlite",
    "cdv restore --continue --vault new-vault",
    name="restore",
)
def restore(
    backup: Annotated[Path | None, typer.Argument(metavar="BACKUP", help="Folder of the backup's data.")] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Folder of the new vault; it may contain root.key."),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", metavar="FILE", help="Its key store.", show_default="in the folder next to the data's"),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger",
            metavar="URL",
            help="The current restore ledger, or the path of its file; not the copy in the backup.",
            show_default="as the backup's cdv.toml says, or ledger.sqlite in DIR",
        ),
    ] = None,
    root_key: Annotated[
        str | None,
        typer.Option(
            "--root-key",
            metavar="file:PATH|env:NAME",
            help="Where the root key is.",
            show_default="root.key in DIR",
        ),
    ] = None,
    database_url: Annotated[
        str | None, typer.Option("--database-url", metavar="URL", help="An empty database for the data.")
    ] = None,
    keystore_url: Annotated[
        str | None, typer.Option("--keystore-url", metavar="URL", help="An empty database for the key store.")
    ] = None,
    without_ledger: Annotated[
        bool,
        typer.Option(
            "--without-ledger", help="The ledger is lost: people who were erased since the backup are restored."
        ),
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why the ledger is lost; not a person's name.")
    ] = None,
    go_on: Annotated[
        bool, typer.Option("--continue", help="Continue an interrupted restore in the folder of --vault.")
    ] = False,
    vault: VaultFolder = HERE,
    as_json: Json = False,
) -> None:
    """Restore a backup to an empty location, then replay the erasures, withdrawals, restrictions and holds since."""
    if go_on:
        if backup is not None or to is not None:
            raise typer.BadParameter("use --continue with --vault only")
        folder = vault
    else:
        if backup is None or to is None:
            raise typer.BadParameter("name the backup's folder, and the new vault's folder by --to")
        if without_ledger != (reason is not None):
            raise typer.BadParameter("--without-ledger and --reason belong together")
        folder = to
    with transfers(in_bytes=False) as told:
        if go_on:
            replayed = run(continue_restore(folder.resolve(), told))
        else:
            settings = _new_settings(ledger, root_key, database_url, keystore_url)
            plan = Plan(backup or folder, folder, keys=keys, settings=settings, without_ledger=reason)
            replayed = run(restore_backup(plan, told))
    _tell(replayed, folder, as_json=as_json)


def _new_settings(
    ledger: str | None, root_key: str | None, database: str | None, keystore: str | None
) -> dict[str, str]:
    if ledger is not None and "://" not in ledger:
        ledger = f"sqlite:///{Path(ledger).resolve()}"
    if root_key is not None and root_key.startswith("file:"):
        root_key = f"file:{Path(root_key.removeprefix('file:')).resolve()}"
    named = {"ledger_url": ledger, "root_key": root_key, "database_url": database, "keystore_url": keystore}
    return {name: value for name, value in named.items() if value is not None}


def _tell(replayed: Replayed, folder: Path, *, as_json: bool) -> None:
    if as_json:
        emit({"vault": folder.resolve(), **replayed._asdict()})
        return
    note(f"The vault in {folder} is restored and open.")
    note(
        f"Replayed from {replayed.lines:,} lines of the restore ledger: {replayed.erasures:,} erasures "
        f"and {replayed.denials:,} withdrawals, objections and restrictions; {replayed.holds:,} lines about holds;"
        f" and apps lost keys or roles {replayed.accesses:,} times."
    )
    if replayed.unknown:
        note(f"{replayed.unknown:,} lines were about tenants that were added after the backup and are lost.")


class Plan(NamedTuple):
    """What to restore, and where.

    Attributes:
        backup: the folder of its data.
        folder: the new vault's.
        keys: the file of its key store; beside the data where it is not named.
        ledger_copy: the file of its ledger, for when the ledger itself is lost; likewise.
        settings: settings of the new vault that differ from those in the backup.
        without_ledger: why the ledger of tombstones is lost; none: it is not.
    """

    backup: Path
    folder: Path
    keys: Path | None = None
    ledger_copy: Path | None = None
    settings: dict[str, str] = {}  # noqa: RUF012 - a default that is never changed
    without_ledger: str | None = None


async def restore_backup(plan: Plan, told: Told, *, clock: Clock | None = None) -> Replayed:
    """Restore a backup to an empty location, replay the ledger and open the vault.

    Raises:
        VaultError: what :mod:`vault.backup.restore` and :mod:`vault.backup.replay` raise.
    """
    folder = plan.folder.resolve()
    require_new_folder(folder)
    provider = provider_of(_settings(adapted("", plan.settings), folder))
    backup = find_backup(plan.backup, provider, keys=plan.keys, ledger=plan.ledger_copy)
    text = adapted(settings_in(backup, provider), plan.settings)
    order = new_order(backup, text, (clock or Clock()).now(), without_ledger=plan.without_ledger)
    target = _target(text, folder)
    await check(backup, target, without_ledger=order.without_ledger is not None, progress=told)
    with alone(folder, make=True):
        require_new_folder(folder)  # checked again under the lock
        write_order(folder, order)
        return await _go_on(folder, told, clock)


async def continue_restore(folder: Path, told: Told, *, clock: Clock | None = None) -> Replayed:
    """Continue an interrupted restore.

    Args:
        folder: the new vault's, from the root.
        told: is told how far it is.
        clock: the time; the real one by default.

    Raises:
        VaultError: as with :func:`restore_backup`; ``Misconfigured`` where none has been begun, or all is done.
    """
    with alone(folder):
        return await _go_on(folder, told, clock)


async def _go_on(folder: Path, told: Told, clock: Clock | None) -> Replayed:
    order = read_order(folder)
    if order is not None:
        await carry_out(order, _target(order.settings, folder), told)
    read_settings(folder)  # that there is a vault
    await upgrade_databases(folder)  # a backup may be older than the program
    async with open_vault(folder, clock=clock, replaying=True) as vault:
        return await replay(vault.services, told)


def _target(text: str, folder: Path) -> Any:
    settings = _settings(text, folder)
    return Target(folder, databases_of(settings), provider_of(settings), postgres_tools(settings))


def _settings(text: str, folder: Path) -> Any:
    """Parse the text of settings as if it were in the new folder."""
    with tempfile.TemporaryDirectory(prefix="cdv-restore-") as scratch:
        file = Path(scratch) / "cdv.toml"
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
        return read_settings(Path(scratch)).model_copy(update={"vault": folder})
