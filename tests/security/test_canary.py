"""A value written through every field of every collection appears only in answers to permitted callers."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from uuid import uuid4

import asyncpg
import pytest
import structlog

from tests.security.canary import BORN, DNI, IBAN, NUMBER, PHONE, VALUES, WORD, found_in
from vault import logs


def test_the_canary_search_finds_every_encoding():
    for form in (WORD, WORD.upper(), f"x{WORD}y", f'{{"a": "{NUMBER}"}}'):
        assert found_in(form.encode())
        assert found_in(form.encode("utf-16"))
        assert found_in(form.encode().hex().encode())
        for shift in range(3):
            assert found_in(base64.b64encode(b"x" * shift + form.encode() + b"yyyy"))
    assert found_in(hashlib.sha256(WORD.encode()).digest())
    assert not found_in(b"nothing of the kind")


@pytest.fixture
def stream():
    stream = io.StringIO()
    logs.configure("debug", stream=stream)
    yield stream
    structlog.reset_defaults()


async def test_a_canary_value_appears_in_no_file_log_or_answer(node, stream):
    refusals = await _spread(node)
    assert len(refusals) > 25
    for refusal in refusals:
        assert not found_in(refusal.encode()), refusal
    metrics = await node.call(None, "GET", "/metrics")
    assert not found_in(metrics.content)
    log = await node.call("dpo", "GET", "/v1/audit/entries", params={"limit": 500})
    assert len(log.json()["entries"]) > 50
    assert not found_in(log.content)
    for entry in log.json()["entries"]:
        for sealed in filter(None, (entry.get("reason"), *entry.get("reasons", ()))):
            assert not found_in(base64.b64decode(sealed))
    written = stream.getvalue()
    assert written
    assert not found_in(written.encode())
    for name, data in [database async for database in _databases(node)]:
        assert not found_in(data), (name, found_in(data))


def _profile(catalogue):
    return {
        name: _value(field)
        for name, field in catalogue.collections["profile"].fields.items()
        if not field.system and name != "name"
    }


def _value(field):
    return field.options["values"][0] if field.type == "enumeration" else VALUES[field.type]


def _cut(field, value):
    return value[: field.options["max_length"]] if "max_length" in field.options else value


async def _spread(node) -> list[str]:
    """Send the canary to every route with input; returns the answers to the refused requests."""
    catalogue = node.services.policies.active("default").policy_set.catalogue
    sent = {"Idempotency-Key": f"{WORD}-1"}
    body = {"profile": {"name": WORD}, "external_ids": {"shop": WORD}, "purpose": "order-fulfilment"}
    created = await node.post("sales", "/v1/subjects", body, headers=sent)
    assert created.status_code == 201, created.text
    subject = created.json()["id"]
    changed = await node.patch("dpo", subject, _profile(catalogue), "subject-rights", '"1"')
    assert changed.status_code == 200, changed.text
    for collection in catalogue.collections.values():
        if not collection.many:
            continue
        fields = {name: _value(field) for name, field in collection.fields.items()}
        appended = await node.append(
            "dpo", subject, collection.name, fields, "subject-rights",
            external_id=WORD, headers={"Idempotency-Key": f"{WORD}-{collection.name}"},
        )  # fmt: skip
        assert appended.status_code == 201, appended.text
    await _say(node, subject)
    shown = [view.name for view in catalogue.views()]
    read = await node.read("dpo", subject, shown, "subject-rights", reason=f"call of {WORD}, {PHONE}")
    assert read.status_code == 200, read.text
    assert read.json()["denied"] == {}
    assert read.text.count(WORD) > 40
    for match in (
        {"email": VALUES["email"]},
        {"phone": PHONE},
        {"phone": {"last_4": PHONE[-4:]}},
        {"name": {"prefix": WORD[:6]}},
        {"iban": IBAN},
        {"national_id": DNI},
        {"birth_date": BORN},
        {"purchase.order": WORD},
    ):
        answer = await node.post("dpo", "/v1/subjects:search", {"match": match, "purpose": "subject-rights"})
        assert len(answer.json()["results"]) == 1, (match, answer.text)
    await node.patch("dpo", subject, {"notes": None, "email": f"{WORD}.{WORD}@example.org"}, "subject-rights", '"2"')
    await _join(node, subject)
    await _show(node, subject)
    return await _refused(node, subject)


async def _say(node, subject):
    """Put the canary into the free text of consents and requests."""
    one, words = f"/v1/subjects/{subject}", f"{WORD}, {PHONE}"
    given = {"decision": "given", "notice": "marketing@3", "evidence": words}
    sent = [
        ("consents", {"purpose": "direct-marketing", "method": "oral", **given}),
        ("consents", {"purpose": "direct-marketing", "method": "double-opt-in", **given}),
        ("objections", {"purpose": "fraud-prevention", "reason": words}),
        ("restriction", {"ground": "claims", "reason": words}),
        ("restriction:announce", {"told": words}),
        ("restriction:lift", {"reason": words}),
        ("disputes", {"fields": ["email"], "statement": words}),
    ]
    for number, (path, body) in enumerate(sent):
        answer = await node.post("dpo", f"{one}/{path}", body, headers={"Idempotency-Key": f"{WORD}-said-{number}"})
        assert answer.status_code == 201, answer.text
        assert not found_in(answer.content)
        if path == "restriction:announce":
            node.services.clock.advance(days=3)
        if path == "objections":
            decided = {"decision": "overruled", "reason": words}
            answer = await node.post("dpo", f"{one}/objections/{answer.json()['id']}:decide", decided)
            assert answer.status_code == 201, answer.text
            assert not found_in(answer.content)


async def _join(node, subject):
    """Import the canary from another system, and merge the subject with a duplicate."""
    words = f"{WORD}, {PHONE}"
    profile = {"name": WORD, "email": VALUES["email"], "phone": PHONE}
    other = await node.create(profile, external_ids={"erp": WORD})
    said = {"purpose": "direct-marketing", "decision": "objected", "occurred_at": "2020-05-04T03:02:01Z"}
    items = [
        {**said, "system": "erp", "external_id": WORD, "evidence": words},
        {**said, "system": "erp", "external_id": WORD, "evidence": f"{WORD}\n", "decision": WORD, "notice": WORD},
        {WORD: WORD, "purpose": WORD},
    ]
    imported = await node.post("dpo", "/v1/consents:import?source=crm", items)
    assert (imported.json()["written"], imported.json()["refused"]) == (1, 2), imported.text
    alike = await node.post("dpo", f"/v1/subjects/{other}:duplicates")
    assert [result["id"] for result in alike.json()["results"]] == [subject]
    body = {"survivor": subject, "duplicate": other, "evidence": words}
    merged = await node.post("dpo", "/v1/subjects:merge", body, headers={"Idempotency-Key": f"{WORD}-merge"})
    assert merged.status_code == 201, merged.text
    assert merged.json()["consents"] == 1
    for answer in (imported, alike, merged):
        assert not found_in(answer.content)


async def _show(node, subject):
    """Fetch what may be passed on about consents: receipts, checks and the record of processing."""
    history = (await node.call("dpo", "GET", f"/v1/subjects/{subject}/consents")).json()["history"]
    assert [event["evidence"] for event in history] == [f"{WORD}, {PHONE}"] * 8
    answers = [
        await node.call("dpo", "GET", f"/v1/subjects/{subject}/consents/{event['id']}/receipt?format={form}")
        for event in history
        for form in ("dpv", "kantara")
    ]
    check = {"subjects": [subject], "purposes": ["direct-marketing", "fraud-prevention"]}
    answers.append(await node.post("dpo", "/v1/consents:check", check))
    answers += [
        await node.call("dpo", "GET", f"/v1/processing-record?format={form}") for form in ("json", "csv", "markdown")
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert not found_in(answer.content)


async def _refused(node, subject) -> list[str]:
    one = f"/v1/subjects/{subject}"
    requests = [
        ("POST", "/v1/read", {"subject": WORD, "fields": [WORD], "purpose": WORD, "reason": WORD}),
        ("POST", "/v1/read", {"subject": subject, "fields": [WORD, PHONE], "purpose": "customer-support"}),
        ("POST", "/v1/read", {"subject": subject, "fields": ["email"], "purpose": WORD, "reason": WORD}),
        ("POST", "/v1/read", {"subject": subject, "fields": ["email"], "purpose": "customer-support", "reason": WORD}),
        ("POST", "/v1/read", {"subject": str(uuid4()), "fields": ["name"], "purpose": "customer-support", "reason": WORD}),
        ("POST", "/v1/read", {"subject": subject, "fields": ["name"], "purpose": "customer-support", "reason": WORD * 99}),
        ("POST", "/v1/read", {WORD: WORD}),
        ("POST", "/v1/subjects", {"profile": {WORD: WORD}, "purpose": "order-fulfilment"}),
        ("POST", "/v1/subjects", {"profile": {"email": WORD, "phone": WORD, "birth_date": WORD}, "purpose": "customer-support"}),
        ("POST", "/v1/subjects", {"profile": {"name": WORD}, "external_ids": {"shop": WORD}, "purpose": "order-fulfilment"}),
        ("POST", "/v1/subjects", {"profile": {"name": WORD}, "external_ids": {WORD: WORD}, "purpose": "order-fulfilment"}),
        ("POST", "/v1/subjects", {"profile": {"name": WORD}, "source": f"{WORD}\n", "purpose": "order-fulfilment"}),
        ("POST", "/v1/subjects", {"profile": {"name": WORD}, "purpose": WORD}),
        ("POST", "/v1/subjects", {"profile": WORD, "purpose": "order-fulfilment"}),
        ("POST", "/v1/subjects", {"profile": {"name": WORD}, "purpose": "order-fulfilment", WORD: WORD}),
        ("POST", "/v1/subjects:search", {"match": {"email": WORD}, "purpose": "customer-support"}),
        ("POST", "/v1/subjects:search", {"match": {WORD: WORD}, "purpose": "customer-support"}),
        ("POST", "/v1/subjects:search", {"match": {"iban": IBAN}, "purpose": "customer-support"}),
        ("POST", "/v1/subjects:search", {"match": {"phone": {WORD: PHONE}}, "purpose": "customer-support"}),
        ("POST", f"{one}/records/complaint", {"fields": {"status": WORD}, "purpose": "complaint-handling"}),
        ("POST", f"{one}/records/complaint", {"fields": {"body": "x"}, "external_id": WORD, "purpose": "complaint-handling"}),
        ("POST", f"{one}/records/{WORD}", {"fields": {"body": WORD}, "purpose": "complaint-handling"}),
        ("POST", f"{one}/records/complaint:read", {"fields": ["body"], "cursor": WORD, "purpose": "complaint-handling"}),
        ("POST", f"{one}/consents", dict.fromkeys(("purpose", "decision", "notice", "method", "channel", "by", "evidence"), WORD)),
        ("POST", f"{one}/consents", {"purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "evidence": f"{WORD}\n"}),
        ("POST", f"{one}/objections", {"purpose": WORD, "reason": f"{WORD}\n"}),
        ("POST", f"{one}/objections/{WORD}:decide", {"decision": WORD, "reason": WORD}),
        ("POST", f"{one}/restriction", {"ground": WORD, "reason": WORD}),
        ("POST", "/v1/subjects:merge", {"survivor": subject, "duplicate": str(uuid4()), "evidence": WORD}),
        ("POST", f"/v1/consents:import?source={WORD}", [{"purpose": WORD}]),
        ("GET", f"/v1/notices/{WORD}", None),
        ("GET", f"/v1/processing-record?since={WORD}&format={WORD}", None),
        ("POST", "/v1/consents:check", {"subjects": [WORD], "purposes": [WORD]}),
        ("POST", "/v1/consents:check", {"subjects": [subject], "purposes": [WORD]}),
        ("POST", "/v1/consents:confirm", {"token": WORD}),
        ("GET", f"/v1/consents:confirm?token={WORD}", None),
        ("GET", f"{one}/consents?cursor={WORD}", None),
        ("POST", "/v1/decisions:explain", {"fields": [WORD], "purpose": WORD, "roles": [WORD]}),
        ("PATCH", f"{one}/profile?purpose={WORD}&source={WORD}", {"name": WORD}),
        ("PATCH", f"{one}/profile?purpose=customer-support", {"birth_date": WORD}),
        ("GET", f"/v1/subjects/{WORD}", None),
        ("GET", f"/v1/audit/entries?action={WORD}&subject={WORD}", None),
        ("GET", f"/{WORD}?{WORD}={WORD}", None),
    ]  # fmt: skip
    refusals = []
    for method, path, body in requests:
        headers = {"If-Match": f'"{WORD}"', "Idempotency-Key": f"{WORD}-1"}
        answer = await node.call("support", method, path, body, headers=headers)
        assert 400 <= answer.status_code < 500, (path, body, answer.text)
        refusals.append(answer.text + str(answer.headers))
    for bearer in (f"Bearer {WORD}", f"Bearer cdv_{WORD}", f"Bearer {WORD}.{WORD}.{WORD}", WORD):
        answer = await node.call(None, "GET", "/v1/catalogue", headers={"Authorization": bearer, "Cookie": WORD})
        assert answer.status_code == 401
        refusals.append(answer.text + str(answer.headers))
    for content in (WORD.encode(), f'{{"{WORD}'.encode(), WORD.encode("utf-16")):
        for path in ("/v1/read", "/v1/subjects"):
            answer = await node.post("support", path, content=content, headers={"content-type": "application/json"})
            assert answer.status_code == 422
            refusals.append(answer.text)
    refusals.append(await _broken(node, subject))
    return refusals


async def _broken(node, subject) -> str:
    """Raise an error that holds a value, in its message and in its frame."""
    real = node.services.subjects.find

    async def fail(*_args):
        raise ValueError(f"cannot handle {WORD}")

    node.services.subjects.find = fail
    answers = [
        await node.read("support", subject, ["name"], "customer-support"),
        await node.call("support", "GET", f"/v1/subjects/{subject}"),
    ]
    node.services.subjects.find = real
    assert {answer.status_code for answer in answers} == {500}
    assert {answer.json()["code"] for answer in answers} == {"internal-error"}
    return "".join(answer.text for answer in answers)


async def _databases(node):
    """Search all stored data: SQLite's files with their logs, or every table of PostgreSQL."""
    if node.place.dialect == "sqlite":
        files = [path for path in node.place.folder.rglob("*") if path.is_file() and "policies" not in path.parts]
        assert any(path.name.endswith("-wal") and path.stat().st_size for path in files)
        for path in files:
            yield path.name, path.read_bytes()
        return
    for url in node.place.urls.values():
        connection = await asyncpg.connect(url)
        try:
            tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            assert tables
            for (table,) in tables:
                if table == "policy_version":
                    continue  # the policies, word for word: written by the company, without anybody's data
                for how in ("text", "binary"):
                    written = io.BytesIO()
                    await connection.copy_from_table(table, output=written, format=how)
                    yield f"{table} ({how})", written.getvalue()
        finally:
            await connection.close()


async def test_the_log_of_a_refused_value_names_the_field_and_not_the_value(sqlite_node, stream):
    await _broken(sqlite_node, await sqlite_node.create())
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    failed = [line for line in lines if line["event"] == "an unexpected error"]
    assert len(failed) == 2
    for line in failed:
        assert line["error"] == "ValueError"
        assert line["at"].startswith(("vault/", "tests/", "test_canary"))
        assert line["request_id"]
