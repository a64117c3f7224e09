"""Who may write an address is not who the address belongs to: a changed one proves nobody before it has been there."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.identity.test_self_service import submit
from tests.identity.test_sessions import BY_NUMBER, ask, enter
from tests.imports.files import bring_in, counts, write_csv
from tests.rectification.submitting import carry_out
from tests.vaults import ADA, problem

THIEF = "thief@example.net"
BY_THIEF = {"identity": {"email": THIEF}}
WRITERS = [("sales", "order-fulfilment"), ("support", "customer-support"), ("fulfilment", "order-fulfilment")]
MAPPING = 'purpose = "order-fulfilment"\n[external_ids]\nshop = "no"\n[fields]\nemail = "mail"\n'


@pytest.fixture
async def ada(mailing, clock):
    subject = await mailing.create(external_ids={"shop": "4711"})
    clock.advance(days=30)
    return subject


async def change(node, subject, changes, role="fulfilment", purpose="order-fulfilment"):
    revision = (await node.call(role, "GET", f"/v1/subjects/{subject}")).headers["etag"]
    done = await node.patch(role, subject, changes, purpose, revision)
    assert done.status_code == 200, done.text


async def opened(node, inbox, body=BY_THIEF):
    """Sign in; returns the bearer's header and the answer."""
    session = await ask(node, body)
    answer = await enter(node, session, inbox.last().code)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}, answer.json()


async def nothing_comes_of_it(node, inbox, body=BY_THIEF):
    """Check that a code to the address opens nothing: staff decide, and what needs a fresh proof is refused."""
    me, session = await opened(node, inbox, body)
    assert inbox.last().recipients == [THIEF]
    assert datetime.fromisoformat(session["fresh_until"]) == node.services.clock.now()
    for kind in ("access", "portability"):
        asked = await submit(node, me, kind)
        assert asked["state"] == "in_review"
        path = f"/v1/me/requests/{asked['id']}"
        assert (await node.call(None, "GET", path, headers=me)).json()["verified"] == "single"
        assert (await node.call(None, "GET", f"{path}/package", headers=me)).status_code in {403, 404}
    assert (await submit(node, me, "erasure"))["state"] == "received"


@pytest.mark.parametrize(("role", "purpose"), WRITERS)
async def test_an_app_that_writes_an_address_does_not_get_the_persons_data(mailing, inbox, ada, role, purpose):
    await change(mailing, ada, {"email": THIEF}, role, purpose)
    await nothing_comes_of_it(mailing, inbox)
    await nothing_comes_of_it(mailing, inbox, BY_NUMBER)


async def test_an_address_that_is_removed_and_written_again_is_a_changed_one(mailing, inbox, ada):
    await change(mailing, ada, {"email": None})
    await change(mailing, ada, {"email": THIEF})
    await nothing_comes_of_it(mailing, inbox)


async def test_an_address_that_an_import_or_a_correction_writes_is_a_changed_one(mailing, inbox, ada, clock, tmp_path):
    report = await bring_in(mailing, write_csv(tmp_path / "a.csv", "no,mail", f"4711,{THIEF}"), MAPPING)
    assert counts(report) == (0, 1, 0, 0)
    await nothing_comes_of_it(mailing, inbox)
    other = await mailing.create({**ADA, "email": "other@example.org"}, external_ids={"shop": "4712"})
    await change(mailing, ada, {"email": None})
    clock.advance(days=30)
    assert (await carry_out(mailing, other, "rectification", changes={"email": THIEF})).outcome == "done"
    await nothing_comes_of_it(mailing, inbox)


async def test_a_code_for_a_request_proves_no_more(mailing, inbox, ada):
    await change(mailing, ada, {"email": THIEF})
    for kind, code in (("access", None), ("erasure", "fresh-identity-needed")):
        made = await mailing.post("support", "/v1/requests", {"subject": ada, "kind": kind})
        assert made.status_code == 201, made.text
        path = f"/v1/requests/{made.json()['id']}"
        sent = await mailing.post("support", f"{path}:verify", {"send_code": True})
        assert sent.status_code == 202, sent.text
        await mailing.services.mail.settled()
        assert inbox.last().recipients == [THIEF]
        body = {"code_id": sent.json()["code_id"], "code": inbox.last().code}
        done = await mailing.post("support", f"{path}:verify", body)
        if code is None:
            assert (done.status_code, done.json()["state"], done.json()["level"]) == (200, "in_review", "single")
        else:
            problem(done, 409, code)


async def test_a_code_goes_to_an_address_that_has_been_there_if_there_is_one(mailing, inbox, clock):
    second = "ada.second@example.org"
    subject = await mailing.create_fully(email="ada@example.org", email_secondary=second)
    clock.advance(days=30)
    await change(mailing, subject, {"email": THIEF})
    me, session = await opened(mailing, inbox)
    assert inbox.last().recipients == [second]
    assert session["fresh_until"] > clock.now().isoformat()
    assert (await submit(mailing, me))["state"] == "in_review"  # staff look at the change all the same


async def test_a_changed_address_proves_the_person_once_it_has_been_there_for_the_days_of_the_policies(
    mailing, inbox, ada, clock
):
    await change(mailing, ada, {"email": THIEF})
    clock.advance(days=13, hours=23)
    await nothing_comes_of_it(mailing, inbox)
    clock.advance(hours=1)
    me, session = await opened(mailing, inbox)
    assert session["fresh_until"] > clock.now().isoformat()
    assert (await submit(mailing, me, "access", scope={"fields": ["name"]}))["state"] == "approved"


async def test_an_address_as_old_as_the_profile_proves_the_person_at_once(mailing, inbox, clock):
    await mailing.create()
    clock.advance(days=1)
    me, _session = await opened(mailing, inbox, {"identity": {"email": "ada@example.org"}})
    assert (await submit(mailing, me))["state"] == "approved"
