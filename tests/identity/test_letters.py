"""What letters say, in every language, and what becomes of one that cannot be sent."""

from __future__ import annotations

import asyncio
import re
import string
import tomllib
from datetime import UTC, date, datetime
from typing import get_args
from uuid import uuid4

import pytest

from tests.vaults import ADA
from vault.catalogue.company import Contact, Controller
from vault.ids import SubjectId, new_id
from vault.letters import send as words
from vault.letters.send import LANGUAGES, LetterContent, language_of, notify_person, sender_of, write
from vault.requests.model import Extension, Regime
from vault.workflows import REQUEST_KINDS

CODES = {
    "code": "1234 5678",
    "minutes": 10,
    "id": "0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d",
    "kind": "access",
    "due": date(2026, 4, 7),
    "until": datetime(2026, 3, 19, 12, tzinfo=UTC),
    "on": date(2026, 12, 1),
    "reason": "complexity",
    "ground": "excessive",
    "change": "replaced",
    "erased": "Everything is gone.",
    "kept": "",
}
SHOP = Controller(
    name="Example Retail Ltd", email="privacy@retail.example", url="https://retail.example",
    dpo=Contact("Officer", "dpo@retail.example"),
)  # fmt: skip


def texts(language):
    return tomllib.loads((words._FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


def keys(tree, before=""):
    """Name every text of a file with what is to be filled in there."""
    if isinstance(tree, dict):
        return {match for key, item in tree.items() for match in keys(item, f"{before}/{key}")}
    if isinstance(tree, list):
        return {(before, len(tree))}
    return {(before, frozenset(name for _text, name, _spec, _how in string.Formatter().parse(tree) if name))}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_all_that_english_says(language):
    assert keys(texts(language)) == keys(texts("en"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_reason_and_ground_has_a_text(language):
    answer = texts(language)
    assert set(answer["kinds"]) == set(REQUEST_KINDS)
    assert set(answer["reasons"]) == set(get_args(Extension.__annotations__["reason"].removeprefix("Literal")) or
                                       {"complexity", "number"})  # fmt: skip
    grounds = {
        code for kind in REQUEST_KINDS.values() for regime in get_args(Regime) for code in kind.refusal_grounds(regime)
    }
    assert grounds <= set(answer["grounds"])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", sorted(words._texts("en")["letters"]))
def test_letters_have_every_part(language, name):
    text = write(name, language, SHOP, CODES)
    assert text.language == language
    assert not re.search(r"[{}]", text.subject + text.body)
    assert "dpo@retail.example" in text.body
    assert "Example Retail Ltd" in text.body
    assert name != "request-rejected" or language == "fr" or ("excessive" in text.body) == (language == "en")
    assert CODES["code"] not in text.subject  # which lies open on a locked screen
    assert text.body.endswith("\n")
    assert not text.body.startswith("\n")


def test_dates_are_written_as_people_write_them():
    for language, written in (("en", "7 April 2026"), ("de", "7. April 2026"), ("fr", "7 avril 2026")):
        assert written in write("request-received", language, SHOP, CODES).body
    assert "19. März 2026" in write("package-ready", "de", SHOP, CODES).body


def test_a_missing_placeholder_is_an_error_of_the_sender():
    with pytest.raises(KeyError):
        words.require("request-received", {"id": "1"})
    with pytest.raises(KeyError):
        words.require("greeting", CODES)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [(("de",), "de"), (("de-AT",), "de"), (("FR",), "fr"), (("it", "de"), "de"), ((None, "fr"), "fr"), ((None,), "en"),
     (("it",), "en"), ((), "en"), (("../en",), "en")],
)  # fmt: skip
def test_the_language_is_the_first_that_is_known(wanted, chosen):
    assert language_of(*wanted) == chosen


def test_a_letter_is_signed_by_the_officer_or_else_the_controller():
    assert sender_of(SHOP) == "dpo@retail.example"
    assert sender_of(Controller(email="privacy@retail.example")) == "privacy@retail.example"
    assert sender_of(Controller()) == ""


def test_a_letter_is_written_without_a_stated_controller():
    assert "Customer Data Vault" in write("request-completed", "en", Controller(), CODES).body


# ---- Sent ------------------------------------------------------------------------------------------------------------

RECEIVED = {"kind": "erasure", "due": date(2026, 4, 7)}


def person(text):
    from uuid import UUID

    return SubjectId(UUID(text))


async def test_a_person_is_written_to_in_their_language(sqlite_mailing, inbox):
    subject = person(await sqlite_mailing.create({**ADA, "language": "de"}))
    request = new_id()
    async with sqlite_mailing.new_entries() as new_entries:
        content = LetterContent("request-received", {"id": request, **RECEIVED})
        outcome = await notify_person(sqlite_mailing.services, "default", subject, content)
    assert outcome == "sent"
    letter = inbox.last()
    assert (letter.sender, letter.recipients) == ("dpo@retail.example", ["ada@example.org"])
    assert letter.message["Content-Language"] == "de"
    assert "Löschung Ihrer Daten" in letter.body
    assert str(request) in letter.body
    assert "Ada" not in letter.raw.decode().replace("ada@", "")
    (entry,) = new_entries
    assert (entry.action, entry.decision, entry.target) == ("send-notice", "allowed", request)
    assert entry.subjects == (await sqlite_mailing.pseudonym(subject),)


async def test_the_language_of_the_request_has_precedence_over_that_of_the_profile(sqlite_mailing, inbox):
    subject = person(await sqlite_mailing.create({**ADA, "language": "de"}))
    content = LetterContent("request-completed", {"kind": "access", "id": new_id()}, "fr")
    assert await notify_person(sqlite_mailing.services, "default", subject, content) == "sent"
    assert inbox.last().message["Content-Language"] == "fr"


async def test_the_second_address_is_used_if_there_is_no_first(sqlite_mailing, inbox):
    subject = person(await sqlite_mailing.create_fully(email_secondary="ada@work.example"))
    content = LetterContent("request-completed", {"kind": "access", "id": new_id()})
    assert await notify_person(sqlite_mailing.services, "default", subject, content) == "sent"
    assert inbox.last().recipients == ["ada@work.example"]


async def test_a_person_without_an_address_is_no_error(sqlite_mailing, inbox):
    node, content = sqlite_mailing, LetterContent("request-completed", {"kind": "access", "id": new_id()})
    nameless = person(await node.create({"name": "Nobody"}))
    erased = person(await node.create())
    await node.set_state(erased, "erased")
    for subject in (None, SubjectId(uuid4()), nameless, erased):
        assert await notify_person(node.services, "default", subject, content) == "no-contact"
    assert inbox.letters == []


async def test_a_vault_without_mail_works(sqlite_node):
    subject = person(await sqlite_node.create())
    async with sqlite_node.new_entries() as new_entries:
        content = LetterContent("restriction-lifting", {"on": date(2026, 4, 1)})
        answer = await notify_person(sqlite_node.services, "default", subject, content)
    assert answer == "mail-not-configured"
    assert new_entries == []


async def test_a_refusal_of_the_relay_is_recorded(sqlite_mailing, inbox):
    inbox.refuse = "550 no such user"
    subject = person(await sqlite_mailing.create())
    async with sqlite_mailing.new_entries() as new_entries:
        content = LetterContent("package-ready", {"kind": "access", "id": new_id(), "until": date(2026, 4, 1)})
        assert await notify_person(sqlite_mailing.services, "default", subject, content) == "mail-failed"
    (entry,) = new_entries
    assert (entry.action, entry.decision, entry.code) == ("send-notice", "failed", "mail-failed")


async def test_a_person_gets_so_many_letters_a_day_and_no_more_whoever_orders_them(sqlite_place, clock, inbox):
    async with sqlite_place.node(clock, smtp_url=f"smtp://127.0.0.1:{inbox.port}", letters_per_day=3) as node:
        ada = person(await node.create())
        grace = person(await node.create({**ADA, "email": "grace@example.org"}))

        async def send(subject, number):
            content = LetterContent("request-received", {"id": new_id(), **RECEIVED})
            return [await notify_person(node.services, "default", subject, content) for _ in range(number)]

        async with node.new_entries() as new_entries:
            assert await send(ada, 5) == ["sent"] * 3 + ["too-many-letters"] * 2
        codes = [(entry.action, entry.decision, entry.code) for entry in new_entries]
        assert codes == [("send-notice", "allowed", None)] * 3 + [("send-notice", "failed", "too-many-letters")] * 2
        assert {entry.subjects for entry in new_entries} == {(await node.pseudonym(ada),)}
        assert await send(grace, 1) == ["sent"]  # others have budgets of their own
        assert len(inbox.letters) == 4
        await node.read("support", ada, ["name"], "customer-support")
        clock.advance(minutes=5)
        await node.read("support", ada, ["name"], "customer-support")  # sweeps the windows of earlier minutes
        assert await send(ada, 1) == ["too-many-letters"]
        clock.advance(days=1)
        assert await send(ada, 1) == ["sent"]


async def test_letters_at_once_share_the_budget(sqlite_place, clock, inbox):
    async with sqlite_place.node(clock, smtp_url=f"smtp://127.0.0.1:{inbox.port}", letters_per_day=3) as node:
        subject = person(await node.create())
        content = LetterContent("request-received", {"id": new_id(), **RECEIVED})
        outcomes = await asyncio.gather(*(notify_person(node.services, "default", subject, content) for _ in range(10)))
    assert sorted(outcomes) == ["sent"] * 3 + ["too-many-letters"] * 7
    assert len(inbox.letters) == 3
