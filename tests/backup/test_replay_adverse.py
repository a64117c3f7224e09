"""Replays in adverse circumstances: what came between backup and erasure is not to bring anybody back, nor take more."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from uuid import UUID

import pytest

from tests.backup.backups import back_up
from tests.backup.restores import bring_back, bring_back_closed, opened, replay_rest
from tests.backup.test_replay import BOB, merge, refusal, says
from tests.erasure.people import ask, buy, erase, keys_of, rows_of, run, somebody, state_of
from tests.holds.holding import go_on, hold_of, lift
from tests.vaults import ADA
from vault.backup import load as bringing
from vault.backup.gate import NotReplayed
from vault.backup.restore import alone
from vault.bootstrap import open_vault
from vault.catalogue.model import Scope
from vault.errors import Misconfigured, Unavailable
from vault.governance.tenants import apply_policies
from vault.identity.sessions import add_session
from vault.ids import DEFAULT_TENANT, new_id
from vault.lifecycle.erasures import RETENTION, Erasure, Facts, add_erasure, find_erasure
from vault.policy.policy_set import PolicySet


async def everything(node, subject):
    return (await node.read("dpo", subject, [*ADA, "purchase.order"], "subject-rights")).json()["fields"]


async def test_erasure_by_purpose_is_repeated_under_older_policies(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        subject = await node.create_fully(email="a@example.org", preferences=["tea"])
        for purpose, notice in (("direct-marketing", "marketing@3"), ("profiling", "profiling@1")):
            said = {"purpose": purpose, "decision": "given", "notice": notice, "method": "checkbox", "channel": "web"}
            created = await node.post("support", f"/v1/subjects/{subject}/consents", said)
            assert created.status_code == 201, created.text
        backup = await back_up(node, tmp_path / "b")
        clock.advance(days=2)
        purposes = node.vault.settings.policies / "purposes.toml"
        text = purposes.read_text()
        purposes.write_text(text.replace("[profiling]", "[profiling]\nvalid_until = 2026-03-06"))
        await apply_policies(node.services, DEFAULT_TENANT, PolicySet.from_folder(node.vault.settings.policies))
        await erase(node, subject, scope=Scope(purposes=("direct-marketing",)))
        read = await node.read("dpo", subject, ["preferences"], "subject-rights")
        assert read.json()["fields"] == {}
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        read = await node.read("dpo", subject, ["preferences", "email"], "subject-rights")
        assert read.json()["fields"] == {"email": "a@example.org"}


async def test_only_the_resumed_part_of_an_erasure_is_repeated(place, clock, somewhere, tmp_path):
    async with place.node(clock) as node:
        subject = await somebody(node)
        await buy(node, subject, "2010-01-05T12:00:00Z", order="old")
        hold = await hold_of(node, subject, fields=["purchase.*"])
        await erase(node, subject, scope=Scope(collections=("purchase",)), state="completed")
        clock.advance(days=1)
        await buy(node, subject, "2026-03-06T10:00:00Z", order="new")
        backup = await back_up(node, tmp_path / "b")
        clock.advance(days=1)
        await lift(node, hold)
        assert len(await go_on(node)) == 1
        before = await everything(node, subject)
        assert before["purchase.order"] == ["new"]
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        await go_on(node)
        assert await everything(node, subject) == before


@pytest.mark.parametrize("until", ["take-away", "destroy-keys", "scrub", "certify"])
async def test_an_erasure_that_was_under_way_when_the_backup_was_made_is_whole(
    place, clock, somewhere, tmp_path, until
):
    async with place.node(clock) as node:
        subject = await somebody(node)
        request = await ask(node, subject)
        await run(node.services, request, until=until)
        backup = await back_up(node, tmp_path / "b")
        clock.advance(days=3)  # whoever was to end it was away for days
        await run(node.services, request)
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        assert await state_of(node, subject) == "erased"
        assert await keys_of(node, subject) == []
        assert await rows_of(node, "record", subject) == 0
        await run(node.services, request)
        ((count,),) = await node.sql("SELECT count(*) FROM erasure WHERE certificate IS NOT NULL")
        assert count == 1


async def test_whoever_was_merged_before_the_backup_and_erased_since_has_no_key_under_either_id(
    place, clock, somewhere, tmp_path
):
    async with place.node(clock) as node:
        stays, goes = await node.create(BOB), await node.create({**BOB, "email": "b.babbage@example.org"})
        await merge(node, stays, goes)
        backup = await back_up(node, tmp_path / "b")
        clock.advance(hours=1)
        await erase(node, stays)
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        assert await state_of(node, stays) == "erased"
        for person in (stays, goes):
            assert await keys_of(node, person) == []
            assert (await node.read("sales", person, ["name"], "order-fulfilment")).status_code == 404


async def test_denial_of_the_duplicate_covers_the_survivor(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        stays, goes = await node.create(BOB), await node.create({**BOB, "email": "b.babbage@example.org"})
        for person in (stays, goes):
            await says(node, person, "given")
        backup = await back_up(node, tmp_path / "b")
        clock.advance(hours=1)
        await says(node, goes)
        clock.advance(hours=1)
        await merge(node, stays, goes)
        assert await refusal(node, stays) == "consent-missing"
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        for person in (stays, goes):
            assert await refusal(node, person) == "consent-missing"


async def test_a_sweep_that_had_yet_to_destroy_keys_when_the_backup_was_made_gets_no_certificate(
    sqlite_place, clock, somewhere, tmp_path
):
    place = sqlite_place
    async with place.node(clock) as node:
        subject = await somebody(node)
        whom = UUID(subject)
        swept = Erasure(
            id=new_id(), request=None, subject=whom, state="taken", started_at=clock.now(), changed_at=clock.now(),
            key_version=1, facts=Facts(cause=RETENTION),
        )  # fmt: skip
        async with node.services.data.transaction() as connection:
            await add_erasure(connection, DEFAULT_TENANT, swept)
        backup = await back_up(node, tmp_path / "b")
        from vault.sweep.apply import end_erasures

        await end_erasures(node.services, DEFAULT_TENANT, [swept])
        clock.advance(hours=1)
        await erase(node, subject)
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        assert (await state_of(node, subject), await keys_of(node, subject)) == ("erased", [])
        async with node.services.data.reading() as connection:
            match = await find_erasure(connection, DEFAULT_TENANT, swept.id)
        assert match is None or (match.finished_at is not None and match.certificate is None)


async def test_only_one_process_continues_a_restore(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        backup = await back_up(node, tmp_path / "b")
    new = await somewhere(place)
    await bring_back_closed(backup, place, new, clock)
    with alone(new.folder), pytest.raises(Misconfigured, match="a restore is at work"):
        await replay_rest(new, clock)
    await replay_rest(new, clock)


async def test_restored_vault_has_no_sessions(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        subject = UUID(await node.create())
        async with node.services.data.transaction() as connection:
            await add_session(node.services, connection, DEFAULT_TENANT, subject)
        backup = await back_up(node, tmp_path / "b")
    new = await somewhere(place)
    await bring_back(backup, place, new, clock)
    async with opened(new).node(clock) as node:
        assert await rows_of(node, "subject_session", subject) == 0


async def test_closing_row_is_in_the_database_file_itself(sqlite_place, clock, somewhere, tmp_path):
    """Somebody looks into the file at this moment, so that a log beside it would stay, and be left behind."""
    place = sqlite_place
    async with place.node(clock) as node:
        backup = await back_up(node, tmp_path / "b")
    new = await somewhere(place)

    def looks(path, row):
        with closing(sqlite3.connect(path)) as looking:
            looking.execute("SELECT count(*) FROM subject").fetchone()
            insert(path, row)

    insert = bringing._insert
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bringing, "_insert", looks)
        with pytest.raises(Unavailable, match="did not take part in the restore"):
            await bring_back_closed(backup, place, new, clock)
    with pytest.raises(NotReplayed):
        async with open_vault(new.folder, clock=clock):
            pass
    await replay_rest(new, clock)
