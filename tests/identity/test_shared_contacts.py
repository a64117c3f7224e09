"""Several entries with one e-mail address: nobody is locked out, none opens the other, and staff see and settle it."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, insert, select
from typer.testing import CliRunner

from tests.identity.test_self_service import submit
from tests.identity.test_sessions import BY_MAIL, SESSIONS, ask, enter
from tests.merging.test_merge import merge
from tests.rectification.submitting import carry_out
from tests.vaults import ADA, problem
from vault.cli import app
from vault.contacts.shared import SHARED_CONTACT
from vault.identity.tables import IDENTITY_CODE

ADDRESS = "ada@example.org"
SHARED = "/v1/shared-contacts"
CODE = IDENTITY_CODE.c


@pytest.fixture
async def ada(mailing, clock):
    subject = await mailing.create(external_ids={"shop": "4711"})
    clock.advance(days=30)
    return subject


@pytest.fixture
async def eve(mailing, ada):
    """Sign somebody else up under Ada's address."""
    return await mailing.create({"name": "Eve", "email": ADDRESS}, external_ids={"shop": "666"})


async def opened(node, inbox, body=BY_MAIL):
    """Sign in; returns the answer and a bearer's header for each session in it."""
    answer = await enter(node, await ask(node, body), inbox.last().code)
    assert answer.status_code == 201, answer.text
    tokens = [answer.json()["token"], *(other["token"] for other in answer.json()["others"])]
    return answer.json(), [{"Authorization": f"Bearer {token}"} for token in tokens]


async def shared(node):
    listed = await node.call("dpo", "GET", SHARED)
    assert listed.status_code == 200, listed.text
    return listed.json()["results"]


def is_fresh(node, session):
    return datetime.fromisoformat(session["fresh_until"]) > node.services.clock.now()


async def test_a_namesake_locks_nobody_out_and_each_session_opens_its_own_entry_alone(mailing, inbox, ada, eve):
    session, people = await opened(mailing, inbox)
    assert inbox.last().recipients == [ADDRESS]
    assert len(people) == 2
    assert not is_fresh(mailing, session)
    asked = [await submit(mailing, me) for me in people]
    seen = [(await mailing.call("dpo", "GET", f"/v1/requests/{each['id']}")).json() for each in asked]
    assert [each["subject"] for each in seen] == [ada, eve]
    assert [each["verification"]["level"] for each in seen] == ["single", "single"]
    for me, own, other in ((people[0], *asked), (people[1], *reversed(asked))):
        listed = (await mailing.call(None, "GET", "/v1/me/requests", headers=me)).json()["requests"]
        assert [each["id"] for each in listed] == [own["id"]]
        path = f"/v1/me/requests/{other['id']}"
        problem(await mailing.call(None, "GET", path, headers=me), 404, "request-not-found")
        package = f"/v1/me/requests/{own['id']}/package"
        problem(await mailing.call(None, "GET", package, headers=me), 403, "fresh-session-needed")
        assert (await submit(mailing, me, "erasure"))["state"] == "received"


async def test_a_stranger_gets_the_same_answer(mailing, inbox, ada, eve):
    answers = [
        await mailing.post(None, SESSIONS, {"identity": {"email": address}}) for address in (ADDRESS, "no@example.org")
    ]
    await mailing.services.mail.settled()
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json().keys() == answers[1].json().keys()


async def test_the_log_names_all_to_whom_the_claim_led(mailing, inbox, ada, eve):
    pseudonyms = {await mailing.pseudonym(UUID(person)) for person in (ada, eve)}
    async with mailing.new_entries() as made:
        await opened(mailing, inbox)
    told = [(each.action, each.decision, each.code, set(each.subjects)) for each in made]
    assert told[1] == ("send-code", "allowed", "several-people", pseudonyms)
    assert [each[:3] for each in told[2:]] == [("open-session", "allowed", "several-people")] * 2
    assert told[2][3] | told[3][3] == pseudonyms


async def test_a_code_opens_all_sessions_once(mailing, inbox, ada, eve):
    session = await ask(mailing)
    code = inbox.last().code
    assert (await enter(mailing, session, code)).status_code == 201
    problem(await enter(mailing, session, code), 404, "code-invalid")
    ((unused,),) = await mailing.sql("SELECT count(*) FROM identity_code WHERE used_at IS NULL")
    assert unused == 0


async def test_staff_see_who_shares_an_address_and_how_alike_they_are(mailing, inbox, ada, clock):
    assert await shared(mailing) == []
    twin = await mailing.create(dict(ADA))
    began = clock.now()
    await ask(mailing)
    clock.advance(hours=1)
    await ask(mailing)
    (contact,) = await shared(mailing)
    assert contact["people"] == [ada, twin]
    assert contact["since"] < contact["claimed_at"]
    assert contact["since"][:16] == began.isoformat()[:16]
    (pair,) = contact["pairs"]
    assert (pair["one"], pair["other"]) == (ada, twin)
    assert pair["score"] > 90
    assert {"email", "phone"} <= set(pair["matched"])
    for role in ("sales", "support", "fulfilment", "operator"):
        problem(await mailing.call(role, "GET", SHARED), 403, "not-granted")
        problem(await mailing.post(role, f"{SHARED}/{contact['id']}:settle"), 403, "not-granted")


async def test_a_merge_settles_it(mailing, inbox, ada, eve):
    await ask(mailing)
    assert len(await shared(mailing)) == 1
    assert (await merge(mailing, ada, eve)).status_code == 201
    assert await shared(mailing) == []
    session, people = await opened(mailing, inbox)
    assert len(people) == 1
    assert is_fresh(mailing, session)


async def test_a_merge_voids_the_code_that_was_sent_before(mailing, inbox, ada, eve):
    session = await ask(mailing)
    code = inbox.last().code
    assert (await merge(mailing, eve, ada)).status_code == 201
    problem(await enter(mailing, session, code), 404, "code-invalid")


async def test_different_people_are_settled_until_one_more_comes(mailing, inbox, ada, eve):
    await ask(mailing)
    (contact,) = await shared(mailing)
    async with mailing.new_entries() as made:
        done = await mailing.post("dpo", f"{SHARED}/{contact['id']}:settle")
    assert done.status_code == 200, done.text
    assert sorted(done.json()["people"]) == sorted([ada, eve])
    assert [(entry.action, entry.decision, len(entry.subjects)) for entry in made] == [("settle-contact", "allowed", 2)]
    problem(await mailing.post("dpo", f"{SHARED}/{contact['id']}:settle"), 404, "contact-not-found")
    problem(await mailing.post("dpo", f"{SHARED}/{uuid4()}:settle"), 404, "contact-not-found")
    session, people = await opened(mailing, inbox)
    assert (len(people), is_fresh(mailing, session)) == (2, False)  # it still proves none of them alone
    assert await shared(mailing) == []
    third = await mailing.create({"name": "Mallory", "email": ADDRESS})
    await ask(mailing)
    ((again),) = await shared(mailing)
    assert again["people"] == [ada, eve, third]


async def test_an_entry_that_was_given_the_address_lately_takes_nothing_away(mailing, inbox, ada, clock):
    eve = await mailing.create({"name": "Eve", "email": "eve@example.org"})
    revision = (await mailing.call("sales", "GET", f"/v1/subjects/{eve}")).headers["etag"]
    done = await mailing.patch("sales", eve, {"email": ADDRESS}, "order-fulfilment", revision)
    assert done.status_code == 200
    session, people = await opened(mailing, inbox)
    assert len(people) == 1
    assert is_fresh(mailing, session)
    assert (await shared(mailing))[0]["people"] == [ada, eve]  # staff see it all the same


async def test_an_address_of_very_many_tells_nobody_apart(mailing, inbox, ada):
    for number in range(10):
        await mailing.create({"name": f"Nobody {number}", "email": ADDRESS})
    async with mailing.new_entries() as made:
        await ask(mailing)
    assert inbox.letters == []
    assert (made[-1].action, made[-1].code, len(made[-1].subjects)) == ("send-code", "several-people", 11)
    assert len((await shared(mailing))[0]["people"]) == 11


@pytest.mark.parametrize("leaves", ["erased", "changed"])
async def test_who_is_erased_or_has_another_address_shares_it_no_longer(mailing, inbox, ada, eve, leaves):
    session = await ask(mailing)
    code = inbox.last().code
    if leaves == "erased":
        assert (await carry_out(mailing, eve, "erasure")).state == "completed"
    else:
        revision = (await mailing.call("sales", "GET", f"/v1/subjects/{eve}")).headers["etag"]
        assert (
            await mailing.patch("sales", eve, {"email": "eve@example.org"}, "order-fulfilment", revision)
        ).status_code == 200
    assert await shared(mailing) == []
    ((left,),) = await mailing.sql("SELECT count(*) FROM shared_contact WHERE subject_id = :of", of=UUID(eve))
    assert left == 0
    answer = await enter(mailing, session, code)
    assert answer.json()["others"] == []


async def test_ids_of_several_people_lead_to_nobody_and_are_on_the_log(mailing, inbox, ada, eve):
    await mailing.create(external_ids={"app": "1"})
    async with mailing.new_entries() as made:
        await ask(mailing, {"identity": {"external_id": {"shop": "4711", "app": "1"}}})
    assert inbox.letters == []
    entry = made[-1]
    assert (entry.action, entry.decision, entry.code, len(entry.subjects)) == (
        "send-code", "failed", "several-people", 2,
    )  # fmt: skip


# ---- Who may write to the main database ------------------------------------------------------------------------------


def _made_up(own, _along, grace, ada):
    return [], [{**own, "id": uuid4(), "subject_id": ada, "sent_with": own["id"]}]


def _moved(own, along, grace, ada):
    return [CODE.id == along["id"]], [{**along, "sent_with": own["id"]}]


def _turned(own, _along, grace, ada):
    return [CODE.id == own["id"]], [{**own, "subject_id": ada}]


@pytest.mark.parametrize("forge", [_made_up, _moved, _turned])
async def test_no_row_of_an_attacker_lets_a_code_open_the_session_of_another(mailing, inbox, ada, eve, forge):
    grace = await mailing.create({"name": "Grace", "email": "grace@example.org"})
    await ask(mailing)
    session = await ask(mailing, {"identity": {"email": "grace@example.org"}})
    async with mailing.services.data.transaction() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(select(IDENTITY_CODE))]
        (own,) = [row for row in rows if row["id"] == UUID(session)]
        (along,) = [row for row in rows if row["sent_with"] is not None]
        gone, come = forge(own, along, UUID(grace), UUID(ada))
        if gone:
            await connection.execute(delete(IDENTITY_CODE).where(*gone))
        await connection.execute(insert(IDENTITY_CODE), come)
    answer = await enter(mailing, session, inbox.last().code)
    if forge is _turned:
        problem(answer, 404, "code-invalid")
        return
    assert answer.json()["others"] == []
    listed = await submit(mailing, {"Authorization": f"Bearer {answer.json()['token']}"})
    assert (await mailing.call("dpo", "GET", f"/v1/requests/{listed['id']}")).json()["subject"] == grace


async def test_no_row_of_an_attacker_proposes_people_to_staff(mailing, ada, eve):
    grace = await mailing.create({"name": "Grace", "email": "grace@example.org"})
    await ask(mailing)
    (contact,) = await shared(mailing)
    async with mailing.services.data.transaction() as connection:
        (genuine,) = await connection.execute(select(SHARED_CONTACT).where(SHARED_CONTACT.c.subject_id == UUID(eve)))
        forged = [{**genuine._mapping, "subject_id": UUID(grace)}]
        forged += [{**genuine._mapping, "id": UUID(int=7), "subject_id": UUID(of)} for of in (grace, eve)]
        await connection.execute(insert(SHARED_CONTACT), forged)
    assert await shared(mailing) == [contact]
    await ask(mailing)  # the next claim leaves the rows of the vault alone
    assert [each["people"] for each in await shared(mailing)] == [[ada, eve]]
    problem(await mailing.post("dpo", f"{SHARED}/{UUID(int=7)}:settle"), 404, "contact-not-found")
    settled = await mailing.post("dpo", f"{SHARED}/{contact['id']}:settle")
    assert sorted(settled.json()["people"]) == sorted([ada, eve])


def test_the_command_line_lists_and_settles_them(sqlite_place, inbox, monkeypatch, tmp_path):
    async def make():
        async with sqlite_place.node(smtp_url=f"smtp://127.0.0.1:{inbox.port}") as node:
            people = [await node.create(dict(ADA)) for _ in range(2)]
            await ask(node)
            return people

    people = asyncio.run(make())
    monkeypatch.chdir(tmp_path)

    def cdv(*arguments):
        env = {"CDV_VAULT": str(sqlite_place.folder)}
        return CliRunner().invoke(app, ["subjects", *arguments], env=env, prog_name="cdv")

    (contact,) = json.loads(cdv("shared", "--json").stdout)
    assert contact["people"] == people
    listed = cdv("shared")
    assert (listed.exit_code, contact["id"] in listed.stdout) == (0, True), listed.output
    assert ADDRESS not in listed.output
    assert "different ones" in cdv("settle", contact["id"]).output
    assert json.loads(cdv("shared", "--json").stdout) == []
    refused = cdv("settle", contact["id"])
    assert (refused.exit_code, "no open shared contact" in refused.stderr) == (1, True), refused.output
