"""Import into PostgreSQL, 10 fields and 3 index entries a person: python -m tests.bench.bench_import [people]

Side by side in one run: the import of a file (all of it: survey, processes, keys, audit), sealing and COPY alone (rows of
one process, no file, no checks, no audit: what can at best be had), and one upsert a person, which is how a loop over
the API would do it. Then where the import's time goes: processor seconds of its own processes and of PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.bench.ground import postgres, vault_folder
from vault.access.callers import operator_caller
from vault.bootstrap import open_vault
from vault.context import Caller
from vault.ids import DEFAULT_TENANT, RecordId, SubjectId, new_id
from vault.imports.run import ImportRequest, import_file
from vault.principals.principal import Principal
from vault.records.write import ProfileInput, upsert_subject
from vault.subjects.rows import Maker, NewRecord, Origin, external_rows, record_rows, subject_row

PURPOSE = "subject-rights"
WANTED = 6_000
ROUNDS = 3
ONE_BY_ONE = 500
COLUMNS = (
    "external_ids.shop", "given_name", "salutation", "email", "phone", "address.street", "address.city",
    "address.postal_code", "address.country", "language", "gender", "occupation", "employer", "income_band",
)  # fmt: skip


def profile(number: int) -> dict:
    """Ten fields; e-mail has one index entry, phone two."""
    return {
        "given_name": "Ada",
        "salutation": "Dr",
        "email": f"person.{number}@example.org",
        "phone": f"+1212{5_000_000 + number % 4_999_999:07d}",
        "address": {"street": f"{number} Main Street", "city": "Springfield", "postal_code": "12345", "country": "US"},
        "language": "en",
        "gender": "female",
        "occupation": "engineer",
        "employer": "Example Works",
        "income_band": "35-49K",
    }


def write_file(path: Path, start: int, count: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(start, start + count):
            its = profile(number)
            flat = {**its, **{f"address.{part}": text for part, text in its["address"].items()}}
            writer.writerow([f"C{number}", *(flat[name] for name in COLUMNS[1:])])


async def imported(folder, settings, path: Path) -> float:
    opener = partial(open_vault, folder, **settings, database_timeout=30)
    async with opener() as vault:
        report = await import_file(vault.services, opener, ImportRequest(path, purpose=PURPOSE, processes=2))
    if report.refused:
        raise RuntimeError(str(report.codes))
    return report.lines / report.seconds


async def sealed_and_copied(folder, settings, start: int, count: int) -> float:
    async with open_vault(folder, **settings) as vault:
        services = vault.services
        catalogue = services.policies.active(DEFAULT_TENANT).policy_set.catalogue
        fields = {name: catalogue.field(name) for name in profile(0)}
        now = services.clock.now()
        maker = await Maker.of(services.keyring, DEFAULT_TENANT, now)
        origin = Origin("bench", now, PURPOSE)
        began = time.perf_counter()
        for first in range(start, start + count, 2_000):
            people = {SubjectId(new_id()): number for number in range(first, first + 2_000)}
            keys = await services.keyring.new_subject_keys(DEFAULT_TENANT, people)
            rows = [
                record_rows(
                    maker, keys[item], NewRecord(item, "profile", RecordId(item), fields, profile(number), origin)
                )
                for item, number in people.items()
            ]
            async with services.data.transaction() as connection:
                await services.subjects.add(
                    connection,
                    subjects=[subject_row(maker, person) for person in people],
                    records=[row[0] for row in rows],
                    external=[
                        row for item, n in people.items() for row in external_rows(maker, item, {"bare": str(n)})
                    ],
                    index=[lead for row in rows for lead in row[1]],
                )
        return count / (time.perf_counter() - began)


async def one_by_one(folder, settings, start: int, count: int) -> float:
    async with open_vault(folder, **settings) as vault:
        console = operator_caller()
        principal = Principal(console.principal.id, DEFAULT_TENANT, "bench", "app", ("dpo", "operator", "sales"))
        caller = Caller(principal, "bench")
        began = time.perf_counter()
        for number in range(start, start + count):
            customer = ProfileInput(profile(number), PURPOSE, external_ids={"one": str(number)})
            await upsert_subject(vault.services, caller, customer)
        return count / (time.perf_counter() - began)


def processor_seconds() -> tuple[float, float]:
    """Seconds of this process with its children that have ended, and of all PostgreSQL processes of ours."""
    mine = sum(os.times()[:4])
    ticks, servers = os.sysconf("SC_CLK_TCK"), 0.0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if entry.name.isdigit() and b"postgres" in (entry / "cmdline").read_bytes():
                parts = (entry / "stat").read_text().rpartition(")")[2].split()
                servers += sum(map(int, parts[11:15])) / ticks
    return mine, servers


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rates: dict[str, list[float]] = {"import": [], "seal and COPY": [], "one by one": []}
    used = []
    with postgres() as fresh, vault_folder(fresh) as (folder, settings), tempfile.TemporaryDirectory() as files:
        for turn in range(ROUNDS):
            path = Path(files) / f"{turn}.csv"
            write_file(path, turn * count, count)
            mine, servers = processor_seconds()
            began = time.perf_counter()
            rates["import"].append(asyncio.run(imported(folder, settings, path)))
            seconds = time.perf_counter() - began
            after = processor_seconds()
            used.append((seconds, after[0] - mine, after[1] - servers))
            rates["seal and COPY"].append(asyncio.run(sealed_and_copied(folder, settings, turn * 20_000, 20_000)))
            rates["one by one"].append(asyncio.run(one_by_one(folder, settings, turn * ONE_BY_ONE, ONE_BY_ONE)))
            print(
                f"round {turn + 1}: " + ", ".join(f"{name} {item[-1]:,.0f}/s" for name, item in rates.items()),
                flush=True,
            )
    middle = {name: statistics.median(item) for name, item in rates.items()}
    seconds, ours, theirs = (statistics.median(column) for column in zip(*used, strict=True))
    print(f"import                 {middle['import']:10,.0f} people/s   (wanted: {WANTED:,} or more)")
    print(f"import / seal and COPY {middle['import'] / middle['seal and COPY']:10.2f}")
    print(f"import / one by one    {middle['import'] / middle['one by one']:10.1f}")
    print(
        f"of {count:,} people in {seconds:.1f} s: our processes {ours / count * 1e6:.0f} us of processor a person, "
        f"PostgreSQL {theirs / count * 1e6:.0f} us; both {(ours + theirs) / seconds:.2f} processors busy of "
        f"{os.cpu_count()} (load of the machine: {os.getloadavg()[0]:.1f})"
    )


if __name__ == "__main__":
    main()
