from datetime import timedelta

import pytest

from vault.errors import Conflict, InvalidInput, NotFound
from vault.ids import new_id


async def add(database, principals, name, tenant="default", roles=("support",)):
    async with database.transaction() as connection:
        return await principals.add_app(connection, tenant, name, roles)


async def test_an_app_is_registered_with_its_roles_sorted_and_once(database, principals, clock):
    app = await add(database, principals, "shop", roles=["support", "fulfilment", "support"])
    assert (app.kind, app.roles, app.state, app.created_at) == ("app", ("fulfilment", "support"), "active", clock.now())
    async with database.reading() as connection:
        assert await principals.list_principals(connection, "default") == [app]
        assert await principals.find(connection, "default", "shop") == app
        assert await principals.get(connection, "default", app.id) == app


async def test_an_app_may_have_no_role_yet(database, principals):
    app = await add(database, principals, "shop", roles=())
    async with database.reading() as connection:
        assert (await principals.get(connection, "default", app.id)).roles == ()


async def test_a_name_is_taken_once_in_each_tenant(database, principals):
    await add(database, principals, "shop")
    with pytest.raises(Conflict):
        await add(database, principals, "shop")
    await add(database, principals, "shop", tenant="other")


@pytest.mark.parametrize("name", ["", "Shop", "shop one", "ä", "x" * 65, "-shop", "shop\n"])
async def test_a_name_that_is_no_slug_is_refused_without_being_repeated(database, principals, name):
    with pytest.raises(InvalidInput) as refused:
        await add(database, principals, name)
    assert [fault.at for fault in refused.value.faults] == ["/name"]
    assert not name or name not in str(refused.value)


async def test_roles_that_are_no_slugs_are_refused_each_by_its_place(database, principals):
    with pytest.raises(InvalidInput) as refused:
        await add(database, principals, "shop", roles=["support", "a role", "x y"])
    assert [fault.at for fault in refused.value.faults] == ["/roles/1", "/roles/2"]


async def test_too_many_roles_are_refused(database, principals):
    with pytest.raises(InvalidInput):
        await add(database, principals, "shop", roles=[f"role-{n}" for n in range(33)])


async def test_a_key_lasts_a_year_unless_said_otherwise(database, principals, shop, clock):
    async with database.transaction() as connection:
        usual = await principals.issue_key(connection, "default", shop.id)
        short = await principals.issue_key(
            connection, "default", shop.id, expires_at=clock.now() + timedelta(minutes=1)
        )
        keys = await principals.list_keys(connection, "default", shop.id)
    assert usual.expires_at == clock.now() + timedelta(days=365)
    assert short.expires_at == clock.now() + timedelta(minutes=1)
    assert [(key.id, key.expires_at, key.revoked_at) for key in keys] == [
        (usual.id, usual.expires_at, None),
        (short.id, short.expires_at, None),
    ]


@pytest.mark.parametrize("shift", [timedelta(0), timedelta(days=-1)])
async def test_a_key_that_has_ended_already_is_refused(database, principals, shop, clock, shift):
    async with database.transaction() as connection:
        with pytest.raises(InvalidInput) as refused:
            await principals.issue_key(connection, "default", shop.id, expires_at=clock.now() + shift)
    assert refused.value.faults[0].at == "/expires_at"


async def test_an_expiry_without_a_time_zone_is_refused(database, principals, shop, clock):
    naive = (clock.now() + timedelta(days=1)).replace(tzinfo=None)
    async with database.transaction() as connection:
        with pytest.raises(InvalidInput):
            await principals.issue_key(connection, "default", shop.id, expires_at=naive)


async def test_a_disabled_principal_gets_no_key(database, principals, shop):
    async with database.transaction() as connection:
        await principals.disable(connection, "default", shop.id)
        with pytest.raises(Conflict):
            await principals.issue_key(connection, "default", shop.id)


async def test_the_key_is_in_the_database_as_a_digest_only(database, principals, issued, tmp_path):
    _, _, secret = issued.key.reveal().split("_", 2)
    async with database.reading() as connection:
        rows = (await connection.exec_driver_sql("SELECT * FROM api_key")).all()
    assert secret not in str(rows)
    for file in tmp_path.glob("data.sqlite*"):
        assert secret.encode() not in file.read_bytes()


async def test_a_revocation_keeps_its_first_time(database, principals, shop, issued, clock):
    first = clock.now()
    for _ in range(2):
        async with database.transaction() as connection:
            await principals.revoke_key(connection, "default", issued.id)
        clock.advance(hours=1)
    async with database.reading() as connection:
        (key,) = await principals.list_keys(connection, "default", shop.id)
    assert key.revoked_at == first


async def test_what_another_tenant_has_is_not_found(database, principals, shop, issued):
    calls = [
        lambda c: principals.get(c, "other", shop.id),
        lambda c: principals.find(c, "other", "shop"),
        lambda c: principals.list_keys(c, "other", shop.id),
        lambda c: principals.issue_key(c, "other", shop.id),
        lambda c: principals.set_roles(c, "other", shop.id, ["dpo"]),
        lambda c: principals.disable(c, "other", shop.id),
        lambda c: principals.enable(c, "other", shop.id),
        lambda c: principals.revoke_key(c, "other", issued.id),
        lambda c: principals.revoke_key(c, "default", new_id()),
        lambda c: principals.disable(c, "default", new_id()),
    ]
    for call in calls:
        async with database.transaction() as connection:
            with pytest.raises(NotFound):
                await call(connection)
    async with database.reading() as connection:
        assert await principals.list_principals(connection, "other") == []
        assert await principals.get(connection, "default", shop.id) == shop
        assert (await principals.list_keys(connection, "default", shop.id))[0].revoked_at is None
