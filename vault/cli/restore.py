"""``cdv restore``: bring a backup back, and let nobody in before what happened since is made good."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vault.cli.options import HERE, Json, VaultFolder, examples
from vault.cli.output import emit, note
from vault.cli.session import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vault.backup.replay import Replayed
    from vault.cli.restore_work import Wanted


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "cdv restore /backup/data/20260305T120000Z-0199f3a27c1e7b52 --to new-vault --ledger old/ledger.sqlite",
            "cdv restore --continue --vault new-vault",
        )
    )(restore)


def restore(
    backup: Annotated[Path | None, typer.Argument(metavar="BACKUP", help="Folder of the backup's data.")] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="The new vault's folder; root.key may lie in it already."),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", metavar="FILE", help="Its key store.", show_default="in the folder beside the data's"),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger",
            metavar="URL",
            help="The vault's ledger of tombstones, or the path of its file: as it is now, not as it was backed up.",
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
            "--without-ledger", help="The ledger is lost: who was erased since comes back, and nobody can tell who."
        ),
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why the ledger is lost; nobody's name.")
    ] = None,
    go_on: Annotated[
        bool, typer.Option("--continue", help="Go on with a restore that was cut off, in the folder of --vault.")
    ] = False,
    vault: VaultFolder = HERE,
    as_json: Json = False,
) -> None:
    """Bring a backup back into an empty place; then do again what was erased, withdrawn, restricted and held since."""
    from vault.cli import restore_work

    if go_on:
        if backup is not None or to is not None:
            raise typer.BadParameter("--continue goes on by itself: name nothing but --vault")
        folder = vault
    else:
        if backup is None or to is None:
            raise typer.BadParameter("name the backup's folder, and the new vault's by --to")
        if without_ledger != (reason is not None):
            raise typer.BadParameter("--without-ledger and --reason belong together")
        folder = to
    with _watched() as told:
        if go_on:
            replayed = run(restore_work.go_on(folder.resolve(), told))
        else:
            settings = _settings(ledger, root_key, database_url, keystore_url)
            wanted = _wanted(backup, folder, keys, settings, reason)
            replayed = run(restore_work.restore(wanted, told))
    _tell(replayed, folder, as_json=as_json)


def _wanted(backup: Path | None, to: Path, keys: Path | None, settings: dict[str, str], reason: str | None) -> Wanted:
    from vault.cli.restore_work import Wanted

    return Wanted(backup or to, to, keys=keys, settings=settings, without_ledger=reason)


def _settings(ledger: str | None, root_key: str | None, database: str | None, keystore: str | None) -> dict[str, str]:
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
        f"Of {replayed.lines:,} lines of the ledger of tombstones it had yet to learn: {replayed.erasures:,} erasures "
        f"and {replayed.denials:,} withdrawals, objections and restrictions; {replayed.holds:,} lines were about holds,"
        f" and apps lost keys or roles {replayed.accesses:,} times."
    )
    if replayed.unknown:
        note(f"{replayed.unknown:,} lines were about tenants that were added after the backup and are lost.")


@contextmanager
def _watched() -> Iterator[Callable[[str, int], None]]:
    """Draw on a terminal what is through: bytes of files, lines of the ledger, erasures, people."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bars: dict[str, object] = {}

        def told(what: str, count: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=None)
            progress.update(bars[what], completed=count)  # type: ignore[arg-type]

        yield told
