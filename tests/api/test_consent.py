"""Receipts, and the page behind the link of a double opt-in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest

from tests.vaults import ADA, OTHER, problem
from vault.consent import double_opt_in as confirm
from vault.consent.receipts.issue import check_receipt, read_contents, rotate_signing_key
from vault.crypto.signing import key_id, parse, public_of_jwk
from vault.governance.tenants import apply_policies
from vault.ids import TenantId
from vault.policy.policy_set import PolicySet

EVIDENCE = "Form 4711 in the archive, row Z"
YES = {
    "purpose": "direct-marketing",
    "decision": "given",
    "notice": "marketing@3",
    "method": "checkbox",
    "channel": "web",
    "evidence": EVIDENCE,
}
FORMS = ("dpv", "kantara")
each_form = pytest.mark.parametrize("form", FORMS)


async def say(node, subject, *, tenant="default", **more):
    done = await node.post("support", f"/v1/subjects/{subject}/consents", {**YES, **more}, tenant=tenant)
    assert done.status_code == 201, done.text
    return done.json()["id"]


async def done(node, role, subject, what, **body):
    answer = await node.post(role, f"/v1/subjects/{subject}/{what}", body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def fetch(node, subject, event, role="support", *, form=None, tenant="default"):
    params = {} if form is None else {"format": form}
    return await node.call(
        role, "GET", f"/v1/subjects/{subject}/consents/{event}/receipt", tenant=tenant, params=params
    )


async def receipt(node, subject, event, **how):
    answer = await fetch(node, subject, event, **how)
    assert answer.status_code == 200, answer.text
    return answer


async def trusted(node, role="analytics", tenant="default"):
    answer = await node.call(role, "GET", "/v1/signing-keys", tenant=tenant)
    assert answer.status_code == 200, answer.text
    return {key_id(public_of_jwk(key)): key for key in answer.json()["keys"]}


def verified(answer, keys):
    signed = check_receipt(parse(answer.content))
    assert signed.sound
    assert signed.key_id in keys
    return read_contents(signed.document)


@each_form
async def test_a_receipt_is_signed_and_contains_no_value(node, form):
    subject = await node.create()
    given = await say(node, subject)
    withdrawn = await say(node, subject, decision="withdrawn")
    keys = await trusted(node)
    for event, kind in ((given, "given"), (withdrawn, "withdrawn")):
        answer = await receipt(node, subject, event, form=form)
        said = verified(answer, keys)
        assert (said.kind, said.receipt) == (kind, event)
        assert said.person == str(await node.pseudonym(subject))
        for value in (ADA["name"], ADA["email"], ADA["phone"], ADA["address"]["street"], EVIDENCE, str(subject)):
            assert value not in answer.text


async def test_every_event_of_a_subject_has_a_receipt(node):
    subject = await node.create()
    await say(node, subject)
    await say(node, subject, decision="renewed")
    await say(node, subject, decision="withdrawn")
    await say(node, subject, purpose="loyalty-programme", notice="loyalty@1", decision="refused")
    for purpose, fate in (("fraud-prevention", "upheld"), ("service-analytics", "overruled")):
        objected = await done(node, "support", subject, "objections", purpose=purpose)
        await done(node, "dpo", subject, f"objections/{objected}:decide", decision=fate, reason=EVIDENCE)
    await done(node, "support", subject, "objections", purpose="direct-marketing")
    await done(node, "dpo", subject, "restriction", ground="accuracy", reason=EVIDENCE)
    await done(node, "dpo", subject, "restriction:announce", told=EVIDENCE)
    node.services.clock.advance(days=3)
    await done(node, "dpo", subject, "restriction:lift")
    listed = (await node.call("dpo", "GET", f"/v1/subjects/{subject}/consents")).json()["history"]
    keys = await trusted(node)
    for event in listed:
        for form in FORMS:
            answer = await receipt(node, subject, event["id"], form=form)
            assert verified(answer, keys).kind == event["kind"]
            assert EVIDENCE not in answer.text
    assert {event["kind"] for event in listed} == {
        "given", "renewed", "withdrawn", "refused", "objected", "objection-upheld", "objection-overruled",
        "restricted", "lift-announced", "restriction-lifted",
    }  # fmt: skip


async def test_iso_27560_is_the_default_format(sqlite_node):
    subject = await sqlite_node.create()
    event = await say(sqlite_node, subject)
    answer = await receipt(sqlite_node, subject, event)
    assert "@context" in answer.json()["receipt"]
    assert answer.headers["content-type"] == "application/json"


async def test_reading_a_receipt_is_audited(node):
    subject = await node.create()
    event = await say(node, subject)
    async with node.new_entries() as entries:
        await receipt(node, subject, event)
    (entry,) = entries
    assert (entry.action, entry.decision, entry.purpose) == ("read-receipt", "allowed", "direct-marketing")
    assert entry.subjects == (await node.pseudonym(subject),)
    assert entry.target == UUID(event)
    assert entry.policy == node.services.policies.active("default").version


@pytest.mark.parametrize(("role", "may"), [("support", True), ("dpo", True), ("fulfilment", True), ("finance", False), ("analytics", False), ("stranger", False)])  # fmt: skip
async def test_callers_that_may_record_or_read_consents_get_receipts(sqlite_node, role, may):
    node = sqlite_node
    subject = await node.create()
    event = await say(node, subject)
    async with node.new_entries() as entries:
        answer = await fetch(node, subject, event, role)
    (entry,) = entries
    assert entry.action == "read-receipt"
    if may:
        assert answer.status_code == 200
    else:
        problem(answer, 403, "not-granted")
        assert entry.decision == "denied"


async def test_unknown_events_are_not_found_and_audited(node):
    ada, bob = await node.create(), await node.create({"name": "Bob"})
    event = await say(node, ada)
    theirs = await node.create(tenant=OTHER)
    cases = [
        (uuid4(), event, "default", "subject-not-found"),
        (ada, uuid4(), "default", "consent-event-not-found"),
        (bob, event, "default", "consent-event-not-found"),
        (ada, event, OTHER, "subject-not-found"),
        (theirs, event, OTHER, "consent-event-not-found"),
    ]
    for subject, asked, tenant, code in cases:
        async with node.new_entries() as entries:
            answer = await fetch(node, subject, asked, tenant=tenant)
        problem(answer, 404, code)
        (entry,) = entries
        assert (entry.action, entry.decision, entry.code, entry.tenant) == ("read-receipt", "failed", code, tenant)
        assert bool(entry.subjects) == (code == "consent-event-not-found")


async def test_an_erased_person_has_no_receipts(node):
    subject = await node.create()
    event = await say(node, subject)
    await node.set_state(subject, "erased")
    problem(await fetch(node, subject, event), 404, "subject-not-found")


async def test_an_unknown_format_is_refused(sqlite_node):
    subject = await sqlite_node.create()
    event = await say(sqlite_node, subject)
    problem(await fetch(sqlite_node, subject, event, form="pdf"), 422, "invalid-body")


async def test_a_receipt_describes_the_purpose_by_the_policies_of_its_day(node):
    subject = await node.create()
    before = await say(node, subject)
    old = node.services.policies.active("default").policy_set
    files = {**old.files, "purposes.toml": old.files["purposes.toml"].replace('"Send offers"', '"Send a lot"')}
    await apply_policies(node.services, TenantId("default"), PolicySet.load(files))
    after = await say(node, subject, decision="withdrawn")
    keys = await trusted(node)
    assert verified(await receipt(node, subject, before), keys).purpose == "Send offers"
    assert verified(await receipt(node, subject, before), keys).purpose == "Send offers"  # kept loaded
    assert verified(await receipt(node, subject, after), keys).purpose == "Send a lot"


async def test_every_app_may_list_the_public_signing_keys(node):
    for role in ("analytics", "stranger"):
        (key,) = (await trusted(node, role)).values()
        assert key.keys() == {"kty", "crv", "x", "kid", "use", "alg", "status"}
        assert (key["kty"], key["crv"], key["status"]) == ("OKP", "Ed25519", "current")
    assert (await trusted(node)).keys() != (await trusted(node, tenant=OTHER)).keys()
    problem(await node.call(None, "GET", "/v1/signing-keys"), 401, "not-authenticated")


async def test_listing_signing_keys_is_audited(sqlite_node):
    async with sqlite_node.new_entries() as entries:
        await trusted(sqlite_node)
    assert [(entry.action, entry.decision, entry.principal_name) for entry in entries] == [
        ("read-policies", "allowed", "analytics")
    ]


async def test_a_receipt_does_not_verify_by_another_tenants_key(node):
    subject = await node.create(tenant=OTHER)
    event = await say(node, subject, tenant=OTHER)
    answer = await receipt(node, subject, event, tenant=OTHER)
    assert check_receipt(parse(answer.content)).key_id in await trusted(node, tenant=OTHER)
    assert check_receipt(parse(answer.content)).key_id not in await trusted(node)


async def test_signatures_of_a_retired_key_stay_valid(node):
    subject = await node.create()
    event = await say(node, subject)
    before = await receipt(node, subject, event)
    async with node.new_entries() as entries:
        await rotate_signing_key(node.services, TenantId("default"))
    assert [entry.action for entry in entries] == ["rotate-keys"]
    after, keys = await receipt(node, subject, event), await trusted(node)
    assert [key["status"] for key in keys.values()] == ["current", "retired"]
    ids = [check_receipt(parse(answer.content)).key_id for answer in (after, before)]
    assert ids == list(keys)


async def test_an_old_vault_without_signing_keys_signs_its_first_receipt(node):
    await node.sql("DELETE FROM tenant_secret WHERE kind = 'signing'", keystore=True)
    node.services.keyring.clear()
    subject = await node.create()
    event = await say(node, subject)
    assert verified(await receipt(node, subject, event), await trusted(node)).kind == "given"


async def test_a_reformatted_receipt_stays_valid(sqlite_node):
    subject = await sqlite_node.create()
    event = await say(sqlite_node, subject)
    answer = await receipt(sqlite_node, subject, event)
    pretty = json.dumps(answer.json(), indent=4, sort_keys=True).encode()
    assert check_receipt(parse(pretty)).sound


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
    answer = await node.call("support", "GET", f"/v1/subjects/{subject}/consents")
    return answer.json()["consents"]["direct-marketing"]["state"]


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
    assert [word for word in shown.words if "Example Retail Ltd" in word], "who asks"
    for paragraph in texts[language].body.split("\n\n"):
        assert paragraph.strip() in shown.words, "what the person agrees to"
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
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "section", "form", "input", "button",
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
    (entry,) = [item for item in await node.entries("acme") if item.action == "confirm-consent"]
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


async def test_tries_of_unknown_tokens_do_not_use_up_the_limit_for_others(node, monkeypatch):
    monkeypatch.setattr(confirm, "MOST_A_MINUTE", 8)
    _, confirmation = await ask(node)
    forged = confirmation["token"][:-43] + "A" * 43
    answers = [await node.post(None, CONFIRM, {"token": junk}) for _ in range(10) for junk in ("x", forged)]
    assert [answer.status_code for answer in answers] == [404] * 8 + [429] * 12
    assert (await node.post(None, CONFIRM, {"token": confirmation["token"]})).status_code == 200


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
