"""The letter that tells a person of their erasure, and how long the address for it is kept."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from tests.erasure.people import LATELY, ask, erase, keys_of, run, somebody, state_of
from tests.jobs.killing import Killable
from tests.vaults import ADA
from vault.catalogue.model import Scope
from vault.erasure.letter import RETRIES
from vault.erasure.query import list_erasures
from vault.erasure.start import erasure_of
from vault.erasure.workflow import ERASURE_STEPS
from vault.ids import DEFAULT_TENANT

STEPS = "vault.erasure.workflow:ERASURE_STEPS"


async def erasure(node, request):
    return await erasure_of(node.services, DEFAULT_TENANT, request)


async def step(node, name, request):
    return await dict(ERASURE_STEPS)[name](node.services, DEFAULT_TENANT, request)


async def test_a_person_is_told_what_is_gone_and_what_a_law_keeps_until_when(mailing, inbox):
    node = mailing
    subject = await somebody(node, profile=ADA, bought=[LATELY])
    async with node.new_entries() as new_entries:
        request = await erase(node, subject, language="de-AT")
    (sent,) = inbox.letters
    assert (sent.recipients, sent.message["Content-Language"]) == (["ada@example.org"], "de")
    assert sent.message["Subject"] == "Example Retail Ltd: Ihre Daten sind gelöscht"
    body = " ".join(sent.body.split())
    assert str(request) in body
    assert "Löschung Ihrer Daten" in body
    assert "alles gelöscht, was wir über Sie hatten, außer dem, was hier aufgeführt ist" in body
    assert "ein Gesetz verpflichtet uns, die Daten aufzubewahren" in body
    assert "Einkäufe (" in body
    assert "Bestellnummer" in body
    assert re.search(r"- bis zum \d+\. [A-Z][a-zä]+ 20\d\d: [^-]*Voller Name", body), body
    assert "Aufsichtsbehörde beschweren" in body
    for value in (ADA["name"], ADA["phone"], "Teapot", "12.90", "order-0"):
        assert value not in body
    (entry,) = [entry for entry in new_entries if entry.action == "send-notice"]
    assert (entry.decision, entry.target) == ("allowed", request)


async def test_a_person_of_whom_nothing_is_kept_is_told_that_all_is_gone(sqlite_mailing, inbox):
    subject = await somebody(sqlite_mailing, profile={"name": "Ada", "email": "ada@example.org"})
    await erase(sqlite_mailing, subject)
    body = " ".join(inbox.last().body.split())
    assert "we erased everything that we had about you, this address included." in body
    assert "kept" not in body
    assert "complain" not in body


async def test_after_an_erasure_of_a_part_the_letter_names_the_part(sqlite_mailing, inbox):
    subject = await somebody(sqlite_mailing, profile=ADA)
    await erase(sqlite_mailing, subject, scope=Scope(fields=("profile.phone",)))
    body = " ".join(inbox.last().body.split())
    assert "we erased: Telephone." in body or "we erased: Phone" in body
    assert "everything" not in body


async def test_the_address_is_kept_sealed_until_the_letter_is_sent_and_the_keys_go_after_it(mailing, inbox):
    node = mailing
    subject = await somebody(node, profile=ADA)
    before = await keys_of(node, subject)
    request = await ask(node, subject)
    await run(node.services, request, until="tell")
    ((sealed,),) = await node.sql("SELECT addressee FROM erasure WHERE subject_id = :id", id=UUID(subject))
    assert sealed is not None
    assert b"ada@example.org" not in bytes(sealed)
    assert await keys_of(node, subject) == before
    assert inbox.letters == []
    assert await step(node, "tell", request) is None
    assert len(inbox.letters) == 1
    assert (await erasure(node, request)).addressee is None
    assert await step(node, "tell", request) is None
    await run(node.services, request)
    assert len(inbox.letters) == 1
    assert await keys_of(node, subject) == []


async def test_a_letter_that_cannot_be_sent_is_tried_again_and_then_the_erasure_goes_on(mailing, inbox):
    node = mailing
    inbox.refuse = "451 try later"
    subject = await somebody(node, profile=ADA)
    request = await ask(node, subject)
    await run(node.services, request, until="tell")
    assert [await step(node, "tell", request) for _ in range(len(RETRIES) + 1)] == [*RETRIES, None]
    after = await erasure(node, request)
    assert (after.addressee, after.letter, after.state) == (None, "mail-failed", "taken")
    await run(node.services, request)
    assert await state_of(node, subject) == "erased"
    listed = (await list_erasures(node.services, await node.caller("dpo"))).erasures
    assert [item.letter for item in listed] == ["mail-failed"]
    assert inbox.letters == []


async def test_a_relay_that_is_back_gets_the_letter(sqlite_mailing, inbox):
    node = sqlite_mailing
    inbox.refuse = "451 try later"
    request = await ask(node, await somebody(node, profile=ADA))
    await run(node.services, request, until="tell")
    assert await step(node, "tell", request) == RETRIES[0]
    inbox.refuse = None
    assert await step(node, "tell", request) is None
    assert (await erasure(node, request)).letter == "sent"
    assert len(inbox.letters) == 1


async def test_nobody_to_write_to_does_not_hold_an_erasure_up(sqlite_mailing, inbox):
    node = sqlite_mailing
    request = await erase(node, await somebody(node, profile={"name": "Nobody"}))
    assert (await erasure(node, request)).letter == "no-contact"
    assert inbox.letters == []


async def test_a_vault_without_a_relay_keeps_no_address(sqlite_node):
    request = await ask(sqlite_node, await somebody(sqlite_node, profile=ADA))
    await run(sqlite_node.services, request, until="tell")
    after = await erasure(sqlite_node, request)
    assert (after.addressee, after.letter) == (None, "mail-not-configured")


async def test_an_address_that_does_not_open_is_let_go(sqlite_mailing, inbox):
    node = sqlite_mailing
    subject = await somebody(node, profile=ADA)
    request = await ask(node, subject)
    await run(node.services, request, until="tell")
    await node.sql("UPDATE erasure SET addressee = :forged WHERE subject_id = :id", forged=b"x" * 80, id=UUID(subject))
    await run(node.services, request)
    after = await erasure(node, request)
    assert (after.addressee, after.letter, after.state) == (None, "no-contact", "done")
    assert inbox.letters == []


async def test_an_address_that_is_left_over_is_found_by_the_check_and_goes_with_the_keys(sqlite_mailing):
    node = sqlite_mailing
    subject = await somebody(node, profile=ADA)
    request = await ask(node, subject)
    await run(node.services, request, until="tell")
    left = await erasure(node, request)
    async with node.services.data.reading() as connection:
        counted = [
            await owner.remains(connection, DEFAULT_TENANT, left)
            for owner in node.services.personal_data
            if type(owner).__name__ == "LifecycleData"
        ]
    assert counted == [1]
    assert await step(node, "destroy-keys", request) is None
    assert (await erasure(node, request)).addressee is None
    assert await keys_of(node, subject) == []


@pytest.mark.parametrize(
    ("point", "letters"),
    [
        ("data.commit#1", 1),
        ("take-away.before#1", 1),
        ("data.commit#2", 1),
        ("data.committed#2", 1),
        ("tell.before#1", 1),
        # After the relay has it and before the address is gone: sent twice, and never not at all.
        ("deliver.after#1", 2),
        ("tell.after#1", 1),
        ("destroy-keys.after#1", 1),
    ],
)
async def test_a_crash_neither_loses_the_letter_nor_keeps_the_address(mailing, inbox, point, letters):
    node = mailing
    subject = await somebody(node, profile=ADA, bought=[LATELY])
    request = await ask(node, subject)
    relay = {"smtp_url": f"smtp://127.0.0.1:{inbox.port}"}
    job = Killable(node.place, STEPS, request, also=("vault.erasure.letter:deliver",), settings=relay)
    assert await job.killed_at(point)
    await run(node.services, request)
    assert len(inbox.letters) == letters
    after = await erasure(node, request)
    assert (after.addressee, after.letter, after.state) == (None, "sent", "done")
    assert len(await keys_of(node, subject)) == 1
