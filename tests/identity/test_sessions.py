"""People sign in by a code that comes by letter; strangers learn nothing, guess nothing and flood nobody."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from uuid import UUID, uuid4

import httpx
import pytest
from aiosmtplib import SMTP

from tests.vaults import ADA, OTHER, problem
from vault.api.app import create_app
from vault.audit.log import AuditLog
from vault.crypto.seal import SubjectKeys
from vault.identity import sessions as sign_in
from vault.identity.codes import forget_codes
from vault.identity.sessions import forget_identity
from vault.letters import send as letters
from vault.storage.database import Database

SESSIONS, OPEN, END, MINE = "/v1/me/sessions", "/v1/me/sessions:verify", "/v1/me/session", "/v1/me/requests"
BY_MAIL = {"identity": {"email": "ada@example.org"}}
BY_NUMBER = {"identity": {"external_id": {"shop": "4711"}}}


async def ask(node, body=BY_MAIL):
    """Ask for a code; returns the session's id once the letter, if any, has gone."""
    asked = await node.post(None, SESSIONS, body)
    assert asked.status_code == 202, asked.text
    await node.services.mail.settled()
    return asked.json()["session"]


async def enter(node, session, code):
    return await node.post(None, OPEN, {"session": session, "code": code})


async def signed_in(node, inbox, body=BY_MAIL):
    """Sign in; returns the bearer's header."""
    session = await ask(node, body)
    opened = await enter(node, session, inbox.last().code)
    assert opened.status_code == 201, opened.text
    return {"Authorization": f"Bearer {opened.json()['token']}"}


async def mine(node, headers):
    return await node.call(None, "GET", MINE, headers=headers)


async def test_a_person_signs_in_and_out(mailing, inbox):
    subject = await mailing.create(external_ids={"shop": "4711"})
    async with mailing.new_entries() as new_entries:
        headers = await signed_in(mailing, inbox, BY_NUMBER)
        assert inbox.last().recipients == ["ada@example.org"]
        assert (await mine(mailing, headers)).json() == {"requests": []}
        assert (await mailing.call(None, "DELETE", END, headers=headers)).status_code == 204
        problem(await mine(mailing, headers), 401, "not-authenticated")
    pseudonym = await mailing.pseudonym(subject)
    answers = [(item.action, item.decision, item.principal_name, item.subjects == (pseudonym,)) for item in new_entries]
    assert answers == [
        ("send-code", "allowed", "the-person", False),
        ("send-code", "allowed", "vault", True),  # of the letter itself
        ("open-session", "allowed", "the-person", True),
        ("read-requests", "allowed", "the-person", True),
        ("end-session", "allowed", "the-person", True),
        ("sign-in", "denied", None, False),
    ]


async def test_codes_and_tokens_are_stored_nowhere(sqlite_mailing, inbox):
    await sqlite_mailing.create()
    headers = await signed_in(sqlite_mailing, inbox)
    code, token = inbox.last().code, headers["Authorization"].removeprefix("Bearer ")
    for table in ("identity_code", "subject_session"):
        for row in await sqlite_mailing.sql(f"SELECT * FROM {table}"):
            answer = b" ".join(bytes(value) if isinstance(value, bytes) else str(value).encode() for value in row)
            for secret in (code, token, token[-43:], "ada@example.org"):
                assert secret.encode() not in answer
    assert all(code not in str(entry) and token not in str(entry) for entry in await sqlite_mailing.entries())


async def test_spaces_and_hyphens_in_a_typed_code_are_ignored(sqlite_mailing, inbox):
    await sqlite_mailing.create()
    session = await ask(sqlite_mailing)
    code = inbox.last().code
    assert len(code) == 8
    assert (await enter(sqlite_mailing, session, f" {code[:4]}-{code[4:]}\u00a0")).status_code == 201


# ---- The same for everybody ------------------------------------------------------------------------------------------


async def test_the_answer_is_the_same_for_known_and_unknown_people(sqlite_mailing, inbox):
    await sqlite_mailing.create(external_ids={"shop": "4711"})
    await sqlite_mailing.create({"name": "No Address"}, external_ids={"shop": "4712"})
    for _ in range(2):
        await sqlite_mailing.create({"name": "A Couple", "email": "both@example.org"})
    answers, letters = [], []
    for identity in (
        {"email": "ada@example.org"},
        {"email": "nobody@example.org"},
        {"email": "both@example.org"},  # a code to the address that they share
        {"external_id": {"shop": "4712"}},
        {"external_id": {"shop": "0"}},
    ):
        answer = await sqlite_mailing.post(None, SESSIONS, {"identity": identity})
        answers.append((answer.status_code, sorted(answer.json()), sorted(answer.headers), len(answer.content)))
        await sqlite_mailing.services.mail.settled()
        letters.append(len(inbox.letters))
    assert len({json.dumps(item) for item in answers}) == 1
    assert letters == [1, 1, 2, 2, 2]


async def test_the_work_before_the_answer_is_the_same_for_known_and_unknown_people(sqlite_mailing, monkeypatch):
    """Whatever depends on the person comes after the answer: nothing of it can be seen in the time that it takes."""
    node = sqlite_mailing
    await node.create()
    asked = []
    database = node.services.data
    fetch = type(database).fetch

    async def counted(self, query, **values):
        asked.append(query)
        return await fetch(self, query, **values)

    monkeypatch.setattr(type(database), "fetch", counted)
    seen = []
    monkeypatch.setattr(node.services.mail, "soon", lambda work: (seen.append(len(asked)), work.close()))
    for identity in ({"email": "ada@example.org"}, {"email": "nobody@example.org"}):
        asked.clear()
        assert (await node.post(None, SESSIONS, {"identity": identity})).status_code == 202
    assert seen == [0, 0]


class _Work:
    """Counts what requests for codes do: values unsealed, transactions, letters written, connections to the relay."""

    def __init__(self, monkeypatch):
        self.counts = Counter()
        for owner, name in (
            (SubjectKeys, "open_all"),
            (Database, "transaction"),
            (AuditLog, "append"),
            (letters, "write"),
            (SMTP, "connect"),
        ):
            monkeypatch.setattr(owner, name, self._counted(name, getattr(owner, name)))

    def _counted(self, name, real):
        # An entry that is appended by itself is a transaction of its own.
        kind = "transaction" if name == "append" else name

        def counted(*args, **how):
            self.counts[kind] += 1
            return real(*args, **how)

        return counted


@pytest.mark.parametrize("tenant", ["default", OTHER])
async def test_the_whole_work_is_the_same_for_known_and_unknown_people(mailing, inbox, monkeypatch, tenant):
    node = mailing
    for name in ("ada", "eve"):
        await node.create({**ADA, "email": f"{name}@example.org"}, external_ids={"shop": name}, tenant=tenant)
    await node.create({"name": "No Address"}, external_ids={"shop": "no-address"}, tenant=tenant)
    work = _Work(monkeypatch)

    async def measured(identity, at=tenant):
        work.counts.clear()
        steps = inbox.steps
        await ask(node, {"identity": identity, "tenant": at})
        return {**work.counts, "relay": inbox.steps - steps}

    known = await measured({"email": "ada@example.org"})
    assert known.keys() == {"open_all", "transaction", "write", "connect", "relay"}
    assert (known["connect"], known["relay"]) == (1, 4)
    assert len(inbox.letters) == 1
    assert await measured({"email": "stranger@example.org"}) == known
    assert await measured({"email": "stranger@example.org"}, "brand-three") == known
    by_id = await measured({"external_id": {"shop": "eve"}})
    assert len(inbox.letters) == 2
    for shop in ("0", "no-address"):
        assert await measured({"external_id": {"shop": shop}}) == by_id
    assert len(inbox.letters) == 2


async def test_the_work_is_the_same_beyond_the_limit_of_a_person(sqlite_mailing, inbox, monkeypatch):
    systems = ("shop", "erp", "crm", "till")
    await sqlite_mailing.create(external_ids=dict.fromkeys(systems, "1"))
    work = _Work(monkeypatch)
    counts = []
    for system in systems:
        work.counts.clear()
        steps = inbox.steps
        await ask(sqlite_mailing, {"identity": {"external_id": {system: "1"}}})
        counts.append({**work.counts, "relay": inbox.steps - steps})
    assert len(inbox.letters) == 3
    assert all(count == counts[0] for count in counts)


async def test_a_code_for_an_unknown_person_opens_no_session(sqlite_mailing):
    session = await ask(sqlite_mailing, {"identity": {"email": "nobody@example.org"}})
    problem(await enter(sqlite_mailing, session, "00000000"), 404, "code-invalid")
    ((attempts,),) = await sqlite_mailing.sql("SELECT attempts FROM identity_code")
    assert attempts == 1


async def test_every_wrong_code_gets_one_answer(sqlite_mailing, inbox, clock):
    node = sqlite_mailing
    await node.create()
    session = await ask(node)
    code = inbox.last().code
    wrong = f"{(int(code) + 1) % 10**8:08}"
    answers = [await enter(node, session, wrong), await enter(node, str(uuid4()), code)]
    assert (await enter(node, session, code)).status_code == 201
    answers.append(await enter(node, session, code))  # used
    late = await ask(node)
    clock.advance(minutes=10)
    answers.append(await enter(node, late, inbox.last().code))  # too old
    answer = [{k: v for k, v in problem(item, 404, "code-invalid").items() if k not in {"audit", "request_id"}} for item in answers]  # fmt: skip
    assert all(item == answer[0] for item in answer)


async def test_an_invalid_claim_is_refused(sqlite_mailing):
    for body, code in (
        ({"identity": {}}, "invalid-identity"),
        ({"identity": {"email": "lovelace"}}, "invalid-identity"),
        ({"identity": {"email": "lovelace@example.org", "external_id": {"shop": "1"}}}, "invalid-identity"),
        ({"identity": {"external_id": {}}}, "invalid-identity"),
        ({"identity": {"external_id": {"shop": ""}}}, "invalid-external-id"),
        ({"identity": {"external_id": {"shop": 4711}}}, "invalid-external-id"),
        ({"identity": {"phone": "+442079460123"}}, "invalid-body"),
        ({}, "invalid-body"),
    ):
        answer = await sqlite_mailing.post(None, SESSIONS, body)
        problem(answer, 422, code)
        assert "lovelace" not in answer.text  # no letters that an id could contain


UNKNOWN = ("brand-three", "Not a name of a tenant!")


def _alike(answer):
    """Return what an answer shows beside ids: status, headers, and the members of its body."""
    body = answer.json()
    known = {key: value for key, value in body.items() if key not in {"session", "audit", "request_id"}}
    return answer.status_code, sorted(answer.headers), sorted(body), known


async def test_every_answer_is_the_same_for_known_and_unknown_tenants(mailing):
    answers = []
    for tenant in ("default", OTHER, *UNKNOWN):
        body = {"identity": {"email": "ada@example.org"}, "tenant": tenant}
        asked = [await mailing.post(None, SESSIONS, body) for _ in range(4)]
        assert [question.status_code for question in asked] == [202, 202, 202, 429]
        entered = await enter(mailing, asked[0].json()["session"], "00000000")
        problem(entered, 404, "code-invalid")
        wrong = await mailing.post(None, SESSIONS, {**body, "identity": {"email": "lovelace"}})
        answers.append([_alike(item) for item in (*asked, entered, wrong)])
    assert all(answer == answers[0] for answer in answers)


async def test_a_vault_without_mail_answers_alike_for_known_and_unknown_tenants(sqlite_node):
    answers = [await sqlite_node.post(None, SESSIONS, {**BY_MAIL, "tenant": item}) for item in (OTHER, *UNKNOWN)]
    assert {answer.status_code for answer in answers} == {409}
    assert all(_alike(answer) == _alike(answers[0]) for answer in answers)


async def test_a_claim_at_an_unknown_tenant_reaches_no_one_and_uses_up_no_limit_of_a_person(mailing, inbox):
    await mailing.create()
    for _ in range(3):
        await ask(mailing, {**BY_MAIL, "tenant": UNKNOWN[0]})
    problem(await mailing.post(None, SESSIONS, {**BY_MAIL, "tenant": UNKNOWN[0]}), 429, "rate-limited")
    assert inbox.letters == []
    await ask(mailing)
    assert len(inbox.letters) == 1


async def test_a_vault_without_mail_sends_no_codes(sqlite_node):
    await sqlite_node.create()
    for address in ("ada@example.org", "nobody@example.org"):
        answer = await sqlite_node.post(None, SESSIONS, {"identity": {"email": address}})
        problem(answer, 409, "mail-not-configured")


# ---- Guessing --------------------------------------------------------------------------------------------------------


async def test_after_five_attempts_the_right_code_is_wrong(sqlite_mailing, inbox):
    await sqlite_mailing.create()
    session = await ask(sqlite_mailing)
    code = inbox.last().code
    for number in range(5):
        assert (await enter(sqlite_mailing, session, f"{(int(code) + 1 + number) % 10**8:08}")).status_code == 404
    problem(await enter(sqlite_mailing, session, code), 404, "code-invalid")


async def test_concurrent_guesses_are_counted(mailing, inbox):
    await mailing.create()
    session = await ask(mailing)
    code = inbox.last().code
    guesses = [f"{(int(code) + 1 + number) % 10**8:08}" for number in range(20)]
    answers = await asyncio.gather(*(enter(mailing, session, guess) for guess in guesses))
    assert {answer.status_code for answer in answers} == {404}
    ((attempts,),) = await mailing.sql("SELECT attempts FROM identity_code")
    assert attempts == 5
    problem(await enter(mailing, session, code), 404, "code-invalid")


async def test_concurrent_uses_of_a_code_open_one_session(mailing, inbox):
    await mailing.create()
    session = await ask(mailing)
    answers = await asyncio.gather(*(enter(mailing, session, inbox.last().code) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 404, 404, 404]
    assert len(await mailing.sql("SELECT id FROM subject_session")) == 1


async def test_a_code_is_bound_to_its_row_person_and_purpose(mailing, inbox):
    """Whoever can write into the database moves no code to another row, person or purpose."""
    ada = await mailing.create()
    eve = await mailing.create({"name": "Eve", "email": "eve@example.org"})
    session = await ask(mailing, {"identity": {"email": "eve@example.org"}})
    code = inbox.last().code
    other = await ask(mailing)
    copy = "UPDATE identity_code SET digest = (SELECT digest FROM identity_code WHERE id = :eve) WHERE id = :ada"
    await mailing.sql(copy, eve=UUID(session), ada=UUID(other))
    assert (await enter(mailing, other, code)).status_code == 404
    turn = "UPDATE identity_code SET subject_id = :to WHERE id = :id"
    await mailing.sql(turn, to=UUID(ada), id=UUID(session))
    assert (await enter(mailing, session, code)).status_code == 404
    await mailing.sql(turn, to=UUID(eve), id=UUID(session))
    await mailing.sql("UPDATE identity_code SET intent = 'request' WHERE id = :id", id=UUID(session))
    assert (await enter(mailing, session, code)).status_code == 404
    await mailing.sql("UPDATE identity_code SET intent = 'session' WHERE id = :id", id=UUID(session))
    assert (await enter(mailing, session, code)).status_code == 201


# ---- Flooding --------------------------------------------------------------------------------------------------------


async def test_codes_per_quarter_of_an_hour_are_limited(mailing, inbox, clock):
    await mailing.create()
    for address in (
        "ada@example.org",
        "ADA@example.org".lower(),
        "ada@EXAMPLE.org",
    ):  # one address, however it is written
        await ask(mailing, {"identity": {"email": address}})
    refused = await mailing.post(None, SESSIONS, BY_MAIL)
    problem(refused, 429, "rate-limited")
    assert 0 < int(refused.headers["retry-after"]) <= 15 * 60 + 1
    assert len(inbox.letters) == 3
    clock.advance(minutes=15)
    await ask(mailing)
    assert len(inbox.letters) == 4


async def test_codes_per_day_are_limited_to_ten(sqlite_mailing, inbox, clock):
    await sqlite_mailing.create()
    for _ in range(10):
        await ask(sqlite_mailing)
        clock.advance(minutes=16)
    refused = await sqlite_mailing.post(None, SESSIONS, BY_MAIL)
    problem(refused, 429, "rate-limited")
    assert int(refused.headers["retry-after"]) > 3600
    assert len(inbox.letters) == 10


async def test_the_limit_is_the_same_for_unknown_people(sqlite_mailing):
    body = {"identity": {"email": "nobody@example.org"}}
    for _ in range(3):
        await ask(sqlite_mailing, body)
    problem(await sqlite_mailing.post(None, SESSIONS, body), 429, "rate-limited")


async def test_concurrent_requests_for_codes_are_limited(mailing, inbox):
    await mailing.create()
    answers = await asyncio.gather(*(mailing.post(None, SESSIONS, BY_MAIL) for _ in range(8)))
    await mailing.services.mail.settled()
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 5
    assert len(inbox.letters) == 3


async def test_other_identifiers_of_the_same_person_share_the_limit_and_reveal_nothing(sqlite_mailing, inbox):
    subject = await sqlite_mailing.create(external_ids={"shop": "4711", "erp": "9"})
    for body in (BY_MAIL, BY_NUMBER, {"identity": {"external_id": {"erp": "9"}}}):
        await ask(sqlite_mailing, body)
    async with sqlite_mailing.new_entries() as new_entries:
        await ask(sqlite_mailing, {"identity": {"external_id": {"shop": "4711", "erp": "9"}}})  # 202 all the same
    assert len(inbox.letters) == 3
    (_, entry) = new_entries
    assert (entry.action, entry.decision, entry.code) == ("send-code", "failed", "enough-codes")
    assert entry.subjects == (await sqlite_mailing.pseudonym(subject),)


async def test_unauthenticated_calls_flood_neither_the_log_nor_the_database(sqlite_mailing, clock, monkeypatch):
    node = sqlite_mailing
    monkeypatch.setattr(sign_in, "MOST_A_MINUTE", 8)
    monkeypatch.setattr(sign_in, "MOST_ENTRIES_A_MINUTE", 3)
    for attempt, action, status, code in (
        (lambda: enter(node, str(uuid4()), "12345678"), "open-session", 404, "code-invalid"),
        (lambda: mine(node, {"Authorization": "Bearer cdvs_x"}), "sign-in", 401, "not-authenticated"),
        (lambda: node.post(None, SESSIONS, {"identity": {}}), "send-code", 422, "invalid-identity"),
    ):
        before = await node.count()
        for _ in range(8):
            problem(await attempt(), status, code)
        problem(await attempt(), 429, "rate-limited")
        assert await node.count() == before + 3
        clock.advance(minutes=1)
        problem(await attempt(), status, code)
        entry = [item for item in await node.entries() if item.action == action][-1]
        assert (entry.decision, entry.code, entry.count) == ("denied", code, 7)


async def test_tries_of_unknown_codes_do_not_use_up_the_limit_for_others(mailing, inbox, monkeypatch):
    monkeypatch.setattr(sign_in, "MOST_A_MINUTE", 8)
    await mailing.create()
    used = await ask(mailing)
    assert (await enter(mailing, used, inbox.last().code)).status_code == 201
    session = await ask(mailing)
    answers = [await enter(mailing, junk, "00000000") for _ in range(10) for junk in (str(uuid4()), used)]
    assert [answer.status_code for answer in answers] == [404] * 8 + [429] * 12
    assert (await enter(mailing, session, inbox.last().code)).status_code == 201


async def test_one_address_does_not_use_up_the_limits_of_others(sqlite_place, clock, inbox):
    async with sqlite_place.node(clock, smtp_url=f"smtp://127.0.0.1:{inbox.port}", strangers_per_minute=60) as node:
        await node.create()
        session = await ask(node)
        transport = httpx.ASGITransport(create_app(node.vault), client=("203.0.113.9", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://vault") as junk:
            for number in range(500):
                claim = {"identity": {"email": f"x{number}@example.org"}}
                answers = [
                    await junk.post(SESSIONS, json=claim),
                    await junk.post(OPEN, json={"session": session, "code": "00000000"}),
                ]
        for answer in answers:
            problem(answer, 429, "rate-limited")
        await node.services.mail.settled()
        code = inbox.letters[0].code
        assert (await enter(node, session, code)).status_code == 404  # its five attempts are used up
        session = await ask(node)
        assert (await enter(node, session, inbox.last().code)).status_code == 201


async def test_tries_of_live_codes_are_limited(sqlite_mailing, inbox, monkeypatch):
    monkeypatch.setattr(sign_in, "MOST_A_MINUTE", 8)
    await sqlite_mailing.create()
    sessions = [await ask(sqlite_mailing, {"identity": {"email": f"e{n}@example.org"}}) for n in range(2)]
    session = await ask(sqlite_mailing)
    answers = [await enter(sqlite_mailing, item, "00000000") for item in sessions for _ in range(4)]
    assert {answer.status_code for answer in answers} == {404}
    problem(await enter(sqlite_mailing, session, inbox.last().code), 429, "rate-limited")


async def test_requests_for_codes_are_aggregated_on_the_log_and_letters_are_not(mailing, clock, monkeypatch):
    monkeypatch.setattr(sign_in, "MOST_ENTRIES_A_MINUTE", 3)
    subject = await mailing.create()
    async with mailing.new_entries() as new_entries:
        for number in range(8):
            await ask(mailing, {"identity": {"email": f"stranger{number}@example.org"}})
        await ask(mailing)
        await ask(mailing, {"identity": {"email": "stranger@example.org"}, "tenant": OTHER})
        clock.advance(minutes=1)
        await ask(mailing, {"identity": {"email": "another@example.org"}})
    assert [(item.tenant, item.principal_name, item.count, item.target is None) for item in new_entries] == [
        *[("default", "the-person", 1, False)] * 3,
        ("default", "vault", 1, False),  # the letter: it is on the log with the person's pseudonym in any case
        (OTHER, "the-person", 1, False),  # each tenant has its own log
        ("default", "the-person", 7, True),
    ]
    assert new_entries[3].subjects == (await mailing.pseudonym(subject),)


# ---- The session -----------------------------------------------------------------------------------------------------


async def test_a_session_expires(sqlite_mailing, inbox, clock):
    await sqlite_mailing.create()
    headers = await signed_in(sqlite_mailing, inbox)
    clock.advance(minutes=29, seconds=59)
    assert (await mine(sqlite_mailing, headers)).status_code == 200
    clock.advance(seconds=1)
    problem(await mine(sqlite_mailing, headers), 401, "not-authenticated")


async def test_every_wrong_token_gets_one_answer(sqlite_mailing, inbox):
    node = sqlite_mailing
    await node.create()
    headers = await signed_in(node, inbox)
    token = headers["Authorization"].removeprefix("Bearer ")
    key = node.place.keys["default", "dpo"]
    for sent in (None, "", "x", "cdvs_", f"cdvs_{'0' * 32}_{'A' * 43}", key, token[:38] + "A" * 43, token + "A"):
        answer = await mine(node, {} if sent is None else {"Authorization": f"Bearer {sent}"})
        assert problem(answer, 401, "not-authenticated")["detail"] == "the bearer is not accepted"
    assert (await mine(node, headers)).status_code == 200


async def test_a_session_token_is_not_accepted_by_other_routes(sqlite_mailing, inbox):
    await sqlite_mailing.create()
    headers = await signed_in(sqlite_mailing, inbox)
    for method, path, body in (
        ("POST", "/v1/read", {"subjects": [], "fields": ["name"], "purpose": "subject-rights"}),
        ("GET", "/v1/audit/entries", None),
        ("GET", "/v1/catalogue", None),
    ):
        problem(await sqlite_mailing.call(None, method, path, body, headers=headers), 401, "not-authenticated")


async def test_an_erased_person_is_signed_out(sqlite_mailing, inbox):
    subject = await sqlite_mailing.create()
    headers = await signed_in(sqlite_mailing, inbox)
    late = await ask(sqlite_mailing)
    await sqlite_mailing.set_state(subject, "erased")
    problem(await mine(sqlite_mailing, headers), 401, "not-authenticated")
    problem(await enter(sqlite_mailing, late, inbox.last().code), 404, "code-invalid")


async def test_a_restricted_person_has_all_rights(sqlite_mailing, inbox):
    subject = await sqlite_mailing.create()
    await sqlite_mailing.set_state(subject, "restricted")
    assert (await mine(sqlite_mailing, await signed_in(sqlite_mailing, inbox))).status_code == 200


async def test_the_same_address_is_another_person_in_another_tenant(sqlite_mailing, inbox):
    await sqlite_mailing.create()
    subject = await sqlite_mailing.create(tenant=OTHER)
    headers = await signed_in(sqlite_mailing, inbox, {**BY_MAIL, "tenant": OTHER})
    async with sqlite_mailing.new_entries() as new_entries:
        assert (await mine(sqlite_mailing, headers)).status_code == 200
    (entry,) = new_entries
    assert (entry.tenant, entry.subjects) == (OTHER, (await sqlite_mailing.pseudonym(subject),))


async def test_a_letter_that_cannot_be_sent_is_recorded(sqlite_mailing, inbox):
    subject = await sqlite_mailing.create()
    inbox.refuse = "550 no such user"
    async with sqlite_mailing.new_entries() as new_entries:
        await ask(sqlite_mailing)
    (_, entry) = new_entries
    assert (entry.action, entry.decision, entry.code) == ("send-code", "failed", "mail-failed")
    assert entry.subjects == (await sqlite_mailing.pseudonym(subject),)


async def test_the_letter_is_in_the_language_that_was_asked_for(sqlite_mailing, inbox):
    await sqlite_mailing.create({**ADA, "language": "fr"})
    await ask(sqlite_mailing)
    assert inbox.last().message["Content-Language"] == "fr"
    await ask(sqlite_mailing, {**BY_MAIL, "language": "de-AT"})
    assert inbox.last().message["Content-Language"] == "de"
    assert "10 Minuten" in inbox.last().body


async def test_expired_codes_and_sessions_are_deleted(mailing, inbox, clock):
    await mailing.create()
    await signed_in(mailing, inbox)
    assert await forget_identity(mailing.services) == 0
    clock.advance(minutes=30)
    assert await forget_codes(mailing.services) == 0
    assert await forget_identity(mailing.services) == 1
    clock.advance(days=1)
    assert await forget_identity(mailing.services) == 1


async def test_attempts_are_forgotten_in_the_key_store_when_their_codes_are(mailing, inbox, clock):
    await mailing.create()
    await signed_in(mailing, inbox)
    attempts = "SELECT version FROM row_version WHERE table_name = 'identity_code'"
    assert len(await mailing.sql(attempts, keystore=True)) == 1
    await forget_codes(mailing.services)
    assert len(await mailing.sql(attempts, keystore=True)) == 1
    # Ids have the real time.
    clock.advance(seconds=max(0, time.time() - clock.now().timestamp()))
    clock.advance(days=3)
    await forget_codes(mailing.services)
    assert await mailing.sql(attempts, keystore=True) == []
