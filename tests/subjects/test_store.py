"""Subjects and records are found by ids, digests and external ids, only within their tenant."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from vault.crypto.row_mac import RowKeys
from vault.ids import new_id, random_id
from vault.storage.database import Database
from vault.subjects.store import (
    MOST_RECORDS,
    IndexChange,
    PageQuery,
    Row,
    StoredSubject,
    SubjectQuery,
    Subjects,
    add_external,
    change_index,
    change_record,
    locked_record,
    record_by_external,
)
from vault.subjects.tables import BLIND_INDEX, RECORD, SUBJECT, SUBJECTS, SubjectRow

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)


class CountingDatabase(Database):
    """A database that counts the queries of the hot path."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.fetches = 0

    async def fetch(self, query, **values):
        self.fetches += 1
        return await super().fetch(query, **values)


@pytest.fixture
async def database(data_url):
    database = CountingDatabase(data_url)
    async with database.transaction() as connection:
        await connection.run_sync(SubjectRow.metadata.create_all)
    yield database
    await database.close()


@pytest.fixture
async def other(data_url):
    other = Database(data_url)
    yield other
    await other.close()


@pytest.fixture
def store(database):
    return Subjects(database, SimpleNamespace(row_keys=row_keys))


KEYS = RowKeys("ours", bytes(32))


async def row_keys(_tenant):
    return KEYS


def subject_row(subject, *, tenant="ours", state="active"):
    row = (tenant, subject, random_id(), state, NOW, None)
    return (*row, SUBJECTS.mac(KEYS, row))


def record_row(subject, collection, record, *, tenant="ours", revision=1, external=None, body=b"body", occurred=None):
    return (tenant, subject, collection, record, revision, NOW, NOW, occurred, None, external, body)


async def add(store, database, **rows):
    async with database.transaction() as connection:
        await store.add(connection, **rows)


async def test_a_subject_is_found_with_its_profile(store, database):
    ada = new_id()
    row = subject_row(ada)
    await add(store, database, subjects=[row], records=[record_row(ada, "profile", ada, revision=3)])
    (match,) = await store.find(SubjectQuery("ours", (ada,), profile=True))
    assert match == StoredSubject(ada, row[2], "active", b"body", {})
    (bare,) = await store.find(SubjectQuery("ours", (ada,), profile=False))
    assert bare.profile is None


async def test_a_row_is_checked_again_only_if_it_is_another(store, database, monkeypatch):
    checked = []
    is_genuine = SUBJECTS.is_genuine
    monkeypatch.setattr(SUBJECTS, "is_genuine", lambda keys, row: checked.append(row[1]) or is_genuine(keys, row))
    ada, bob = new_id(), new_id()
    await add(store, database, subjects=[subject_row(ada), subject_row(bob)])
    for _ in range(3):
        found = await store.find(SubjectQuery("ours", (ada, bob), profile=True))
        assert None not in found
    assert sorted(checked) == sorted([ada, bob])
    async with database.transaction() as connection:
        await connection.execute(update(SUBJECT).where(SUBJECT.c.id == ada).values(state="restricted"))
    row, other = await store.find(SubjectQuery("ours", (ada, bob), profile=True))
    assert (row, other.id) == (None, bob)
    assert len(checked) == 3
    assert await store.find(SubjectQuery("ours", (ada,), profile=True)) == [None], "nor is it remembered as a good one"


async def test_a_row_that_is_known_in_one_tenant_is_not_taken_for_anothers(store, database):
    ada = new_id()
    row = subject_row(ada)
    await add(store, database, subjects=[row])
    assert await store.find(SubjectQuery("ours", (ada,), profile=False)) != [None]
    await add(store, database, subjects=[("theirs", *row[1:])])
    assert await store.find(SubjectQuery("theirs", (ada,), profile=False)) == [None]


async def test_no_more_rows_are_remembered_than_there_is_room_for(store, database, monkeypatch):
    monkeypatch.setattr("vault.subjects.store.MOST_KNOWN", 10)
    people = [new_id() for _ in range(25)]
    await add(store, database, subjects=[subject_row(person) for person in people])
    for person in people:
        assert await store.find(SubjectQuery("ours", (person,), profile=False)) != [None]
        assert len(store._known["ours"]) <= 10


async def test_a_subject_without_a_profile_is_found(store, database):
    ada = new_id()
    await add(store, database, subjects=[subject_row(ada, state="erased")])
    (match,) = await store.find(SubjectQuery("ours", (ada,), profile=True))
    assert (match.profile, match.state) == (None, "erased")


async def test_subjects_are_in_the_order_of_the_query_with_none_for_unknown_ids(store, database):
    people = [new_id() for _ in range(4)]
    await add(store, database, subjects=[subject_row(person) for person in people[:3]])
    asked = (people[2], people[3], people[0], people[2])
    match = await store.find(SubjectQuery("ours", asked, profile=True))
    assert [item and item.id for item in match] == [people[2], None, people[0], people[2]]
    assert await store.find(SubjectQuery("ours", (), profile=True)) == []


async def test_a_thousand_subjects_are_found_at_once(store, database):
    people = [new_id() for _ in range(1_000)]
    await add(
        store,
        database,
        subjects=[subject_row(person) for person in people],
        records=[record_row(person, "profile", person, body=person.bytes) for person in people],
    )
    match = await store.find(SubjectQuery("ours", tuple(reversed(people)), profile=True))
    assert [item.profile for item in match] == [person.bytes for person in reversed(people)]
    assert database.fetches == 1


async def test_concurrent_reads_share_one_query(store, database):
    people = [new_id() for _ in range(50)]
    await add(
        store,
        database,
        subjects=[subject_row(person) for person in people],
        records=[record_row(person, "profile", person, body=person.bytes) for person in people],
    )
    asked = [*people, new_id(), people[0]]
    answers = await asyncio.gather(*(store.find(SubjectQuery("ours", (question,), profile=True)) for question in asked))
    assert [answer[0] and answer[0].profile for answer in answers] == [
        *(person.bytes for person in people),
        None,
        people[0].bytes,
    ]
    assert database.fetches == 1


async def test_reads_of_different_tenants_use_separate_queries(store, database):
    """This keeps row-level security by session possible."""
    ours, theirs = new_id(), new_id()
    await add(store, database, subjects=[subject_row(ours), subject_row(theirs, tenant="theirs")])
    answers = await asyncio.gather(
        store.find(SubjectQuery("ours", (ours,), profile=True)),
        store.find(SubjectQuery("theirs", (theirs,), profile=True)),
        store.find(SubjectQuery("ours", (theirs,), profile=True)),
        store.find(SubjectQuery("theirs", (ours,), profile=True)),
    )
    assert [answer[0] and answer[0].id for answer in answers] == [ours, theirs, None, None]
    assert database.fetches == 2


async def test_the_same_ids_in_two_tenants_are_two_people(store, database):
    same, record, digest = new_id(), new_id(), bytes(32)
    for tenant in ("ours", "theirs"):
        await add(
            store,
            database,
            subjects=[subject_row(same, tenant=tenant)],
            records=[
                record_row(same, "profile", same, tenant=tenant, body=tenant.encode()),
                record_row(same, "purchase", record, tenant=tenant, body=tenant.encode(), external=digest),
            ],
            external=[(tenant, digest, same, 1)],
            index=[(tenant, digest, same, same, 1)],
        )
    for tenant in ("ours", "theirs"):
        (match,) = await store.find(SubjectQuery(tenant, (same,), profile=True, many=("purchase",)))
        assert match.profile == tenant.encode()
        assert [row.body for row in match.many["purchase"]] == [tenant.encode()]
        assert await store.by_digest(tenant, digest, most=10) == [(same, same)]
        assert (await store.rows(tenant, [(same, record)]))[same, record].body == tenant.encode()
        async with database.reading() as connection:
            (listed,) = await store.page(connection, tenant, PageQuery(same, "purchase"))
            kept = await record_by_external(connection, tenant, same, "purchase", digest)
        assert listed.body == kept.body == tenant.encode()
    assert await store.by_digest("nobody", digest, most=10) == []
    assert await store.by_external("nobody", [digest]) == {}


async def test_records_come_newest_first_and_only_the_collections_asked_for(store, database):
    ada, bob = new_id(), new_id()
    records = [(who, kind, new_id()) for _ in range(3) for who in (ada, bob) for kind in ("purchase", "complaint")]
    await add(
        store,
        database,
        subjects=[subject_row(ada), subject_row(bob)],
        records=[record_row(*record, body=record[2].bytes) for record in records],
    )
    match = await store.find(SubjectQuery("ours", (ada, bob), profile=False, many=("purchase", "offer")))
    for item in match:
        expected = [record for who, kind, record in reversed(records) if (who, kind) == (item.id, "purchase")]
        assert [row.id for row in item.many["purchase"]] == expected
        assert item.many["offer"] == []
        assert set(item.many) == {"purchase", "offer"}


async def test_the_newest_records_are_fetched_and_one_more(store, database):
    ada = new_id()
    records = [new_id() for _ in range(MOST_RECORDS + 20)]
    await add(
        store,
        database,
        subjects=[subject_row(ada)],
        records=[record_row(ada, "purchase", record) for record in records],
    )
    (match,) = await store.find(SubjectQuery("ours", (ada,), profile=False, many=("purchase",)))
    assert [row.id for row in match.many["purchase"]] == records[::-1][: MOST_RECORDS + 1]


async def test_pages_of_a_collection_have_no_gap_and_no_repeat(store, database):
    ada = new_id()
    records = [new_id() for _ in range(7)]
    await add(
        store,
        database,
        subjects=[subject_row(ada)],
        records=[record_row(ada, "purchase", record, occurred=NOW + timedelta(days=1)) for record in records],
    )
    seen, before = [], None
    async with database.reading() as connection:
        while page := await store.page(connection, "ours", PageQuery(ada, "purchase", before, 3)):
            seen += [row.id for row in page]
            before = seen[-1]
    assert seen == records[::-1]
    assert page == []


async def test_a_digest_finds_its_subjects_up_to_the_limit(store, database):
    digest, other = b"a" * 32, b"b" * 32
    leads = sorted((new_id(), new_id()) for _ in range(5))
    await add(
        store,
        database,
        index=[("ours", digest, *lead, 1) for lead in leads] + [("ours", other, new_id(), new_id(), 1)],
    )
    assert await store.by_digest("ours", digest, most=10) == leads
    assert await store.by_digest("ours", digest, most=2) == leads[:2]
    assert await store.by_digest("ours", b"c" * 32, most=2) == []


async def test_subjects_are_found_by_other_systems_ids(store, database):
    one, two = new_id(), new_id()
    rows = [("ours", b"1" * 32, one, 1), ("ours", b"2" * 32, two, 1)]
    async with database.transaction() as connection:
        await add_external(connection, rows)
    assert await store.by_external("ours", [b"1" * 32, b"2" * 32, b"3" * 32]) == {b"1" * 32: one, b"2" * 32: two}
    assert await store.by_external("ours", []) == {}
    with pytest.raises(IntegrityError):  # one id of another system leads to one person
        async with database.transaction() as connection:
            await add_external(connection, [("ours", b"1" * 32, two, 1)])


async def test_single_records_are_fetched_by_both_of_their_ids(store, database):
    ada, bob = new_id(), new_id()
    purchase = new_id()
    await add(
        store,
        database,
        subjects=[subject_row(ada), subject_row(bob)],
        records=[record_row(ada, "profile", ada), record_row(ada, "purchase", purchase, revision=2)],
    )
    result = await store.rows("ours", [(ada, purchase), (ada, ada), (bob, purchase)])
    assert result == {
        (ada, purchase): Row("purchase", purchase, 2, b"body"),
        (ada, ada): Row("profile", ada, 1, b"body"),
    }


async def test_a_change_of_a_record_does_not_affect_others(store, database):
    ada, one, other = new_id(), new_id(), new_id()
    await add(
        store,
        database,
        subjects=[subject_row(ada)],
        records=[record_row(ada, "purchase", item) for item in (one, other)],
    )
    async with database.transaction() as connection:
        row = await locked_record(connection, "ours", ada, "purchase", one)
        await change_record(connection, row, revision=row.revision + 1, body=b"new", updated_at=NOW)
        assert await locked_record(connection, "ours", ada, "complaint", one) is None
        assert await locked_record(connection, "theirs", ada, "purchase", one) is None
    async with database.reading() as connection:
        rows = await store.page(connection, "ours", PageQuery(ada, "purchase"))
    assert [(row.id, row.revision, row.body) for row in rows] == [(other, 1, b"body"), (one, 2, b"new")]


async def test_concurrent_changes_of_a_record_are_serialised(store, database, other):
    ada = new_id()
    await add(store, database, subjects=[subject_row(ada)], records=[record_row(ada, "profile", ada)])

    async def count_up(node):
        for _ in range(10):
            async with node.transaction() as connection:
                row = await locked_record(connection, "ours", ada, "profile", ada)
                await change_record(connection, row, revision=row.revision + 1)

    await asyncio.gather(count_up(database), count_up(other), count_up(database))
    assert await store.profile_revision("ours", ada) == 31


async def test_there_is_one_record_to_an_external_id_and_many_without_one(store, database):
    ada = new_id()
    first = record_row(ada, "purchase", new_id(), external=b"e" * 32)
    await add(store, database, subjects=[subject_row(ada)], records=[first])
    await add(store, database, records=[record_row(ada, "purchase", new_id()) for _ in range(2)])
    await add(store, database, records=[record_row(ada, "complaint", new_id(), external=b"e" * 32)])
    with pytest.raises(IntegrityError):
        await add(store, database, records=[record_row(ada, "purchase", new_id(), external=b"e" * 32)])
    async with database.reading() as connection:
        result = await record_by_external(connection, "ours", ada, "purchase", b"e" * 32)
        assert result.id == first[3]
        assert await record_by_external(connection, "ours", ada, "purchase", b"f" * 32) is None
        assert await record_by_external(connection, "ours", ada, "purchase", None) is None


async def test_there_cannot_be_two_profiles(store, database):
    ada = new_id()
    await add(store, database, subjects=[subject_row(ada)], records=[record_row(ada, "profile", ada)])
    with pytest.raises(IntegrityError):
        await add(store, database, records=[record_row(ada, "profile", ada)])


async def test_a_change_of_an_index_deletes_old_and_adds_new_digests(store, database):
    ada, bob, record = new_id(), new_id(), new_id()
    row = SimpleNamespace(tenant_id="ours", subject_id=ada, id=record)
    a, b, c = (letter * 32 for letter in (b"a", b"b", b"c"))
    await add(
        store,
        database,
        index=[("ours", a, ada, record, 1), ("ours", b, ada, record, 1), ("ours", a, bob, record, 1)],
    )
    async with database.transaction() as connection:
        await change_index(connection, [IndexChange(row, frozenset([a, b]), frozenset([b, c]))], version=2)
    async with database.reading() as connection:
        rows = await connection.execute(select(BLIND_INDEX))
        left = {(row.digest, row.subject_id, row.version) for row in rows}
    assert left == {(b, ada, 1), (c, ada, 2), (a, bob, 1)}
    async with database.transaction() as connection:
        await change_index(connection, [], version=2)
        await change_index(connection, [IndexChange(row, frozenset(), frozenset())], version=2)
        await change_index(connection, [IndexChange(row, frozenset([b, c]), frozenset(), frozenset([c]))], version=2)
    assert await store.by_digest("ours", c, most=9) == [(ada, record)]  # another value has it
    async with database.transaction() as connection:
        await change_index(connection, [IndexChange(row, frozenset([b, c]), frozenset())], version=2)
    assert await store.by_digest("ours", b, most=9) == await store.by_digest("ours", c, most=9) == []


async def test_rows_of_all_tables_are_inserted_together_or_not_at_all(store, database):
    ada = new_id()
    with pytest.raises(IntegrityError):
        await add(
            store,
            database,
            subjects=[subject_row(ada)],
            records=[record_row(ada, "profile", ada)],
            external=[("ours", b"x" * 32, ada, 1)],
            index=[("ours", b"y" * 32, ada, ada, 1)] * 2,
        )
    assert await store.find(SubjectQuery("ours", (ada,), profile=True)) == [None]
    assert await store.by_external("ours", [b"x" * 32]) == {}
    async with database.reading() as connection:
        assert (await connection.execute(select(RECORD))).all() == []
