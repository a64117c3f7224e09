from datetime import timedelta

import pytest

from vault.errors import NotAuthenticated, NotFound, Unavailable
from vault.ids import KeyId, new_id
from vault.principals.principal import make_key
from vault.principals.store import LONGEST_BEARER, Principals


@pytest.fixture
def other_node(other_database, clock, seconds):
    return Principals(other_database, clock, monotonic=seconds)


async def refusal(principals, bearer):
    with pytest.raises(NotAuthenticated) as refused:
        await principals.authenticate(bearer)
    return refused.value.code, refused.value.detail, refused.value.hint


async def test_a_key_authenticates_its_principal(principals, shop, issued):
    assert await principals.authenticate(issued.key.reveal()) == shop


async def test_only_verified_bearers_are_cached(principals, shop, issued, seconds):
    bearer = issued.key.reveal()
    assert principals.cached(bearer) is None
    await principals.authenticate(bearer)
    assert principals.cached(bearer) == shop
    seconds.pass_by(5.0)
    assert principals.cached(bearer) is None
    assert await principals.authenticate(bearer) == shop


async def test_several_keys_of_a_principal_are_good_at_once_and_end_apart(database, principals, shop, issued):
    async with database.transaction() as connection:
        second = await principals.issue_key(connection, "default", shop.id)
    assert await principals.authenticate(issued.key.reveal()) == shop
    assert await principals.authenticate(second.key.reveal()) == shop
    async with database.transaction() as connection:
        await principals.revoke_key(connection, "default", issued.id)
    await refusal(principals, issued.key.reveal())
    assert await principals.authenticate(second.key.reveal()) == shop


async def test_all_refused_bearers_get_the_same_error(database, principals, shop, issued, clock):
    bearer = issued.key.reveal()
    async with database.transaction() as connection:
        short = await principals.issue_key(connection, "default", shop.id, expires_at=clock.now() + timedelta(hours=1))
        revoked = await principals.issue_key(connection, "default", shop.id)
        await principals.revoke_key(connection, "default", revoked.id)
    clock.advance(hours=1)
    wrong = make_key(issued.id).reveal()
    refusals = [
        await refusal(principals, failing)
        for failing in [
            "",
            "nonsense",
            "cdv_nonsense",
            bearer + "x",
            "a.b.c",
            "x" * (LONGEST_BEARER + 1),
            "\ud800",
            make_key(KeyId(new_id())).reveal(),
            wrong,
            short.key.reveal(),
            revoked.key.reveal(),
        ]
    ]
    async with database.transaction() as connection:
        await principals.disable(connection, "default", shop.id)
    refusals.append(await refusal(principals, bearer))
    assert len(set(refusals)) == 1


async def test_a_refused_bearer_is_not_cached(principals, issued):
    wrong = make_key(issued.id).reveal()
    await refusal(principals, wrong)
    assert principals.cached(wrong) is None


async def test_a_cached_key_expires(database, principals, shop, clock, seconds):
    async with database.transaction() as connection:
        key = await principals.issue_key(connection, "default", shop.id, expires_at=clock.now() + timedelta(seconds=2))
    bearer = key.key.reveal()
    await principals.authenticate(bearer)
    seconds.pass_by(2.0)
    clock.advance(seconds=2)
    assert principals.cached(bearer) is None
    await refusal(principals, bearer)


async def test_a_revoked_key_is_refused_here_at_once_and_elsewhere_within_max_age(
    database, principals, other_node, issued, seconds
):
    bearer = issued.key.reveal()
    await principals.authenticate(bearer)
    await other_node.authenticate(bearer)
    async with database.transaction() as connection:
        await principals.revoke_key(connection, "default", issued.id)
    assert principals.cached(bearer) is None
    await refusal(principals, bearer)
    seconds.pass_by(5.0)
    assert other_node.cached(bearer) is None
    await refusal(other_node, bearer)


async def test_a_call_between_a_change_and_its_commit_is_answered_but_not_cached(database, principals, shop, issued):
    bearer = issued.key.reveal()
    async with database.transaction() as connection:
        await principals.disable(connection, "default", shop.id)
        assert await principals.authenticate(bearer) == shop
    assert principals.cached(bearer) is None
    await refusal(principals, bearer)


async def test_a_change_that_is_rolled_back_leaves_the_key_good(database, principals, shop, issued):
    bearer = issued.key.reveal()
    with pytest.raises(NotFound):
        async with database.transaction() as connection:
            await principals.revoke_key(connection, "default", issued.id)
            await principals.disable(connection, "default", new_id())
    assert await principals.authenticate(bearer) == shop


async def test_new_roles_apply_here_at_once_and_elsewhere_within_max_age(
    database, principals, other_node, shop, issued, seconds
):
    bearer = issued.key.reveal()
    await principals.authenticate(bearer)
    await other_node.authenticate(bearer)
    async with database.transaction() as connection:
        await principals.set_roles(connection, "default", shop.id, ["sales"])
    assert (await principals.authenticate(bearer)).roles == ("sales",)
    seconds.pass_by(5.0)
    assert (await other_node.authenticate(bearer)).roles == ("sales",)


async def test_an_enabled_principal_is_accepted_again(database, principals, shop, issued):
    async with database.transaction() as connection:
        await principals.disable(connection, "default", shop.id)
        await principals.enable(connection, "default", shop.id)
    assert await principals.authenticate(issued.key.reveal()) == shop


async def test_two_tenants_with_apps_of_one_name_are_kept_apart(database, principals, shop, issued):
    async with database.transaction() as connection:
        other = await principals.add_app(connection, "other", "shop", ["dpo"])
        key = await principals.issue_key(connection, "other", other.id)
    assert (await principals.authenticate(key.key.reveal())).tenant == "other"
    assert (await principals.authenticate(issued.key.reveal())).tenant == "default"


async def test_without_the_database_no_one_is_authenticated(database, principals, issued, dialect, tmp_path):
    if dialect == "sqlite":
        for file in tmp_path.glob("data.sqlite*"):
            file.unlink()
    else:
        async with database.transaction() as connection:
            await connection.exec_driver_sql("ALTER TABLE api_key RENAME TO gone")
    with pytest.raises(Unavailable):
        await principals.authenticate(issued.key.reveal())


async def test_a_cached_bearer_is_known_without_the_database(database, principals, shop, issued):
    bearer = issued.key.reveal()
    await principals.authenticate(bearer)
    async with database.transaction() as connection:
        await connection.exec_driver_sql("ALTER TABLE api_key RENAME TO gone")
    assert principals.cached(bearer) == shop
    assert await principals.authenticate(bearer) == shop
