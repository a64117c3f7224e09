"""A value written through every field of every collection is found nowhere but in the answers to those who may read it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from uuid import uuid4

import asyncpg
import pytest
import structlog
from stdnum.es import dni

from vault import logs

WORD = "KanarienvogelXq7"
PHONE = "+442079460987"
IBAN = "DE75512108001245126199"
NUMBER = "8675309.41"
BORN = "1931-07-23"
DNI = "54362315" + dni.calc_check_digit("54362315")
VALUES = {
    "text": WORD,
    "email": f"{WORD}@example.org",
    "phone": PHONE,
    "date": BORN,
    "address": {"street": f"{WORD} 1", "postal_code": "10115", "city": WORD, "country": "DE"},
    "language": "de",
    "json": {WORD: [WORD, 8675309]},
    "iban": IBAN,
    "national_id": DNI,
    "decimal": NUMBER,
    "integer": 8675309,
    "currency": "EUR",
}
"""A value of each type that the shipped catalogue uses; the last words of a type are looked for below."""
SECRETS = [WORD, PHONE, PHONE[1:], PHONE[3:], IBAN, IBAN[4:], NUMBER, "8675309", BORN, DNI]


def _needles():
    """Write every secret in every form in which it could lie about: encodings, cases, and hashes without a key."""
    for secret in SECRETS:
        for text in {secret, secret.lower(), secret.upper(), f'"{secret}"'}:
            data = text.encode()
            yield data
            yield text.encode("utf-16-le")
            yield text.encode("utf-16-be")
            yield data.hex().encode()
            yield data.hex().upper().encode()
            for shift in range(3):  # base64 has three ways to write what stands in the middle of something
                inner = base64.b64encode(b"\0" * shift + data)[4 if shift else 0 : -4]
                yield inner
                yield inner.replace(b"+", b"-").replace(b"/", b"_")
            for algorithm in ("md5", "sha1", "sha256", "sha512"):
                digest = hashlib.new(algorithm, data, usedforsecurity=False).digest()
                yield digest
                yield digest.hex().encode()
                yield base64.b64encode(digest)[:20]


NEEDLES = sorted({each for each in _needles() if len(each) >= 7})
PATTERN = re.compile(b"|".join(re.escape(each) for each in NEEDLES))


def _found(data: bytes) -> bytes | None:
    match = PATTERN.search(data)
    return None if match is None else data[max(0, match.start() - 40) : match.end() + 40]


def test_the_search_finds_what_it_looks_for():
    for form in (WORD, WORD.upper(), f"x{WORD}y", f'{{"a": "{NUMBER}"}}'):
        assert _found(form.encode())
        assert _found(form.encode("utf-16"))
        assert _found(form.encode().hex().encode())
        for shift in range(3):
            assert _found(base64.b64encode(b"x" * shift + form.encode() + b"yyyy"))
    assert _found(hashlib.sha256(WORD.encode()).digest())
    assert not _found(b"nothing of the kind")


@pytest.fixture
def stream():
    stream = io.StringIO()
    logs.configure("debug", stream=stream)
    yield stream
    structlog.reset_defaults()


async def test_a_canary_is_nowhere(node, stream):
    refusals = await _spread(node)
    assert len(refusals) > 25
    for refusal in refusals:
        assert not _found(refusal.encode()), refusal
    metrics = await node.call(None, "GET", "/metrics")
    assert not _found(metrics.content)
    log = await node.call("dpo", "GET", "/v1/audit/entries", params={"limit": 500})
    assert len(log.json()["entries"]) > 50
    assert not _found(log.content)
    for entry in log.json()["entries"]:
        for sealed in filter(None, (entry.get("reason"), *entry.get("reasons", ()))):
            assert not _found(base64.b64decode(sealed))
    written = stream.getvalue()
    assert written
    assert not _found(written.encode())
    for name, data in [each async for each in _databases(node)]:
        assert not _found(data), (name, _found(data))


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
    """Send the canary to every place that takes anything; returns what the refused requests were answered."""
    catalogue = node.house.policies.active("default").policy_set.catalogue
    sent = {"Idempotency-Key": f"{WORD}-1"}
    body = {"profile": {"name": WORD}, "external_ids": {"shop": WORD}, "purpose": "order-fulfilment"}
    made = await node.post("sales", "/v1/subjects", body, headers=sent)
    assert made.status_code == 201, made.text
    subject = made.json()["id"]
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
        found = await node.post("dpo", "/v1/subjects:search", {"match": match, "purpose": "subject-rights"})
        assert len(found.json()["results"]) == 1, (match, found.text)
    await node.patch("dpo", subject, {"notes": None, "email": f"{WORD}.{WORD}@example.org"}, "subject-rights", '"2"')
    return await _refused(node, subject)


async def _say(node, subject):
    """Put the canary into the free words beside what people say."""
    one, words = f"/v1/subjects/{subject}", f"{WORD}, {PHONE}"
    given = {"decision": "given", "notice": "marketing@3", "evidence": words}
    sent = [
        ("consents", {"purpose": "direct-marketing", "method": "oral", **given}),
        ("consents", {"purpose": "direct-marketing", "method": "double-opt-in", **given}),
        ("objections", {"purpose": "fraud-prevention", "reason": words}),
        ("restriction", {"ground": "claims", "reason": words}),
        ("restriction:lift", {"reason": words}),
    ]
    for number, (path, body) in enumerate(sent):
        answer = await node.post("dpo", f"{one}/{path}", body, headers={"Idempotency-Key": f"{WORD}-said-{number}"})
        assert answer.status_code == 201, answer.text
        assert not _found(answer.content)
    told = await node.call("dpo", "GET", f"{one}/consents")
    assert [each["evidence"] for each in told.json()["history"]] == [words] * 5


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
    """Have our own code fail with a value in its hands, and in the words of its error."""
    real = node.house.subjects.find

    async def fail(*_args):
        raise ValueError(f"cannot handle {WORD}")

    node.house.subjects.find = fail
    answers = [
        await node.read("support", subject, ["name"], "customer-support"),
        await node.call("support", "GET", f"/v1/subjects/{subject}"),
    ]
    node.house.subjects.find = real
    assert {each.status_code for each in answers} == {500}
    assert {each.json()["code"] for each in answers} == {"internal-error"}
    return "".join(each.text for each in answers)


async def _databases(node):
    """Go through all that lies on the disk: SQLite's files with their logs, or every table of PostgreSQL."""
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


async def test_the_log_of_a_refused_value_says_where_and_not_what(sqlite_node, stream):
    await _broken(sqlite_node, await sqlite_node.create())
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    failed = [line for line in lines if line["event"] == "an unexpected error"]
    assert len(failed) == 2
    for line in failed:
        assert line["error"] == "ValueError"
        assert line["at"].startswith(("vault/", "tests/", "test_canary"))
        assert line["request_id"]
