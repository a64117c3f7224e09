"""The chapters of the tour, in order. Each checks what it claims: if a response differs, the tour fails."""

from __future__ import annotations

import inspect
import io
import time
import zipfile
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.backup.make import make_backup
from vault.backup.manifest import VaultParts, places
from vault.backup.verify import verify_backup
from vault.bootstrap import databases_of, postgres_tools, provider_of
from vault.catalogue.periods import Period
from vault.catalogue.retention_actions import ERASE
from vault.cli.command import Opener, run
from vault.cli.demo.customers import GOODS
from vault.cli.demo.stage import DemoFailed, require
from vault.clock import Clock
from vault.consent.receipts.issue import check_receipt
from vault.erasure.verify import check_certificate
from vault.export.verify import check_archive
from vault.policy.rules import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vault.backup.manifest import BackupFolder
    from vault.backup.verify import Verified
    from vault.cli.demo.customers import Star
    from vault.cli.demo.screens import Answer
    from vault.cli.demo.stage import Stage

OFFICE, BOOKS, PORTAL = "privacy-office", "bookkeeping", "portal"
MARKETING = "direct-marketing"
SUPPORT = "customer-support"
UNKNOWN = "00000000-0000-7000-8000-000000000009"
"""An id that no subject has."""
GRACE: Final = {
    "name": "Grace Hopper",
    "email": "grace@example.com",
    "phone": "+4930901820",
    "birth_date": "1986-12-09",
    "address": {"street": "Hauptstr. 5", "postal_code": "10827", "city": "Berlin", "country": "DE"},
    "language": "de",
}
OTTO: Final = {"name": "Otto Berg", "email": "otto.berg@example.net"}
TEN_YEARS: Final = Period(120, 0)
"""How long orders are kept for accounting, by policies/retention.toml."""
JOB_TIMEOUT: Final = 120.0
"""Seconds."""
POLL_INTERVAL: Final = 0.1
BAR_WIDTH: Final = 24
MOST_FINDINGS: Final = 6
AUDITED = (
    ("helpdesk", "read", "partly"),
    ("helpdesk", "list", "allowed"),
    ("warehouse", "read", "allowed"),
    ("newsletter", "read", "denied"),
    ("shop", "record-consent", "allowed"),
    ("newsletter", "read", "allowed"),
    ("newsletter", "check-consents", "allowed"),
    ("helpdesk", "read-consents", "allowed"),
    ("shop", "read-receipt", "allowed"),
    ("shop", "record-consent", "allowed"),
    ("newsletter", "read", "denied"),
    ("helpdesk", "read-consents", "allowed"),
    ("statistics", "read", "partly"),
    ("helpdesk", "object", "allowed"),
    ("statistics", "read", "denied"),
    (OFFICE, "decide-objection", "allowed"),
    (OFFICE, "restrict", "allowed"),
    ("helpdesk", "read", "denied"),
    (OFFICE, "lift-restriction", "failed"),
    (OFFICE, "lift-restriction", "allowed"),
    ("helpdesk", "read", "failed"),
    (None, "sign-in", "denied"),
    ("helpdesk", "search", "allowed"),
    ("warehouse", "read", "allowed"),
    ("warehouse", "update", "allowed"),
    ("warehouse", "read", "partly"),
)
"""What the audit log must contain of the chapters before it: who did what, and the decision."""


class Chapter(NamedTuple):
    """A part of the tour."""

    title: str
    explanation: str
    play: Callable[[Stage, Star], None]


CHAPTERS: list[Chapter] = []


def chapter(title: str) -> Callable[[Callable[[Stage, Star], None]], Callable[[Stage, Star], None]]:
    """Add a function to the tour as its next chapter; its docstring is the explanation."""

    def add(play: Callable[[Stage, Star], None]) -> Callable[[Stage, Star], None]:
        CHAPTERS.append(Chapter(title, " ".join((inspect.getdoc(play) or "").split()), play))
        return play

    return add


@chapter("Support reads a masked e-mail and a complaint")
def support_reads(stage: Stage, ada: Star) -> None:
    """Support must recognise a customer, not write to her, so it sees the e-mail address masked."""
    fields = ["name", "email.masked", "email"]
    body = {"subject": ada.id, "fields": fields, "purpose": SUPPORT, "reason": "call of this morning"}
    read = stage.ask("helpdesk", "POST /v1/read", body)
    masked = read["fields"]["email.masked"]
    require("ada" not in masked and masked.endswith("@example.org"), "the e-mail is masked")
    require(read["fields"]["name"] == ada.profile["name"], "support reads the name")
    require(read["denied"]["email"]["code"] == "not-granted", "the whole e-mail is not granted to support")
    body = {"fields": ["subject", "body", "status"], "purpose": "complaint-handling"}
    page = stage.ask("helpdesk", f"POST /v1/subjects/{ada.id}/records/complaint:read", body)
    complaint = ada.customer.complaints[0]["fields"]
    require([record["fields"] for record in page["results"]] == [complaint], "support reads the complaint")


@chapter("Fulfilment reads name and address for its order")
def fulfilment_reads(stage: Stage, ada: Star) -> None:
    """The same customer for another purpose: a parcel needs the address, but no date of birth."""
    fields = ["name", "address", "birth_date.over_18", "purchase.product"]
    body = {"subject": ada.id, "fields": fields, "purpose": "order-fulfilment", "reason": "order 4711"}
    values = stage.ask("warehouse", "POST /v1/read", body)["fields"]
    require(values["name"] == ada.profile["name"], "fulfilment reads the name")
    require(values["address"] == ada.profile["address"], "fulfilment reads the address")
    require(values["birth_date.over_18"] is True, "fulfilment learns that she is of age")
    require(GOODS[0][1] in str(values["purchase.product"]), "fulfilment reads what was ordered")


@chapter("Marketing is denied: consent is missing")
def marketing_is_denied(stage: Stage, ada: Star) -> None:
    """The policies grant this read to marketing. It also needs her consent, which she has not given."""
    problem = stage.read("newsletter", ada.id, ["email", "given_name"], MARKETING, 403)
    require(_codes(problem) == {"consent-missing"}, "consent is what is missing")


@chapter("She consents, and marketing reads")
def consent_is_given(stage: Stage, ada: Star) -> None:
    """She ticks a box in the shop. The text that she saw is recorded, and the next read is allowed."""
    body = {"decision": "given", "purpose": MARKETING, "notice": "marketing@3", "method": "checkbox", "channel": "web"}
    recorded = stage.ask("shop", f"POST {_consents(ada)}", body, status=201)
    require(recorded["state"] == "given", "her consent is in force")
    read = stage.read("newsletter", ada.id, ["email", "given_name"], MARKETING)
    require(read["fields"]["email"] == ada.profile["email"], "marketing reads her e-mail now")


@chapter("Marketing checks a list of people")
def consents_are_checked(stage: Stage, ada: Star) -> None:
    """Up to 1,000 people per call. The answer is yes or no, without reasons, and does not tell who exists."""
    people = [ada.id, *ada.others[:3], UNKNOWN]
    answer = stage.ask("newsletter", "POST /v1/consents:check", {"subjects": people, "purposes": [MARKETING]})
    permitted = {result["subject"]: result["purposes"][MARKETING] for result in answer["results"]}
    require(permitted == {subject: subject == ada.id for subject in people}, "she may be written to, and no one else")


@chapter("She gets a receipt")
def receipt_is_issued(stage: Stage, ada: Star) -> None:
    """ISO/IEC TS 27560, signed (Ed25519). `cdv verify` checks it without the vault. Shortened here."""
    event = stage.fetch("helpdesk", f"GET {_consents(ada)}")["history"][0]["id"]
    brief = ("dct:title", "cdv:kind", "dpv:isIndicatedAtTime", "dpv:hasIndicationMethod", "cdv:digest", "value")
    file = stage.ask("shop", f"GET {_consents(ada)}/{event}/receipt", brief=brief)
    require(check_receipt(file).sound, "the receipt is signed")
    require(ada.profile["email"] not in str(file), "no value of hers is on the receipt")
    file["receipt"]["dpv:hasIdentifier"] = UNKNOWN
    require(not check_receipt(file).sound, "a changed receipt is detected")


@chapter("She withdraws her consent")
def consent_is_withdrawn(stage: Stage, ada: Star) -> None:
    """As easily as she gave it (Art. 7(3)). The next read is denied on every node; the history keeps both events."""
    body = {"decision": "withdrawn", "purpose": MARKETING, "channel": "web"}
    recorded = stage.ask("shop", f"POST {_consents(ada)}", body, status=201)
    require(recorded["state"] == "withdrawn", "her consent is withdrawn")
    problem = stage.read("newsletter", ada.id, ["email", "given_name"], MARKETING, 403)
    require(_codes(problem) == {"consent-missing"}, "the very next read is denied")
    brief = ("kind", "purpose", "occurred_at", "channel", "notice_digest")
    history = stage.ask("helpdesk", f"GET {_consents(ada)}", brief=brief)["history"]
    require([event["kind"] for event in history] == ["withdrawn", "given"], "the history has both, the latest first")


@chapter("Analytics gets the year of birth, not the date")
def analytics_reads(stage: Stage, ada: Star) -> None:
    """A purpose names the fields and views that it needs. Others cannot be read for it."""
    read = stage.read("statistics", ada.id, ["birth_date.year", "birth_date"], "service-analytics")
    require(str(read["fields"]["birth_date.year"]) == ada.profile["birth_date"][:4], "analytics gets the year")
    require(read["denied"]["birth_date"]["code"] == "purpose-excludes-field", "the purpose does not need the date")


@chapter("She objects to statistics")
def objection_is_upheld(stage: Stage, ada: Star) -> None:
    """Statistics rest on a legitimate interest, so she may object (Art. 21). They stop until that is decided."""
    body = {"purpose": "service-analytics", "reason": "I do not want to be counted."}
    path = f"/v1/subjects/{ada.id}/objections"
    objection = stage.ask("helpdesk", f"POST {path}", body, status=201)
    problem = stage.read("statistics", ada.id, ["birth_date.year"], "service-analytics", 403)
    require(_codes(problem) == {"objected"}, "the use that she objects to has stopped")
    decision = {"decision": "upheld", "reason": "Figures are as good without her."}
    decided = stage.ask(OFFICE, f"POST {path}/{objection['id']}:decide", decision, status=201)
    require(decided["state"] == "upheld", "the objection is upheld")


@chapter("A customer's data is restricted")
def data_is_restricted(stage: Stage, ada: Star) -> None:
    """Another customer disputes an address. Until that is settled, the data is stored and not used (Art. 18).

    The customer must be informed before the restriction is lifted.
    """
    other = ada.others[0]
    path = f"/v1/subjects/{other}/restriction"
    stage.ask(OFFICE, f"POST {path}", {"ground": "accuracy", "reason": "The address is wrong."}, status=201)
    problem = stage.read("helpdesk", other, ["name"], SUPPORT, 403)
    require(_codes(problem) == {"restricted"}, "restricted data is not used")
    early = stage.ask(OFFICE, f"POST {path}:lift", {"reason": "The address is right now."}, status=409)
    require(early["code"] == "notice-first", "the person must be informed before a restriction is lifted")
    announced = stage.ask(OFFICE, f"POST {path}:announce", {"told": "by post"}, status=201)
    require(announced["state"] == "restricted", "the restriction stays during the notice period")


@chapter("An undeclared purpose")
def unknown_purpose_is_refused(stage: Stage, ada: Star) -> None:
    """There is no read without a declared purpose. The answer repeats nothing of the request."""
    problem = stage.read("helpdesk", ada.id, ["email"], "just-curious", 422)
    require(problem["code"] == "unknown-purpose", "the purpose is unknown")
    require("just-curious" not in str(problem), "the answer repeats nothing of the request")


@chapter("A wrong key")
def wrong_key_is_refused(stage: Stage, ada: Star) -> None:
    """A caller without a valid key learns nothing, not even whether the customer exists."""
    problem = stage.read("somebody", ada.id, ["name"], SUPPORT, 401)
    require(problem["code"] == "not-authenticated", "the call is refused")


@chapter("Support finds a customer by e-mail")
def customer_is_found(stage: Stage, ada: Star) -> None:
    """The store holds no readable e-mail address. A keyed digest finds her; the match is checked after unsealing."""
    body = {"match": {"email": ada.profile["email"]}, "fields": ["name", "email.masked"], "purpose": SUPPORT}
    results = stage.ask("helpdesk", "POST /v1/subjects:search", body)["results"]
    require([result["subject"] for result in results] == [ada.id], "only she is found")
    require(results[0]["fields"]["name"] == ada.profile["name"], "the name is shown")


@chapter("A field is erased")
def field_is_erased(stage: Stage, ada: Star) -> None:
    """She wants her telephone number deleted. If-Match makes sure that no other change is overwritten."""
    revision = stage.ask("warehouse", f"GET /v1/subjects/{ada.id}")["revision"]
    request = f"PATCH /v1/subjects/{ada.id}/profile?purpose=order-fulfilment"
    changed = stage.show(stage.send("warehouse", request, {"phone": None}, headers={"If-Match": f'"{revision}"'}))
    require(changed["revision"] == revision + 1, "the profile has a new revision")
    read = stage.read("warehouse", ada.id, ["name", "phone"], "order-fulfilment")
    require(read["denied"]["phone"]["code"] == "no-value", "the telephone number is gone")


@chapter("All of that is on the audit log")
def audit_log_is_read(stage: Stage, ada: Star) -> None:
    """Who, what, whom, why and the decision, written before each answer. It has names of fields, never a value."""
    request = f"GET /v1/audit/entries?limit={len(AUDITED)}"
    page = stage.fetch(OFFICE, request)
    entries = page["entries"][::-1]
    headings = ("when", "who", "what", "what for", "decision", "fields", "refused")
    stage.show_table(OFFICE, request, "", headings, map(_audit_row, entries))
    decisions = tuple((entry.get("principal_name"), entry["action"], entry["decision"]) for entry in entries)
    require(decisions == AUDITED, "every request of the tour is on the audit log")
    values = [value for value in ada.profile.values() if isinstance(value, str) and len(value) > 4]
    require(not any(value in str(page) for value in values), "no value of hers is on the audit log")


@chapter("The record of processing activities")
def processing_is_recorded(stage: Stage, _ada: Star) -> None:
    """Art. 30: what data is used for, and by whom. The policies say what may be, the audit log what was."""
    record = stage.fetch(OFFICE, "GET /v1/processing-record")
    activities = {activity["purpose"]: activity for activity in record["activities"]}
    readers = {reader["name"] for reader in activities[MARKETING]["use"]["readers"]}
    require(readers == {"newsletter"}, "of marketing's apps only the newsletter read")
    unused = {finding["purpose"] for finding in record["findings"] if finding["code"] == "purpose-unused"}
    require("health-advice" in unused, "an unused purpose is found")
    rows = [(finding["code"], finding["detail"], finding["remedy"]) for finding in record["findings"][:MOST_FINDINGS]]
    stage.show_table(OFFICE, "GET /v1/processing-record", "the findings in it", ("finding", "what", "what to do"), rows)


@chapter("She requests access")
def access_is_answered(stage: Stage, ada: Star) -> None:
    """Art. 15. The portal has verified her identity, a rule approves, and a job builds the package.

    It has a page for her, JSON and CSV for machines, and who read her data. It is sealed until it is downloaded.
    """
    body = {"kind": "access", "subject": ada.id, "language": "en", "channel": "web"}
    request = stage.ask(PORTAL, "POST /v1/requests", body, status=201, brief=("state", "due", "due_rule"))
    require(request["state"] == "received", "the request is received")
    _verify(stage, request["id"], "single")
    _wait_for(stage, request["id"])
    download = stage.send(OFFICE, f"GET /v1/requests/{request['id']}/package")
    package = download.response.content
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        page = archive.read("index.html").decode()
        rows = [(entry.filename, f"{entry.file_size:,}") for entry in archive.infolist()]
    size = f"{download.response.headers['content-type']}, {len(package):,} bytes"
    stage.show_table(OFFICE, download.request, size, ("file", "bytes"), rows)
    require(ada.profile["email"] in page, "the page for her says what is stored")
    require("warehouse" in page, "the page for her says who read it")
    stage.page = page
    require(check_archive(io.BytesIO(package)).sound, "the package is signed and complete")


@chapter("Another customer requests erasure")
def customer_is_erased(stage: Stage, _ada: Star) -> None:
    """Art. 17. Each field gets a verdict. What a law keeps is sealed under a new key, and older keys are destroyed.

    So the rest is unreadable in backups too. She gets a certificate, which `cdv verify` checks. No read and no search
    finds her, and an old list that contains her causes a conflict.
    """
    grace = _create_grace(stage)
    request = stage.ask(
        PORTAL, "POST /v1/requests", {"kind": "erasure", "subject": grace, "channel": "web"}, status=201
    )["id"]
    _verify(stage, request, "fresh", minor=True)
    preview = stage.fetch(OFFICE, f"POST /v1/subjects/{grace}/erasure:preview", {"request": request})
    most = stage.screen.most
    rows = [(line["field"], line["records"], "erased", None, None) for line in preview["erased"][:most]]
    rows += [
        (line["field"], line["records"], f"kept: {line['ground']}, Art. {line['article']}", line["until"], line["law"])
        for line in preview["kept"][:most]
    ]
    path = f"POST /v1/subjects/{grace}/erasure:preview"
    stage.show_table(OFFICE, path, "shortened", ("field", "records", "verdict", "until", "law"), rows)
    require("profile.email" in {line["field"] for line in preview["erased"]}, "her e-mail is erased")
    require({line["purpose"] for line in preview["kept"]} == {"accounting"}, "only accounting keeps something")
    stage.ask(OFFICE, f"POST /v1/requests/{request}:approve", {}, brief=("state", "kind"), minor=True)
    _wait_for(stage, request)
    brief = ("keys_destroyed", "recipients_told", "found", "bytes", "erased_at", "audit_entry", "value")
    certificate = stage.ask(OFFICE, f"GET /v1/requests/{request}/certificate", brief=brief)
    require(check_certificate(certificate).sound, "the certificate is signed")
    require(certificate["certificate"]["keys_destroyed"] > 0, "her keys are destroyed")
    require(str(GRACE["email"]) not in str(certificate), "no value of hers is on the certificate")
    problem = stage.read("helpdesk", grace, ["name", "email.masked"], SUPPORT, 404)
    require(problem["code"] == "subject-not-found", "a read does not find her")
    search = {"match": {"email": GRACE["email"]}, "fields": ["name"], "purpose": SUPPORT}
    require(stage.ask("helpdesk", "POST /v1/subjects:search", search)["results"] == [], "a search finds no one")
    again = {"profile": {"email": GRACE["email"]}, "purpose": "order-fulfilment", "source": "old-crm"}
    conflict = stage.ask("shop", "POST /v1/subjects", again, status=409)
    require(conflict["code"] == "erased-before", "an erased person is not created again unnoticed")


@chapter("Until when is her name kept, and why?")
def retention_is_explained(stage: Stage, ada: Star) -> None:
    """As long as a purpose that applies to her needs it; the last one to end decides.

    Of a birthday the year is kept, for statistics; not of hers, since she objected.
    """
    path = f"/v1/subjects/{ada.id}/retention?field=name"
    (value,) = stage.fetch(OFFICE, f"GET {path}")["values"]
    headings = ("ground", "", "until", "counts", "why")
    stage.show_table(OFFICE, f"GET {path}", "as a table", headings, _ground_rows(value))
    ordered = datetime.fromisoformat(ada.customer.purchases[0]["occurred_at"]).date()
    require(value["by"] == "accounting", "accounting keeps her name the longest")
    require(value["until"] == TEN_YEARS.after(ordered).isoformat(), "that is ten years from her order")
    require(MARKETING in {idle["purpose"] for idle in value["idle"]}, "marketing keeps nothing without her consent")
    stage.ask(OFFICE, f"GET /v1/subjects/{ada.id}/relationship", brief=("state", "last_contact", "until"))
    for subject, then in ((ada.id, ERASE), (ada.others[-1], "profile.birth_date.year")):
        path = f"/v1/subjects/{subject}/retention?field=birth_date"
        (value,) = stage.fetch(OFFICE, f"GET {path}")["values"]
        stage.screen.request(stage.app(OFFICE), f"GET {path}", "")
        stage.say(f"   until {value['until']} for {value['by']}, then: {value['then']}", "green")
        require(value["then"] == then, f"at its end a birthday is: {then}")


@chapter("The values that tomorrow's sweep deletes")
def sweep_is_previewed(stage: Stage, _ada: Star) -> None:
    """Otto ordered once, ten years ago. Fulfilment no longer needs that order, so it is not shown for it.

    The law about accounting needs it until tonight. The preview counts what the sweep deletes, and opens nothing.
    """
    otto = _create_otto(stage)
    _read_order(stage, "warehouse", otto, "order-fulfilment", refused="retention-over")
    _read_order(stage, BOOKS, otto, "accounting", refused=None)
    ends = {line["field"] for line in _preview_sweep(stage)["ends"]}
    require({"purchase.order", "purchase.amount"} <= ends, "the next sweep deletes his order")
    require("profile.name" not in ends, "his name was collected today, and stays")


@chapter("A legal hold")
def evidence_is_held(stage: Stage, _ada: Star) -> None:
    """A lawsuit: a hold stops every deletion and restricts who reads the data. Once it is lifted, deletion resumes."""
    match = {"match": {"email": OTTO["email"]}, "fields": ["name"], "purpose": SUPPORT}
    otto = stage.fetch("helpdesk", "POST /v1/subjects:search", match)["results"][0]["subject"]
    review = (Clock().now().date() + timedelta(days=180)).isoformat()
    body = {"matter": "LG-815", "owner": "legal-dept", "subjects": [otto], "fields": ["purchase.*"]}
    brief = ("state", "matter", "purpose", "review_on", "people")
    hold = stage.ask(OFFICE, "POST /v1/holds", {**body, "review_on": review}, status=201, brief=brief)
    _read_order(stage, BOOKS, otto, "accounting", refused="held")
    _read_order(stage, OFFICE, otto, "legal-claims", refused=None)
    preview = _preview_sweep(stage)
    require("purchase.order" not in {line["field"] for line in preview["ends"]}, "no sweep deletes held values")
    held = {line["field"] for line in preview["waiting"] if line["state"] == "held"}
    require({"purchase.order", "purchase.amount"} <= held, "the preview shows what is held beyond its end")
    lifted = stage.ask(OFFICE, f"POST /v1/holds/{hold['id']}:lift", {"reason": "settled"}, brief=("state", "reason"))
    require(lifted["state"] == "lifted", "the hold is lifted, and the next sweep deletes what only the hold kept")


@chapter("A verified backup")
def backup_is_verified(stage: Stage, ada: Star) -> None:
    """Made while the server runs, sealed under the root key, with the key store apart.

    A trial restore counts every row and opens values. A real restore allows no read before later erasures and
    withdrawals are replayed.
    """
    backup, verified = run(_make_and_verify(stage.folder))
    counts = {str(kind): f"{sum(rows.values()):,}" for kind, rows in verified.rows.items()}
    rows = [
        (f"{kind}: {backup.file(kind).name}", f"{facts.size:,}", counts.get(kind))
        for kind, facts in backup.manifest.files.items()
    ]
    stage.say("$ cdv backup make backups; cdv backup verify backups/data/…")
    stage.screen.table(("file", "bytes", "rows, counted after the restore"), rows)
    people = verified.sample
    stage.say(f"   {people.values:,} values of {people.people:,} people opened with its keys", "")
    require(people.people > len(ada.others), "everybody who is in the vault is in the backup")
    require(ada.profile["email"].encode() not in backup.file("data").read_bytes(), "no value is readable in it")


def _codes(problem: Answer) -> set[str]:
    return {refusal["code"] for refusal in problem["denied"].values()}


def _consents(ada: Star) -> str:
    return f"/v1/subjects/{ada.id}/consents"


def _audit_row(entry: Answer) -> tuple[object, ...]:
    refused = "\n".join(f"{short(name)}: {code}" for name, code in entry.get("refused", {}).items())
    return (
        entry["at"][11:19],
        entry.get("principal_name", "nobody"),
        entry["action"],
        entry.get("purpose"),
        entry["decision"],
        "\n".join(map(short, entry.get("fields", ()))),
        refused or entry.get("code"),
    )


def _verify(stage: Stage, request: str, level: str, *, minor: bool = False) -> None:
    """Let the portal verify the requester: it vouches for the sign-in."""
    body = {"vouch": {"level": level, "evidence": "signed in with a passkey"}}
    stage.ask(PORTAL, f"POST /v1/requests/{request}:verify", body, brief=("state", "level", "evidence"), minor=minor)


def _wait_for(stage: Stage, request: str) -> None:
    """Wait until the job of a request has ended, and show the request."""
    path, deadline = f"/v1/requests/{request}", time.monotonic() + JOB_TIMEOUT
    while (state := stage.fetch(OFFICE, f"GET {path}")["state"]) != "completed":
        if time.monotonic() > deadline:
            raise DemoFailed("the request is not executed in time", hint=f"it is {state}")
        time.sleep(POLL_INTERVAL)
    stage.ask(OFFICE, f"GET {path}", brief=("kind", "state", "due", "due_rule"), minor=True)


def _create_grace(stage: Stage) -> str:
    """Create a customer who has ordered once, and whose name support has read."""
    body = {"profile": GRACE, "purpose": "order-fulfilment", "source": "web-order"}
    grace = str(stage.fetch("shop", "POST /v1/subjects", body, status=201)["id"])
    fields = {"order": "4712", "product": "Lamp", "amount": "49.00", "currency": "EUR"}
    order = {"fields": fields, "purpose": "order-fulfilment", "source": "web-order"}
    stage.fetch("shop", f"POST /v1/subjects/{grace}/records/purchase", order, status=201)
    ask = {"subject": grace, "fields": ["name", "email.masked"], "purpose": SUPPORT}
    read = stage.ask("helpdesk", "POST /v1/read", ask, minor=True)
    require(read["fields"]["name"] == GRACE["name"], "support reads her name")
    return grace


def _create_otto(stage: Stage) -> str:
    """Create a customer whose only order is ten years old: they end today."""
    # On a 29th of February the ten years of the day end tomorrow.
    today = Clock().now().date()
    ordered = today - timedelta(days=3654)
    while TEN_YEARS.after(ordered) < today:
        ordered += timedelta(days=1)
    body = {"profile": OTTO, "purpose": "order-fulfilment", "source": "old-crm"}
    otto = str(stage.fetch("shop", "POST /v1/subjects", body, status=201)["id"])
    fields = {"order": "99", "product": "Radio", "amount": "79.00", "currency": "EUR"}
    order = {"fields": fields, "purpose": "order-fulfilment", "occurred_at": f"{ordered}T12:00:00Z"}
    stage.ask("shop", f"POST /v1/subjects/{otto}/records/purchase", order, status=201, brief=("id",))
    return otto


def _read_order(stage: Stage, app: str, subject: str, purpose: str, *, refused: str | None) -> None:
    """Check that an app reads the order for a purpose, or is refused by a code."""
    field = "purchase.amount"
    answer = stage.read(app, subject, [field], purpose, 403 if refused == "held" else 200)
    if refused is None:
        require(field in answer["fields"], f"the amount is read for {purpose}")
    else:
        require(answer["denied"][field]["code"] == refused, f"the amount is not read for {purpose}: {refused}")


def _preview_sweep(stage: Stage) -> Answer:
    """Show all ends of orders, and some others."""
    path = "/v1/retention/due?days=2&limit=10000"
    preview = stage.fetch(OFFICE, f"GET {path}")
    rows = []
    for lines, first in ((preview["ends"], "on"), (preview["waiting"], "state")):
        orders_first = sorted(lines, key=lambda line: not line["field"].startswith("purchase."))
        rows += [
            (line[first], line["field"], line["values"], line["then"]) for line in orders_first[: stage.screen.most]
        ]
    headings = ("goes on", "field", "values", "what happens")
    stage.show_table(OFFICE, f"GET {path}", "as a table", headings, rows)
    return preview


def _ground_rows(value: Answer) -> Iterator[tuple[object, ...]]:
    """Yield a row with a bar for each ground, and one for each purpose that does not keep the value."""
    start = date.fromisoformat(value["starts"])
    spans = [(date.fromisoformat(ground["until"] or str(start)) - start).days for ground in value["grounds"]]
    longest = max([*spans, 1])
    for ground, days in zip(value["grounds"], spans, strict=True):
        bar = "━" * max(days * BAR_WIDTH // longest, 1) if ground["until"] else "━" * BAR_WIDTH + ">"
        reasons = "; ".join(filter(None, (ground["article"], ground["reason"])))
        counts = f"{ground['period']} {ground['since']}"
        yield ground["ground"], bar, ground["until"] or "no end yet", counts, reasons
    for idle in value["idle"]:
        yield idle["purpose"], "", "", "", f"keeps nothing: {idle['why']}"


async def _make_and_verify(folder: Path) -> tuple[BackupFolder, Verified]:
    def no_progress(_what: str, _size: int) -> None:
        """Show nothing: it takes less than a second."""

    async with Opener(folder).vault() as session:
        services, settings = session.services, session.vault.settings
        parts = VaultParts(settings.vault, databases_of(settings), provider_of(settings), postgres_tools(settings))
        where = places(settings.vault / "backups")
        backup = await make_backup(services, parts, where, keys_for=Period(0, 30), progress=no_progress)
        verified = await verify_backup(services, backup, parts, sample=10_000, progress=no_progress)
        return backup, verified
