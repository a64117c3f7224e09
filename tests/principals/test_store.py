"""The register of principals and keys, authentication, and the cache of bearers."""

from datetime import timedelta
from uuid import UUID

import pytest

from vault.crypto.bearers import plain_digest as digest
from vault.errors import Conflict, InvalidInput, NotAuthenticated, NotFound, Unavailable
from vault.ids import KeyId, new_id
from vault.principals.principal import Principal, make_key
from vault.principals.store import LONGEST_BEARER, BearerCache, Principals


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


@pytest.fixture
def other_node(other_database, keyring, clock, seconds):
    return Principals(other_database, keyring, clock, monotonic=seconds)


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


ADA = Principal(id=UUID(int=1), tenant="default", name="ada", kind="app", roles=("support",))
KEY = new_id()
STANDS_ON = frozenset({ADA.id, KEY})


@pytest.fixture
def kept(seconds):
    return BearerCache(seconds, max_age=5.0, most=3)


def put(kept, name="a", since=1000.0, lifetime=60.0):
    kept.put(digest(name), ADA, since=since, lifetime=lifetime, depends_on=STANDS_ON)


def test_a_bearer_is_cached_for_max_age(kept, seconds):
    put(kept)
    seconds.pass_by(4.9)
    assert kept.get(digest("a")) is ADA
    seconds.pass_by(0.1)
    assert kept.get(digest("a")) is None


def test_a_bearer_that_expires_earlier_is_cached_until_then(kept, seconds):
    put(kept, lifetime=2.0)
    seconds.pass_by(2.0)
    assert kept.get(digest("a")) is None


def test_an_expired_bearer_is_not_cached(kept):
    put(kept, lifetime=0.0)
    assert len(kept) == 0


def test_the_age_counts_from_before_the_verification(kept, seconds):
    seconds.pass_by(4.0)
    put(kept, since=1000.0)
    seconds.pass_by(1.0)
    assert kept.get(digest("a")) is None


def test_a_verification_that_took_longer_than_max_age_is_not_cached(kept, seconds):
    seconds.pass_by(6.0)
    put(kept, since=1000.0)
    assert len(kept) == 0


def test_the_oldest_entry_is_evicted_when_the_cache_is_full(kept):
    for name in "abcd":
        put(kept, name)
    assert len(kept) == 3
    assert kept.get(digest("a")) is None
    assert kept.get(digest("d")) is ADA


@pytest.mark.parametrize("changed", [ADA.id, KEY])
def test_a_change_evicts_the_bearer_until_it_has_settled(kept, seconds, changed):
    put(kept)
    kept.forget(changed)
    assert kept.get(digest("a")) is None
    put(kept)
    assert len(kept) == 0
    seconds.pass_by(65.0)
    put(kept, since=seconds())
    assert kept.get(digest("a")) is ADA


def test_a_change_of_another_principal_keeps_the_bearer(kept):
    put(kept)
    kept.forget(new_id())
    assert kept.get(digest("a")) is ADA
