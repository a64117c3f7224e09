"""After a restore: a key that was revoked since the backup, an app that was shut out, a role that was taken are so again."""

from __future__ import annotations

import pytest

from tests.backup.backups import back_up
from tests.backup.restores import bring_back, ledger_lines, opened, replay_rest
from tests.vaults import ADA, OTHER
from vault.errors import Misconfigured, Unavailable
from vault.governance.tenants import add_app, disable_app, issue_key, revoke_key, set_roles
from vault.ids import DEFAULT_TENANT, TenantId

ASKED = {"match": {"email": ADA["email"]}, "fields": [], "purpose": "order-fulfilment"}


async def roles_of(node, name, tenant=DEFAULT_TENANT):
    async with node.services.data.reading() as connection:
        return (await node.services.principals.find(connection, tenant, name)).roles


async def answer(node, key):
    """Ask something by an API key; 401 if it is not good."""
    headers = {"Authorization": f"Bearer {key.key.reveal()}"}
    return (await node.http.post("/v1/subjects:search", json=ASKED, headers=headers)).status_code


async def taken(node, tenant):
    """List what the replay took away, in the order of the log."""
    entries = [entry for entry in await node.entries(tenant) if entry.at == "2026-03-05T14:00:00.000000Z"]
    actions = [entry.action for entry in entries]
    return [action for action in actions if action in {"revoke-key", "disable-principal", "set-roles"}]


async def test_access_revoked_since_is_revoked_again(place, clock, somewhere, tmp_path):
    async with place.node(clock) as node:
        services = node.services
        keys = {
            name: (await add_app(services, DEFAULT_TENANT, name, ["sales"]))[1] for name in ("till", "shop", "kiosk")
        }
        spare = await issue_key(services, DEFAULT_TENANT, "till")
        await add_app(services, DEFAULT_TENANT, "desk", ["dpo", "sales"])
        backup = await back_up(node, tmp_path / "b")
        clock.advance(hours=1)
        await revoke_key(services, DEFAULT_TENANT, keys["till"].id)
        await disable_app(services, DEFAULT_TENANT, "shop")
        await set_roles(services, DEFAULT_TENANT, "desk", ["sales", "support"])
        await disable_app(services, TenantId(OTHER), "sales")
    new = await somewhere(place)
    clock.advance(hours=1)
    assert (await bring_back(backup, place, new, clock)).accesses == 4
    async with opened(new).node(clock) as node:
        assert [await answer(node, key) for key in (keys["till"], spare, keys["shop"], keys["kiosk"])] == [
            401, 200, 401, 200,
        ]  # fmt: skip
        assert await roles_of(node, "desk") == ("sales",)  # what was given since is given again by people
        assert (await node.post("sales", "/v1/subjects:search", ASKED, tenant=OTHER)).status_code == 401
        assert (await node.post("sales", "/v1/subjects:search", ASKED)).status_code == 200
        assert await taken(node, DEFAULT_TENANT) == ["revoke-key", "disable-principal", "set-roles"]
        assert await taken(node, OTHER) == ["disable-principal"]
        await node.sql("UPDATE restore SET replayed_at = NULL")
    assert (await replay_rest(new, clock)).accesses == 0


async def test_a_role_that_the_backup_knows_to_be_given_back_is_not_taken_again(
    sqlite_place, clock, somewhere, tmp_path
):
    place = sqlite_place
    async with place.node(clock) as node:
        await set_roles(node.services, DEFAULT_TENANT, "sales", ["support"])
        await set_roles(node.services, DEFAULT_TENANT, "sales", ["sales", "support"])
        clock.advance(hours=1)
        backup = await back_up(node, tmp_path / "b")
    new = await somewhere(place)
    assert (await bring_back(backup, place, new, clock)).accesses == 0
    async with opened(new).node(clock) as node:
        assert await roles_of(node, "sales") == ("sales", "support")


async def test_an_app_that_came_after_the_backup_is_passed_over(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        backup = await back_up(node, tmp_path / "b")
        _app, key = await add_app(node.services, DEFAULT_TENANT, "till", ["sales"])
        await revoke_key(node.services, DEFAULT_TENANT, key.id)
        await disable_app(node.services, DEFAULT_TENANT, "till")
    assert (await bring_back(backup, place, await somewhere(place), clock)).accesses == 0


async def test_ledger_records_removed_roles_only(sqlite_node):
    await set_roles(sqlite_node.services, DEFAULT_TENANT, "sales", ["sales", "support"])
    await set_roles(sqlite_node.services, DEFAULT_TENANT, "sales", ["support"])
    ((kind, about, body),) = await ledger_lines(sqlite_node)
    assert (kind, about, body["action"], body["roles"]) == ("access", None, "set-roles", ["sales"])


@pytest.mark.parametrize("what", ["revoke", "disable", "roles"])
async def test_without_the_ledger_nothing_is_taken_that_a_restore_could_give_back(sqlite_place, clock, what, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        _app, key = await add_app(node.services, DEFAULT_TENANT, "till", ["sales"])
        before = len(await node.entries())
        ledger = place.folder / "ledger.sqlite"
        ledger.rename(tmp_path / "away.sqlite")
        with pytest.raises(Unavailable):
            if what == "revoke":
                await revoke_key(node.services, DEFAULT_TENANT, key.id)
            elif what == "disable":
                await disable_app(node.services, DEFAULT_TENANT, "till")
            else:
                await set_roles(node.services, DEFAULT_TENANT, "till", ["support"])
        (tmp_path / "away.sqlite").rename(ledger)
        assert await answer(node, key) == 200
        assert await roles_of(node, "till") == ("sales",)
        assert len(await node.entries()) == before + 1  # that of the search


async def test_a_ledger_with_lines_of_a_newer_program_is_not_passed_over(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        backup = await back_up(node, tmp_path / "b")
        await node.services.restore_ledger.add(DEFAULT_TENANT, "exile", clock.now(), [(None, b"{}")])
    with pytest.raises(Misconfigured, match="of a kind that this program does not know"):
        await bring_back(backup, place, await somewhere(place), clock)
