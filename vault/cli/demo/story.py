"""The chapters of the tour. Each insists on what it tells: where an answer is another, the tour fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table
from rich.text import Text

from vault.cli.demo import backups, consents, ends, rights
from vault.cli.demo.customers import GOODS
from vault.cli.demo.stage import require
from vault.policy.rules import short

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.cli.demo.customers import Star
    from vault.cli.demo.stage import Stage


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
    require(problem["code"] == "not-authenticated", "nobody is let in")


def _search(stage: Stage, ada: Star) -> None:
    body = {
        "match": {"email": ada.profile["email"]},
        "fields": ["name", "email.masked"],
        "purpose": "customer-support",
    }
    found = stage.ask("helpdesk", "POST", "/v1/subjects:search", body)
    require([each["subject"] for each in found["results"]] == [ada.id], "she and nobody else is found")
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

TOLD = (
    ("helpdesk", "read", "partly"),
    ("helpdesk", "list", "allowed"),
    ("warehouse", "read", "allowed"),
    ("newsletter", "read", "denied"),
    *consents.TOLD,
    ("statistics", "read", "partly"),
    *consents.TOLD_LATER,
    ("helpdesk", "read", "failed"),
    (None, "sign-in", "denied"),
    ("helpdesk", "search", "allowed"),
    ("warehouse", "read", "allowed"),
    ("warehouse", "update", "allowed"),
    ("warehouse", "read", "partly"),
)
"""Who did what and how it went: what the audit log must say of the chapters before."""


def _audit(stage: Stage, ada: Star) -> None:
    page = stage.ask("privacy-office", "GET", f"/v1/audit/entries?limit={len(TOLD)}", shown=False)
    entries = page["entries"][::-1]
    _show_entries(stage, entries)
    said = tuple((each.get("principal_name"), each["action"], each["decision"]) for each in entries)
    require(said == TOLD, "every request of the tour is on the audit log")
    values = [value for value in ada.profile.values() if isinstance(value, str) and len(value) > 4]
    require(not any(value in str(page) for value in values), "no value of hers is on the audit log")


def _processing(stage: Stage, _ada: Star) -> None:
    record = stage.ask("privacy-office", "GET", "/v1/processing-record", shown=False)
    activities = {each["purpose"]: each for each in record["activities"]}
    readers = {each["name"] for each in activities["direct-marketing"]["use"]["readers"]}
    require(readers == {"newsletter"}, "of marketing's apps the newsletter read, and no other")
    unused = {each["purpose"] for each in record["findings"] if each["code"] == "purpose-unused"}
    require("health-advice" in unused, "a purpose that nobody used is found")
    _show_findings(stage, record["findings"])


def _show_findings(stage: Stage, findings: list[dict[str, Any]]) -> None:
    stage.console.print(Text("-> privacy-office (dpo): GET /v1/processing-record, the findings in it", style="blue"))
    table = Table(expand=True, border_style="green")
    for heading in ("finding", "what", "what to do"):
        table.add_column(heading, overflow="fold", ratio=None if heading == "finding" else 1)
    for each in findings[:MOST_FINDINGS]:
        table.add_row(*map(Text, (each["code"], each["detail"], each["remedy"])))
    stage.console.print(table)


def _show_entries(stage: Stage, entries: list[dict[str, Any]]) -> None:
    stage.console.print(Text(f"-> privacy-office (dpo): GET /v1/audit/entries?limit={len(TOLD)}", style="blue"))
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
        "The same customer, another purpose: whoever sends the parcel needs the address, and no date of birth.",
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
        consents.agrees,
    ),
    Chapter(
        "May I send this? A list at once",
        "Up to 1,000 people in one call. The answer is yes or no: not why, not even whether there is such a person.",
        consents.checked,
    ),
    Chapter(
        "She gets a receipt",
        "ISO/IEC TS 27560, signed (Ed25519). Anybody checks it with `cdv verify`, without the vault. Shortened here.",
        consents.receipt,
    ),
    Chapter(
        "She takes it back",
        "As easily as she gave it (Art. 7(3)). The read after it is denied, on every node, and the ledger keeps both.",
        consents.takes_it_back,
    ),
    Chapter(
        "Analytics gets the year of birth, not the date",
        "A purpose names the fields and views that it needs. What it does not name, nobody reads for it.",
        _analytics,
    ),
    Chapter(
        "She objects to being counted",
        "Statistics rest on a legitimate interest, so she may object (Art. 21). They stop until somebody has decided.",
        consents.objects,
    ),
    Chapter(
        "A customer's data is restricted",
        "Another customer says that an address is wrong. Until that is settled the data is stored and not used "
        "(Art. 18); and whoever lifts that must have told the customer before.",
        consents.restricts,
    ),
    Chapter(
        "A purpose that nobody declared",
        "Without a declared purpose there is no read; and the answer repeats nothing that came in.",
        _unknown_purpose,
    ),
    Chapter("A wrong key", "Whoever is nobody learns nothing, not even whether the customer exists.", _wrong_key),
    Chapter(
        "Support finds a customer by e-mail",
        "The store holds no readable e-mail. A keyed digest leads to her, and the match is checked after unsealing.",
        _search,
    ),
    Chapter(
        "A field is erased",
        "She wants her telephone number gone. If-Match makes sure that nobody else's change is overwritten.",
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
        rights.access,
    ),
    Chapter(
        "Another customer wants to be forgotten",
        "Art. 17. A verdict for every field; what a law keeps is sealed under a new key, and every older key is "
        "destroyed: the rest is gone from backups too. She gets a certificate, which `cdv verify` checks. The next "
        "read finds nobody, nor does a search; and an old list that brings her back is a conflict.",
        rights.erasure,
    ),
    Chapter(
        "Until when is her name kept, and why?",
        "As long as any purpose that still applies to her needs it. Each says how long, from when and on which ground; "
        "the last one to end decides. Of a birthday the year is left, for statistics; of hers not, since she objected.",
        ends.why,
    ),
    Chapter(
        "What tomorrow's sweep takes",
        "Otto ordered once, ten years ago. For the parcel nobody needs that any more, so it is not shown for it, sweep "
        "or no sweep; the law about books is over tonight. The preview counts what goes, and opens nothing.",
        ends.tomorrow,
    ),
    Chapter(
        "A lawsuit comes between",
        "A legal hold stops every deletion, and at the same time narrows who reads what is held. Once it is lifted, "
        "what has ended meanwhile goes by itself.",
        ends.held,
    ),
    Chapter(
        "A backup that was tried",
        "Made while the server runs, sealed under the root key, the key store apart. A trial restore counts every row "
        "and opens the values. A real one lets nobody read before later erasures and withdrawals are done once more.",
        backups.tried,
    ),
)
