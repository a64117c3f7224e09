"""The chapters about what people say: yes, no more, not this, not now; and that the very next read minds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vault.cli.demo.stage import require

if TYPE_CHECKING:
    from vault.cli.demo.customers import Star
    from vault.cli.demo.stage import Stage

MARKETING = "direct-marketing"
NOBODY = "00000000-0000-7000-8000-000000000009"
"""An id that nobody has."""
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
    people = [ada.id, *ada.others[:SOME], NOBODY]
    answer = stage.ask("newsletter", "POST", "/v1/consents:check", {"subjects": people, "purposes": [MARKETING]})
    said = {each["subject"]: each["purposes"][MARKETING] for each in answer["results"]}
    require(said == {each: each == ada.id for each in people}, "she may be written to, and nobody else")


def receipt(stage: Stage, ada: Star) -> None:
    """She gets a receipt that anybody can check without the vault."""
    from vault.consent.receipts.receipt import check_receipt

    event = _last_event(stage, ada)
    path = f"{_consents(ada)}/{event}/receipt"
    brief = ("dct:title", "cdv:kind", "dpv:isIndicatedAtTime", "dpv:hasIndicationMethod", "cdv:digest", "value")
    file = stage.ask("shop", "GET", path, brief=brief)
    require(check_receipt(file).sound, "the receipt is signed")
    require(ada.profile["email"] not in str(file), "no value of hers is on the receipt")
    file["receipt"]["dpv:hasIdentifier"] = NOBODY
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
