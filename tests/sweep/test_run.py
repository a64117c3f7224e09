"""A sweep deletes values that nothing keeps any more, on their day and not before, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from uuid import UUID

import pytest

from tests.erasure.people import LATELY, ask
from tests.sweep.people import (
    ADA,
    DEFAULT_TENANT,
    REVIEWED,
    buy,
    go_to,
    keys_of,
    put_in_force,
    rows_of,
    somebody,
    state_of,
    sweeps_on_record,
    swept,
    there,
    unpaced,
    write_to,
)
from vault.consent.model import ConsentState, Held, pack
from vault.requests.store import REQUEST, REQUESTS
from vault.subjects.rows import digests
from vault.sweep import apply
from vault.sweep.query import sweep
from vault.sweep.run import run_sweep
from vault.sweep.store import SILENT, sweep_under_way

LAST_DAY = date(2029, 3, 5)
"""Three years after the last contact, which is the day on which the subject was created."""
GONE = "UPDATE record SET body = :body WHERE subject_id = :id"


async def test_a_value_is_deleted_on_the_day_after_its_end_and_not_before(node, clock):
    subject = await node.create({"name": "Ada", "email": "ada@example.org"})
    assert (await swept(node)).erased == 0
    go_to(clock, LAST_DAY, hour=23)
    assert (await swept(node)).erased == 0
    assert (await there(node, subject))["profile.email"] == ["ada@example.org"]
    go_to(clock, LAST_DAY + timedelta(days=1))
    counts = await swept(node)
    assert (counts.erased, counts.whole) == (2, 1)
    assert await state_of(node, subject) == "erased"
    assert await keys_of(node, subject) == []


async def test_a_value_kept_by_law_stays_readable_under_a_new_key_and_older_keys_are_destroyed(node, clock):
    subject = await somebody(node, bought=[LATELY])
    await swept(node)
    clock.advance(days=365 * 4)
    assert (await swept(node)).whole == 0
    result = await there(node, subject)
    assert result["profile.name"] == [ADA["name"]]
    assert result["purchase.order"] == ["order-0"]
    assert not {"profile.email", "profile.phone", "profile.address"} & result.keys()
    assert await keys_of(node, subject) == [2]
    ((state, kept),) = await node.sql("SELECT state, key_version FROM erasure WHERE subject_id = :id", id=UUID(subject))
    assert (state, kept) == ("done", 2)


async def test_a_view_replaces_an_expired_value_and_is_deleted_later(node, clock):
    subject = await node.create(dict(ADA))
    go_to(clock, LAST_DAY + timedelta(days=1))
    assert (await swept(node)).generalised == 1
    assert (await there(node, subject)) == {"profile.birth_date.year": [1985]}
    clock.advance(days=365 * 7 + 10)
    assert (await swept(node)).whole == 1
    assert await state_of(node, subject) == "erased"


async def test_subjects_are_found_by_kept_values_and_not_by_deleted_values(node, clock):
    profile = {"name": "Ada Lovelace", "email": "ada@example.org"}
    subject = await somebody(node, profile=profile, bought=[LATELY])
    fields = node.services.policies.active(DEFAULT_TENANT).policy_set.catalogue.collections["profile"].fields
    keys = await node.services.keyring.index_keys(DEFAULT_TENANT)
    led = {name: set(digests(keys, fields[name], value)) for name, value in profile.items()}
    assert set().union(*led.values()) < await leads(node, subject)
    clock.advance(days=365 * 4)
    await swept(node)
    left = await leads(node, subject)
    assert not led["email"] & left
    assert led["name"] < left
    assert await rows_of(node, "external_ref", subject) == 1  # its number is in the books


async def leads(node, subject):
    rows = await node.sql("SELECT digest FROM blind_index WHERE subject_id = :id", id=UUID(subject))
    return {bytes(row[0]) for row in rows}


async def test_a_fully_swept_subject_is_found_by_no_identifier(node, clock):
    subject = await somebody(node, bought=[LATELY])
    pseudonym = await node.pseudonym(subject)
    clock.advance(days=365 * 11)
    assert (await swept(node)).whole == 1
    assert await state_of(node, subject) == "erased"
    for table in ("record", "blind_index", "external_ref", "subject_clock", "retention_review", "subject_alias"):
        assert await rows_of(node, table, subject) == 0, table
    assert await keys_of(node, subject) == []
    assert await node.pseudonym(subject) != pseudonym


async def test_the_audit_log_has_one_entry_per_swept_subject_with_the_deleted_fields(node, clock):
    subject = await somebody(node, profile={"name": "Ada", "email": "ada@example.org"}, bought=[LATELY])
    whom = await node.pseudonym(subject)
    clock.advance(days=365 * 4)
    await swept(node)
    await swept(node)
    (answer,) = await sweeps_on_record(node)
    assert (answer.subjects, answer.code, answer.decision) == ((whom,), "erased", "allowed")
    assert answer.fields == ("profile.email.clear",)


async def test_an_empty_record_is_deleted_and_its_subject_stays(node, clock):
    subject = await somebody(node, profile={"name": "Ada"})
    await write_to(node, subject)
    clock.advance(days=365 * 2 + 10)
    counts = await swept(node)
    assert (counts.erased, counts.whole) == (2, 0)
    assert (await there(node, subject))["profile.name"] == ["Ada"]
    assert await rows_of(node, "record", subject) == 1


async def test_a_held_value_stays_until_the_hold_is_lifted(node, clock):
    subject = await node.create({"name": "Ada", "email": "ada@example.org"})
    held = pack(ConsentState(holds=(Held(hold=b"h" * 16, purpose="legal-claims", names=("profile.email",)),)))
    await node.set_subject(subject, standing=held)
    clock.advance(days=365 * 4)
    assert (await swept(node)).erased == 1
    assert await there(node, subject) == {"profile.email": ["ada@example.org"]}
    await node.set_subject(subject, standing=None)
    clock.advance(days=366)
    assert (await swept(node)).whole == 1


async def test_a_value_in_review_stays_until_its_deletion_is_decided(node, clock):
    await put_in_force(node, (REVIEWED, 'at_end = { notes = "review" }\n' + REVIEWED))
    subject = await node.create_fully(name="Ada", notes="Prefers mornings.")
    clock.advance(days=365 * 4)
    counts = await swept(node)
    assert (counts.reviews, counts.whole) == (1, 0)
    assert await there(node, subject) == {"profile.notes": ["Prefers mornings."]}
    clock.advance(days=366)
    assert (await swept(node)).reviews == 0
    ((state,),) = await node.sql("SELECT state FROM retention_review")
    assert state == "open"
    keep = (clock.now().date() + timedelta(days=10)).isoformat()
    await node.sql("UPDATE retention_review SET state = 'keep', keep_until = :keep", keep=keep)
    clock.advance(days=366 * 2)
    assert (await swept(node)).reviews == 1  # its time is up: somebody has to decide once more
    await node.sql("UPDATE retention_review SET state = 'erase'")
    assert (await swept(node)).whole == 1
    assert await rows_of(node, "retention_review", subject) == 0


async def test_a_value_kept_in_storage_only_is_counted_as_such(node, clock):
    await put_in_force(node, (REVIEWED, 'at_end = { notes = "restrict" }\n' + REVIEWED))
    subject = await node.create_fully(name="Ada", notes="Prefers mornings.")
    clock.advance(days=365 * 4)
    assert (await swept(node)).restricted == 1
    assert await there(node, subject) == {"profile.notes": ["Prefers mornings."]}
    answer = (await sweeps_on_record(node))[-1]
    assert (answer.code, set(answer.fields)) == ("erased", {"profile.name.clear", "profile.notes.clear"})


async def test_a_subject_with_an_open_request_is_put_off_until_the_next_day(node, clock):
    subject = await node.create({"name": "Ada"})
    clock.advance(days=365 * 4)
    request = await ask(node, subject, kind="access", state="received")
    counts = await swept(node)
    assert (counts.waiting, counts.erased) == (1, 0)
    assert (await swept(node)).people == 0  # not again today
    await node.rewrite(REQUESTS, REQUEST.c.id == request, state="completed")
    clock.advance(days=1)
    assert (await swept(node)).whole == 1


async def test_restricted_data_is_not_swept_until_the_restriction_is_lifted(node, clock):
    """The subject may have asked for the restriction instead of an erasure (Art. 18(1)(b) and (c))."""
    subject = await node.create({"name": "Ada"})
    await node.set_state(subject, "restricted")
    clock.advance(days=365 * 4)
    counts = await swept(node)
    assert (counts.waiting, counts.erased) == (1, 0)
    assert await there(node, subject) == {"profile.name": ["Ada"]}
    await node.set_state(subject, "active")
    clock.advance(days=1)
    assert (await swept(node)).whole == 1


async def test_an_unreadable_value_does_not_stop_the_sweep_of_others(node, clock):
    damaged = await somebody(node, profile={"name": "Ada", "email": "ada@example.org"}, bought=[LATELY])
    sound = await node.create({"name": "Bob"})
    unread = await node.create({"name": "Eve"})
    await node.sql(GONE, body=b"\x00", id=UUID(unread))
    await node.sql(
        "UPDATE data_key SET wrapped = :w WHERE subject_id = :id", keystore=True, w=b"x" * 60, id=UUID(damaged)
    )
    clock.advance(days=365 * 4)
    counts = await swept(node)
    assert (counts.unreadable, counts.whole) == (2, 1)
    assert await state_of(node, sound) == "erased"
    failed = [item for item in await sweeps_on_record(node) if item.decision == "failed"]
    assert {item.code for item in failed} == {"cannot-open"}
    assert len(failed) == 2


async def test_changed_policies_make_the_sweep_look_at_all_subjects(node, clock):
    subject = await node.create({"name": "Ada"})
    assert (await swept(node)).people == 1
    assert (await swept(node)).people == 0
    await put_in_force(node, ('[purpose.order-fulfilment]\nkeep = "P3Y"', '[purpose.order-fulfilment]\nkeep = "P1D"'))
    clock.advance(days=3)
    assert (await swept(node)).people == 1
    assert "profile.name" in await there(node, subject)  # others claim it still


async def test_a_new_value_makes_its_subject_due_again(node, clock):
    subject = await node.create({"name": "Ada"})
    await swept(node)
    await buy(node, subject)
    counts = await swept(node)
    assert (counts.people, counts.records) == (1, 1)


async def test_of_two_concurrent_sweeps_only_one_runs(node, clock):
    people = [await node.create({"name": f"Ada {number}"}) for number in range(6)]
    clock.advance(days=365 * 4)
    runs = await asyncio.gather(*(sweep(node.services, DEFAULT_TENANT, pace=unpaced()) for _ in range(3)))
    assert len([run for run in runs if run is not None]) == 1
    assert {await state_of(node, person) for person in people} == {"erased"}
    assert len(await sweeps_on_record(node)) == 6


async def test_a_silent_sweep_is_taken_over_and_its_first_runner_stops(node, clock, monkeypatch):
    people = [await node.create({"name": f"Ada {number}"}) for number in range(3)]
    clock.advance(days=365 * 4)
    real, others = apply.apply_plans, []

    async def slow(services, tenant, run, found, note):
        if not others:
            clock.advance(seconds=SILENT.total_seconds() + 1)
            async with services.data.reading() as connection:
                under_way = await sweep_under_way(connection, tenant)
            others.append(None)
            others[0] = await run_sweep(services, tenant, under_way.id, unpaced())
        await real(services, tenant, run, found, note)

    monkeypatch.setattr("vault.sweep.run.apply_plans", slow)
    assert await sweep(node.services, DEFAULT_TENANT, pace=unpaced()) is None
    assert others[0].counts.whole == 3
    assert {await state_of(node, person) for person in people} == {"erased"}
    assert len(await sweeps_on_record(node)) == 3


@pytest.mark.parametrize("per_minute", [1, 9, 100, 60_000])
async def test_a_sweep_processes_no_more_subjects_a_minute_than_allowed(per_minute):
    from vault.sweep.run import Pace

    at, seen = [0.0], []

    async def sleep(seconds):
        at[0] += seconds

    pace = Pace(per_minute, lambda: at[0], sleep)
    for _ in range(40):
        await pace.wait(pace.batch)
        seen.append((at[0], pace.batch))
    for start, _people in seen:
        assert sum(people for moment, people in seen if start <= moment < start + 60) <= per_minute
