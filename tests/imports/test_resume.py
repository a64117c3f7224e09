"""Interrupted imports are resumed after the last completed chunk, with the same result."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from tests.imports.files import PEOPLE, PURCHASES, Faults, bring_in, counts, people_csv, rows_of, write_csv
from vault.errors import Unavailable
from vault.imports import workers

CHILD = """
import asyncio, sys
from functools import partial
from pathlib import Path
from vault.bootstrap import open_vault
from vault.imports.mapping import parse_mapping
from vault.imports.run import ImportRequest, Watcher, import_file

class Tell(Watcher):
    def advanced(self, lines):
        print(lines, flush=True)

async def main(folder, data, keys, path, mapping, processes):
    opener = partial(open_vault, Path(folder), database_url=data, keystore_url=keys)
    async with opener() as vault:
        request = ImportRequest(Path(path), parse_mapping(mapping), processes=int(processes), chunk_lines=50)
        await import_file(vault.services, opener, request, Tell())

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
"""
LINES = 3_000


def killed_after_some_chunks(place, path, mapping, processes):
    """Start an import in a process of its own, and kill it once it has reported completed chunks."""
    urls = place.urls
    arguments = [place.folder, urls["database_url"], urls["keystore_url"], path, mapping, str(processes)]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, arguments)], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        for _chunk in range(3):
            assert child.stdout.readline().strip() == b"50"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(20)
        child.stdout.read()  # ends when the last of its processes has gone
        child.stdout.close()


async def test_a_killed_import_resumes_and_ends_with_the_same_rows(place, clock, tmp_path):
    path = people_csv(tmp_path / "a.csv", LINES)
    processes = 1 if place.dialect == "sqlite" else 2
    await asyncio.to_thread(killed_after_some_chunks, place, path, PEOPLE, processes)
    async with place.node(clock) as node:
        result = await rows_of(node)
        assert 150 <= result["subject"] < LINES
        assert result["subject"] == result["record"] == result["external_ref"] == result["import_chunk"] * 50
        watcher = Faults()
        report = await bring_in(node, path, watcher=watcher, processes=processes)
        assert watcher.resumed
        assert watcher.lines == LINES
        assert counts(report) == (LINES, 0, 0, 0)  # of the whole file, whoever did it
        result = await rows_of(node)
        assert result["subject"] == result["record"] == result["external_ref"] == result["audit_subject"] == LINES
        assert result["import_chunk"] == 0
        again = await bring_in(node, path, processes=1)
        assert not again.resumed
        assert counts(again) == (0, 0, LINES, 0)  # every value opens, and is the file's


async def test_a_resumed_import_does_not_duplicate_records(sqlite_place, clock, tmp_path):
    async with sqlite_place.node(clock) as node:
        await bring_in(node, people_csv(tmp_path / "people.csv", 10))
    rows = (f"{n % 10},L{n},,{n}.25" for n in range(LINES))
    path = write_csv(tmp_path / "p.csv", "customer,line,at,amount", *rows)
    await asyncio.to_thread(killed_after_some_chunks, sqlite_place, path, PURCHASES, 1)
    async with sqlite_place.node(clock) as node:
        report = await bring_in(node, path, PURCHASES)
        assert counts(report) == (LINES, 0, 0, 0)
        assert (await rows_of(node))["record"] == LINES + 10


async def test_refused_lines_of_the_first_attempt_are_reported_again(sqlite_node, tmp_path, monkeypatch):
    rows = [f"{n},Person {n},{'wrong' if n % 10 == 0 else f'p{n}@example.org'}" for n in range(60)]
    path = write_csv(tmp_path / "a.csv", "no,name,mail", *rows)
    real, calls = workers.mark_done, []

    async def third_time_gone(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise Unavailable("the database is gone")
        await real(*arguments)

    monkeypatch.setattr(workers, "mark_done", third_time_gone)
    monkeypatch.setattr(workers, "PAUSE", 0)
    with pytest.raises(Unavailable) as error:
        await bring_in(sqlite_node, path, chunk_lines=10)
    assert "resumes where it stopped" in error.value.hint
    assert (await sqlite_node.entries())[-1].decision == "failed"
    monkeypatch.setattr(workers, "mark_done", real)
    watcher = Faults()
    report = await bring_in(sqlite_node, path, chunk_lines=10, watcher=watcher)
    assert report.resumed
    assert watcher.told == [(n * 10 + 2, "bad-format", "email") for n in range(6)]
    assert counts(report) == (54, 0, 0, 6)


async def test_several_processes_import_the_same_rows_as_one(postgres_place, clock, tmp_path):
    rows = [f"{n},Person {n},{'wrong' if n % 100 == 7 else f'p{n}@example.org'}" for n in range(1_000)]
    path = write_csv(tmp_path / "a.csv", "no,name,mail", *rows, *rows[:50])
    async with postgres_place.node(clock) as node:
        watcher = Faults()
        report = await bring_in(node, path, watcher=watcher, processes=2, chunk_lines=100)
        assert report.processes == 2
        assert counts(report) == (990, 0, 0, 60)
        assert report.duplicates == 50
        assert {fault.line for fault in watcher.faults} == {n * 100 + 9 for n in range(10)} | set(range(1002, 1052))
        assert counts(await bring_in(node, path, processes=2, chunk_lines=100)) == (0, 0, 990, 60)


async def test_an_error_of_a_worker_process_contains_no_values(postgres_place, clock, tmp_path):
    path = people_csv(tmp_path / "a.csv", 500)
    async with postgres_place.node(clock) as node:
        await node.sql("ALTER TABLE external_ref RENAME TO elsewhere")
        with pytest.raises(Unavailable) as error:
            await bring_in(node, path, processes=2, chunk_lines=100)
        assert "Person" not in f"{error.value} {error.value.hint}"


async def test_two_concurrent_imports_of_a_file_create_each_subject_once(postgres_place, clock, tmp_path):
    path = people_csv(tmp_path / "a.csv", 400)
    other = tmp_path / "b.csv"
    other.write_bytes(path.read_bytes() + b"400,Person 400,person.400@example.org\n")
    async with postgres_place.node(clock) as one, postgres_place.node(clock) as two:
        await asyncio.gather(
            bring_in(one, path, chunk_lines=50),
            bring_in(two, other, chunk_lines=50),
            bring_in(two, path, chunk_lines=50),
        )
        result = await rows_of(one)
        assert result["subject"] == result["external_ref"] == result["audit_subject"] == 401
