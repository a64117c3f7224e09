"""The signing keys of tenants, on both databases."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import delete, func, select, update

from tests.crypto.test_keyring import change, database, keyring, open_keyring, root, time
from vault.crypto.key_store import TENANT_SECRET
from vault.crypto.signing import verify_signature
from vault.errors import CannotOpen, NotFound

__all__ = ["database", "keyring", "open_keyring", "root", "time"]

ITS = TENANT_SECRET.c
SIGNING = ITS.kind == "signing"


@pytest.fixture
async def old_tenant(keyring, database, open_keyring):
    """A vault whose tenants were made before there were signing keys."""
    await change(database, delete(TENANT_SECRET).where(SIGNING))
    return open_keyring()


async def count(database, tenant="default"):
    async with database.reading() as connection:
        rows = select(func.count()).select_from(TENANT_SECRET).where(SIGNING, ITS.tenant_id == tenant)
        return (await connection.execute(rows)).scalar_one()


async def test_all_nodes_sign_with_the_key_of_a_new_tenant(keyring, open_keyring, database):
    assert await count(database) == 1
    key, same = await keyring.signing_key("default"), await open_keyring().signing_key("default")
    assert key.key_id == same.key_id
    assert verify_signature(key.public, b"word", same.sign(b"word"))


async def test_each_tenant_has_its_own_signing_key(keyring):
    assert (await keyring.signing_key("default")).key_id != (await keyring.signing_key("other")).key_id


async def test_an_older_tenant_gets_its_signing_key_on_first_use(old_tenant, open_keyring, database):
    assert await count(database) == 0
    key = await old_tenant.signing_key("default")
    assert await count(database) == 1
    assert await count(database, "other") == 0
    assert (await old_tenant.signing_key("default")).key_id == key.key_id
    assert (await open_keyring().signing_key("default")).key_id == key.key_id


async def test_concurrent_first_uses_get_the_same_key(old_tenant, open_keyring, database):
    nodes = [old_tenant, open_keyring(), open_keyring()]
    await asyncio.gather(*(node.index_keys("default") for node in nodes))  # all have seen the tenant without a key
    asked = await asyncio.gather(*(node.signing_key("default") for node in nodes for _ in range(4)))
    assert len({key.key_id for key in asked}) == 1
    assert await count(database) == 1


async def test_after_a_rotation_the_new_key_signs_and_the_old_one_stays_known(keyring, open_keyring):
    old = await keyring.signing_key("default")
    new = await keyring.rotate_signing_key("default")
    assert new.key_id != old.key_id
    for node in (keyring, open_keyring()):
        assert (await node.signing_key("default")).key_id == new.key_id
        assert [(key.key_id, key.public, key.current) for key in await node.public_keys("default")] == [
            (new.key_id, new.public, True),
            (old.key_id, old.public, False),
        ]


async def test_a_node_follows_a_rotation_when_its_opened_keys_are_old(keyring, open_keyring, time):
    other = open_keyring(max_age=30.0)
    before = await other.signing_key("default")
    after = await keyring.rotate_signing_key("default")
    assert (await other.signing_key("default")).key_id == before.key_id
    time.now += 31
    assert (await other.signing_key("default")).key_id == after.key_id


async def test_a_signing_key_moved_to_another_tenant_does_not_open(keyring, open_keyring, database):
    async with database.reading() as connection:
        theirs = (await connection.execute(select(ITS.wrapped).where(SIGNING, ITS.tenant_id == "other"))).scalar_one()
    await change(database, update(TENANT_SECRET).where(SIGNING, ITS.tenant_id == "default").values(wrapped=theirs))
    with pytest.raises(CannotOpen):
        await open_keyring().signing_key("default")


async def test_an_unknown_tenant_has_no_signing_key(keyring):
    for call in (keyring.signing_key("nobody"), keyring.public_keys("nobody"), keyring.rotate_signing_key("nobody")):
        with pytest.raises(NotFound):
            await call
