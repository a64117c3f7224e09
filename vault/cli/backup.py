"""``cdv backup``: encrypted backups of a vault; the key store is backed up separately and kept for a shorter time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vault.backup.location import ENDING, PART, find_all, find_backup, places
from vault.backup.make import Source, make_backup
from vault.backup.prune import prune as prune_backups
from vault.backup.verify import verify_backup
from vault.bootstrap import databases_of, postgres_tools, provider_of, read_settings
from vault.catalogue.retention import Period
from vault.cli.command import command, make_group
from vault.cli.options import HERE, Json, VaultFolder, parse_period
from vault.cli.output import emit, note, show_table, warn
from vault.cli.progress import transfers
from vault.cli.session import VaultSession

if TYPE_CHECKING:
    from vault.backup.location import BackupFolder

group = make_group(
    "cdv backup make /backup --keys-to /backup-keys",
    "cdv backup verify /backup/data/20260305T120000Z-0199f3a27c1e7b52",
)

KEEP_DATA = Period(0, 90)
KEEP_KEYS = Period(0, 30)

To = Annotated[Path, typer.Argument(metavar="TO", help="Folder of the backups.")]
KeysTo = Annotated[
    Path | None,
    typer.Option("--keys-to", metavar="DIR", help="Folder for the key stores.", show_default="TO/keys"),
]
LedgerTo = Annotated[
    Path | None,
    typer.Option("--ledger-to", metavar="DIR", help="Folder for the ledgers.", show_default="TO/ledger"),
]
KeepKeys = Annotated[
    Period, typer.Option("--keep-keys", metavar="PERIOD", parser=parse_period, help="How long key stores are kept.")
]


@command(group, "cdv backup make /backup --keys-to /backup-keys")
async def make(
    session: VaultSession, to: To, keys_to: KeysTo = None, ledger_to: LedgerTo = None, keep_keys: KeepKeys = KEEP_KEYS
) -> None:
    """Back up data, key store and ledger, also while the vault is in use. Keep a copy of the root key elsewhere."""
    settings = session.vault.settings
    source = Source(databases_of(settings), settings.vault, provider_of(settings), postgres_tools(settings))
    where = places(to, keys=keys_to, ledger=ledger_to)
    with transfers(in_bytes=True) as show:
        backup = await make_backup(session.services, source, where, keys_for=keep_keys, progress=show)
    if session.as_json:
        emit(_as_json(backup))
        return
    typer.echo(str(backup.folder))
    note(f"The backup has {_rows(backup):,} rows in {_size(backup):,} bytes.")
    note(f"Its key store is {backup.keys}, to be deleted by {backup.manifest.keys_expire_at:%Y-%m-%d}.")
    note("It cannot be opened without the root key: keep a copy of the root key elsewhere.")


@command(group, "cdv backup list /backup", name="list")
def list_backups(
    to: To, keys_to: KeysTo = None, ledger_to: LedgerTo = None, vault: VaultFolder = HERE, as_json: Json = False
) -> None:
    """List the backups in a folder, the newest first, and whether their key stores still exist."""
    provider = provider_of(read_settings(vault))
    found, unknown = find_all(places(to, keys=keys_to, ledger=ledger_to), provider)
    if as_json:
        emit([_as_json(each) for each in found])
    else:
        rows = [
            (each.folder.name, each.manifest.created_at, f"{_rows(each):,}", f"{_size(each):,}", _keys(each))
            for each in found
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
    keys: Annotated[
        Path | None,
        typer.Option("--keys", metavar="FILE", help="Its key store.", show_default="in the folder next to the data's"),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", metavar="FILE", help="Its ledger.", show_default="in the folder next to the data's"),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(
            "--into",
            metavar="URL",
            help="PostgreSQL server for temporary databases; put its password in ~/.pgpass or PGPASSWORD.",
            show_default="the vault's own",
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Maximum number of people whose values are opened.")
    ] = 1000,
) -> None:
    """Restore a backup to a temporary location, count all rows, and open a sample of values."""
    settings = session.vault.settings
    provider = provider_of(settings)
    found = find_backup(backup, provider, keys=keys, ledger=ledger)
    urls = databases_of(settings)
    servers = urls if into is None else dict.fromkeys(urls, into)
    with transfers(in_bytes=True) as show:
        tools = postgres_tools(settings)
        seen = await verify_backup(session.services, found, provider, tools, servers, sample=sample, progress=show)
    if session.as_json:
        emit({"id": found.manifest.id, "rows": seen.rows, "sample": seen.sample._asdict()})
        return
    rows = [(kind, table, f"{count:,}") for kind, tables in seen.rows.items() for table, count in tables.items()]
    show_table(("database", "table", "rows"), rows, empty="there is no table")
    people = seen.sample
    note(f"All {people.values:,} values of {people.people:,} of {people.of:,} people opened with the backup's keys.")
    note("The backup can be restored.")


@command(group, "cdv backup prune /backup --keys-to /backup-keys")
async def prune(
    session: VaultSession,
    to: To,
    keys_to: KeysTo = None,
    ledger_to: LedgerTo = None,
    keep_data: Annotated[
        Period, typer.Option("--keep-data", metavar="PERIOD", parser=parse_period, help="How long backups are kept.")
    ] = KEEP_DATA,
    keep_keys: KeepKeys = KEEP_KEYS,
) -> None:
    """Delete old backups, and older key stores of the others; the newest backup is kept."""
    where = places(to, keys=keys_to, ledger=ledger_to)
    provider = provider_of(session.vault.settings)
    pruned = await prune_backups(session.services, provider, where, keep_data=keep_data, keep_keys=keep_keys)
    if session.as_json:
        emit(pruned._asdict())
        return
    rows = [(name, "deleted") for name in pruned.backups] + [(name, "key store deleted") for name in pruned.keys]
    rows += [(name, "unfinished: deleted") for name in pruned.leftovers]
    show_table(("backup", "what was done"), rows, empty="nothing to delete")
    for name in pruned.unknown:
        if name.endswith((ENDING, PART)):
            warn(f"{name} belongs to no backup in {to}; it was not deleted")
        else:
            warn(f"{name} is not a backup under this root key, or it was changed or renamed; it was not deleted")


def _as_json(backup: BackupFolder) -> dict[str, Any]:
    manifest = backup.manifest
    return {
        "id": manifest.id,
        "created_at": manifest.created_at,
        "folder": backup.folder,
        "keys": backup.keys if backup.keys.is_file() else None,
        "keys_expire_at": manifest.keys_expire_at,
        "ledger": backup.ledger if backup.ledger.is_file() else None,
        "tenants": manifest.tenants,
        "rows": _rows(backup),
        "bytes": _size(backup),
    }


def _rows(backup: BackupFolder) -> int:
    return sum(sum(facts.rows.values()) for facts in backup.manifest.files.values())


def _size(backup: BackupFolder) -> int:
    return sum(facts.size for facts in backup.manifest.files.values())


def _keys(backup: BackupFolder) -> str:
    return "there" if backup.keys.is_file() else "gone"
