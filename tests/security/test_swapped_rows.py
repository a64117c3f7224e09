"""An attacker with write access to the database cannot make the vault show a value in another place."""

from __future__ import annotations

import io
import json
from uuid import UUID

import pytest
from msgspec import structs

from tests.vaults import ADA, OTHER, problem
from vault import logs
from vault.subjects.rows import pack, unpack
from vault.subjects.tables import SUBJECTS

SECRET = "Ada Lovelace"


async def _body(node, record):
    ((body,),) = await node.sql("SELECT body FROM record WHERE id = :id", id=UUID(record))
    return bytes(body)


async def _put(node, record, body):
    await node.sql("UPDATE record SET body = :body WHERE id = :id", body=body, id=UUID(record))


async def _cannot_open(node, ask):
    """Check that a request is refused without a value in the answer, that it is logged and that it is audited."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    async with node.new_entries() as new_entries:
        answer = await ask()
    body = problem(answer, 500, "cannot-open")
    for word in ("Ada", "Lovelace", "ada@", "Charles", "7312.50"):
        assert word not in answer.text
        assert word not in stream.getvalue()
    (line,) = [json.loads(item) for item in stream.getvalue().splitlines()]
    assert (line["code"], line["level"], line["request_id"]) == ("cannot-open", "error", body["request_id"])
    (entry,) = new_entries
    assert (entry.decision, entry.code) == ("failed", "cannot-open")
    assert body["audit"] == str(entry.id)
    return entry


@pytest.fixture
async def two(node):
    charles = {**ADA, "name": "Charles Babbage", "email": "charles@example.org"}
    return node, await node.create(), await node.create(charles)


async def test_values_swapped_between_fields_do_not_open(two):
    node, ada, _charles = two
    fields = unpack(await _body(node, ada))
    fields["language"] = structs.replace(fields["language"], sealed=fields["name"].sealed)
    await _put(node, ada, pack(fields, None))
    entry = await _cannot_open(
        node, lambda: node.read("support", ada, ["language", "phone.masked"], "customer-support")
    )
    assert entry.action == "read"
    assert entry.subjects == (await node.pseudonym(ada),)
    assert entry.fields == ("profile.language.clear", "profile.phone.masked")
    assert entry.purpose == "customer-support"
    # What lies in its place is still to be had.
    assert (await node.read("support", ada, ["name"], "customer-support")).json()["fields"] == {"name": SECRET}


async def test_rows_swapped_between_subjects_do_not_open(two):
    node, ada, charles = two
    ones, others = await _body(node, ada), await _body(node, charles)
    await _put(node, ada, others)
    await _put(node, charles, ones)
    for subject in (ada, charles):
        await _cannot_open(node, lambda subject=subject: node.read("support", subject, ["name"], "customer-support"))
    body = {"subjects": [ada, charles], "fields": ["name"], "purpose": "customer-support"}
    entry = await _cannot_open(node, lambda: node.post("support", "/v1/read", body))
    assert len(entry.subjects) == 2


async def test_rows_swapped_between_records_of_one_subject_do_not_open(two):
    node, ada, _charles = two
    sales = [
        (await node.append("sales", ada, "purchase", {"amount": amount}, "order-fulfilment")).json()["id"]
        for amount in ("7312.50", "99.00")
    ]
    one, other = await _body(node, sales[0]), await _body(node, sales[1])
    await _put(node, sales[0], other)
    await _put(node, sales[1], one)
    await _cannot_open(node, lambda: node.read("support", ada, ["purchase.amount"], "customer-support"))
    path, body = f"/v1/subjects/{ada}/records/purchase:read", {"fields": ["amount"], "purpose": "customer-support"}
    entry = await _cannot_open(node, lambda: node.post("support", path, body))
    assert entry.action == "list"


async def test_a_record_moved_to_another_subject_or_collection_does_not_open(two):
    node, ada, charles = two
    created = await node.append("support", ada, "interaction", {"body": SECRET}, "customer-support")
    record = UUID(created.json()["id"])
    await node.sql("UPDATE record SET collection = 'complaint' WHERE id = :id", id=record)
    await _cannot_open(node, lambda: node.read("support", ada, ["complaint.body"], "customer-support"))
    await node.sql(
        "UPDATE record SET collection = 'interaction', subject_id = :to WHERE id = :id", id=record, to=UUID(charles)
    )
    await _cannot_open(node, lambda: node.read("support", charles, ["interaction.body"], "customer-support"))


async def test_a_subject_moved_to_another_tenant_does_not_open(node):
    ada = await node.create()
    for table, column in (("subject", "id"), ("record", "subject_id")):
        await node.sql(f"UPDATE {table} SET tenant_id = :to WHERE {column} = :id", to=OTHER, id=UUID(ada))
    # The other tenant has no key of hers.
    problem(await node.read("support", ada, ["name"], "customer-support", tenant=OTHER), 404, "subject-not-found")
    # With a MAC of the other tenant, and the key's row moved as well, that tenant's key does not open it.
    await node.rewrite(SUBJECTS, SUBJECTS.table.c.id == UUID(ada))
    await node.sql("UPDATE data_key SET tenant_id = :to WHERE subject_id = :id", to=OTHER, id=UUID(ada), keystore=True)
    node.services.keyring.clear()
    answer = await node.read("support", ada, ["name"], "customer-support", tenant=OTHER)
    problem(answer, 500, "cannot-open")
    assert "Ada" not in answer.text
    assert (await node.entries(OTHER))[-1].code == "cannot-open"


async def test_a_key_moved_to_another_subject_opens_nothing(two):
    node, ada, charles = two
    await node.sql("DELETE FROM data_key WHERE subject_id = :id", id=UUID(charles), keystore=True)
    await node.sql(
        "UPDATE data_key SET subject_id = :to WHERE subject_id = :id", id=UUID(ada), to=UUID(charles), keystore=True
    )
    node.services.keyring.clear()
    answer = await node.read("support", charles, ["name"], "customer-support")
    problem(answer, 500, "cannot-open")
    assert (await node.entries())[-1].code == "cannot-open"


async def test_an_index_row_moved_to_another_subject_finds_nobody(two):
    node, ada, charles = two
    rows = await node.sql("SELECT digest FROM blind_index WHERE subject_id = :id", id=UUID(ada))
    await node.sql("DELETE FROM blind_index WHERE subject_id = :id", id=UUID(charles))
    await node.sql(
        "UPDATE blind_index SET subject_id = :to, record_id = :to WHERE subject_id = :id",
        id=UUID(ada),
        to=UUID(charles),
    )
    assert rows
    body = {"match": {"email": "ada@example.org"}, "fields": ["name"], "purpose": "customer-support"}
    answer = await node.post("support", "/v1/subjects:search", body)
    assert answer.json()["results"] == []


async def test_a_search_over_an_unreadable_value_fails(two):
    node, ada, charles = two
    await _put(node, ada, await _body(node, charles))
    body = {"match": {"email": "ada@example.org"}, "fields": ["name"], "purpose": "customer-support"}
    entry = await _cannot_open(node, lambda: node.post("support", "/v1/subjects:search", body))
    assert entry.action == "search"


async def test_writes_over_an_unreadable_value_change_nothing(two):
    node, ada, charles = two
    await _put(node, ada, await _body(node, charles))
    entry = await _cannot_open(node, lambda: node.patch("support", ada, {"name": "New"}, "customer-support", '"1"'))
    assert entry.action == "update"
    assert entry.subjects == (await node.pseudonym(ada),)
    assert await _body(node, ada) == await _body(node, charles)


@pytest.mark.parametrize(
    "junk", [b"", b"\x00", b"\xff" * 40, b"\x80", b"\x93\xc0\x80\xc4\x00", b"\x93\xc0\x81\xa4name\xc4\x00\xc4\x01\x90"]
)
async def test_a_corrupt_record_body_shows_no_value(node, junk):
    ada = await node.create()
    await _put(node, ada, junk)
    async with node.new_entries() as new_entries:
        answer = await node.read("support", ada, ["name"], "customer-support")
    assert answer.status_code in {200, 500}, answer.text
    assert answer.status_code == 500 or answer.json()["denied"]["name"]["code"] == "no-value"
    if answer.status_code == 500:
        problem(answer, 500, "cannot-open")
    assert len(new_entries) == 1


@pytest.mark.parametrize("change", ["flip", "cut", "version", "key-version", "empty"])
async def test_a_changed_sealed_value_does_not_open(node, change):
    ada = await node.create()
    fields = unpack(await _body(node, ada))
    sealed = fields["name"].sealed
    changed = {
        "flip": sealed[:-1] + bytes([sealed[-1] ^ 1]),
        "cut": sealed[:-16],
        "version": b"\x02" + sealed[1:],
        "key-version": sealed[:1] + b"\x00\x09" + sealed[3:],
        "empty": b"",
    }[change]
    fields["name"] = structs.replace(fields["name"], sealed=changed)
    await _put(node, ada, pack(fields, None))
    await _cannot_open(node, lambda: node.read("support", ada, ["name"], "customer-support"))
