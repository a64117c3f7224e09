"""Import of records: their subjects and existing records, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.imports.files import (
    PURCHASES,
    Faults,
    bring_in,
    counts,
    people_csv,
    read,
    rows_of,
    subject_of,
    write_csv,
    write_jsonl,
)

HEADER = "customer,line,at,amount"


@pytest.fixture
async def peopled(node, tmp_path):
    await bring_in(node, people_csv(tmp_path / "people.csv", 5))
    return node


async def test_records_are_added_to_their_subjects(peopled, tmp_path):
    rows = [f"{n % 5},L{n},2026-01-{n % 28 + 1:02d}T10:00:00,{n}.50" for n in range(40)]
    report = await bring_in(peopled, write_csv(tmp_path / "p.csv", HEADER, *rows), PURCHASES, chunk_lines=7)
    assert counts(report) == (40, 0, 0, 0)
    shown = await read(peopled, await subject_of(peopled, "3"), "purchase.amount", "purchase.currency")
    assert sorted(map(float, shown["purchase.amount"])) == [n + 0.5 for n in range(3, 40, 5)]
    assert set(shown["purchase.currency"]) == {"EUR"}


async def test_the_same_records_again_change_nothing(peopled, tmp_path):
    path = write_csv(tmp_path / "p.csv", HEADER, *(f"{n % 5},L{n},,{n}.50" for n in range(40)))
    await bring_in(peopled, path, PURCHASES, chunk_lines=7)
    before, entries = await rows_of(peopled), await peopled.count()
    report = await bring_in(peopled, path, PURCHASES, chunk_lines=11)
    assert counts(report) == (0, 0, 40, 0)
    assert await rows_of(peopled) == before
    assert await peopled.count() == entries


async def test_new_records_are_added_to_existing_ones(peopled, tmp_path):
    rows = [f"{n % 5},L{n},,{n}.50" for n in range(40)]
    await bring_in(peopled, write_csv(tmp_path / "p.csv", HEADER, *rows[:25]), PURCHASES)
    report = await bring_in(peopled, write_csv(tmp_path / "q.csv", HEADER, *rows), PURCHASES)
    assert counts(report) == (15, 0, 25, 0)


async def test_an_existing_record_with_other_values_is_reported_and_not_changed(peopled, tmp_path):
    await bring_in(peopled, write_csv(tmp_path / "p.csv", HEADER, "1,L1,,10.00"), PURCHASES)
    watcher = Faults()
    path = write_csv(tmp_path / "q.csv", HEADER, "1,L1,,99.00", "2,L1,,99.00")
    report = await bring_in(peopled, path, PURCHASES, watcher=watcher)
    assert watcher.told == [(2, "external-id-taken", None)]
    assert counts(report) == (1, 0, 0, 1)  # an order number of somebody else's is another record
    assert (await read(peopled, await subject_of(peopled, "1"), "purchase.amount")) == {"purchase.amount": ["10.00"]}


async def test_invalid_lines_are_reported(peopled, tmp_path):
    path = write_csv(
        tmp_path / "p.csv",
        HEADER,
        "99,L1,,1.00",
        "1,,,1.00",
        "1,L3,yesterday,1.00",
        "1,L4,,much",
        "1,L5,,1.00",
        "1,L5,,1.00",
    )
    watcher = Faults()
    mapping = PURCHASES.replace('currency = { constant = "EUR" }', "")
    report = await bring_in(peopled, path, mapping, watcher=watcher, chunk_lines=2)
    assert watcher.told == [
        (2, "subject-not-found", None),
        (3, "no-external-id", "record"),
        (4, "bad-format", "occurred_at"),
        (5, "bad-format", "amount"),
        (7, "duplicate-in-file", None),
    ]
    assert counts(report) == (1, 0, 0, 5)


async def test_an_audit_entry_names_each_subject_of_a_chunk_once(peopled, tmp_path):
    async with peopled.new_entries() as new_entries:
        rows = [f"{n % 2},L{n},,{n}.50" for n in range(10)]
        await bring_in(peopled, write_csv(tmp_path / "p.csv", HEADER, *rows), PURCHASES)
    (entry,) = new_entries
    assert len(entry.subjects) == len(set(entry.subjects)) == 2
    assert set(entry.fields) == {"purchase.amount.clear", "purchase.currency.clear"}


async def test_times_are_in_the_zone_of_the_mapping(peopled, tmp_path):
    path = write_jsonl(
        tmp_path / "p.jsonl",
        {"customer": 1, "line": "L1", "at": "15.07.2025 12:00", "amount": 1},
    )
    mapping = PURCHASES.replace(
        '"at"', '{ column = "at", date_format = "%d.%m.%Y %H:%M" }\ntime_zone = "Europe/Berlin"'
    )
    assert counts(await bring_in(peopled, path, mapping)) == (1, 0, 0, 0)
    ((result,),) = await peopled.sql("SELECT occurred_at FROM record WHERE collection = 'purchase'")
    wanted = datetime(2025, 7, 15, 10, tzinfo=UTC)
    assert result in {wanted, int(wanted.timestamp() * 1_000_000)}


@pytest.mark.parametrize("stopped", ["restriction", "objections"])
async def test_nothing_is_written_about_a_subject_under_a_restriction_or_objection(peopled, tmp_path, stopped):
    """A restriction allows storage only, and an objection stops the use, also for imports."""
    subject = await subject_of(peopled, "1")
    purpose = "fraud-prevention" if stopped == "objections" else "order-fulfilment"
    body = {"purpose": purpose} if stopped == "objections" else {"ground": "accuracy"}
    assert (await peopled.post("dpo", f"/v1/subjects/{subject}/{stopped}", body)).status_code == 201
    watcher = Faults()
    path = write_csv(tmp_path / "p.csv", HEADER, "1,L1,,10.00", "2,L2,,10.00")
    mapping = PURCHASES.replace("order-fulfilment", purpose)
    report = await bring_in(peopled, path, mapping, watcher=watcher)
    assert watcher.told == [(2, "restricted" if stopped == "restriction" else "objected", None)]
    assert counts(report) == (1, 0, 0, 1)
