"""The link of a double opt-in: a page that changes nothing until its button is pressed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.vaults import problem
from vault.consent import double_opt_in as confirm

CONFIRM = "/v1/consents:confirm"
ASKED = {
    "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "double-opt-in",
}  # fmt: skip


class Page(HTMLParser):
    """The parts of a page that the tests check."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def first(self, tag):
        return next(attrs for name, attrs in self.tags if name == tag)


async def ask(node, **changes):
    subject = await node.create()
    answer = await node.post("support", f"/v1/subjects/{subject}/consents", {**ASKED, **changes})
    assert answer.status_code == 201, answer.text
    return subject, answer.json()["confirmation"]


async def press(node, page):
    """Send the form as a browser does."""
    shown = Page(page.text)
    form, hidden = shown.first("form"), shown.first("input")
    assert form["method"] == "post"
    return await node.call(None, "POST", form["action"], data={hidden["name"]: unescape(hidden["value"])})


async def marketing_state(node, subject):
    found = await node.call("support", "GET", f"/v1/subjects/{subject}/consents")
    return found.json()["consents"]["direct-marketing"]["state"]


@pytest.mark.parametrize(
    ("language", "title", "button"),
    [("en", "News and offers by e-mail", "I agree"), ("de", None, "Ich willige ein")],
)
async def test_the_page_is_in_the_language_of_the_notice_and_its_button_confirms(node, language, title, button):
    subject, confirmation = await ask(node, language=language)
    page = await node.call(None, "GET", CONFIRM, params={"token": confirmation["token"]})
    assert page.status_code == 200
    shown = Page(page.text)
    assert shown.first("html")["lang"] == language
    assert button in shown.words
    texts = node.services.policies.active("default").policy_set.notices.languages("marketing@3")
    assert (title or texts[language].title) in shown.words
    assert await marketing_state(node, subject) == "pending"
    done = await press(node, page)
    assert done.status_code == 200
    assert Page(done.text).first("html")["lang"] == language
    assert await marketing_state(node, subject) == "given"
    again = await press(node, page)
    assert again.status_code == 404
    assert again.headers["content-type"] == "text/html; charset=utf-8"


async def test_the_page_loads_nothing_and_is_not_cached_or_framed(sqlite_node):
    _, confirmation = await ask(sqlite_node)
    page = await sqlite_node.call(None, "GET", CONFIRM, params={"token": confirmation["token"]})
    headers = page.headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    style = re.search(r"<style>(.*?)</style>", page.text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    shown = Page(page.text)
    assert {tag for tag, _ in shown.tags} <= {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "p", "strong", "form", "input", "button",
    }  # fmt: skip
    assert "//" not in re.sub(r"<style>.*</style>", "", page.text)
    assert ("button", {"type": "submit"}) in shown.tags
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in shown.tags


@pytest.mark.parametrize(
    "token", ["x", "cdvc_", '"><script>alert(1)</script>', "ü", "cdvc_" + "0" * 32 + "_" + "A" * 43]
)
@pytest.mark.parametrize(("accepted", "language"), [("de-AT,en;q=0.5", "de"), ("fr", "fr"), ("pl", "en"), ("", "en")])
async def test_an_invalid_link_shows_the_invalid_page(sqlite_node, token, accepted, language):
    page = await sqlite_node.call(None, "GET", CONFIRM, params={"token": token}, headers={"Accept-Language": accepted})
    assert page.status_code == 404
    assert Page(page.text).first("html")["lang"] == language
    assert "<script" not in page.text
    assert "form" not in [tag for tag, _ in Page(page.text).tags]


async def test_the_answer_has_the_link_if_the_public_url_is_set(place, clock):
    async with place.node(clock, public_url="https://privacy.example.org/") as node:
        _, confirmation = await ask(node)
        link = urlsplit(confirmation["link"])
        assert (link.scheme, link.netloc, link.path) == ("https", "privacy.example.org", CONFIRM)
        assert parse_qs(link.query) == {"token": [confirmation["token"]]}
        page = await node.call(None, "GET", f"{link.path}?{link.query}")
        assert page.status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"token": 5}',
        b'{"token": "x", "more": 1}',
        b"\xff",
        b'{"token": "%s"}' % (b"x" * 201),
    ],
)
async def test_malformed_bodies_are_refused(sqlite_node, content):
    answer = await sqlite_node.post(None, CONFIRM, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["code"] in {"invalid-json", "invalid-body"}


@pytest.mark.parametrize(
    "content", [b"", b"token", b"token=", b"a=1&b=2&c=3&d=4", b"\xff=%ff%00", b"token=" + b"x" * 5000]
)
async def test_a_malformed_form_gets_the_invalid_page(sqlite_node, content):
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    answer = await sqlite_node.post(None, CONFIRM, content=content, headers=headers)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_concurrent_confirmations_record_one_event(node):
    subject, confirmation = await ask(node)
    answers = await asyncio.gather(*(node.post(None, CONFIRM, {"token": confirmation["token"]}) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404, 404]
    history = (await node.call("support", "GET", f"/v1/subjects/{subject}/consents")).json()["history"]
    assert [event["kind"] for event in history] == ["given", "requested"]


async def test_a_token_confirms_in_its_own_tenant(node):
    subject = await node.create(tenant="acme")
    asked = await node.post("support", f"/v1/subjects/{subject}/consents", ASKED, tenant="acme")
    assert (await node.post(None, CONFIRM, {"token": asked.json()["confirmation"]["token"]})).status_code == 200
    (entry,) = [each for each in await node.entries("acme") if each.action == "confirm-consent"]
    assert entry.subjects == (await node.pseudonym(subject),)


async def test_a_token_of_an_erased_person_is_answered_like_a_wrong_one(node):
    subject, confirmation = await ask(node)
    await node.set_state(subject, "erased")
    problem(await node.post(None, CONFIRM, {"token": confirmation["token"]}), 404, "confirmation-invalid")


async def test_wrong_tokens_are_rate_limited_and_their_entries_bounded(sqlite_node, clock, monkeypatch):
    node = sqlite_node
    monkeypatch.setattr(confirm, "MOST_A_MINUTE", 8)
    monkeypatch.setattr(confirm, "MOST_ENTRIES_A_MINUTE", 3)
    for _ in range(8):
        problem(await node.post(None, CONFIRM, {"token": "x"}), 404, "confirmation-invalid")
    late = await node.post(None, CONFIRM, {"token": "x"})
    problem(late, 429, "rate-limited")
    assert late.headers["retry-after"] == "60"
    assert (await node.call(None, "GET", CONFIRM, params={"token": "x"})).status_code == 429
    clock.advance(seconds=60)
    problem(await node.post(None, CONFIRM, {"token": "x"}), 404, "confirmation-invalid")
    tried = [entry for entry in await node.entries() if entry.action == "confirm-consent"]
    assert [(entry.decision, entry.code, entry.count) for entry in tried] == [
        ("denied", "confirmation-invalid", 1),
        ("denied", "confirmation-invalid", 1),
        ("denied", "confirmation-invalid", 1),
        ("denied", "confirmation-invalid", 6),
    ]


async def test_a_new_request_leaves_a_given_consent_in_force(node, clock):
    subject = await node.create()
    given = {**ASKED, "method": "checkbox"}
    await node.post("support", f"/v1/subjects/{subject}/consents", given)
    clock.advance(hours=1)
    asked = await node.post("support", f"/v1/subjects/{subject}/consents", ASKED)
    assert await marketing_state(node, subject) == "given"
    assert (await node.post(None, CONFIRM, {"token": asked.json()["confirmation"]["token"]})).status_code == 200
    history = (await node.call("support", "GET", f"/v1/subjects/{subject}/consents")).json()["history"]
    assert [event["kind"] for event in history] == ["renewed", "requested", "given"]


async def test_an_old_link_does_not_undo_a_later_objection(node):
    """After a refusal the state is not pending, and the objection must outweigh the link even so."""
    subject = await node.create()
    refused = {"purpose": "direct-marketing", "decision": "refused"}
    assert (await node.post("support", f"/v1/subjects/{subject}/consents", refused)).status_code == 201
    asked = await node.post("support", f"/v1/subjects/{subject}/consents", ASKED)
    objected = await node.post("support", f"/v1/subjects/{subject}/objections", {"purpose": "direct-marketing"})
    assert objected.status_code == 201
    answer = await node.call(None, "POST", CONFIRM, json={"token": asked.json()["confirmation"]["token"]})
    problem(answer, 404, "confirmation-invalid")
    assert await marketing_state(node, subject) == "refused"


async def test_a_child_cannot_confirm_a_request_from_before_its_birth_date(node):
    subject = await node.create()
    refused = {"purpose": "direct-marketing", "decision": "refused"}
    assert (await node.post("support", f"/v1/subjects/{subject}/consents", refused)).status_code == 201
    asked = await node.post("support", f"/v1/subjects/{subject}/consents", ASKED)
    assert (await node.patch("dpo", subject, {"birth_date": "2015-01-01"}, "subject-rights", '"1"')).status_code == 200
    answer = await node.call(None, "POST", CONFIRM, json={"token": asked.json()["confirmation"]["token"]})
    problem(answer, 404, "confirmation-invalid")
    assert await marketing_state(node, subject) == "refused"
