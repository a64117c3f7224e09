"""Who may write an address is not who the address belongs to: a changed one proves nobody before it has been there."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import pytest

from tests.identity.test_self_service import submit
from tests.identity.test_sessions import BY_MAIL, BY_NUMBER, ask, enter
from tests.imports.files import bring_in, write_csv
from tests.merging.test_merge import merge
from tests.rectification.submitting import carry_out
from tests.vaults import ADA, problem
from vault.contacts.changes import forget_changes
from vault.contacts.personal_data import ContactData
from vault.ids import DEFAULT_TENANT, SubjectId
from vault.lifecycle.personal_data import ExportContext
from vault.workflows import WORKFLOWS, pending_work

OLD, THIEF = "ada@example.org", "thief@example.net"
BY_THIEF = {"identity": {"email": THIEF}}
ROLES = [("sales", "order-fulfilment"), ("support", "customer-support"), ("fulfilment", "order-fulfilment"),
         ("dpo", "subject-rights")]  # fmt: skip
MAPPING = 'purpose = "order-fulfilment"\n[external_ids]\nshop = "no"\n[fields]\nemail = "mail"\n'


@pytest.fixture
async def ada(mailing, clock):
    subject = await mailing.create(external_ids={"shop": "4711"})
    clock.advance(days=30)
    return subject


async def write_letters(node):
    """Run the jobs of letters about changed contacts, as a server would; returns how each ended."""
    jobs = [work for work in await pending_work(node.services) if work.workflow == "tell-contact-changed"]
    run = node.services.jobs.run_in_foreground
    return [await run(node.services, WORKFLOWS[job.workflow], job.tenant, job.id) for job in jobs]


async def changes_of(node, subject):
    rows = await node.sql(
        "SELECT field, kind, told_at IS NULL, former IS NULL FROM contact_change WHERE subject_id = :of ORDER BY id",
        of=UUID(subject),
    )
    return [(field, kind, bool(untold), bool(empty)) for field, kind, untold, empty in rows]


async def change(node, subject, changes, role="fulfilment", purpose="order-fulfilment"):
    revision = (await node.call(role, "GET", f"/v1/subjects/{subject}")).headers["etag"]
    done = await node.patch(role, subject, changes, purpose, revision)
    assert done.status_code == 200, done.text


async def settled(node, clock, **profile):
    """Create a customer with any fields, whose addresses have been there for long."""
    subject = await node.create_fully(**profile)
    clock.advance(days=30)
    await forget_changes(node.services)
    return subject


async def exported(node, subject):
    subject = SubjectId(UUID(subject))
    keys = (await node.services.keyring.subject_keys(DEFAULT_TENANT, [subject]))[subject]
    every, none = (lambda _name: True), (lambda _name: False)
    package = ExportContext(node.services, DEFAULT_TENANT, subject, keys, "en", every, none)
    return await ContactData().export(package)


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


async def by_patch(node, subject, address, tmp_path):
    await change(node, subject, {"email": address})


async def by_upsert(node, subject, address, tmp_path):
    body = {"profile": {"email": address}, "external_ids": {"shop": "4711"}, "purpose": "order-fulfilment"}
    done = await node.post("sales", "/v1/subjects:upsert", body)
    assert (done.status_code, done.json()["id"]) == (200, subject), done.text


async def by_import(node, subject, address, tmp_path):
    assert (await bring_in(node, write_csv(tmp_path / "a.csv", "no,mail", f"4711,{address}"), MAPPING)).refused == 0


async def by_rectification(node, subject, address, tmp_path):
    assert (await carry_out(node, subject, "rectification", changes={"email": address})).outcome == "done"


WRITERS = [by_patch, by_upsert, by_import, by_rectification]


@pytest.mark.parametrize(("role", "purpose"), ROLES)
async def test_a_role_that_writes_an_address_gets_no_package_and_the_person_a_letter(
    mailing, inbox, ada, role, purpose
):
    await change(mailing, ada, {"email": THIEF}, role, purpose)
    await nothing_comes_of_it(mailing, inbox)
    await nothing_comes_of_it(mailing, inbox, BY_NUMBER)
    assert await write_letters(mailing) == [None]
    assert inbox.last().recipients == [OLD]
    assert THIEF not in inbox.last().raw.decode()


@pytest.mark.parametrize("write", WRITERS)
async def test_whoever_changes_an_address_the_former_one_is_told(mailing, inbox, ada, write, tmp_path):
    await write(mailing, ada, THIEF, tmp_path)
    assert await changes_of(mailing, ada) == [("email", "replaced", True, False)]
    before = len(inbox.letters)
    async with mailing.new_entries() as new_entries:
        assert await write_letters(mailing) == [None]
    (letter,) = inbox.letters[before:]
    assert letter.recipients == [OLD]
    assert "this e-mail address was replaced by another one" in " ".join(letter.body.split())
    assert THIEF not in letter.raw.decode()
    (entry,) = new_entries
    assert (entry.action, entry.decision, entry.subjects) == (
        "send-notice", "allowed", (await mailing.pseudonym(UUID(ada)),),
    )  # fmt: skip
    assert await changes_of(mailing, ada) == [("email", "replaced", False, True)]  # the former address is gone
    assert await write_letters(mailing) == []


@pytest.mark.parametrize("write", WRITERS)
async def test_a_write_of_the_same_address_changes_nothing(mailing, inbox, ada, write, tmp_path):
    for same in (OLD, "Ada@EXAMPLE.org"):
        await write(mailing, ada, same, tmp_path)
    assert await changes_of(mailing, ada) == []
    me, session = await opened(mailing, inbox, BY_MAIL)
    assert datetime.fromisoformat(session["fresh_until"]) > mailing.services.clock.now()
    assert (await submit(mailing, me))["state"] == "approved"


async def test_a_write_of_the_same_address_makes_a_changed_one_no_older_and_no_younger(mailing, inbox, ada, clock):
    await change(mailing, ada, {"email": THIEF})
    clock.advance(days=13)
    await change(mailing, ada, {"email": THIEF})
    await nothing_comes_of_it(mailing, inbox)
    clock.advance(days=1)
    _me, session = await opened(mailing, inbox)
    assert datetime.fromisoformat(session["fresh_until"]) > clock.now()


async def test_an_address_that_is_written_back_is_a_changed_one(mailing, inbox, ada):
    """Else a code could be sent to the thief's address, and entered once the former one is back."""
    await change(mailing, ada, {"email": THIEF})
    session = await ask(mailing, BY_THIEF)
    code = inbox.last().code
    await change(mailing, ada, {"email": OLD})
    answer = await enter(mailing, session, code)
    assert datetime.fromisoformat(answer.json()["fresh_until"]) == mailing.services.clock.now()


async def test_letters_are_in_the_persons_language_and_say_what_was_done(mailing, inbox, clock):
    second = "zweite@example.org"
    subject = await settled(mailing, clock, email=OLD, language="de")
    for changes, reports, words in [
        ({"email_secondary": second}, OLD, "eine E-Mail-Adresse wurde hinzugefügt"),
        ({"email_secondary": None}, second, "diese E-Mail-Adresse wurde entfernt"),
        ({"email": THIEF}, OLD, "diese E-Mail-Adresse wurde durch eine andere ersetzt"),
    ]:
        await change(mailing, subject, changes, "dpo", "subject-rights")
        assert await write_letters(mailing) == [None]
        assert (inbox.last().recipients, inbox.last().message["Content-Language"]) == ([reports], "de")
        assert words in " ".join(inbox.last().body.split())


async def test_a_first_address_proves_nobody_at_once_and_nobody_is_told(mailing, inbox, clock):
    subject = await mailing.create({"name": "Ada Lovelace"}, external_ids={"shop": "4711"})
    clock.advance(days=30)
    await change(mailing, subject, {"email": THIEF})
    assert await write_letters(mailing) == [None]
    assert inbox.letters == []
    await nothing_comes_of_it(mailing, inbox)


async def test_a_letter_that_cannot_be_sent_is_tried_again_until_the_address_proves_the_person(
    sqlite_mailing, inbox, clock
):
    node = sqlite_mailing
    subject = await node.create()
    await change(node, subject, {"email": THIEF})
    inbox.refuse = "450 later"
    assert await write_letters(node) == [600]
    clock.advance(days=1)
    assert await write_letters(node) == [86_400]
    assert await changes_of(node, subject) == [("email", "replaced", True, False)]
    inbox.refuse = None
    assert await write_letters(node) == [None]
    assert inbox.last().recipients == [OLD]
    await change(node, subject, {"email": "other@example.net"})
    inbox.refuse = "450 later"
    clock.advance(days=14)
    assert await forget_changes(node.services) == 2
    assert await changes_of(node, subject) == []
    assert await write_letters(node) == []


async def test_a_letter_waits_for_the_budget_of_the_person(sqlite_place, clock, inbox):
    async with sqlite_place.node(clock, smtp_url=f"smtp://127.0.0.1:{inbox.port}", letters_per_day=1) as node:
        subject = await node.create()
        await change(node, subject, {"email": THIEF})
        await change(node, subject, {"email": "other@example.net"})
        assert sorted(await write_letters(node), key=str) == [600, None]
        clock.advance(days=1)
        assert await write_letters(node) == [None]
    assert sorted(letter.recipients[0] for letter in inbox.letters) == [OLD, THIEF]


async def test_another_process_sends_the_letter_if_this_one_dies(sqlite_place, clock, inbox):
    mail = {"smtp_url": f"smtp://127.0.0.1:{inbox.port}"}
    async with sqlite_place.node(clock, **mail) as node:
        subject = await node.create()
        await change(node, subject, {"email": THIEF})
    async with sqlite_place.node(clock, **mail) as node:
        assert await write_letters(node) == [None]
    assert inbox.last().recipients == [OLD]


async def test_a_vault_without_mail_has_no_letters_to_send(sqlite_node):
    subject = await sqlite_node.create()
    await change(sqlite_node, subject, {"email": THIEF})
    assert await write_letters(sqlite_node) == []
    assert await changes_of(sqlite_node, subject) == [("email", "replaced", True, False)]


@pytest.mark.parametrize("thief_stays", [True, False])
async def test_a_merge_with_a_made_up_person_is_no_way_round(mailing, inbox, ada, clock, thief_stays):
    if not thief_stays:
        await change(mailing, ada, {"email": None})
    eve = await settled(mailing, clock, email=THIEF, email_secondary=THIEF)
    survivor, duplicate = (eve, ada) if thief_stays else (ada, eve)
    assert (await merge(mailing, survivor, duplicate)).status_code == 201
    await nothing_comes_of_it(mailing, inbox)
    before = len(inbox.letters)
    await write_letters(mailing)
    answers = [letter.recipients for letter in inbox.letters[before:]]
    assert answers == ([[OLD]] if thief_stays else [])


async def test_a_merge_keeps_what_both_had_and_tells_an_address_that_is_dropped(mailing, inbox, clock):
    survivor = await settled(mailing, clock, email=OLD, email_secondary="stays@example.org")
    duplicate = await settled(mailing, clock, email=OLD, email_secondary="dropped@example.org")
    assert (await merge(mailing, survivor, duplicate)).status_code == 201
    assert await changes_of(mailing, survivor) == [("email_secondary", "replaced", True, False)]
    await write_letters(mailing)
    assert [letter.recipients for letter in inbox.letters] == [["dropped@example.org"]]
    assert await changes_of(mailing, duplicate) == []
    _me, session = await opened(mailing, inbox, BY_MAIL)
    assert datetime.fromisoformat(session["fresh_until"]) > clock.now()


async def test_a_merge_takes_the_letters_and_the_age_of_the_duplicates_addresses_along(mailing, inbox, clock):
    survivor, duplicate = await mailing.create({**ADA, "email": THIEF}), await mailing.create()
    clock.advance(days=30)
    await change(mailing, duplicate, {"email": THIEF})
    assert (await merge(mailing, survivor, duplicate)).status_code == 201
    assert await changes_of(mailing, survivor) == [("email", "replaced", True, False)]
    await nothing_comes_of_it(mailing, inbox)
    await write_letters(mailing)
    assert inbox.last().recipients == [OLD]


async def test_the_former_address_goes_with_the_person_and_is_in_their_package_before(mailing, ada):
    await change(mailing, ada, {"email": THIEF})
    sections = await exported(mailing, ada)
    assert [(item.field, item.kind, item.former) for item in sections["contact_changes"]] == [
        ("profile.email", "replaced", OLD)
    ]
    assert (await carry_out(mailing, ada, "erasure")).state == "completed"
    assert await changes_of(mailing, ada) == []


async def test_staff_see_that_a_request_rests_on_a_changed_address(mailing, inbox, ada):
    await change(mailing, ada, {"email": THIEF})
    me, _session = await opened(mailing, inbox)
    asked = await submit(mailing, me)
    seen = (await mailing.call("dpo", "GET", f"/v1/requests/{asked['id']}")).json()
    assert seen["verification"]["young_contact"] is True


async def test_an_address_that_is_removed_and_written_again_is_a_changed_one(mailing, inbox, ada):
    await change(mailing, ada, {"email": None})
    await change(mailing, ada, {"email": THIEF})
    await nothing_comes_of_it(mailing, inbox)


async def test_a_code_for_a_request_proves_no_more(mailing, inbox, ada):
    await change(mailing, ada, {"email": THIEF})
    for kind, code in (("access", None), ("erasure", "fresh-identity-needed")):
        created = await mailing.post("support", "/v1/requests", {"subject": ada, "kind": kind})
        assert created.status_code == 201, created.text
        path = f"/v1/requests/{created.json()['id']}"
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
    assert datetime.fromisoformat(session["fresh_until"]) > clock.now()
    assert (await submit(mailing, me))["state"] == "in_review"  # staff look at the change all the same


async def test_a_changed_address_proves_the_person_once_it_has_been_there_for_the_days_of_the_policies(
    mailing, inbox, ada, clock
):
    await change(mailing, ada, {"email": THIEF})
    clock.advance(days=13, hours=23)
    await nothing_comes_of_it(mailing, inbox)
    clock.advance(hours=1)
    me, session = await opened(mailing, inbox)
    assert datetime.fromisoformat(session["fresh_until"]) > clock.now()
    assert (await submit(mailing, me, "access", scope={"fields": ["name"]}))["state"] == "approved"


async def test_an_address_as_old_as_the_profile_proves_the_person_at_once(mailing, inbox, clock):
    await mailing.create()
    clock.advance(days=1)
    me, _session = await opened(mailing, inbox, BY_MAIL)
    assert (await submit(mailing, me))["state"] == "approved"
