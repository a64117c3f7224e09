"""The last chapters: she asks what is held about her, and somebody else wants to be forgotten."""

from __future__ import annotations

import io
import time
import zipfile
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from vault.cli.demo.server import DemoFailed
from vault.cli.demo.stage import require

if TYPE_CHECKING:
    from vault.cli.demo.customers import Star
    from vault.cli.demo.stage import Stage

WITHIN: Final = 30.0
"""Seconds in which a job ends that takes a fraction of one."""
LOOKS_EVERY: Final = 0.1
MOST_LINES: Final = 8
OFFICE, PORTAL = "privacy-office", "portal"
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
    package = stage.download(OFFICE, f"/v1/requests/{asked['id']}/package")
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        page = archive.read("index.html").decode()
        _show_entries(stage, archive)
    require(ada.profile["email"] in page, "the page for her says what is held")
    require("warehouse" in page, "the page for her says who read it")
    _check_package(package)


def erasure(stage: Stage, _ada: Star) -> None:
    """Grace wants to be forgotten: a preview with a verdict for each field, an approval, a certificate, and nobody."""
    grace = _grace(stage)
    body = {"kind": "erasure", "subject": grace, "channel": "web"}
    asked = stage.ask(PORTAL, "POST", "/v1/requests", body, status=201)
    _vouch(stage, asked["id"], "fresh")
    path = f"/v1/subjects/{grace}/erasure:preview"
    preview = stage.ask(OFFICE, "POST", path, {"request": asked["id"]}, shown=False)
    _show_preview(stage, preview)
    require("profile.email" in {line["field"] for line in preview["erased"]}, "her e-mail goes")
    require({line["purpose"] for line in preview["kept"]} == {"accounting"}, "the books stay, and nothing else")
    stage.ask(OFFICE, "POST", f"/v1/requests/{asked['id']}:approve", {}, brief=("state", "kind"))
    _wait(stage, asked["id"])
    brief = ("erased_at", "keys_destroyed", "recipients_told", "found", "bytes", "audit_entry", "value")
    certificate = stage.ask(OFFICE, "GET", f"/v1/requests/{asked['id']}/certificate", brief=brief)
    _check_certificate(certificate)
    require(GRACE["email"] not in str(certificate), "no value of hers is on the certificate")
    _find_nobody(stage, grace)


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


def _find_nobody(stage: Stage, grace: str) -> None:
    body = {"subject": grace, "fields": ["name", "email.masked"], "purpose": "customer-support"}
    problem = stage.ask("helpdesk", "POST", "/v1/read", body, status=404)
    require(problem["code"] == "subject-not-found", "there is no such person any more")
    match = {"match": {"email": GRACE["email"]}, "fields": ["name"], "purpose": "customer-support"}
    found = stage.ask("helpdesk", "POST", "/v1/subjects:search", match)
    require(found["results"] == [], "a search finds nobody")
    again = {"profile": {"email": GRACE["email"]}, "purpose": "order-fulfilment", "source": "old-crm"}
    conflict = stage.ask("shop", "POST", "/v1/subjects", again, status=409)
    require(conflict["code"] == "erased-before", "whoever was erased does not come back unnoticed")


def _vouch(stage: Stage, request: str, level: str) -> None:
    body = {"vouch": {"level": level, "evidence": "signed in with a passkey"}}
    stage.ask(PORTAL, "POST", f"/v1/requests/{request}:verify", body)


def _wait(stage: Stage, request: str) -> None:
    """Wait until the job of a request has ended; shows how it stands then."""
    path, until = f"/v1/requests/{request}", time.monotonic() + WITHIN
    while time.monotonic() < until:
        now: dict[str, Any] = stage.ask(OFFICE, "GET", path, shown=False)
        if now["state"] == "completed":
            stage.ask(OFFICE, "GET", path, brief=("kind", "state", "due", "due_rule"))
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
    from vault.export.verify import check_archive

    require(check_archive(io.BytesIO(package)).sound, "the package is signed and whole")


def _check_certificate(file: dict[str, Any]) -> None:
    from vault.erasure.requests_certificate import check_certificate

    require(check_certificate(file).sound, "the certificate is signed")
    require(file["certificate"]["keys_destroyed"] > 0, "her keys are destroyed")
