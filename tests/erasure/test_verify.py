"""Erased data remains in no file, backup, related table or node memory."""

from __future__ import annotations

import shutil
from uuid import UUID

import pytest

from tests.erasure.people import LATELY, ask, certificate, erase, keys_of, rows_of, run, somebody, state_of
from tests.vaults import ADA, Place, problem
from vault.bootstrap import open_vault
from vault.erasure import verify as prove
from vault.erasure.start import erasure_of
from vault.erasure.workflow import KeyEviction
from vault.errors import CannotOpen
from vault.export.store import PACKAGE, PACKAGE_CHUNK
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.ids import DEFAULT_TENANT, SubjectId, new_id
from vault.rectification.store import RECTIFICATION
from vault.subjects.store import SubjectQuery


async def test_an_older_backup_does_not_open_with_the_present_key_store(sqlite_node):
    """The main database is restored from before the erasure; the key store is current."""
    node = sqlite_node
    living, subject = await node.create(), await somebody(node, bought=[LATELY])
    backup = node.place.folder.parent / "backup"
    backup.mkdir()
    _copy(node.place.folder, backup)
    await erase(node, subject)
    shutil.copy(node.place.folder / "keys.sqlite", backup / "keys.sqlite")
    urls = {f"{item}_url": f"sqlite:///{backup / name}" for item, name in _FILES.items()}
    async with Place(node.place.folder, "sqlite", urls, node.place.keys).node() as restored:
        (match,) = await restored.services.subjects.find(
            SubjectQuery(DEFAULT_TENANT, (SubjectId(UUID(subject)),), profile=True)
        )
        assert match.state == "active"
        assert match.profile is not None
        keys = await restored.services.keyring.subject_keys(DEFAULT_TENANT, [match.id])
        from vault.crypto.seal import record_aad
        from vault.subjects.rows import unpack

        for name, stored in unpack(match.profile).items():
            with pytest.raises(CannotOpen):
                keys[match.id].open(name, stored.sealed, record_aad(DEFAULT_TENANT, match.id, "profile", match.id))
        answer = await restored.read("sales", living, ["name"], "order-fulfilment")
        assert answer.json()["fields"] == {"name": ADA["name"]}
        problem(await restored.read("sales", subject, ["email"], "order-fulfilment"), 500, "cannot-open")


_FILES = {"database": "data.sqlite", "keystore": "keys.sqlite"}


def _copy(folder, backup):
    for path in folder.glob("data.sqlite*"):
        shutil.copy(path, backup / path.name)


async def test_the_key_is_in_no_file_after_the_erasure(sqlite_node):
    node = sqlite_node
    subject = SubjectId(UUID(await somebody(node)))
    before = await node.services.keyring.remains(DEFAULT_TENANT, subject, kept=None, newest=1)
    assert before.keys >= 2  # the row, and the very bytes in the file or its log
    await erase(node, subject)
    after = await node.services.keyring.remains(DEFAULT_TENANT, subject, kept=None, newest=1)
    assert after.keys == 0
    assert after.bytes > 0
    for log in node.place.folder.glob("*.sqlite-wal"):
        wal = log.read_bytes()
        assert subject.bytes not in wal or log.name.startswith(("data", "ledger"))


async def test_a_deleted_key_in_the_files_delays_the_certificate(sqlite_node, monkeypatch):
    """If the files are not cleaned, the write-ahead log still contains the key, and the scan must detect it."""
    node = sqlite_node
    subject = await somebody(node)
    request = await ask(node, subject)
    await run(node.services, request, until="scrub")
    erasure = await erasure_of(node.services, DEFAULT_TENANT, request)
    seen = await prove.scan(node.services, DEFAULT_TENANT, erasure)
    assert seen.keys >= 1
    await prove.advance(node.services, DEFAULT_TENANT, erasure.id, "destroyed", "scrubbed")
    monkeypatch.setattr(prove, "MAX_CHECKS", 1)
    erasure = await erasure_of(node.services, DEFAULT_TENANT, request)
    with pytest.raises(prove.NotProven):
        await prove.check_remains(node.services, DEFAULT_TENANT, erasure)
    assert (await erasure_of(node.services, DEFAULT_TENANT, request)).certificate is None
    monkeypatch.undo()
    await run(node.services, request)
    assert (await certificate(node, request))["check"]["found"] == 0


async def test_verification_finds_a_remaining_row_of_the_erased_subject(node):
    subject = await somebody(node)
    request = await ask(node, subject)
    await run(node.services, request, until="check")
    person = UUID(subject)
    await node.sql(
        "INSERT INTO subject_alias (tenant_id, alias_id, subject_id, entry_id, created_at)"
        " SELECT tenant_id, :old, id, :old, created_at FROM subject WHERE id = :id",
        old=new_id(),
        id=person,
    )
    erasure = await erasure_of(node.services, DEFAULT_TENANT, request)
    assert (await prove.scan(node.services, DEFAULT_TENANT, erasure)).wrong == 1


async def test_other_nodes_drop_the_key_at_their_next_check(place, clock):
    async with place.node(clock) as here, place.node(clock) as there:
        watch = KeyEviction(there.services)
        subject = await somebody(here, bought=[LATELY])
        await there.read("sales", subject, ["name"], "order-fulfilment")
        assert there.services.keyring.cached(DEFAULT_TENANT, UUID(subject)) is not None
        assert await watch.poll() == 0
        await erase(here, subject)
        assert await watch.poll() == 1
        assert there.services.keyring.cached(DEFAULT_TENANT, UUID(subject)) is None
        assert await watch.poll() == 0
        books = await there.read("finance", subject, ["name"], "accounting")
        assert books.json()["fields"] == {"name": ADA["name"]}


async def test_an_unreadable_erasure_entry_does_not_hide_others(place, clock):
    async with place.node(clock) as here, place.node(clock) as there:
        watch = KeyEviction(there.services)
        damaged = await somebody(here, bought=[LATELY])
        whole = await somebody(here, bought=[LATELY], external_ids={"shop": "4712"})
        for subject in (damaged, whole):
            await there.read("sales", subject, ["name"], "order-fulfilment")
            await erase(here, subject)
        await here.sql("UPDATE erasure SET body = :body WHERE subject_id = :id", body=b"{", id=UUID(damaged))

        assert await watch.poll() == 2
        assert all(there.services.keyring.cached(DEFAULT_TENANT, UUID(item)) is None for item in (damaged, whole))


async def test_related_data_is_erased(node):
    subject = await somebody(node)
    person, now = UUID(subject), node.services.clock.now()
    other = await ask(node, subject, kind="rectification", state="received", details={"changes": {"name": "Adah"}})
    said = {
        "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "double-opt-in",
        "channel": "web", "evidence": "form 12",
    }  # fmt: skip
    assert (await node.post("support", f"/v1/subjects/{subject}/consents", said)).status_code == 201
    async with node.services.data.transaction() as connection:
        for table, row in _beside(person, other, now):
            await connection.execute(table.insert(), [{"tenant_id": "default", **row}])
    await erase(node, subject)
    for table in ("consent_confirmation", "identity_code", "subject_session", "package", "rectification"):
        assert await rows_of(node, table, subject) == 0, table
    assert await node.sql("SELECT 1 FROM package_chunk") == []
    assert await node.sql("SELECT 1 FROM rights_request WHERE details IS NOT NULL") == []
    ((body,),) = await node.sql("SELECT body FROM consent_event WHERE subject_id = :id", id=person)
    assert b"evidence" not in bytes(body)
    assert b"channel" not in bytes(body)
    assert b"direct-marketing" in bytes(body)


def _beside(person, request, now):
    """Insert a row of each kind of related data."""
    package, raw = new_id(), b"\x00" * 32
    times = {"created_at": now, "expires_at": now}
    yield PACKAGE, {
        "id": package, "request_id": request, "subject_id": person, "state": "ready", **times, "size": 1,
        "chunks": 1, "digest": raw, "body": b'{"kind":"access","run":0}',
    }  # fmt: skip
    yield PACKAGE_CHUNK, {"package_id": package, "number": 0, "body": b"sealed"}
    yield SUBJECT_SESSION, {
        "id": new_id(), "subject_id": person, "token_hash": raw, "authenticated_at": now, **times,
    }  # fmt: skip
    yield IDENTITY_CODE, {
        "id": new_id(), "subject_id": person, "request_id": request, "intent": "request", "digest": raw, **times,
        "attempts": 0, "claim": raw,
    }  # fmt: skip
    yield RECTIFICATION, {
        "subject_id": person, "id": new_id(), "collection": "profile", "record_id": person, "field": "name",
        "state": "corrected", "at": now,
    }  # fmt: skip


async def test_merged_duplicates_are_erased_too(node):
    subject, twin = await somebody(node), await node.create({"name": "Ada L."})
    merged = await node.post(
        "dpo", "/v1/subjects:merge", {"survivor": subject, "duplicate": twin, "evidence": "same passport"}
    )
    assert merged.status_code == 201, merged.text
    request = await erase(node, twin)  # it was asked for under the old id
    assert await state_of(node, subject) == "erased"
    assert await keys_of(node, subject) == await keys_of(node, twin) == []
    assert await rows_of(node, "subject_alias", subject) == 0
    assert (await certificate(node, request))["subject"] == subject


async def test_apps_that_read_erased_data_get_a_notice(node):
    subject = await somebody(node)
    await node.read("support", subject, ["name"], "customer-support")
    request = await erase(node, subject)
    rows = await node.sql("SELECT kind FROM recipient_notice WHERE subject_id = :id", id=UUID(subject))
    assert [row[0] for row in rows] == ["subject.erased"]
    assert (await certificate(node, request))["recipients_told"] == 1


async def test_a_restriction_continues_for_kept_data(node):
    subject = await somebody(node, bought=[LATELY])
    await node.post("dpo", f"/v1/subjects/{subject}/restriction", {"ground": "accuracy"})
    await erase(node, subject)
    problem(await node.read("finance", subject, ["name"], "accounting"), 403, "denied")
    own = await node.read("dpo", subject, ["name"], "subject-rights")
    assert own.json()["fields"] == {"name": ADA["name"]}


async def test_kept_data_expires_on_its_last_day(place, clock):
    async with place.node(clock) as node:
        subject = await somebody(node, bought=["2016-03-10T12:00:00Z"])
        await erase(node, subject)
        assert (await node.read("finance", subject, ["name"], "accounting")).json()["fields"]
        clock.advance(days=6)
        answer = (await node.read("finance", subject, ["name"], "accounting")).json()
        assert answer["denied"]["name"]["code"] == "retention-over"
        await erase(node, subject)
        assert await state_of(node, subject) == "erased"


async def test_a_reopened_vault_has_no_keys_of_the_erased(place):
    async with place.node() as node:
        subject = await somebody(node)
        await erase(node, subject)
    async with open_vault(place.folder, **place.urls) as vault:
        assert await vault.services.keyring.subject_keys(DEFAULT_TENANT, [UUID(subject)]) == {}
