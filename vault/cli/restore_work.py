"""What ``cdv restore`` does, from the backup's folder to the open vault."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.backup.replay import Replayed
    from vault.clock import Clock

    Told = Callable[[str, int], None]


class Wanted(NamedTuple):
    """What is to be restored, and where to.

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
    settings: dict[str, str] = {}  # noqa: RUF012 - a named tuple's default; nobody changes it
    without_ledger: str | None = None


async def restore(wanted: Wanted, told: Told, *, clock: Clock | None = None) -> Replayed:
    """Restore a backup into an empty place, replay the ledger into it and open it.

    Raises:
        VaultError: what :mod:`vault.backup.restore` and :mod:`vault.backup.replay` raise.
    """
    from vault.backup.location import find_backup
    from vault.backup.restore import adapted, alone, check, new_order, require_new_folder, settings_in, write_order
    from vault.bootstrap import provider_of
    from vault.clock import Clock as RealClock

    folder = wanted.folder.resolve()
    require_new_folder(folder)
    provider = provider_of(_settings(adapted("", wanted.settings), folder))
    backup = find_backup(wanted.backup, provider, keys=wanted.keys, ledger=wanted.ledger_copy)
    text = adapted(settings_in(backup, provider), wanted.settings)
    order = new_order(backup, text, (clock or RealClock()).now(), without_ledger=wanted.without_ledger)
    target = _target(text, folder)
    await check(backup, target, without_ledger=order.without_ledger is not None, told=told)
    with alone(folder, make=True):
        require_new_folder(folder)  # nor has anybody else begun meanwhile
        write_order(folder, order)
        return await _go_on(folder, told, clock)


async def go_on(folder: Path, told: Told, *, clock: Clock | None = None) -> Replayed:
    """Go on with a restore that has been begun, wherever it ended.

    Args:
        folder: the new vault's, from the root.
        told: is told how far it is.
        clock: the time; the real one by default.

    Raises:
        VaultError: as with :func:`restore`; ``Misconfigured`` where none has been begun, or all is done.
    """
    from vault.backup.restore import alone

    with alone(folder):
        return await _go_on(folder, told, clock)


async def _go_on(folder: Path, told: Told, clock: Clock | None) -> Replayed:
    from vault.backup.replay import replay
    from vault.backup.restore import carry_out, read_order
    from vault.bootstrap import open_vault, read_settings, upgrade_databases

    order = read_order(folder)
    if order is not None:
        await carry_out(order, _target(order.settings, folder), told)
    read_settings(folder)  # that there is a vault
    await upgrade_databases(folder)  # a backup may be older than the program
    async with open_vault(folder, clock=clock, replaying=True) as vault:
        return await replay(vault.services, told)


def _target(text: str, folder: Path) -> Any:
    from vault.backup.restore import Target
    from vault.bootstrap import databases_of, postgres_tools, provider_of

    settings = _settings(text, folder)
    return Target(folder, databases_of(settings), provider_of(settings), postgres_tools(settings))


def _settings(text: str, folder: Path) -> Any:
    """Read settings as they will be read in a folder in which they do not lie yet."""
    from vault.bootstrap import read_settings

    with tempfile.TemporaryDirectory(prefix="cdv-restore-") as scratch:
        file = Path(scratch) / "cdv.toml"
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
        return read_settings(Path(scratch)).model_copy(update={"vault": folder})
