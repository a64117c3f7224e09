"""A backup as a job with one step, for :mod:`tests.jobs.killing`: what it is made of lies in a file whose path is the key.

``tests.backup.steps:MAKE[/path/to/file.json]``, with ``{"folder", "urls", "to"}`` in the file.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from tests.backup.backups import MONTH, quietly, tools
from vault.backup.make import make_backup
from vault.backup.manifest import VaultParts, places
from vault.bootstrap import databases_of, provider_of, read_settings


class _Makes:
    def __getitem__(self, path):
        return (("make", partial(_make, json.loads(Path(path).read_text(encoding="utf-8")))),)


MAKE = _Makes()


async def _make(task, services, _tenant, _id):
    settings = read_settings(Path(task["folder"]), **task["urls"])
    source = VaultParts(settings.vault, databases_of(settings), provider_of(settings), tools())
    await make_backup(services, source, places(Path(task["to"])), keys_for=MONTH, progress=quietly)
