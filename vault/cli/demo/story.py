"""The chapters of the tour: backups, consent and objection, retention and holds, requests, the read itself.

Each chapter checks what it claims: if a response differs, the tour fails.
"""

from __future__ import annotations

import io
import time
import zipfile
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.table import Table
from rich.text import Text

from vault.backup.make import make_backup
from vault.backup.manifest import VaultParts, places
from vault.backup.verify import verify_backup
from vault.bootstrap import databases_of, postgres_tools, provider_of
from vault.catalogue.retention import Period
from vault.catalogue.retention_actions import ERASE
from vault.cli.demo.customers import GOODS
from vault.cli.demo.server import DemoFailed
from vault.cli.demo.stage import require
from vault.cli.options import parse_period
from vault.cli.session import Opener, run
from vault.clock import Clock
from vault.consent.receipts.issue import check_receipt
from vault.erasure.verify import check_certificate
from vault.export.verify import check_archive
from vault.policy.rules import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from vault.backup.manifest import BackupFolder
    from vault.backup.verify import Verified
    from vault.cli.demo.customers import Star
    from vault.cli.demo.stage import Stage


KEYS_FOR = "P30D"


def tried(stage: Stage, ada: Star) -> None:
    """Make a backup, and try a restore of it into a temporary place."""
    backup, verified = run(_make_and_verify(stage.folder))
    stage.console.print(Text("$ cdv backup make backups; cdv backup verify backups/data/…", style="blue"))
    table = Table("file", "bytes", "rows, counted after the restore", border_style="green")
    counted = {str(kind): f"{sum(rows.values()):,}" for kind, rows in verified.rows.items()}
    for kind, facts in backup.manifest.files.items():
        table.add_row(Text(f"{kind}: {backup.file(kind).name}"), f"{facts.size:,}", counted.get(kind, ""))
    stage.console.print(table)
    people = verified.sample
    stage.console.print(Text(f"   {people.values:,} values of {people.people:,} people opened with its keys"))
    require(people.people > len(ada.others), "everybody who is in the vault is in the backup")
    require(ada.profile["email"].encode() not in backup.file("data").read_bytes(), "no value is readable in it")


async def _make_and_verify(folder: Path) -> tuple[BackupFolder, Verified]:
    async with Opener(folder).vault() as session:
        services, settings = session.services, session.vault.settings
        parts = VaultParts(settings.vault, databases_of(settings), provider_of(settings), postgres_tools(settings))
        where = places(settings.vault / "backups")
        backup = await make_backup(services, parts, where, keys_for=parse_period(KEYS_FOR), progress=_silent)
        return backup, await verify_backup(services, backup, parts, sample=10_000, progress=_silent)


def _silent(_what: str, _size: int) -> None:
    """Show no progress: the step takes less than a second."""


MARKETING = "direct-marketing"
UNKNOWN = "00000000-0000-7000-8000-000000000009"
"""An id that no subject has."""
SOME = 3
"""Other customers who are checked together with Ada."""


def agrees(stage: Stage, ada: Star) -> None:
    """She ticks a box in the shop; marketing's next read is answered."""
    body = {"decision": "given", "purpose": MARKETING, "notice": "marketing@3", "method": "checkbox", "channel": "web"}
    recorded = stage.ask("shop", "POST", _consents(ada), body, status=201)
    require(recorded["state"] == "given", "her consent stands")
    read = stage.ask("newsletter", "POST", "/v1/read", _offer(ada))
    require(read["fields"]["email"] == ada.profile["email"], "marketing reads her e-mail now")


def checked(stage: Stage, ada: Star) -> None:
    """Marketing asks about a whole list at once and learns yes or no."""
    people = [ada.id, *ada.others[:SOME], UNKNOWN]
    answer = stage.ask("newsletter", "POST", "/v1/consents:check", {"subjects": people, "purposes": [MARKETING]})
    said = {each["subject"]: each["purposes"][MARKETING] for each in answer["results"]}
    require(said == {each: each == ada.id for each in people}, "she may be written to, and no one else")


def receipt(stage: Stage, ada: Star) -> None:
    """She gets a receipt that can be verified without the vault."""
    event = _last_event(stage, ada)
    path = f"{_consents(ada)}/{event}/receipt"
    brief = ("dct:title", "cdv:kind", "dpv:isIndicatedAtTime", "dpv:hasIndicationMethod", "cdv:digest", "value")
    file = stage.ask("shop", "GET", path, brief=brief)
    require(check_receipt(file).sound, "the receipt is signed")
    require(ada.profile["email"] not in str(file), "no value of hers is on the receipt")
    file["receipt"]["dpv:hasIdentifier"] = UNKNOWN
    require(not check_receipt(file).sound, "a receipt that was changed is found out")


def takes_it_back(stage: Stage, ada: Star) -> None:
    """She withdraws by one click; the read after it is denied, and the history tells both."""
    body = {"decision": "withdrawn", "purpose": MARKETING, "channel": "web"}
    recorded = stage.ask("shop", "POST", _consents(ada), body, status=201)
    require(recorded["state"] == "withdrawn", "her consent is withdrawn")
    denied = stage.ask("newsletter", "POST", "/v1/read", _offer(ada), status=403)
    require(_codes(denied) == {"consent-missing"}, "the very next read is denied")
    brief = ("kind", "purpose", "occurred_at", "channel", "notice_digest")
    told = stage.ask("helpdesk", "GET", _consents(ada), brief=brief)
    kinds = [each["kind"] for each in told["history"]]
    require(kinds == ["withdrawn", "given"], "the history has both, the latest first")


def objects(stage: Stage, ada: Star) -> None:
    """Statistics rest on a legitimate interest: no consent is asked for, but she may object."""
    body = {"purpose": "service-analytics", "reason": "I do not want to be counted."}
    path = f"/v1/subjects/{ada.id}/objections"
    objection = stage.ask("helpdesk", "POST", path, body, status=201)
    asked = {"subject": ada.id, "fields": ["birth_date.year"], "purpose": "service-analytics"}
    denied = stage.ask("statistics", "POST", "/v1/read", asked, status=403)
    require(_codes(denied) == {"objected"}, "what she objects to has stopped")
    decided = {"decision": "upheld", "reason": "Figures are as good without her."}
    answer = stage.ask("privacy-office", "POST", f"{path}/{objection['id']}:decide", decided, status=201)
    require(answer["state"] == "upheld", "the objection stands for good")


def restricts(stage: Stage, ada: Star) -> None:
    """A customer says that data is wrong: until that is looked into, it is stored and not used."""
    other = ada.others[0]
    path = f"/v1/subjects/{other}/restriction"
    stage.ask("privacy-office", "POST", path, {"ground": "accuracy", "reason": "The address is wrong."}, status=201)
    asked = {"subject": other, "fields": ["name"], "purpose": "customer-support"}
    denied = stage.ask("helpdesk", "POST", "/v1/read", asked, status=403)
    require(_codes(denied) == {"restricted"}, "restricted data is not used")
    early = stage.ask("privacy-office", "POST", f"{path}:lift", {"reason": "The address is right now."}, status=409)
    require(early["code"] == "notice-first", "the person is told before a restriction is lifted")
    announced = stage.ask("privacy-office", "POST", f"{path}:announce", {"told": "by post"}, status=201)
    require(announced["state"] == "restricted", "it stays until the days of notice are over")


TOLD = (
    ("shop", "record-consent", "allowed"),
    ("newsletter", "read", "allowed"),
    ("newsletter", "check-consents", "allowed"),
    ("helpdesk", "read-consents", "allowed"),
    ("shop", "read-receipt", "allowed"),
    ("shop", "record-consent", "allowed"),
    ("newsletter", "read", "denied"),
    ("helpdesk", "read-consents", "allowed"),
)
TOLD_LATER = (
    ("helpdesk", "object", "allowed"),
    ("statistics", "read", "denied"),
    ("privacy-office", "decide-objection", "allowed"),
    ("privacy-office", "restrict", "allowed"),
    ("helpdesk", "read", "denied"),
    ("privacy-office", "lift-restriction", "failed"),
    ("privacy-office", "lift-restriction", "allowed"),
)
"""What the audit log must say of these chapters: those before analytics, and those after."""


def _consents(ada: Star) -> str:
    return f"/v1/subjects/{ada.id}/consents"


def _offer(ada: Star) -> dict[str, Any]:
    return {"subject": ada.id, "fields": ["email", "given_name"], "purpose": MARKETING}


def _last_event(stage: Stage, ada: Star) -> str:
    told = stage.ask("helpdesk", "GET", _consents(ada), shown=False)
    return str(told["history"][0]["id"])


def _codes(problem: dict[str, Any]) -> set[str]:
    return {refusal["code"] for refusal in problem["denied"].values()}


OFFICE, BOOKS = "privacy-office", "bookkeeping"
BAR: Final = 24
"""Characters of the longest bar."""
MOST_LINES: Final = 8
TEN_YEARS: Final = Period(120, 0)
"""As long as books are kept, by policies/retention.toml."""
OTTO: Final = {"name": "Otto Berg", "email": "otto.berg@example.net"}


def why(stage: Stage, ada: Star) -> None:
    """Her name has several grounds, and the last one to end is the law about books; her birthday becomes a year."""
    path = f"/v1/subjects/{ada.id}/retention?field="
    name = stage.ask(OFFICE, "GET", f"{path}name", shown=False)
    (kept,) = name["values"]
    stage.console.print(Text(f"-> {OFFICE} (dpo): GET {path}name, as a table", style="blue"))
    _show_grounds(stage, kept)
    ordered = datetime.fromisoformat(ada.customer.purchases[0]["occurred_at"]).date()
    require(kept["by"] == "accounting", "the law about books keeps her name the longest")
    require(kept["until"] == TEN_YEARS.after(ordered).isoformat(), "that is ten years from her order")
    idle = {each["purpose"] for each in kept["idle"]}
    require("direct-marketing" in idle, "marketing keeps nothing since she took her consent back")
    stage.ask(OFFICE, "GET", f"/v1/subjects/{ada.id}/relationship", brief=("state", "last_contact", "until"))
    _birthday(stage, ada.id, ERASE)  # she objected to statistics: the year of birth is no longer needed
    _birthday(stage, ada.others[-1], "profile.birth_date.year")


def tomorrow(stage: Stage, _ada: Star) -> None:
    """Otto ordered once, ten years ago. Only accounting may still read that order, until tonight."""
    otto = _otto(stage)
    _reads(stage, "warehouse", otto, "order-fulfilment", refused="retention-over")
    _reads(stage, BOOKS, otto, "accounting", refused=None)
    due = _preview(stage)
    going = {each["field"] for each in due["ends"]}
    require({"purchase.order", "purchase.amount"} <= going, "the next sweep takes his order")
    require("profile.name" not in going, "his name came in today, and stays")


def held(stage: Stage, _ada: Star) -> None:
    """Otto goes to court. What is evidence stays, whatever has ended, and is read for the lawsuit only."""
    match = {"match": {"email": OTTO["email"]}, "fields": ["name"], "purpose": "customer-support"}
    otto = stage.ask("helpdesk", "POST", "/v1/subjects:search", match, shown=False)["results"][0]["subject"]
    review = (Clock().now().date() + timedelta(days=180)).isoformat()
    asked = {"matter": "LG-815", "owner": "legal-dept", "subjects": [otto], "fields": ["purchase.*"]}
    brief = ("state", "matter", "purpose", "review_on", "people")
    hold = stage.ask(OFFICE, "POST", "/v1/holds", {**asked, "review_on": review}, status=201, brief=brief)
    _reads(stage, BOOKS, otto, "accounting", refused="held")
    _reads(stage, OFFICE, otto, "legal-claims", refused=None)
    due = _preview(stage)
    require("purchase.order" not in {each["field"] for each in due["ends"]}, "no sweep takes what is held")
    waiting = {each["field"] for each in due["waiting"] if each["state"] == "held"}
    require({"purchase.order", "purchase.amount"} <= waiting, "the preview says what is held beyond its end")
    lifted = stage.ask(OFFICE, "POST", f"/v1/holds/{hold['id']}:lift", {"reason": "settled"}, brief=("state", "reason"))
    require(lifted["state"] == "lifted", "the hold is over, and the next sweep takes what only the hold kept")


def _birthday(stage: Stage, subject: str, then: str) -> None:
    path = f"/v1/subjects/{subject}/retention?field=birth_date"
    (kept,) = stage.ask(OFFICE, "GET", path, shown=False)["values"]
    stage.console.print(Text(f"-> {OFFICE} (dpo): GET {path}", style="blue"))
    stage.console.print(Text(f"   until {kept['until']} for {kept['by']}, then: {kept['then']}", style="green"))
    require(kept["then"] == then, f"at its end a birthday is: {then}")


def _otto(stage: Stage) -> str:
    """Bring in a customer of long ago: his order is of the day with which its ten years end today."""
    body = {"profile": OTTO, "purpose": "order-fulfilment", "source": "old-crm"}
    otto = str(stage.ask("shop", "POST", "/v1/subjects", body, status=201, shown=False)["id"])
    fields = {"order": "99", "product": "Radio", "amount": "79.00", "currency": "EUR"}
    order = {"fields": fields, "purpose": "order-fulfilment", "occurred_at": f"{_ten_years_ago()}T12:00:00Z"}
    stage.ask("shop", "POST", f"/v1/subjects/{otto}/records/purchase", order, status=201, brief=("id",))
    return otto


def _ten_years_ago() -> date:
    """Return the first day of which the ten years are not over: on a 29th of February they end tomorrow."""
    today = Clock().now().date()
    day = today - timedelta(days=3654)
    while TEN_YEARS.after(day) < today:
        day += timedelta(days=1)
    return day


def _reads(stage: Stage, who: str, subject: str, purpose: str, *, refused: str | None) -> None:
    """See that an app reads the order for a purpose, or is refused by a code."""
    name = "purchase.amount"
    body = {"subject": subject, "fields": [name], "purpose": purpose}
    answer = stage.ask(who, "POST", "/v1/read", body, status=403 if refused == "held" else 200)
    if refused is None:
        require(name in answer["fields"], f"the amount is read for {purpose}")
    else:
        require(answer["denied"][name]["code"] == refused, f"the amount is not read for {purpose}: {refused}")


def _preview(stage: Stage) -> dict[str, Any]:
    path = "/v1/retention/due?days=2&limit=10000"
    due: dict[str, Any] = stage.ask(OFFICE, "GET", path, shown=False)
    stage.console.print(Text(f"-> {OFFICE} (dpo): GET {path}, as a table", style="blue"))
    table = Table("goes on", "field", "values", "what happens", border_style="green")
    for each in _first(due["ends"]):
        table.add_row(each["on"], Text(each["field"]), str(each["values"]), each["then"])
    for each in _first(due["waiting"]):
        table.add_row(each["state"], Text(each["field"]), str(each["values"]), each["then"])
    stage.console.print(table)
    return due


def _first(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pick what is shown: of the orders all, of the rest a few."""
    orders = [each for each in lines if each["field"].startswith("purchase.")]
    return [*orders, *(each for each in lines if each not in orders)][:MOST_LINES]


def _show_grounds(stage: Stage, kept: dict[str, Any]) -> None:
    table = Table("ground", "", "until", "counts", "why", border_style="green")
    start = date.fromisoformat(kept["starts"])
    spans = {each["ground"]: _days(start, each["until"]) for each in kept["grounds"]}
    longest = max((days for days in spans.values() if days is not None), default=1) or 1
    for each in kept["grounds"]:
        days = spans[each["ground"]]
        bar = "━" * (BAR if days is None else max(days * BAR // longest, 1)) + (">" if days is None else "")
        counts = f"{each['period']} {each['since']}"
        why_so = _joined((each["article"], each["reason"]))
        table.add_row(Text(each["ground"]), bar, each["until"] or "no end yet", counts, Text(why_so))
    for each in kept["idle"]:
        table.add_row(
            Text(each["purpose"], style="dim"), "", "", "", Text(f"keeps nothing: {each['why']}", style="dim")
        )
    stage.console.print(table)


def _joined(parts: Iterable[str | None]) -> str:
    return "; ".join(part for part in parts if part)


def _days(start: date, until: str | None) -> int | None:
    return None if until is None else (date.fromisoformat(until) - start).days


WITHIN: Final = 30.0
"""Seconds in which a job ends that takes a fraction of one."""
LOOKS_EVERY: Final = 0.1
PRIVACY_OFFICE, PORTAL = "privacy-office", "portal"
GRACE: Final[dict[str, Any]] = {
    "name": "Grace Hopper",
    "email": "grace@example.com",
    "phone": "+4930901820",
    "birth_date": "1986-12-09",
    "address": {"street": "Hauptstr. 5", "postal_code": "10827", "city": "Berlin", "country": "DE"},
    "language": "de",
}


def access(stage: Stage, ada: Star) -> None:
    """She asks in the portal, which vouches for her; a rule approves, a job packs, and she gets a ZIP."""
    body = {"kind": "access", "subject": ada.id, "language": "en", "channel": "web"}
    asked = stage.ask(PORTAL, "POST", "/v1/requests", body, status=201)
    require(asked["state"] == "received", "the request is received")
    _vouch(stage, asked["id"], "single")
    _wait(stage, asked["id"])
    package = stage.download(PRIVACY_OFFICE, f"/v1/requests/{asked['id']}/package")
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        page = archive.read("index.html").decode()
        _show_entries(stage, archive)
    require(ada.profile["email"] in page, "the page for her says what is held")
    require("warehouse" in page, "the page for her says who read it")
    _check_package(package)


def erasure(stage: Stage, _ada: Star) -> None:
    """Grace wants to be forgotten: a preview with a verdict for each field, an approval, a certificate, no trace."""
    grace = _grace(stage)
    body = {"kind": "erasure", "subject": grace, "channel": "web"}
    asked = stage.ask(PORTAL, "POST", "/v1/requests", body, status=201)
    _vouch(stage, asked["id"], "fresh")
    path = f"/v1/subjects/{grace}/erasure:preview"
    preview = stage.ask(PRIVACY_OFFICE, "POST", path, {"request": asked["id"]}, shown=False)
    _show_preview(stage, preview)
    require("profile.email" in {line["field"] for line in preview["erased"]}, "her e-mail goes")
    require({line["purpose"] for line in preview["kept"]} == {"accounting"}, "the books stay, and nothing else")
    stage.ask(PRIVACY_OFFICE, "POST", f"/v1/requests/{asked['id']}:approve", {}, brief=("state", "kind"))
    _wait(stage, asked["id"])
    brief = ("erased_at", "keys_destroyed", "recipients_told", "found", "bytes", "audit_entry", "value")
    certificate = stage.ask(PRIVACY_OFFICE, "GET", f"/v1/requests/{asked['id']}/certificate", brief=brief)
    _check_certificate(certificate)
    require(GRACE["email"] not in str(certificate), "no value of hers is on the certificate")
    _find_no_one(stage, grace)


def _grace(stage: Stage) -> str:
    """Bring in a customer who ordered once, and whom support has called."""
    body = {"profile": GRACE, "purpose": "order-fulfilment", "source": "web-order"}
    grace = str(stage.ask("shop", "POST", "/v1/subjects", body, status=201, shown=False)["id"])
    fields = {"order": "4712", "product": "Lamp", "amount": "49.00", "currency": "EUR"}
    order = {"fields": fields, "purpose": "order-fulfilment", "source": "web-order"}
    stage.ask("shop", "POST", f"/v1/subjects/{grace}/records/purchase", order, status=201, shown=False)
    read = {"subject": grace, "fields": ["name", "email.masked"], "purpose": "customer-support"}
    require(
        stage.ask("helpdesk", "POST", "/v1/read", read)["fields"]["name"] == GRACE["name"], "support reads her name"
    )
    return grace


def _find_no_one(stage: Stage, grace: str) -> None:
    body = {"subject": grace, "fields": ["name", "email.masked"], "purpose": "customer-support"}
    problem = stage.ask("helpdesk", "POST", "/v1/read", body, status=404)
    require(problem["code"] == "subject-not-found", "there is no such person any more")
    match = {"match": {"email": GRACE["email"]}, "fields": ["name"], "purpose": "customer-support"}
    found = stage.ask("helpdesk", "POST", "/v1/subjects:search", match)
    require(found["results"] == [], "a search finds no one")
    again = {"profile": {"email": GRACE["email"]}, "purpose": "order-fulfilment", "source": "old-crm"}
    conflict = stage.ask("shop", "POST", "/v1/subjects", again, status=409)
    require(conflict["code"] == "erased-before", "an erased person does not come back unnoticed")


def _vouch(stage: Stage, request: str, level: str) -> None:
    body = {"vouch": {"level": level, "evidence": "signed in with a passkey"}}
    stage.ask(PORTAL, "POST", f"/v1/requests/{request}:verify", body)


def _wait(stage: Stage, request: str) -> None:
    """Wait until the job of a request has ended; shows how it stands then."""
    path, until = f"/v1/requests/{request}", time.monotonic() + WITHIN
    while time.monotonic() < until:
        now: dict[str, Any] = stage.ask(PRIVACY_OFFICE, "GET", path, shown=False)
        if now["state"] == "completed":
            stage.ask(PRIVACY_OFFICE, "GET", path, brief=("kind", "state", "due", "due_rule"))
            return
        time.sleep(LOOKS_EVERY)
    raise DemoFailed("the request is not carried out in time", hint=f"it is {now['state']}")


def _show_entries(stage: Stage, archive: zipfile.ZipFile) -> None:
    table = Table("file", "bytes", title="What is in the package", title_justify="left", border_style="green")
    for each in archive.infolist():
        table.add_row(Text(each.filename), f"{each.file_size:,}")
    stage.console.print(table)


def _show_preview(stage: Stage, preview: dict[str, Any]) -> None:
    stage.console.print(Text("-> privacy-office (dpo): the preview of the erasure, shortened", style="blue"))
    table = Table("field", "records", "verdict", "until", "law", border_style="green")
    for line in preview["erased"][:MOST_LINES]:
        table.add_row(Text(line["field"]), str(line["records"]), Text("erased", style="red"), "", "")
    for line in preview["kept"][:MOST_LINES]:
        verdict = Text(f"kept: {line['ground']}, Art. {line['article']}", style="yellow")
        table.add_row(Text(line["field"]), str(line["records"]), verdict, line["until"], Text(line["law"] or ""))
    stage.console.print(table)


def _check_package(package: bytes) -> None:
    require(check_archive(io.BytesIO(package)).sound, "the package is signed and whole")


def _check_certificate(file: dict[str, Any]) -> None:
    require(check_certificate(file).sound, "the certificate is signed")
    require(file["certificate"]["keys_destroyed"] > 0, "her keys are destroyed")


class Chapter(NamedTuple):
    """A part of the tour."""

    title: str
    explanation: str
    play: Callable[[Stage, Star], None]


def _support(stage: Stage, ada: Star) -> None:
    fields = ["name", "email.masked", "email"]
    read = stage.ask(
        "helpdesk",
        "POST",
        "/v1/read",
        {"subject": ada.id, "fields": fields, "purpose": "customer-support", "reason": "call of this morning"},
    )
    masked = read["fields"]["email.masked"]
    require("ada" not in masked and masked.endswith("@example.org"), "the e-mail is masked")
    require(read["fields"]["name"] == ada.profile["name"], "support reads the name")
    require(read["denied"]["email"]["code"] == "not-granted", "the whole e-mail is not granted to support")
    path = f"/v1/subjects/{ada.id}/records/complaint:read"
    page = stage.ask(
        "helpdesk", "POST", path, {"fields": ["subject", "body", "status"], "purpose": "complaint-handling"}
    )
    complaint = ada.customer.complaints[0]["fields"]
    require([each["fields"] for each in page["results"]] == [complaint], "support reads the complaint")


def _fulfilment(stage: Stage, ada: Star) -> None:
    fields = ["name", "address", "birth_date.over_18", "purchase.product"]
    body = {"subject": ada.id, "fields": fields, "purpose": "order-fulfilment", "reason": "order 4711"}
    read = stage.ask("warehouse", "POST", "/v1/read", body)
    got = read["fields"]
    require(got["name"] == ada.profile["name"], "fulfilment reads the name")
    require(got["address"] == ada.profile["address"], "fulfilment reads the address")
    require(got["birth_date.over_18"] is True, "fulfilment learns that she is of age")
    require(GOODS[0][1] in str(got["purchase.product"]), "fulfilment reads what was ordered")


def _marketing(stage: Stage, ada: Star) -> None:
    body = {"subject": ada.id, "fields": ["email", "given_name"], "purpose": "direct-marketing"}
    problem = stage.ask("newsletter", "POST", "/v1/read", body, status=403)
    codes = {refusal["code"] for refusal in problem["denied"].values()}
    require(codes == {"consent-missing"}, "consent is what is missing")


def _analytics(stage: Stage, ada: Star) -> None:
    body = {"subject": ada.id, "fields": ["birth_date.year", "birth_date"], "purpose": "service-analytics"}
    read = stage.ask("statistics", "POST", "/v1/read", body)
    require(str(read["fields"]["birth_date.year"]) == ada.profile["birth_date"][:4], "analytics gets the year")
    require(read["denied"]["birth_date"]["code"] == "purpose-excludes-field", "the purpose does not need the date")


def _unknown_purpose(stage: Stage, ada: Star) -> None:
    body = {"subject": ada.id, "fields": ["email"], "purpose": "just-curious"}
    problem = stage.ask("helpdesk", "POST", "/v1/read", body, status=422)
    require(problem["code"] == "unknown-purpose", "the purpose is unknown")
    require("just-curious" not in str(problem), "the answer repeats nothing that came in")


def _wrong_key(stage: Stage, ada: Star) -> None:
    body = {"subject": ada.id, "fields": ["name"], "purpose": "customer-support"}
    problem = stage.ask("somebody", "POST", "/v1/read", body, status=401)
    require(problem["code"] == "not-authenticated", "the call is refused")


def _search(stage: Stage, ada: Star) -> None:
    body = {
        "match": {"email": ada.profile["email"]},
        "fields": ["name", "email.masked"],
        "purpose": "customer-support",
    }
    found = stage.ask("helpdesk", "POST", "/v1/subjects:search", body)
    require([each["subject"] for each in found["results"]] == [ada.id], "only she is found")
    require(found["results"][0]["fields"]["name"] == ada.profile["name"], "the name is shown")


def _erased(stage: Stage, ada: Star) -> None:
    state = stage.ask("warehouse", "GET", f"/v1/subjects/{ada.id}")
    revision = state["revision"]
    path = f"/v1/subjects/{ada.id}/profile?purpose=order-fulfilment"
    changed = stage.ask("warehouse", "PATCH", path, {"phone": None}, headers={"If-Match": f'"{revision}"'})
    require(changed["revision"] == revision + 1, "the profile has a new revision")
    body = {"subject": ada.id, "fields": ["name", "phone"], "purpose": "order-fulfilment"}
    read = stage.ask("warehouse", "POST", "/v1/read", body)
    require(read["denied"]["phone"]["code"] == "no-value", "the telephone number is gone")


MOST_FINDINGS = 6
"""Findings that are shown; on so young a vault there are many."""

STORY = (
    ("helpdesk", "read", "partly"),
    ("helpdesk", "list", "allowed"),
    ("warehouse", "read", "allowed"),
    ("newsletter", "read", "denied"),
    *TOLD,
    ("statistics", "read", "partly"),
    *TOLD_LATER,
    ("helpdesk", "read", "failed"),
    (None, "sign-in", "denied"),
    ("helpdesk", "search", "allowed"),
    ("warehouse", "read", "allowed"),
    ("warehouse", "update", "allowed"),
    ("warehouse", "read", "partly"),
)
"""Who did what and how it went: what the audit log must say of the chapters before."""


def _audit(stage: Stage, ada: Star) -> None:
    page = stage.ask("privacy-office", "GET", f"/v1/audit/entries?limit={len(STORY)}", shown=False)
    entries = page["entries"][::-1]
    _show_entries_story(stage, entries)
    said = tuple((each.get("principal_name"), each["action"], each["decision"]) for each in entries)
    require(said == STORY, "every request of the tour is on the audit log")
    values = [value for value in ada.profile.values() if isinstance(value, str) and len(value) > 4]
    require(not any(value in str(page) for value in values), "no value of hers is on the audit log")


def _processing(stage: Stage, _ada: Star) -> None:
    record = stage.ask("privacy-office", "GET", "/v1/processing-record", shown=False)
    activities = {each["purpose"]: each for each in record["activities"]}
    readers = {each["name"] for each in activities["direct-marketing"]["use"]["readers"]}
    require(readers == {"newsletter"}, "of marketing's apps the newsletter read, and no other")
    unused = {each["purpose"] for each in record["findings"] if each["code"] == "purpose-unused"}
    require("health-advice" in unused, "an unused purpose is found")
    _show_findings(stage, record["findings"])


def _show_findings(stage: Stage, findings: list[dict[str, Any]]) -> None:
    stage.console.print(Text("-> privacy-office (dpo): GET /v1/processing-record, the findings in it", style="blue"))
    table = Table(expand=True, border_style="green")
    for heading in ("finding", "what", "what to do"):
        table.add_column(heading, overflow="fold", ratio=None if heading == "finding" else 1)
    for each in findings[:MOST_FINDINGS]:
        table.add_row(*map(Text, (each["code"], each["detail"], each["remedy"])))
    stage.console.print(table)


def _show_entries_story(stage: Stage, entries: list[dict[str, Any]]) -> None:
    stage.console.print(Text(f"-> privacy-office (dpo): GET /v1/audit/entries?limit={len(STORY)}", style="blue"))
    table = Table(expand=True, border_style="green")
    for heading in ("when", "who", "what", "what for", "how it went", "fields", "refused"):
        table.add_column(heading, overflow="fold", ratio=2 if heading in {"fields", "refused"} else None)
    for each in entries:
        refusals = {short(name): code for name, code in each.get("refused", {}).items()}
        refused = "\n".join(f"{name}: {code}" for name, code in refusals.items())
        cells = (
            each["at"][11:19],
            each.get("principal_name", "nobody"),
            each["action"],
            each.get("purpose", ""),
            each["decision"],
            "\n".join(map(short, each.get("fields", ()))),
            refused or each.get("code", ""),
        )
        table.add_row(*map(Text, cells))
    stage.console.print(table)


CHAPTERS = (
    Chapter(
        "Support reads a masked e-mail and a complaint",
        "Support needs to recognise a customer, not to write to her: of the e-mail it sees as much as that takes.",
        _support,
    ),
    Chapter(
        "Fulfilment reads name and address for its order",
        "The same customer, another purpose: to send the parcel takes the address, and no date of birth.",
        _fulfilment,
    ),
    Chapter(
        "Marketing is denied for want of consent",
        "The policies let marketing read this. The law asks for her consent as well, and she has not given it.",
        _marketing,
    ),
    Chapter(
        "She agrees, and marketing reads",
        "One tick in the shop, to a text whose very words are on record. No app is told: the next read just works.",
        agrees,
    ),
    Chapter(
        "May I send this? A list at once",
        "Up to 1,000 people in one call. The answer is yes or no: not why, not even whether there is such a person.",
        checked,
    ),
    Chapter(
        "She gets a receipt",
        "ISO/IEC TS 27560, signed (Ed25519). `cdv verify` checks it without the vault. Shortened here.",
        receipt,
    ),
    Chapter(
        "She takes it back",
        "As easily as she gave it (Art. 7(3)). The read after it is denied, on every node, and the ledger keeps both.",
        takes_it_back,
    ),
    Chapter(
        "Analytics gets the year of birth, not the date",
        "A purpose names the fields and views that it needs. What it does not name cannot be read for it.",
        _analytics,
    ),
    Chapter(
        "She objects to being counted",
        "Statistics rest on a legitimate interest, so she may object (Art. 21). They stop until that is decided.",
        objects,
    ),
    Chapter(
        "A customer's data is restricted",
        "Another customer says that an address is wrong. Until that is settled the data is stored and not used "
        "(Art. 18); and the customer must be informed before it is lifted.",
        restricts,
    ),
    Chapter(
        "An undeclared purpose",
        "Without a declared purpose there is no read; and the answer repeats nothing that came in.",
        _unknown_purpose,
    ),
    Chapter(
        "A wrong key", "A caller without a valid key learns nothing, not even whether the customer exists.", _wrong_key
    ),
    Chapter(
        "Support finds a customer by e-mail",
        "The store holds no readable e-mail. A keyed digest leads to her, and the match is checked after unsealing.",
        _search,
    ),
    Chapter(
        "A field is erased",
        "She wants her telephone number gone. If-Match makes sure that no other change is overwritten.",
        _erased,
    ),
    Chapter(
        "All of that is on the audit log",
        "Who, what, whom, why and the decision, on record before each answer left. Names of fields, never a value.",
        _audit,
    ),
    Chapter(
        "The record of processing writes itself",
        "Art. 30 asks what data is used for and by whom. The policies say what should be, the log says what was.",
        _processing,
    ),
    Chapter(
        "She asks what is held about her",
        "Art. 15. The portal, where she is signed in, vouches for her; a rule approves, and a job packs all of it: a "
        "page for her, JSON and CSV for machines, and who really read what. Sealed under her key until it is fetched.",
        access,
    ),
    Chapter(
        "Another customer wants to be forgotten",
        "Art. 17. A verdict for every field; what a law keeps is sealed under a new key, and every older key is "
        "destroyed: the rest is gone from backups too. She gets a certificate, which `cdv verify` checks. The next "
        "read finds no one, nor does a search; and an old list that brings her back is a conflict.",
        erasure,
    ),
    Chapter(
        "Until when is her name kept, and why?",
        "As long as any purpose that still applies to her needs it. Each says how long, from when and on which ground; "
        "the last one to end decides. Of a birthday the year is left, for statistics; of hers not, since she objected.",
        why,
    ),
    Chapter(
        "What tomorrow's sweep takes",
        "Otto ordered once, ten years ago. The parcel no longer needs that, so it is not shown for it, sweep "
        "or no sweep; the law about books is over tonight. The preview counts what goes, and opens nothing.",
        tomorrow,
    ),
    Chapter(
        "A lawsuit comes between",
        "A legal hold stops every deletion, and at the same time narrows who reads what is held. Once it is lifted, "
        "what has ended since is erased by itself.",
        held,
    ),
    Chapter(
        "A backup that was tried",
        "Made while the server runs, sealed under the root key, the key store apart. A trial restore counts every row "
        "and opens the values. A real one allows no read before later erasures and withdrawals are repeated.",
        tried,
    ),
)
