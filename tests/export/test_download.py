"""Download of a package: authorized, recorded before the first byte, and until it expires."""

from __future__ import annotations

import asyncio
import hashlib
import io
from base64 import b64encode
from uuid import uuid4

import pytest

from tests.export.made_up import CONTENT, DEFAULT, approved, built, change, made_up_entries, request_of
from tests.vaults import OTHER, problem
from vault.access.callers import data_subject_caller
from vault.crypto import age
from vault.errors import CannotOpen, Denied, Gone, InvalidInput, NotFound
from vault.export import build
from vault.export.build import build_package
from vault.export.download import open_package
from vault.export.store import drop_packages, expire_packages
from vault.export.verify import check_archive
from vault.http.middleware import Deadline
from vault.ids import SubjectId

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def content(monkeypatch):
    monkeypatch.setattr(build, "package_entries", made_up_entries)


def at(request, verb=""):
    return f"/v1/requests/{request}/package{verb}"


async def test_a_download_is_a_file_that_must_not_be_cached(node):
    _subject, request = await built(node)
    got = await node.call("dpo", "GET", at(request))
    assert got.status_code == 200
    assert check_archive(io.BytesIO(got.content)).sound
    assert got.headers["content-type"] == "application/zip"
    assert got.headers["content-disposition"] == f'attachment; filename="access-{request}.zip"'
    assert got.headers["cache-control"] == "no-store"
    assert got.headers["content-length"] == str(len(got.content))
    digest = b64encode(hashlib.sha256(got.content).digest()).decode()
    assert got.headers["content-digest"] == f"sha-256=:{digest}:"


async def test_each_download_has_one_audit_entry(sqlite_node):
    subject, request = await built(sqlite_node)
    async with sqlite_node.new_entries() as new_entries:
        for _ in range(2):
            await sqlite_node.call("dpo", "GET", at(request))
    said = [(item.action, item.decision, item.target, item.principal_name) for item in new_entries]
    assert said == [("download-package", "allowed", request, "dpo")] * 2
    assert {item.subjects for item in new_entries} == {(await sqlite_node.pseudonym(subject),)}


async def test_the_audit_entry_is_durable_before_the_first_byte(sqlite_node):
    _subject, request = await built(sqlite_node)
    before = await sqlite_node.count()
    got = await open_package(sqlite_node.services, await sqlite_node.caller("dpo"), request)
    assert await sqlite_node.count() == before + 1
    assert await anext(got.stream)


async def test_without_the_audit_log_nothing_is_sent(sqlite_node):
    _subject, request = await built(sqlite_node)
    await sqlite_node.sql("ALTER TABLE audit_entry RENAME TO gone")
    problem(await sqlite_node.call("dpo", "GET", at(request)), 503, "audit-unavailable")


async def test_a_package_is_encrypted_to_a_passphrase(sqlite_node, monkeypatch):
    monkeypatch.setattr(age, "WORK_FACTOR", 10)
    monkeypatch.setattr(age.begin, "__kwdefaults__", {"work_factor": 10})
    _subject, request = await built(sqlite_node)
    async with sqlite_node.new_entries() as new_entries:
        got = await sqlite_node.post("dpo", at(request, ":download"), {"passphrase": PASSPHRASE})
    assert got.status_code == 200
    assert len(new_entries) == 1
    assert got.headers["content-disposition"].endswith('.zip.age"')
    assert got.headers["content-length"] == str(len(got.content))
    assert "content-digest" not in got.headers
    opened = b"".join(age.decrypt(io.BytesIO(got.content), PASSPHRASE))
    assert check_archive(io.BytesIO(opened)).sound


async def test_a_passphrase_of_the_wrong_length_is_refused_and_not_echoed(sqlite_node):
    _subject, request = await built(sqlite_node)
    for passphrase in ("", "too short", "x" * 1_500):
        async with sqlite_node.new_entries() as new_entries:
            refused = await sqlite_node.post("dpo", at(request, ":download"), {"passphrase": passphrase})
        problem(refused, 422, "invalid-passphrase")
        assert not passphrase or passphrase not in refused.text
        assert [(item.decision, item.code) for item in new_entries] == [("failed", "invalid-passphrase")]


@pytest.mark.parametrize("character", ["\n", "\u0000", "\u001b", "\u007f", "\u2028", "\u200b", "\u202e", "\ufeff"])
async def test_a_passphrase_with_invisible_characters_is_refused(character):
    """``age -d`` reads one line: a file to such a passphrase would never open again."""
    with pytest.raises(InvalidInput) as refused:
        await age.begin(f"correct horse{character}battery", work_factor=10)
    assert refused.value.code == "invalid-passphrase"
    assert await age.begin("korrekt pferd \u00e4\u00df \u6b63\u78ba", work_factor=10)


# ---- Who may not -----------------------------------------------------------------------------------------------------


async def test_other_roles_cannot_download(sqlite_node):
    _subject, request = await built(sqlite_node)
    roles = ("sales", "support", "marketing", "operator", "stranger")
    async with sqlite_node.new_entries() as new_entries:
        for role in roles:
            problem(await sqlite_node.call(role, "GET", at(request)), 403, "not-granted")
    assert [(item.action, item.decision) for item in new_entries] == [("download-package", "denied")] * len(roles)


async def test_a_url_alone_gives_no_access(sqlite_node):
    _subject, request = await built(sqlite_node)
    problem(await sqlite_node.call(None, "GET", at(request)), 401, "not-authenticated")


async def test_another_tenant_gets_the_answer_for_an_unknown_request(sqlite_node):
    _subject, request = await built(sqlite_node)
    theirs = problem(await sqlite_node.call("dpo", "GET", at(request), tenant=OTHER), 404, "request-not-found")
    nothing = problem(await sqlite_node.call("dpo", "GET", at(uuid4()), tenant=OTHER), 404, "request-not-found")
    differ = {"audit", "request_id"}
    assert {k: v for k, v in theirs.items() if k not in differ} == {k: v for k, v in nothing.items() if k not in differ}


async def test_a_subject_downloads_their_own_package_only(sqlite_node):
    subject, request = await built(sqlite_node)
    other, _theirs = await built(sqlite_node, profile={"name": "Somebody else"})
    me = data_subject_caller(DEFAULT, "test")
    got = await open_package(sqlite_node.services, me, request, person=SubjectId(subject))
    assert check_archive(io.BytesIO(b"".join([piece async for piece in got.stream]))).sound
    async with sqlite_node.new_entries() as new_entries:
        with pytest.raises(NotFound):
            await open_package(sqlite_node.services, me, request, person=SubjectId(other))
    assert [(item.decision, item.code) for item in new_entries] == [("failed", "request-not-found")]


async def test_without_a_session_a_subject_cannot_download(sqlite_node):
    _subject, request = await built(sqlite_node)
    with pytest.raises(Denied):
        await open_package(sqlite_node.services, data_subject_caller(DEFAULT, "test"), request)


# ---- When there is none ----------------------------------------------------------------------------------------------


async def test_a_package_that_is_not_ready_is_reported(sqlite_node):
    request = await approved(sqlite_node, await sqlite_node.create())
    async with sqlite_node.new_entries() as new_entries:
        problem(await sqlite_node.call("dpo", "GET", at(request)), 409, "package-not-ready")
    assert [(item.decision, item.code, item.target) for item in new_entries] == [
        ("failed", "package-not-ready", request)
    ]


async def test_another_kind_of_request_has_no_package(sqlite_node):
    request = await approved(sqlite_node, await sqlite_node.create(), "erasure")
    problem(await sqlite_node.call("dpo", "GET", at(request)), 404, "no-package")


async def test_an_expired_package_is_not_handed_out_swept_or_not(sqlite_node, clock):
    _subject, request = await built(sqlite_node)
    assert (await sqlite_node.call("dpo", "GET", at(request))).status_code == 200
    clock.advance(days=14)
    async with sqlite_node.new_entries() as new_entries:
        problem(await sqlite_node.call("dpo", "GET", at(request)), 410, "package-expired")
        assert await expire_packages(sqlite_node.services) == 1
        problem(await sqlite_node.call("dpo", "GET", at(request)), 410, "package-expired")
    assert [(item.decision, item.code) for item in new_entries] == [("failed", "package-expired")] * 2


async def test_the_package_of_an_unanswered_request_is_not_handed_out(sqlite_node):
    _subject, request = await built(sqlite_node)
    for state in ("received", "in_review", "rejected", "cancelled", "expired"):
        await change(sqlite_node, request, state=state)
        problem(await sqlite_node.call("dpo", "GET", at(request)), 409, "package-not-ready")


async def test_a_reopened_request_does_not_hand_out_the_package_of_the_earlier_run(sqlite_node):
    _subject, request = await built(sqlite_node)
    await change(sqlite_node, request, run=1, verification=None)
    problem(await sqlite_node.call("dpo", "GET", at(request)), 409, "package-not-ready")


async def test_after_an_erasure_the_package_is_gone(sqlite_node):
    subject, request = await built(sqlite_node)
    async with sqlite_node.services.data.transaction() as connection:
        await drop_packages(connection, DEFAULT, [SubjectId(subject)])
    problem(await sqlite_node.call("dpo", "GET", at(request)), 410, "package-expired")


async def test_without_the_data_keys_the_package_is_gone(sqlite_node):
    subject, request = await built(sqlite_node)
    await sqlite_node.services.keyring.destroy_subject_keys(DEFAULT, [SubjectId(subject)])
    problem(await sqlite_node.call("dpo", "GET", at(request)), 410, "package-expired")


# ---- What lies there was changed -------------------------------------------------------------------------------------


async def _pieces(node, request):
    asked = await request_of(node, request)
    return asked.package, await node.sql(
        "SELECT number, body FROM package_chunk WHERE package_id = :id ORDER BY number", id=asked.package
    )


async def _put(node, package, number, body):
    await node.sql(
        "UPDATE package_chunk SET body = :body WHERE package_id = :id AND number = :number",
        body=body, id=package, number=number,
    )  # fmt: skip


async def _read(node, request):
    got = await open_package(node.services, await node.caller("dpo"), request)
    return [piece async for piece in got.stream]


async def test_swapped_chunks_do_not_open(node):
    _subject, request = await built(node)
    package, pieces = await _pieces(node, request)
    await _put(node, package, 1, pieces[2].body)
    await _put(node, package, 2, pieces[1].body)
    with pytest.raises(CannotOpen):
        await _read(node, request)


async def test_a_chunk_of_another_package_of_the_same_subject_does_not_open(sqlite_node):
    subject, request = await built(sqlite_node)
    second = await approved(sqlite_node, subject, "portability")
    await build_package(sqlite_node.services, DEFAULT, second)
    _package, pieces = await _pieces(sqlite_node, request)
    package, _others = await _pieces(sqlite_node, second)
    await _put(sqlite_node, package, 1, pieces[1].body)
    with pytest.raises(CannotOpen):
        await _read(sqlite_node, second)


async def test_a_package_without_its_last_chunks_does_not_open(sqlite_node):
    _subject, request = await built(sqlite_node)
    package, pieces = await _pieces(sqlite_node, request)
    for left in range(len(pieces) - 1, 0, -1):
        await sqlite_node.sql("DELETE FROM package_chunk WHERE package_id = :id AND number >= :n", id=package, n=left)
        with pytest.raises(Gone):
            await _read(sqlite_node, request)
        await sqlite_node.sql("UPDATE package SET chunks = :n WHERE id = :id", id=package, n=left)
        with pytest.raises(CannotOpen):
            await _read(sqlite_node, request)


async def test_damage_is_recorded_and_nothing_is_sent(sqlite_node):
    _subject, request = await built(sqlite_node)
    package, pieces = await _pieces(sqlite_node, request)
    await _put(sqlite_node, package, 0, bytes(pieces[0].body)[:-1] + b"\0")
    async with sqlite_node.new_entries() as new_entries:
        problem(await sqlite_node.call("dpo", "GET", at(request)), 500, "cannot-open")
    assert [(item.decision, item.code) for item in new_entries] == [("failed", "cannot-open")]


async def test_a_request_of_another_subject_that_points_to_the_package_gives_nothing(sqlite_node):
    _subject, request = await built(sqlite_node)
    other = await approved(sqlite_node, await sqlite_node.create({"name": "Somebody else"}), state="completed")
    await change(sqlite_node, other, package=(await request_of(sqlite_node, request)).package)
    problem(await sqlite_node.call("dpo", "GET", at(other)), 409, "package-not-ready")


# ---- Slow readers ----------------------------------------------------------------------------------------------------


async def _through(app, seconds):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message["type"])

    scope = {"type": "http", "request_id": "r", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    await Deadline(app, seconds=seconds)(scope, receive, send)
    return sent


async def test_a_long_download_may_take_long_while_it_progresses():
    async def slow(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(8):
            await asyncio.sleep(0.05)
            await send({"type": "http.response.body", "body": b"x", "more_body": number < 7})

    assert len(await _through(slow, 0.2)) == 9


async def test_a_stalled_download_is_aborted():
    async def stuck(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(60)

    assert await _through(stuck, 0.05) == ["http.response.start"]


def test_the_content_is_larger_than_a_few_chunks():
    assert sum(map(len, CONTENT.values())) > 2 * 256 * 1024
