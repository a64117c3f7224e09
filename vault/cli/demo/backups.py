"""The chapter about backups: one is made while the server runs, and tried before anybody needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from vault.cli.demo.stage import require
from vault.cli.session import in_vault

if TYPE_CHECKING:
    from vault.backup.backup_verify import Verified
    from vault.backup.location import Backup
    from vault.bootstrap import Vault
    from vault.cli.demo.customers import Star
    from vault.cli.demo.stage import Stage

KEYS_FOR = "P30D"


def tried(stage: Stage, ada: Star) -> None:
    """Make a backup, and try a restore of it into a temporary place."""
    backup, verified = in_vault(stage.folder, _make_and_verify)
    stage.console.print(Text("$ cdv backup make backups; cdv backup verify backups/data/…", style="blue"))
    table = Table("file", "bytes", "rows, counted after the restore", border_style="green")
    counted = {str(kind): f"{sum(rows.values()):,}" for kind, rows in verified.rows.items()}
    for kind, facts in backup.manifest.files.items():
        table.add_row(Text(f"{kind}: {backup.file(kind).name}"), f"{facts.size:,}", counted.get(kind, ""))
    stage.console.print(table)
    people = verified.sample
    stage.console.print(Text(f"   {people.values:,} values of {people.people:,} people opened with its keys"))
    require(people.people > len(ada.others), "everybody who is in the vault is in the backup")
    require(ada.profile["email"].encode() not in backup.file("data").read_bytes(), "no value is readable in it")


async def _make_and_verify(opened: Vault) -> tuple[Backup, Verified]:
    from vault.backup.backup_verify import verify_backup
    from vault.backup.location import places
    from vault.backup.make import Source, make_backup
    from vault.bootstrap import databases_of, postgres_tools, provider_of
    from vault.cli.moments import parse_period

    settings = opened.settings
    urls, provider, tools = databases_of(settings), provider_of(settings), postgres_tools(settings)
    source = Source(urls, settings.vault, provider, tools)
    keys_for = parse_period(KEYS_FOR, option="--keep-keys")
    where = places(settings.vault / "backups")
    backup = await make_backup(opened.house, source, where, keys_for=keys_for, told=_silent)
    return backup, await verify_backup(opened.house, backup, provider, tools, urls, sample=10_000, told=_silent)


def _silent(_what: str, _size: int) -> None:
    """Nobody watches: it takes no second."""
