"""A package is built once, sealed chunk by chunk, and deleted with its subject's data."""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest

from tests.export.made_up import CONTENT, DEFAULT, approved, built, change, made_up_entries, request_of
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, NotFound
from vault.export import build
from vault.export.archive import UnsafeName
from vault.export.build import SUPERSEDED_SECONDS, announce_package, build_package
from vault.export.download import open_package
from vault.export.store import (
    CHUNK_BYTES,
    PackageFacts,
    drop_packages,
    expire_packages,
    find_package,
    open_chunk,
    package_aad,
    seal_chunk,
    split_chunks,
)
from vault.export.verify import check_archive
from vault.ids import SubjectId
from vault.requests.model import WrongState


@pytest.fixture(autouse=True)
def content(monkeypatch):
    monkeypatch.setattr(build, "package_entries", made_up_entries)


async def package_of(node, request):
    asked = await request_of(node, request)
    async with node.services.data.reading() as connection:
        return None if asked.package is None else await find_package(connection, DEFAULT, asked.package)


async def rows(node, table):
    ((count,),) = await node.sql(f"SELECT count(*) FROM {table}")
    return count


async def fetched(node, request):
    got = await open_package(node.services, await node.caller("dpo"), request)
    return b"".join([piece async for piece in got.stream])


async def test_a_downloaded_package_is_the_signed_one(node):
    _subject, request = await built(node)
    data = await fetched(node, request)
    opened = zipfile.ZipFile(io.BytesIO(data))
    assert {name: opened.read(name) for name in CONTENT} == CONTENT
    signed = check_archive(io.BytesIO(data))
    assert signed.sound
    assert signed.key_id == (await node.services.keyring.signing_key(DEFAULT)).key_id
    assert signed.document["request"] == str(request)
    package = await package_of(node, request)
    assert (package.state, package.size, package.digest) == ("ready", len(data), hashlib.sha256(data).digest())
    assert package.chunks == -(-len(data) // CHUNK_BYTES) > 2
    assert package.expires_at - package.created_at == timedelta(days=14)


async def test_a_build_has_one_audit_entry_that_the_manifest_names(sqlite_node):
    subject = await sqlite_node.create()
    request = await approved(sqlite_node, subject)
    async with sqlite_node.new_entries() as new_entries:
        await build_package(sqlite_node.services, DEFAULT, request)
    (entry,) = new_entries
    assert (entry.action, entry.decision, entry.target) == ("build-package", "allowed", request)
    assert entry.subjects == (await sqlite_node.pseudonym(subject),)
    assert check_archive(io.BytesIO(await fetched(sqlite_node, request))).document["audit"] == str(entry.id)


async def test_no_plaintext_of_a_package_is_stored(sqlite_node):
    _subject, request = await built(sqlite_node)
    result = await sqlite_node.sql("SELECT body FROM package_chunk ORDER BY number")
    data = await fetched(sqlite_node, request)
    together = b"".join(bytes(body) for (body,) in result)
    assert b"PK\x03\x04" not in together
    assert b"index.html" not in together
    assert data[1000:1032] not in together


async def test_a_second_build_keeps_the_package(sqlite_node):
    _subject, request = await built(sqlite_node)
    before = await package_of(sqlite_node, request)
    assert await build_package(sqlite_node.services, DEFAULT, request) is None
    assert await package_of(sqlite_node, request) == before
    assert await rows(sqlite_node, "package") == 1


@pytest.mark.parametrize("swept", [False, True])
async def test_a_package_that_expired_before_the_answer_is_built_again(sqlite_node, clock, swept):
    """A request that staff review again may take weeks between its package and its completion."""
    _subject, request = await built(sqlite_node)
    before = await package_of(sqlite_node, request)
    clock.advance(days=15)
    if swept:
        await expire_packages(sqlite_node.services)
    await build_package(sqlite_node.services, DEFAULT, request)
    after = await package_of(sqlite_node, request)
    assert (after.state, after.id != before.id) == ("ready", True)
    assert after.expires_at > sqlite_node.services.clock.now()
    assert await rows(sqlite_node, "package") == 1
    await change(sqlite_node, request, state="completed")
    clock.advance(days=15)
    await build_package(sqlite_node.services, DEFAULT, request)
    assert await package_of(sqlite_node, request) == after  # an answered request is left alone


async def test_a_reopened_request_gets_a_new_package_and_the_old_one_is_deleted(sqlite_node):
    _subject, request = await built(sqlite_node)
    before = await package_of(sqlite_node, request)
    await change(sqlite_node, request, run=1)
    await build_package(sqlite_node.services, DEFAULT, request)
    after = await package_of(sqlite_node, request)
    assert after.id != before.id
    assert await rows(sqlite_node, "package") == 1
    assert await rows(sqlite_node, "package_chunk") == after.chunks


async def test_an_unapproved_request_gets_no_package(sqlite_node):
    subject = await sqlite_node.create()
    for state in ("received", "verifying", "in_review", "rejected", "cancelled", "expired"):
        request = await approved(sqlite_node, subject, state=state)
        with pytest.raises(WrongState):
            await build_package(sqlite_node.services, DEFAULT, request)
    assert await rows(sqlite_node, "package") == 0


async def test_an_unverified_request_gets_no_package_whatever_its_state(sqlite_node):
    request = await approved(sqlite_node, await sqlite_node.create(), verification=None)
    with pytest.raises(WrongState):
        await build_package(sqlite_node.services, DEFAULT, request)


async def test_other_kinds_of_requests_get_no_package(sqlite_node):
    subject = await sqlite_node.create()
    for kind in ("erasure", "rectification", "objection"):
        request = await approved(sqlite_node, subject, kind)
        with pytest.raises(WrongState):
            await build_package(sqlite_node.services, DEFAULT, request)


async def test_an_erased_subject_gets_no_package(sqlite_node):
    subject = await sqlite_node.create()
    request = await approved(sqlite_node, subject)
    await sqlite_node.set_state(subject, "erased")
    async with sqlite_node.new_entries() as new_entries:
        with pytest.raises(NotFound):
            await build_package(sqlite_node.services, DEFAULT, request)
    assert [(item.action, item.decision, item.code) for item in new_entries] == [
        ("build-package", "failed", "subject-not-found")
    ]
    assert await rows(sqlite_node, "package") == 0


async def test_an_unsafe_name_stops_the_build_and_leaves_nothing(sqlite_node, monkeypatch):
    async def entries(*_args):
        yield "index.html", _some(b"x" * 2 * CHUNK_BYTES)
        yield "csv/../../evil.csv", _some(b"x")

    monkeypatch.setattr(build, "package_entries", entries)
    request = await approved(sqlite_node, await sqlite_node.create())
    with pytest.raises(UnsafeName):
        await build_package(sqlite_node.services, DEFAULT, request)
    assert (await rows(sqlite_node, "package"), await rows(sqlite_node, "package_chunk")) == (0, 0)


async def _some(data):
    yield data


# ---- Erasure and other tries meanwhile -------------------------------------------------------------------------------


async def test_an_erasure_deletes_packages(node):
    subject, request = await built(node)
    _other, _kept = await built(node, profile={"name": "Somebody else"})
    async with node.services.data.transaction() as connection:
        assert await drop_packages(connection, DEFAULT, [SubjectId(subject)]) == 1
    assert await rows(node, "package") == 1
    assert await package_of(node, request) is None


async def test_an_erasure_during_a_build_leaves_no_chunk(node, monkeypatch):
    subject = await node.create()
    request = await approved(node, subject)

    async def interrupted(*args):
        async for name, pieces in made_up_entries(*args):
            yield name, pieces
            async with node.services.data.transaction() as connection:
                await drop_packages(connection, DEFAULT, [SubjectId(UUID(subject))])

    monkeypatch.setattr(build, "package_entries", interrupted)
    assert await build_package(node.services, DEFAULT, request) == SUPERSEDED_SECONDS
    assert (await rows(node, "package"), await rows(node, "package_chunk")) == (0, 0)
    assert (await request_of(node, request)).package is None


async def test_of_two_concurrent_builds_one_stops_and_one_package_remains(node, monkeypatch):
    request = await approved(node, await node.create())

    async def overtaken(*args):
        monkeypatch.setattr(build, "package_entries", made_up_entries)
        assert await build_package(node.services, DEFAULT, request) is None
        async for entry in made_up_entries(*args):
            yield entry

    monkeypatch.setattr(build, "package_entries", overtaken)
    assert await build_package(node.services, DEFAULT, request) == SUPERSEDED_SECONDS
    package = await package_of(node, request)
    assert (await rows(node, "package"), await rows(node, "package_chunk")) == (1, package.chunks)
    assert check_archive(io.BytesIO(await fetched(node, request))).sound


async def test_a_request_that_is_cancelled_during_the_build_gets_no_package(sqlite_node, monkeypatch):
    request = await approved(sqlite_node, await sqlite_node.create())

    async def cancelled(*args):
        async for entry in made_up_entries(*args):
            yield entry
        await change(sqlite_node, request, state="cancelled")

    monkeypatch.setattr(build, "package_entries", cancelled)
    with pytest.raises(WrongState):
        await build_package(sqlite_node.services, DEFAULT, request)
    assert (await rows(sqlite_node, "package"), await rows(sqlite_node, "package_chunk")) == (0, 0)


async def test_a_package_is_sealed_under_the_key_that_is_current_once_its_row_exists(sqlite_node):
    subject, _request = await built(sqlite_node)
    keys = (await sqlite_node.services.keyring.subject_keys(DEFAULT, [SubjectId(subject)]))[SubjectId(subject)]
    ((first,),) = await sqlite_node.sql("SELECT body FROM package_chunk WHERE number = 0")
    assert int.from_bytes(bytes(first)[1:3], "big") == keys.current_version


# ---- Expiry, announcement --------------------------------------------------------------------------------------------


async def test_expired_packages_are_deleted_and_others_stay(node, clock):
    _subject, request = await built(node)
    clock.advance(days=7)
    _other, kept = await built(node, profile={"name": "Somebody else"})
    clock.advance(days=7)
    assert await expire_packages(node.services) == 1
    assert await expire_packages(node.services) == 0
    gone, left = await package_of(node, request), await package_of(node, kept)
    assert (gone.state, gone.chunks, left.state) == ("expired", 0, "ready")
    assert await rows(node, "package_chunk") == left.chunks


async def test_without_mail_a_package_is_available_and_announced_once(sqlite_node):
    _subject, request = await built(sqlite_node)
    assert await announce_package(sqlite_node.services, DEFAULT, request) is None
    first = (await package_of(sqlite_node, request)).facts.announced_at
    assert first is not None
    assert await announce_package(sqlite_node.services, DEFAULT, request) is None
    assert (await package_of(sqlite_node, request)).facts.announced_at == first


# ---- Pieces ----------------------------------------------------------------------------------------------------------


async def test_a_chunk_opens_at_its_place_only(sqlite_node):
    subject, request = await built(sqlite_node)
    package = await package_of(sqlite_node, request)
    keys = (await sqlite_node.services.keyring.subject_keys(DEFAULT, [SubjectId(subject)]))[SubjectId(subject)]
    where = package_aad(DEFAULT, subject, package.id)
    sealed = seal_chunk(keys, where, 3, b"data \x20", last=False)
    assert open_chunk(keys, where, 3, sealed, last=False) == b"data \x20"
    for number, last in ((2, False), (4, False), (3, True)):
        with pytest.raises(CannotOpen):
            open_chunk(keys, where, number, sealed, last=last)
    for elsewhere in (package_aad(DEFAULT, subject, request), record_aad(DEFAULT, subject, "profile", package.id)):
        with pytest.raises(CannotOpen):
            open_chunk(keys, elsewhere, 3, sealed, last=False)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 30])
async def test_a_stream_is_split_into_chunks_with_one_last_chunk(size):
    async def stream():
        for number in range(size):
            yield bytes([number])

    pieces = [chunk async for chunk in split_chunks(stream(), 10)]
    assert b"".join(data for data, _last in pieces) == bytes(range(size))
    assert [last for _data, last in pieces] == [False] * (len(pieces) - 1) + [True]
    assert len(pieces) == max(1, -(-size // 10))


def test_the_facts_of_a_package_contain_no_personal_data():
    fields = {field.name for field in msgspec.structs.fields(PackageFacts)}
    assert fields == {"kind", "run", "entries", "audit", "announced_at", "fields"}
