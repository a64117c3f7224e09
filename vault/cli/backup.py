"""``cdv backup``: encrypted backups of a vault; key stores are separate and kept for a shorter time. ``cdv restore``.

A restore replays the restore ledger before the vault opens.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vault.backup.make import make_backup
from vault.backup.manifest import ENDING, PART, VaultParts, find_all, find_backup, places
from vault.backup.prune import prune as prune_backups
from vault.backup.replay import replay
from vault.backup.restore import (
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
from vault.backup.verify import verify_backup
from vault.backup.views import Backup, OpenedSample, PrunedBackups, RestoredVault, VerifiedBackup
from vault.bootstrap import databases_of, open_vault, postgres_tools, provider_of, read_settings, upgrade_databases
from vault.catalogue.periods import Period
from vault.cli.command import HERE, TOP_LEVEL, Json, VaultFolder, VaultSession, command, make_group, parse_period, run
from vault.cli.output import emit, note, show_table, warn
from vault.cli.progress import transfers
from vault.clock import Clock
from vault.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vault.backup.replay import Replayed

    Progress = Callable[[str, int], None]

group = make_group(
    "cdv backup make /backup --keys-to /backup-keys",
    "cdv backup verify /backup/data/20260305T120000Z-0199f3a27c1e7b52",
)

KEEP_DATA = Period(0, 90)
KEEP_KEYS = Period(0, 30)

To = Annotated[Path, typer.Argument(metavar="TO", help="Folder of the backups.")]
KeysTo = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the key stores.", show_default="TO/keys")]
LedgerTo = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the ledgers.", show_default="TO/ledger")]
Keys = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Its key store.", show_default="in the folder next to the data's"),
]
KeepKeys = Annotated[Period, typer.Option(metavar="PERIOD", parser=parse_period, help="How long key stores are kept.")]


@command(group, "cdv backup make /backup --keys-to /backup-keys")
async def make(
    session: VaultSession, to: To, keys_to: KeysTo = None, ledger_to: LedgerTo = None, keep_keys: KeepKeys = KEEP_KEYS
) -> None:
    """Back up data, key store and ledger, also while the vault is in use. Keep a copy of the root key elsewhere."""
    settings = session.vault.settings
    source = VaultParts(settings.vault, databases_of(settings), provider_of(settings), postgres_tools(settings))
    where = places(to, keys=keys_to, ledger=ledger_to)
    with transfers(in_bytes=True) as show:
        backup = await make_backup(session.services, source, where, keys_for=keep_keys, progress=show)
    view = Backup.of(backup)
    if session.as_json:
        emit(view)
        return
    typer.echo(str(backup.folder))
    note(f"The backup has {counted(view.rows, 'row')} in {counted(view.bytes, 'byte')}.")
    note(f"Its key store is {backup.keys}, to be deleted by {view.keys_expire_at:%Y-%m-%d}.")
    note("It cannot be opened without the root key: keep a copy of the root key elsewhere.")


@command(group, "cdv backup list /backup", name="list")
def list_backups(
    to: To, keys_to: KeysTo = None, ledger_to: LedgerTo = None, vault: VaultFolder = HERE, as_json: Json = False
) -> None:
    """List the backups in a folder, the newest first, and whether their key stores still exist."""
    provider = provider_of(read_settings(vault))
    folders, unknown = find_all(places(to, keys=keys_to, ledger=ledger_to), provider)
    backups = [Backup.of(backup) for backup in folders]
    if as_json:
        emit(backups)
    else:
        rows = [
            (
                backup.folder.name,
                backup.created_at,
                f"{backup.rows:,}",
                f"{backup.bytes:,}",
                "gone" if backup.keys is None else "there",
            )
            for backup in backups
        ]
        show_table(("backup", "made", "rows", "bytes", "key store"), rows, empty="there is no backup")
    for folder in unknown:
        warn(f"{folder.name} is not a backup under this root key, or it was changed or renamed")


@command(
    group,
    "cdv backup verify /backup/data/20260305T120000Z-0199f3a27c1e7b52",
    "cdv backup verify BACKUP --into postgresql://trial@localhost/postgres",
)
async def verify(
    session: VaultSession,
    backup: Annotated[Path, typer.Argument(metavar="BACKUP", help="Folder of the backup's data.")],
    keys: Keys = None,
    ledger: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its ledger.", show_default="in the folder next to the data's")
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="PostgreSQL server for temporary databases; put its password in ~/.pgpass or PGPASSWORD.",
            show_default="the vault's own",
        ),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Maximum number of people whose values are opened.")] = 1000,
) -> None:
    """Restore a backup to a temporary location, count all rows, and open a sample of values."""
    settings = session.vault.settings
    provider = provider_of(settings)
    stored = find_backup(backup, provider, keys=keys, ledger=ledger)
    urls = databases_of(settings)
    servers = urls if into is None else dict.fromkeys(urls, into)
    parts = VaultParts(settings.vault, servers, provider, postgres_tools(settings))
    with transfers(in_bytes=True) as show:
        verified = await verify_backup(session.services, stored, parts, sample=sample, progress=show)
    people = verified.sample
    if session.as_json:
        rows_by_table = {str(kind): dict(tables) for kind, tables in verified.rows.items()}
        emit(VerifiedBackup(id=stored.manifest.id, rows=rows_by_table, sample=OpenedSample.from_object(people)))
        return
    rows = [(kind, table, f"{count:,}") for kind, tables in verified.rows.items() for table, count in tables.items()]
    show_table(("database", "table", "rows"), rows, empty="there is no table")
    tried = f"{people.people:,} of {counted(people.of, 'person', 'people')}"
    note(f"Opened with the backup's keys: {counted(people.values, 'value')} of {tried}, without a failure.")
    note("The backup can be restored.")


@command(group, "cdv backup prune /backup --keys-to /backup-keys")
async def prune(
    session: VaultSession,
    to: To,
    keys_to: KeysTo = None,
    ledger_to: LedgerTo = None,
    keep_data: Annotated[
        Period, typer.Option(metavar="PERIOD", parser=parse_period, help="How long backups are kept.")
    ] = KEEP_DATA,
    keep_keys: KeepKeys = KEEP_KEYS,
) -> None:
    """Delete old backups, and older key stores of the others; the newest backup is kept."""
    where = places(to, keys=keys_to, ledger=ledger_to)
    provider = provider_of(session.vault.settings)
    pruned = await prune_backups(session.services, provider, where, keep_data=keep_data, keep_keys=keep_keys)
    if session.as_json:
        emit(PrunedBackups.from_object(pruned))
        return
    rows = [(name, "deleted") for name in pruned.backups] + [(name, "key store deleted") for name in pruned.keys]
    rows += [(name, "unfinished: deleted") for name in pruned.leftovers]
    show_table(("backup", "what was done"), rows, empty="nothing to delete")
    for name in pruned.unknown:
        if name.endswith((ENDING, PART)):
            warn(f"{name} belongs to no backup in {to}; it was not deleted")
        else:
            warn(f"{name} is not a backup under this root key, or it was changed or renamed; it was not deleted")


@command(
    TOP_LEVEL,
    "cdv restore /backup/data/20260305T120000Z-0199f3a27c1e7b52 --to new-vault --ledger old/ledger.sqlite",
    "cdv restore --continue --vault new-vault",
    name="restore",
)
def restore(
    backup: Annotated[Path | None, typer.Argument(metavar="BACKUP", help="Folder of the backup's data.")] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the new vault; it may contain root.key.")
    ] = None,
    keys: Keys = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The current restore ledger, or the path of its file; not the copy in the backup.",
            show_default="as the backup's cdv.toml says, or ledger.sqlite in DIR",
        ),
    ] = None,
    root_key: Annotated[
        str | None,
        typer.Option(metavar="file:PATH|env:NAME", help="Where the root key is.", show_default="root.key in DIR"),
    ] = None,
    database_url: Annotated[str | None, typer.Option(metavar="URL", help="An empty database for the data.")] = None,
    keystore_url: Annotated[
        str | None, typer.Option(metavar="URL", help="An empty database for the key store.")
    ] = None,
    without_ledger: Annotated[
        bool,
        typer.Option(
            "--without-ledger", help="The ledger is lost: people who were erased since the backup are restored."
        ),
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why the ledger is lost; not a person's name.")
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
    with transfers(in_bytes=False) as progress:
        if go_on:
            replayed = run(continue_restore(folder.resolve(), progress))
        else:
            settings = {
                "ledger_url": ledger,
                "root_key": root_key,
                "database_url": database_url,
                "keystore_url": keystore_url,
            }
            plan = Plan(backup or folder, folder, keys=keys, settings=_absolute(settings), without_ledger=reason)
            replayed = run(restore_backup(plan, progress))
    if as_json:
        emit(RestoredVault.from_object(replayed, vault=folder.resolve()))
        return
    note(f"The vault in {folder} is restored and open.")
    note(
        f"Replayed from {counted(replayed.lines, 'line')} of the restore ledger: "
        f"{counted(replayed.erasures, 'erasure')}; "
        f"{counted(replayed.denials, 'denial')} (withdrawals, objections, restrictions); "
        f"{counted(replayed.holds, 'line')} about holds, {counted(replayed.accesses, 'line')} about apps' access."
    )
    if replayed.unknown:
        lines = counted(replayed.unknown, "line is", "lines are")
        note(f"{lines} about tenants that were added after the backup, which are lost.")


def _absolute(settings: Mapping[str, str | None]) -> dict[str, str]:
    """Return the settings that are given, with absolute paths: the new vault may be used from other folders."""
    given = {name: value for name, value in settings.items() if value is not None}
    ledger, root_key = given.get("ledger_url", "://"), given.get("root_key", "")
    if "://" not in ledger:
        given["ledger_url"] = f"sqlite:///{Path(ledger).resolve()}"
    if root_key.startswith("file:"):
        given["root_key"] = f"file:{Path(root_key.removeprefix('file:')).resolve()}"
    return given


class Plan(NamedTuple):
    """What to restore, and where.

    Attributes:
        backup: the folder of its data.
        folder: the new vault's.
        keys: the file of its key store; by default in the folder next to the data's.
        settings: settings of the new vault that differ from those in the backup.
        without_ledger: why the current restore ledger is lost; None if it is not.
    """

    backup: Path
    folder: Path
    keys: Path | None = None
    settings: Mapping[str, str] = {}
    without_ledger: str | None = None


async def restore_backup(plan: Plan, progress: Progress, *, clock: Clock | None = None) -> Replayed:
    """Restore a backup to an empty location, replay the ledger and open the vault.

    Raises:
        VaultError: what :mod:`vault.backup.restore` and :mod:`vault.backup.replay` raise.
    """
    folder = plan.folder.resolve()
    require_new_folder(folder)
    provider = _target(adapted("", plan.settings), folder).provider
    backup = find_backup(plan.backup, provider, keys=plan.keys)
    text = adapted(settings_in(backup, provider), plan.settings)
    order = new_order(backup, text, (clock or Clock()).now(), without_ledger=plan.without_ledger)
    target = _target(text, folder)
    await check(backup, target, without_ledger=order.without_ledger is not None, progress=progress)
    with alone(folder, make=True):
        require_new_folder(folder)  # checked again under the lock
        write_order(folder, order)
        return await _go_on(folder, progress, clock)


async def continue_restore(folder: Path, progress: Progress, *, clock: Clock | None = None) -> Replayed:
    """Continue an interrupted restore into a folder (an absolute path).

    Raises:
        VaultError: as with :func:`restore_backup`; ``Misconfigured`` if there is no restore to continue.
    """
    with alone(folder):
        return await _go_on(folder, progress, clock)


async def _go_on(folder: Path, progress: Progress, clock: Clock | None) -> Replayed:
    order = read_order(folder)
    if order is not None:
        await carry_out(order, _target(order.settings, folder), progress)
    read_settings(folder)  # that there is a vault
    await upgrade_databases(folder)  # a backup may be older than the program
    async with open_vault(folder, clock=clock, replaying=True) as vault:
        return await replay(vault.services, progress)


def _target(text: str, folder: Path) -> VaultParts:
    """Describe a new vault in a folder, by the text of its settings."""
    with tempfile.TemporaryDirectory(prefix="cdv-restore-") as scratch:
        file = Path(scratch) / "cdv.toml"
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
        settings = read_settings(Path(scratch)).model_copy(update={"vault": folder})
    return VaultParts(folder, databases_of(settings), provider_of(settings), postgres_tools(settings))
