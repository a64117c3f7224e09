"""The registry of personal data: every table with a subject's id has one owner, and the final check asks all owners."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from tests.erasure.people import ask, certificate, run, somebody, state_of
from vault.consent.model import Event
from vault.consent.model import encode as encode_event
from vault.consent.store import CONFIRMATION, EVENT
from vault.contacts.changes import CONTACT_CHANGE
from vault.contacts.shared import SHARED_CONTACT
from vault.erasure import verify
from vault.erasure.start import erasure_of
from vault.errors import Conflict
from vault.export.store import PACKAGE, PACKAGE_CHUNK
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.ids import DEFAULT_TENANT, new_id
from vault.lifecycle.erasures import ERASURE
from vault.lifecycle.personal_data import owned_tables
from vault.recipients.store import RECIPIENT_NOTICE
from vault.rectification.store import RECTIFICATION
from vault.requests.model import Event as RequestEvent
from vault.requests.store import REQUEST, REQUEST_EVENT
from vault.requests.store import _encode as encode_request_event
from vault.retention.tables import HOLD_SUBJECT, RETENTION_REVIEW, SUBJECT_CLOCK
from vault.storage.columns import DataTable
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT, SUBJECT_ALIAS
from vault.workflows import OWNERS

SUBJECT_COLUMNS = {"subject_id", "subject", "alias_id", "alias", "survivor_id", "survivor", "duplicate_id", "duplicate"}
RAW = bytes(32)
SEALED = bytes([0, 0, 1]) + bytes(40)
"""Looks as if it was sealed with the first version of a data key."""


def tables_with_a_subject():
    """Ask the schema of the main database."""
    for table in DataTable.metadata.tables.values():
        if table.name == "subject" or SUBJECT_COLUMNS & {column.name for column in table.columns}:
            yield table


def test_every_table_with_a_subjects_id_has_exactly_one_owner():
    owners = Counter(table.name for owner in OWNERS for table in owner.tables)
    assert {table.name: owners[table.name] for table in tables_with_a_subject()} == {
        table.name: 1 for table in tables_with_a_subject()
    }
    assert max(owners.values()) == 1


def test_what_stays_is_owned():
    for owner in OWNERS:
        assert set(owner.retained) <= set(owner.tables)


def rows(subject, request, now):
    """Make a row for each owned table; some need another one that leads to the subject."""
    package, record, other = new_id(), new_id(), new_id()
    of, times = {"subject_id": subject}, {"created_at": now, "expires_at": now}
    event = Event(
        id=new_id(), subject=subject, kind="given", by="subject", occurred_at=now, recorded_at=now, channel="web",
        purpose="direct-marketing",
    )  # fmt: skip
    note = RequestEvent(number=9, at=now, move="receive", before=None, after="received", note=SEALED)
    return {
        RECORD: [(RECORD, {
            **of, "collection": "purchase", "id": record, "revision": 1, "created_at": now, "updated_at": now,
            "due_at": now, "body": b"",
        })],
        BLIND_INDEX: [(BLIND_INDEX, {**of, "digest": RAW, "record_id": record, "version": 1})],
        EXTERNAL_REF: [(EXTERNAL_REF, {**of, "digest": RAW, "version": 1})],
        SUBJECT_ALIAS: [(SUBJECT_ALIAS, {**of, "alias_id": other, "entry_id": other, "created_at": now})],
        EVENT: [(EVENT, {
            **of, "id": event.id, "purpose": event.purpose, "kind": event.kind, "occurred_at": now,
            "recorded_at": now, "body": encode_event(event),
        })],
        CONFIRMATION: [(CONFIRMATION, {**of, "event_id": other, "token_hash": RAW, "expires_at": now})],
        REQUEST_EVENT: [(REQUEST_EVENT, {
            "request_id": request, "number": 9, "at": now, "body": encode_request_event(note),
        })],
        RECTIFICATION: [(RECTIFICATION, {
            **of, "id": other, "collection": "profile", "record_id": subject, "field": "name", "state": "corrected",
            "at": now,
        })],
        PACKAGE: [(PACKAGE, _package(of, package, request, times))],
        PACKAGE_CHUNK: [
            (PACKAGE, _package(of, package, request, times)),
            (PACKAGE_CHUNK, {"package_id": package, "number": 0, "body": b"sealed"}),
        ],
        IDENTITY_CODE: [(IDENTITY_CODE, {
            **of, "id": other, "request_id": request, "intent": "request", "claim": RAW, "digest": RAW, **times,
            "attempts": 0,
        })],
        CONTACT_CHANGE: [(CONTACT_CHANGE, {**of, "id": other, "field": "email", "kind": "added", "changed_at": now})],
        SHARED_CONTACT: [(SHARED_CONTACT, {**of, "id": other, "field": "email", "since": now, "claimed_at": now})],
        SUBJECT_SESSION: [(SUBJECT_SESSION, {
            **of, "id": other, "token_hash": RAW, "authenticated_at": now, **times,
        })],
        SUBJECT_CLOCK: [(SUBJECT_CLOCK, {**of, "kind": "record:interaction", "at": now})],
        RETENTION_REVIEW: [(RETENTION_REVIEW, {
            **of, "id": other, "collection": "profile", "record_id": subject, "field": "email", "kind": "review",
            "state": "open", "ended_on": "2026-01-01", "created_at": now,
        })],
        HOLD_SUBJECT: [(HOLD_SUBJECT, {**of, "hold_id": other})],
        RECIPIENT_NOTICE: [(RECIPIENT_NOTICE, {
            **of, "id": other, "principal_id": other, "kind": "subject.erased", "state": "delivered",
            "created_at": now, "round": 0, "attempts": 0, "chases": 0, "body": b"{}",
        })],
    }  # fmt: skip


def _package(of, package, request, times):
    return {
        **of, "id": package, "request_id": request, "state": "ready", **times, "size": 1, "chunks": 1, "digest": RAW,
        "body": b'{"kind":"access","run":0}',
    }  # fmt: skip


THEIR_OWN = {SUBJECT, REQUEST, ERASURE}
"""Every erased subject has rows in these anyway."""


async def plant(node, *inserts):
    async with node.services.data.transaction() as connection:
        for table, row in inserts:
            await connection.execute(table.insert(), [{"tenant_id": str(DEFAULT_TENANT), **row}])


async def remains(node, erasure):
    """Ask every owner; returns those that count something."""
    async with node.services.data.reading() as connection:
        counts = {
            type(owner).__name__: await owner.remains(connection, DEFAULT_TENANT, erasure)
            for owner in node.services.personal_data
        }
    return {owner: count for owner, count in counts.items() if count}


async def erased(node):
    """Make a subject with a row in every owned table, and erase them up to the check."""
    subject = UUID(await somebody(node))
    request = await ask(node, subject)
    other = await ask(node, subject, kind="access", state="completed", details={"words": "said"})
    for table, inserts in rows(subject, other, node.services.clock.now()).items():
        if table not in {RECORD, BLIND_INDEX, PACKAGE}:  # the subject has some; a package comes with its chunk
            await plant(node, *inserts)
    await run(node.services, request, until="check")
    return subject, request, other


def test_the_planted_rows_cover_every_owned_table():
    assert rows(UUID(int=1), UUID(int=2), _now()).keys() | THEIR_OWN == set(owned_tables(OWNERS))


def _now():
    from tests.support import FixedClock

    return FixedClock().now()


async def test_after_an_erasure_no_owner_has_anything_left(node):
    subject, request, _other = await erased(node)
    erasure = await erasure_of(node.services, DEFAULT_TENANT, request)
    assert await remains(node, erasure) == {}
    for table in owned_tables(OWNERS):
        stays = any(table in owner.retained for owner in OWNERS)
        if "subject_id" in table.c and not stays:
            ((count,),) = await node.sql(f"SELECT count(*) FROM {table.name} WHERE subject_id = :id", id=subject)
            assert count == 0, table.name
    await run(node.services, request)
    assert (await certificate(node, request))["check"]["found"] == 0


async def test_a_row_in_any_one_table_makes_the_check_fail(node):
    subject, request, other = await erased(node)
    erasure = await erasure_of(node.services, DEFAULT_TENANT, request)
    stays = {HOLD_SUBJECT, RECIPIENT_NOTICE}  # rows of ids, that nothing has to be taken from
    for table, inserts in rows(subject, other, node.services.clock.now()).items():
        if table in stays:
            continue
        if table is REQUEST_EVENT:
            await node.sql("DELETE FROM request_event WHERE number = 9")
        await plant(node, *inserts)
        seen = await verify.scan(node.services, DEFAULT_TENANT, erasure)
        assert seen.wrong == 1, table.name
        for planted, row in inserts:
            await clear(node, planted, row)
    assert (await verify.scan(node.services, DEFAULT_TENANT, erasure)).wrong == 0


async def clear(node, table, row):
    keys = [column for column in table.primary_key.columns if column.name in row]
    async with node.services.data.transaction() as connection:
        await connection.execute(table.delete().where(*(column == row[column.name] for column in keys)))


@pytest.mark.parametrize(
    ("table", "change"), [(REQUEST, {"details": SEALED}), (SUBJECT, {"state": "active"})], ids=["request", "subject"]
)
async def test_a_value_in_a_row_that_stays_makes_the_check_fail(node, table, change):
    subject, request, other = await erased(node)
    async with node.services.data.transaction() as connection:
        await connection.execute(
            table.update().where(table.c.id == (other if table is REQUEST else subject)).values(change)
        )
    erasure = await erasure_of(node.services, DEFAULT_TENANT, request)
    assert (await verify.scan(node.services, DEFAULT_TENANT, erasure)).wrong == 1


async def test_no_certificate_is_signed_while_a_package_is_left(node, monkeypatch):
    subject, request, other = await erased(node)
    await plant(node, *rows(subject, other, node.services.clock.now())[PACKAGE])
    monkeypatch.setattr(verify, "MAX_CHECKS", 1)
    with pytest.raises(Conflict):
        await run(node.services, request)
    assert (await erasure_of(node.services, DEFAULT_TENANT, request)).certificate is None


async def test_rows_from_after_the_erasure_do_not_count_where_something_was_kept(node, clock):
    subject = UUID(await somebody(node, bought=["2026-02-01T12:00:00Z"]))
    request = await ask(node, subject)
    await run(node.services, request)
    assert await state_of(node, subject) == "retained"
    erasure = await erasure_of(node.services, DEFAULT_TENANT, request)
    assert await remains(node, erasure) == {}
    clock.advance(seconds=60)
    await plant(node, *rows(subject, request, clock.now())[PACKAGE])
    assert await remains(node, erasure) == {}
    async with node.services.data.transaction() as connection:
        await connection.execute(PACKAGE.update().values(created_at=erasure.started_at - timedelta(seconds=1)))
    assert await remains(node, erasure) == {"ExportData": 1}


async def test_files_are_cleaned_of_every_owned_table(node, monkeypatch):
    """On PostgreSQL a table that is left out keeps its dead rows in the files when the certificate is signed."""
    from vault.storage.database import Database

    cleaned = set()
    real = Database.scrub

    async def noted(self, tables):
        if self is node.services.data:
            cleaned.update(table.name for table in tables)
        return await real(self, tables)

    monkeypatch.setattr(Database, "scrub", noted)
    subject = await somebody(node)
    await run(node.services, await ask(node, subject))
    assert cleaned == {table.name for table in owned_tables(OWNERS)}
    assert {"subject_clock", "retention_review"} <= cleaned
