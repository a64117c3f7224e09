"""A sweep beside plain statements over the same rows, on PostgreSQL: python -m tests.bench.bench_sweep [PEOPLE]

Each person has a profile and 19 purchases. Of a third nothing is kept any more; of a third the books keep the purchases
and who bought, so that all of it is sealed anew; of the last third nothing ends, and it is only looked at.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.ground import person, postgres, vault_folder
from tests.support import FixedClock
from vault.bootstrap import open_vault
from vault.ids import DEFAULT_TENANT, RecordId, SubjectId, new_id
from vault.retention.clocks import move_clocks
from vault.subjects.rows import Maker, NewRecord, Origin, external_rows, record_rows, subject_row
from vault.sweep.query import sweep
from vault.sweep.run import MOST, Pace

PEOPLE = 50_000
PURCHASES = 19
CHUNK = 600
NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
WHEN = {
    "gone": datetime(2010, 1, 5, 12, tzinfo=UTC),
    "part": datetime(2020, 1, 5, 12, tzinfo=UTC),
    "kept": datetime(2026, 2, 1, 12, tzinfo=UTC),
}
PLAIN = {
    "gone": "DELETE FROM plain WHERE created_at = :at",
    "part": "UPDATE plain SET body = body || ''::bytea, due_at = :due, revision = revision + 1 WHERE created_at = :at",
    "kept": "UPDATE plain SET due_at = :due WHERE created_at = :at",
}


async def fill(services, people: int) -> None:
    """Put people into the vault, a third of each kind."""
    catalogue = services.policies.active(DEFAULT_TENANT).policy_set.catalogue
    profile = {name: catalogue.field(name) for name in person(0)}
    bought = {name: catalogue.collections["purchase"].fields[name] for name in purchase(0)}
    kinds = list(WHEN.values())
    for start in range(0, people, CHUNK):
        moment = kinds[(start // CHUNK) % len(kinds)]
        maker = await Maker.of(services.keyring, DEFAULT_TENANT, moment)
        origin = Origin("bench", moment, "order-fulfilment")
        subjects = [SubjectId(new_id()) for _ in range(min(CHUNK, people - start))]
        keys = await services.keyring.new_subject_keys(DEFAULT_TENANT, subjects)
        rows: list[Any] = []
        for number, item in enumerate(subjects, start):
            own = keys[item]
            customer = NewRecord(item, "profile", RecordId(item), profile, person(number), origin)
            rows.append(record_rows(maker, own, customer))
            for order in range(PURCHASES):
                bought_now = NewRecord(item, "purchase", RecordId(new_id()), bought, purchase(order), origin, moment)
                rows.append(record_rows(maker, own, bought_now))
        external = [row for n, s in enumerate(subjects, start) for row in external_rows(maker, s, {"shop": str(n)})]
        async with services.data.transaction() as connection:
            await services.subjects.add(
                connection,
                subjects=[subject_row(maker, subject) for subject in subjects],
                records=[row.record for row in rows],
                external=external,
                index=[lead for row in rows for lead in row.leads],
            )
            await move_clocks(
                connection, DEFAULT_TENANT, {(subject, "record:purchase"): moment for subject in subjects}
            )


def purchase(number: int) -> dict:
    return {"order": f"order-{number}", "product": "Teapot", "amount": "12.90", "currency": "EUR"}


async def plain(services) -> dict[str, float]:
    """Do with a copy of the same rows what a plain statement would do; seconds by kind."""
    seconds = {}
    for kind, statement in PLAIN.items():
        begun = time.perf_counter()
        await _run(services, statement, at=WHEN[kind], **({"due": NOW} if ":due" in statement else {}))
        seconds[kind] = time.perf_counter() - begun
    return seconds


async def _run(services, statement: str, **values) -> None:
    """Run a statement for as long as it takes, past the time that the vault gives to one."""
    import asyncpg

    names = list(values)
    for number, name in enumerate(names, 1):
        statement = statement.replace(f":{name}", f"${number}")
    connection = await asyncpg.connect(services.data._libpq_url)
    try:
        await connection.execute(statement, *values.values())
    finally:
        await connection.close()


def memory() -> float:
    """Return how much memory this process has, in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


async def measure(folder, settings, people: int) -> None:
    async with open_vault(folder, clock=FixedClock(NOW), **settings) as vault:
        services = vault.services
        await fill(services, people)
        records = people * (PURCHASES + 1)
        await _run(services, "CREATE TABLE plain (LIKE record INCLUDING ALL)")
        await _run(services, "INSERT INTO plain SELECT * FROM record")
        await _run(services, "ANALYZE")
        by_plain = sum((await plain(services)).values())
        most: list[float] = []
        before = memory()
        begun = time.perf_counter()
        pace = Pace(10**9, time.monotonic, asyncio.sleep)
        run = await sweep(services, DEFAULT_TENANT, pace=pace, watch=lambda at: _sample(at, most), confirm=True)
        took = time.perf_counter() - begun
    print(run.counts)
    print(f"plain statements  {records / by_plain:12,.0f} rows/s   ({by_plain:.1f} s for {records:,} rows)")
    print(f"sweep             {records / took:12,.0f} rows/s   ({took:.1f} s, {people / took:,.0f} people/s)")
    print(f"time of the sweep / of plain statements  {took / by_plain:.1f}")
    print(f"memory: {before:.0f} MiB before, {most[0]:.0f} after some thousand people, {max(most):.0f} at most")


def _sample(run, most: list[float]) -> None:
    if run.counts.people % (10 * MOST) == 0:
        most.append(memory())


def main() -> None:
    people = int(sys.argv[1]) if len(sys.argv) > 1 else PEOPLE
    with postgres() as fresh, vault_folder(fresh) as (folder, settings):
        asyncio.run(measure(folder, settings, people))


if __name__ == "__main__":
    main()
