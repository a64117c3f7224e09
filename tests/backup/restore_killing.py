"""Run a restore in a process of its own and kill it (SIGKILL) at a named point, as :mod:`tests.jobs.killing` does a job."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.backup.backups import quietly
from tests.jobs.killing import _Points, _watch_named, in_a_process
from tests.support import FixedClock
from vault.cli.backup import Plan, restore_backup
from vault.storage.database import Database

WATCHED = (
    "vault.cli.backup:continue_restore",
    "vault.backup.restore:_bring_folder",
    "vault.backup.restore:bring_back",
    "vault.backup.restore:bring_back_closed",
    "vault.backup.load:_insert",
    "vault.backup.load:_put_in_place",
    "vault.backup.postgres_tools:PostgresTools.restore",
    "vault.backup.replay:deny_again",
    "vault.backup.replay:hold_again",
    "vault.backup.replay:execute_erasure",
    "vault.backup.replay:prove_again",
    "vault.backup.replay:_open",
)


@dataclass
class KillableRestore:
    """A restore that can be run to any of its points."""

    wanted: Plan
    moment: datetime

    def points(self) -> list[str]:
        """Run it to its end and return all points that it passed."""
        with tempfile.NamedTemporaryFile() as log:
            assert in_a_process(_child, self, None, log.name, warm=__name__) == 0
            return Path(log.name).read_text(encoding="utf-8").split()

    def killed_at(self, point: str) -> bool:
        """Run it to a point and kill it there; tells whether it came to that point."""
        return in_a_process(_child, self, point, os.devnull, warm=__name__) == -signal.SIGKILL


def _child(job: KillableRestore, point: str | None, log: str) -> None:
    points = _Points(point, log)
    for name in WATCHED:
        _watch_named(name, points)
    transaction = Database.transaction

    @asynccontextmanager
    async def watched(self):
        async with transaction(self) as connection:
            yield connection
            points.at("commit")
        points.at("committed")

    Database.transaction = watched  # type: ignore[method-assign]
    asyncio.run(restore_backup(job.wanted, quietly, clock=FixedClock(job.moment)))
