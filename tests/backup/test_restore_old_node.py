"""A node that was at work on the lost database, and goes on: it gets nothing of the restored one before it is good."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from tests.backup.backups import back_up
from tests.backup.restores import bring_back, bring_back_closed, replay_rest
from tests.erasure.people import erase
from tests.vaults import ADA, problem
from vault.errors import Misconfigured


async def run_on(url, *statements):
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize("asked", [True, False], ids=["asking-meanwhile", "silent-meanwhile"])
async def test_a_node_that_goes_on_under_the_same_name_sees_nothing_until_it_is_replayed(
    postgres_place, postgres_uri, clock, somewhere, tmp_path, asked
):
    place = postgres_place
    async with place.node(clock) as old:
        gone, stays = await old.create(), await old.create({**ADA, "email": "stays@example.org"})
        backup = await back_up(old, tmp_path / "b")
        await erase(old, gone)
        new = replace(await somewhere(place), urls=place.urls)
        for url in place.urls.values():  # the server is lost; another one has its name, and empty databases
            name = url.split("?")[0].rpartition("/")[2]
            await run_on(postgres_uri, f'DROP DATABASE "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
        if asked:
            problem(await old.read("sales", gone, ["name"], "order-fulfilment"), 503, "unavailable")
            body = {"profile": ADA, "purpose": "order-fulfilment"}
            problem(await old.post("sales", "/v1/subjects", body), 503, "unavailable")
        await bring_back_closed(backup, place, new, clock)
        for whom in (gone, stays):
            problem(await old.read("sales", whom, ["name"], "order-fulfilment"), 503, "unavailable")
            problem(await old.call("dpo", "GET", f"/v1/subjects/{whom}/consents"), 503, "unavailable")
        await replay_rest(new, clock)
        problem(await old.read("sales", gone, ["name"], "order-fulfilment"), 404, "subject-not-found")
        assert (await old.read("sales", stays, ["name"], "order-fulfilment")).status_code == 200


async def test_a_database_that_was_emptied_under_a_node_is_not_restored_into(
    postgres_place, clock, somewhere, tmp_path
):
    place = postgres_place
    async with place.node(clock) as old:
        gone = await old.create()
        backup = await back_up(old, tmp_path / "b")
        await erase(old, gone)
        new = replace(await somewhere(place), urls=place.urls)
        for url in place.urls.values():  # its connections live on
            await run_on(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        with pytest.raises(Misconfigured, match="another client is connected"):
            await bring_back(backup, place, new, clock)
        assert not (new.folder / "restoring.json").exists()
    await bring_back(backup, place, new, clock)
