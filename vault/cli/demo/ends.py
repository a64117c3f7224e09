"""The chapters about time: until when something is kept and why, what goes tomorrow, and what a lawsuit keeps back."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from vault.catalogue.retention import ERASE, Period
from vault.cli.demo.stage import require
from vault.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.cli.demo.customers import Star
    from vault.cli.demo.stage import Stage

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
    _birthday(stage, ada.id, ERASE)  # she objected to statistics: nobody needs the year of birth
    _birthday(stage, ada.others[-1], "profile.birth_date.year")


def tomorrow(stage: Stage, _ada: Star) -> None:
    """Otto ordered once, ten years ago. Nobody but the books reads that order any more, and they until tonight."""
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
