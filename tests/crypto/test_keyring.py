"""Keys of subjects and tenants, on both databases."""

from __future__ import annotations

import asyncio
import threading
from uuid import UUID

import pytest
from sqlalchemy import delete, exc, func, select, update

from vault.crypto.key_store import DATA_KEY, TENANT_KEY, TENANT_SECRET
from vault.crypto.keyring import FEW, Keyring
from vault.crypto.primitive import WrappingKey, data_key_context, tenant_key_context
from vault.crypto.providers import FileRootKey
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Conflict, InvalidInput, Misconfigured, NotFound, Unavailable
from vault.ids import new_id
from vault.storage.columns import KeyTable
from vault.storage.database import Database

HERE = record_aad("default", UUID(int=1), "profile", UUID(int=2))


class Time:
    now = 100.0

    def __call__(self):
        return self.now


class CountingDatabase(Database):
    """The real database, which counts its hot queries and can delay an answer."""

    def __init__(self, url):
        super().__init__(url)
        self.fetched = []
        self.gate = None
        self.reached = asyncio.Event()

    async def fetch(self, query, **values):
        self.fetched.append(values)
        rows = await super().fetch(query, **values)
        if self.gate is not None and "ids" in values:
            self.reached.set()
            await self.gate.wait()
        return rows

    def data_key_queries(self):
        return [values for values in self.fetched if "ids" in values]


@pytest.fixture
async def database(keys_url):
    database = CountingDatabase(keys_url)
    async with database.transaction() as connection:
        await connection.run_sync(KeyTable.metadata.create_all)
    yield database
    await database.close()


@pytest.fixture
def root(tmp_path):
    return FileRootKey.create(tmp_path / "root.key")


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def open_keyring(database, root, clock, time):
    def make(provider=root, **options):
        return Keyring(database, provider, clock, monotonic=time, **options)

    return make


@pytest.fixture
async def keyring(open_keyring):
    keyring = open_keyring()
    await keyring.create_tenant("default")
    await keyring.create_tenant("other")
    return keyring


async def count(database, table=DATA_KEY):
    async with database.reading() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


async def change(database, statement):
    async with database.transaction() as connection:
        await connection.execute(statement)


async def test_new_keys_are_durable_and_open_on_another_node(keyring, open_keyring, clock, database):
    one, two = new_id(), new_id()
    new_keys = await keyring.new_subject_keys("default", [one, two])
    assert list(new_keys) == [one, two]
    sealed = {subject: keys.seal("email", str(subject).encode(), HERE) for subject, keys in new_keys.items()}
    opened = await open_keyring().subject_keys("default", [two, one])
    assert {subject: keys.open("email", sealed[subject], HERE) for subject, keys in opened.items()} == {
        one: str(one).encode(),
        two: str(two).encode(),
    }
    assert opened[one].current_version == 1
    with pytest.raises(CannotOpen):
        opened[one].open("email", sealed[two], HERE)
    async with database.reading() as connection:
        assert set((await connection.execute(select(DATA_KEY.c.created_at))).scalars()) == {clock.now()}


async def test_keys_of_people_who_have_none_are_left_out(keyring):
    here, nowhere = new_id(), new_id()
    await keyring.new_subject_keys("default", [here])
    assert list(await keyring.subject_keys("default", [here, nowhere])) == [here]
    assert await keyring.subject_keys("default", []) == {}
    assert keyring.cached("default", nowhere) is None


async def test_tenants_have_separate_keys(keyring, open_keyring):
    subject = new_id()
    mine = (await keyring.new_subject_keys("default", [subject]))[subject]
    assert keyring.cached("other", subject) is None
    assert await keyring.subject_keys("other", [subject]) == {}
    theirs = (await keyring.new_subject_keys("other", [subject]))[subject]
    for ring in (keyring, open_keyring()):
        for tenant, keys, others in (("default", mine, theirs), ("other", theirs, mine)):
            result = (await ring.subject_keys(tenant, [subject]))[subject]
            assert result.open("f", keys.seal("f", b"1", HERE), HERE) == b"1"
            with pytest.raises(CannotOpen):
                result.open("f", others.seal("f", b"1", HERE), HERE)


async def test_an_unknown_tenant_is_not_found(keyring):
    subject = new_id()
    for call in (
        keyring.subject_keys("nobody", [subject]),
        keyring.new_subject_keys("nobody", [subject]),
        keyring.index_keys("nobody"),
        keyring.token_key("nobody"),
        keyring.audit_key("nobody"),
    ):
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.code == "tenant-not-found"
        assert "nobody" not in str(caught.value)


async def test_cached_keys_need_no_query(keyring, open_keyring, database):
    subject = new_id()
    await keyring.new_subject_keys("default", [subject])
    fresh = open_keyring()
    assert fresh.cached("default", subject) is None
    keys = (await fresh.subject_keys("default", [subject]))[subject]
    database.fetched.clear()
    assert fresh.cached("default", subject) is keys
    assert (await fresh.subject_keys("default", [subject]))[subject] is keys
    assert keyring.cached("default", subject) is not None
    assert database.fetched == []


async def test_concurrent_callers_share_one_query(keyring, open_keyring, database):
    people = [new_id() for _ in range(40)]
    await keyring.new_subject_keys("default", people)
    fresh = open_keyring()
    await fresh.index_keys("default")
    database.gate = asyncio.Event()
    database.fetched.clear()
    first = asyncio.create_task(fresh.subject_keys("default", people[:1]))
    await database.reached.wait()
    others = [asyncio.create_task(fresh.subject_keys("default", people[n : n + 2])) for n in range(1, 39)]
    await asyncio.sleep(0)
    database.gate.set()
    answers = [await task for task in (first, *others)]
    assert [list(one) for one in answers] == [people[:1], *[people[n : n + 2] for n in range(1, 39)]]
    assert len(database.data_key_queries()) == 2
    assert set(database.data_key_queries()[1]["ids"]) == set(people[1:])


async def test_each_tenant_has_a_query_of_its_own(keyring, open_keyring, database):
    one, two = new_id(), new_id()
    await keyring.new_subject_keys("default", [one])
    await keyring.new_subject_keys("other", [two])
    fresh = open_keyring()
    await asyncio.gather(fresh.index_keys("default"), fresh.index_keys("other"))
    answers = await asyncio.gather(
        fresh.subject_keys("default", [one, two]),
        fresh.subject_keys("other", [one, two]),
        fresh.subject_keys("default", [one]),
    )
    assert [list(keys) for keys in answers] == [[one], [two], [one]]
    assert sorted(values["tenant"] for values in database.data_key_queries()) == ["default", "other"]


async def test_keys_of_many_subjects_are_made_at_once(keyring, open_keyring, database):
    people = [new_id() for _ in range(9_000)]
    new_keys = await keyring.new_subject_keys("default", people)
    assert len(new_keys) == await count(database) == 9_000
    fresh = open_keyring(most=20_000)
    opened = await fresh.subject_keys("default", people)
    assert list(opened) == people
    assert opened[people[-1]].open("f", new_keys[people[-1]].seal("f", b"1", HERE), HERE) == b"1"
    assert fresh.stats()["subjects"] == 9_000


async def test_an_import_does_not_evict_keys_in_use(open_keyring, keyring):
    small = open_keyring(most=10)
    reader = new_id()
    await small.new_subject_keys("default", [reader])
    await small.new_subject_keys("default", [new_id() for _ in range(FEW + 1)])
    assert small.cached("default", reader) is not None


async def test_no_more_keys_are_kept_than_allowed(keyring, open_keyring):
    people = [new_id() for _ in range(50)]
    await keyring.new_subject_keys("default", people)
    small = open_keyring(most=10)
    assert len(await small.subject_keys("default", people)) == 50
    assert small.stats()["subjects"] == 10


async def test_the_same_person_named_twice_gets_one_key(keyring, database):
    subject = new_id()
    assert list(await keyring.new_subject_keys("default", [subject, subject])) == [subject]
    assert await count(database) == 1
    assert await keyring.new_subject_keys("default", []) == {}


async def test_a_second_first_key_is_refused(keyring, open_keyring, database):
    one, two = new_id(), new_id()
    keys = await keyring.new_subject_keys("default", [one])
    sealed = keys[one].seal("f", b"1", HERE)
    with pytest.raises(exc.IntegrityError):
        await open_keyring().new_subject_keys("default", [two, one])
    opened = await open_keyring().subject_keys("default", [one, two])
    assert list(opened) == [one]
    assert opened[one].open("f", sealed, HERE) == b"1"


async def test_destroyed_keys_are_gone_here_at_once_and_from_the_store(keyring, open_keyring, database):
    gone, stays = new_id(), new_id()
    await keyring.new_subject_keys("default", [gone, stays])
    await keyring.new_subject_keys("other", [gone])
    assert await keyring.destroy_subject_keys("default", [gone, gone, new_id()]) == 1
    assert keyring.cached("default", gone) is None
    assert list(await keyring.subject_keys("default", [gone, stays])) == [stays]
    assert list(await open_keyring().subject_keys("default", [gone, stays])) == [stays]
    assert keyring.cached("other", gone) is not None
    assert await count(database) == 2
    assert await keyring.destroy_subject_keys("default", [gone]) == 0
    assert await keyring.destroy_subject_keys("default", []) == 0


async def test_a_key_destroyed_on_another_node_is_used_for_max_age_at_the_longest(keyring, open_keyring, time):
    subject = new_id()
    await keyring.new_subject_keys("default", [subject])
    elsewhere = open_keyring(max_age=30.0)
    await elsewhere.subject_keys("default", [subject])
    await keyring.destroy_subject_keys("default", [subject])
    time.now += 29.9
    assert elsewhere.cached("default", subject) is not None
    time.now += 0.1
    assert elsewhere.cached("default", subject) is None
    assert await elsewhere.subject_keys("default", [subject]) == {}


async def test_a_load_during_a_destruction_does_not_bring_the_key_back(keyring, open_keyring, database):
    subject = new_id()
    await keyring.new_subject_keys("default", [subject])
    fresh = open_keyring()
    database.gate = asyncio.Event()
    loading = asyncio.create_task(fresh.subject_keys("default", [subject]))
    await database.reached.wait()  # the row has been read, and is on its way
    await fresh.destroy_subject_keys("default", [subject])
    database.gate.set()
    await loading
    assert fresh.cached("default", subject) is None
    assert await fresh.subject_keys("default", [subject]) == {}


async def test_evicting_and_clearing_drop_from_memory_only(keyring, database):
    one, two = new_id(), new_id()
    await keyring.new_subject_keys("default", [one, two])
    keyring.evict("default", one)
    assert keyring.cached("default", one) is None
    assert keyring.cached("default", two) is not None
    keyring.clear()
    assert (keyring.stats()["subjects"], keyring.stats()["tenants"]) == (0, 0)
    assert len(await keyring.subject_keys("default", [one, two])) == 2


async def test_metrics_count_the_cached_keys(keyring, open_keyring):
    subject = new_id()
    await keyring.new_subject_keys("default", [subject])
    fresh = open_keyring()
    await fresh.subject_keys("default", [subject, new_id()])
    fresh.cached("default", subject)
    assert fresh.stats() == {"subjects": 1, "tenants": 1, "hits": 1, "misses": 2}


@pytest.mark.parametrize(
    "damage",
    [
        {"wrapped": b"\x01\x00\x01" + bytes(60)},
        {"wrapped": b""},
        {"version": 2},
        {"version": 70_000},
        {"tenant_key_version": 9},
        {"tenant_key_version": -1},
    ],
)
async def test_a_tampered_row_does_not_open_and_does_not_affect_others(keyring, open_keyring, database, damage):
    hurt, whole = new_id(), new_id()
    await keyring.new_subject_keys("default", [hurt, whole])
    await change(database, update(DATA_KEY).where(DATA_KEY.c.subject_id == hurt).values(**damage))
    fresh = open_keyring()
    failed, keys = await asyncio.gather(
        fresh.subject_keys("default", [hurt]), fresh.subject_keys("default", [whole]), return_exceptions=True
    )
    assert isinstance(failed, CannotOpen)
    assert list(keys) == [whole]


@pytest.mark.parametrize("swapped", ["subject_id", "tenant_id"])
async def test_rows_swapped_between_people_or_tenants_do_not_open(keyring, open_keyring, database, swapped):
    one, two = new_id(), new_id()
    await keyring.new_subject_keys("default", [one])
    moved = {"subject_id": two} if swapped == "subject_id" else {"tenant_id": "other"}
    await change(database, update(DATA_KEY).values(**moved))
    tenant, subject = ("default", two) if swapped == "subject_id" else ("other", one)
    with pytest.raises(CannotOpen):
        await open_keyring().subject_keys(tenant, [subject])


async def test_all_versions_of_a_persons_key_open_and_the_newest_seals(keyring, open_keyring, database, root, clock):
    subject = new_id()
    old = (await keyring.new_subject_keys("default", [subject]))[subject]
    async with database.transaction() as connection:
        wrapped = (await connection.execute(select(TENANT_KEY.c.wrapped).filter_by(tenant_id="default"))).scalar_one()
        tenant_key = WrappingKey(root.unwrap(wrapped, tenant_key_context("default", 1)), 1)
        newer = tenant_key.wrap(bytes(32), data_key_context("default", subject, 1, 2))
        await database.bulk(connection, DATA_KEY, [("default", subject, 2, 1, newer, clock.now())])
    keys = (await open_keyring().subject_keys("default", [subject]))[subject]
    assert keys.current_version == 2
    assert keys.open("f", old.seal("f", b"1", HERE), HERE) == b"1"
    with pytest.raises(CannotOpen):
        old.open("f", keys.seal("f", b"1", HERE), HERE)


async def test_a_tenant_key_that_another_node_has_made_is_found_at_once(keyring, database, root, clock):
    subject = new_id()
    await keyring.index_keys("default")  # the tenant is known here with one key
    context = tenant_key_context("default", 2)
    data_key = WrappingKey(bytes(32), 2).wrap(b"k" * 32, data_key_context("default", subject, 2, 1))
    async with database.transaction() as connection:
        row = ("default", 2, root.reference, root.wrap(bytes(32), context), clock.now())
        await database.bulk(connection, TENANT_KEY, [row])
        await database.bulk(connection, DATA_KEY, [("default", subject, 1, 2, data_key, clock.now())])
    assert list(await keyring.subject_keys("default", [subject])) == [subject]
    next_one = new_id()
    await keyring.new_subject_keys("default", [next_one])
    async with database.reading() as connection:
        by = await connection.execute(select(DATA_KEY.c.tenant_key_version).filter_by(subject_id=next_one))
        assert by.scalar_one() == 2


async def test_tenants_are_listed_and_made_once(keyring):
    assert await keyring.tenants() == ["default", "other"]
    with pytest.raises(Conflict) as caught:
        await keyring.create_tenant("default")
    assert caught.value.code == "tenant-exists"
    for name in ("", "Default", "a b", "a:b", "-a", "a" * 65, "größe"):
        with pytest.raises(InvalidInput):
            await keyring.create_tenant(name)
    assert await keyring.tenants() == ["default", "other"]


async def test_a_tenant_created_concurrently_by_two_nodes_is_created_once(open_keyring):
    one, two = open_keyring(), open_keyring()
    answers = await asyncio.gather(one.create_tenant("new"), two.create_tenant("new"), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "NoneType"]
    digests = {(await ring.index_keys("new")).digest("i", "v") for ring in (one, two)}
    assert len(digests) == 1


async def test_a_tenants_secrets_are_distinct_and_persistent(keyring, open_keyring):
    for ring in (keyring, open_keyring()):
        for tenant in ("default", "other"):
            here = await keyring.index_keys(tenant)
            assert (await ring.index_keys(tenant)).digest("i", "v") == here.digest("i", "v")
            assert here.version == 1
    digests = set()
    for tenant in ("default", "other"):
        digests.add((await keyring.index_keys(tenant)).digest("i", "v"))
        digests.add((await keyring.token_key(tenant)).digest("i", b"v"))
        digests.add((await keyring.audit_key(tenant)).digest("i", b"v"))
    assert len(digests) == 6


async def test_a_tenants_keys_are_loaded_once_for_concurrent_callers_and_again_after_max_age(
    open_keyring, keyring, database, time
):
    fresh = open_keyring()
    database.fetched.clear()
    await asyncio.gather(*[fresh.index_keys("default") for _ in range(20)], fresh.token_key("default"))
    assert len(database.fetched) == 2  # its keys and its secrets
    time.now += 29.9
    await fresh.index_keys("default")
    assert len(database.fetched) == 2
    time.now += 0.1
    await fresh.index_keys("default")
    assert len(database.fetched) == 4


async def test_another_root_key_is_refused_at_start_with_its_reference(keyring, open_keyring, root, tmp_path):
    await keyring.check_root()
    wrong = FileRootKey.create(tmp_path / "wrong.key")
    for call in (lambda ring: ring.check_root(), lambda ring: ring.index_keys("default")):
        with pytest.raises(Misconfigured) as caught:
            await call(open_keyring(wrong))
        assert root.reference in caught.value.hint
        assert wrong.reference in caught.value.hint


async def test_an_empty_key_store_accepts_any_root_key(open_keyring):
    await open_keyring().check_root()


async def test_a_tampered_reference_does_not_make_a_wrong_root_open(keyring, open_keyring, database, tmp_path):
    wrong = FileRootKey.create(tmp_path / "wrong.key")
    for table in (TENANT_KEY, TENANT_SECRET):
        await change(database, update(table).values(root_reference=wrong.reference))
    with pytest.raises(CannotOpen):
        await open_keyring(wrong).index_keys("default")


async def test_tenant_rows_swapped_between_tenants_do_not_open(keyring, open_keyring, database):
    await change(database, delete(TENANT_KEY).where(TENANT_KEY.c.tenant_id == "other"))
    await change(database, update(TENANT_KEY).values(tenant_id="other"))
    with pytest.raises(CannotOpen):
        await open_keyring().index_keys("other")


async def test_secrets_swapped_between_uses_do_not_open(keyring, open_keyring, database):
    await change(database, delete(TENANT_SECRET).where(TENANT_SECRET.c.kind == "token"))
    await change(database, update(TENANT_SECRET).where(TENANT_SECRET.c.kind == "index").values(kind="token"))
    with pytest.raises((CannotOpen, Misconfigured)):
        await open_keyring().token_key("default")


async def test_a_missing_secret_is_reported(keyring, open_keyring, database):
    await change(database, delete(TENANT_SECRET).where(TENANT_SECRET.c.kind == "audit"))
    with pytest.raises(Misconfigured, match="audit") as caught:
        await open_keyring().audit_key("default")
    assert caught.value.hint


async def test_a_failure_of_one_tenant_does_not_affect_others(keyring, open_keyring, database):
    await change(database, update(TENANT_KEY).where(TENANT_KEY.c.tenant_id == "other").values(wrapped=b"junk"))
    fresh = open_keyring()
    failed, index_keys = await asyncio.gather(
        fresh.index_keys("other"), fresh.index_keys("default"), return_exceptions=True
    )
    assert isinstance(failed, CannotOpen)
    assert index_keys.version == 1


async def test_no_key_is_stored_in_clear(keyring, open_keyring, database, monkeypatch):
    import os

    drawn = []
    real = os.urandom

    def watched(length):
        drawn.append(real(length))
        return drawn[-1]

    monkeypatch.setattr("os.urandom", watched)
    await keyring.create_tenant("third")
    await keyring.new_subject_keys("third", [new_id()])
    keys = [random for random in drawn if len(random) == 32]
    assert len(keys) == 6
    stored = []
    async with database.reading() as connection:
        for table in (TENANT_KEY, TENANT_SECRET, DATA_KEY):
            stored.extend((await connection.execute(select(table.c.wrapped))).scalars())
    for key in keys:
        assert not any(key in wrapped for wrapped in stored)


async def test_cached_keys_work_while_the_key_store_is_unavailable(keyring, database):
    known, unknown = new_id(), new_id()
    await keyring.new_subject_keys("default", [known])
    await change(database, _drop())
    with pytest.raises(Unavailable):
        await keyring.subject_keys("default", [unknown])
    assert list(await keyring.subject_keys("default", [known])) == [known]


def _drop():
    from sqlalchemy import text

    return text("DROP TABLE data_key")


class SlowProvider:
    """A provider on a network: it answers only after the event loop has run other work."""

    reference = "slow-1"

    def __init__(self, loop):
        self._loop = loop
        self._key = WrappingKey(bytes(32))
        self.loop_goes_on = threading.Event()

    def _wait(self):
        self._loop.call_soon_threadsafe(self.loop_goes_on.set)
        assert self.loop_goes_on.wait(timeout=10), "the provider was called on the event loop"

    def wrap(self, plaintext, context):
        self._wait()
        return self._key.wrap(plaintext, context)

    def unwrap(self, sealed, context):
        self._wait()
        return self._key.unwrap(sealed, context)


async def test_the_event_loop_goes_on_while_a_provider_waits(database, clock):
    provider = SlowProvider(asyncio.get_running_loop())
    keyring = Keyring(database, provider, clock)
    for use in (
        lambda: keyring.create_tenant("slow"),
        lambda: keyring.index_keys("slow"),
        lambda: keyring.rotate_signing_key("slow"),
    ):
        provider.loop_goes_on.clear()
        await use()
        assert provider.loop_goes_on.is_set()
