"""Sample facts for the tests of receipts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import get_args
from uuid import UUID

import vault
from vault.catalogue.company import Contact, Controller
from vault.consent.model import OBJECTION, RESTRICTION, Event, Kind
from vault.consent.receipts.model import Facts, PurposeFacts
from vault.crypto.signing import SigningKey
from vault.policy.policy_set import PolicySet

KINDS = get_args(Kind)
FORMS = ("dpv", "kantara")
KEY = SigningKey(bytes(range(32)))
AT = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
PERSON = UUID("5b1f7c1e-2d3a-4b4c-8d5e-6f7a8b9c0d1e")
SUBJECT = UUID("0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d")
RECORDER = UUID("0199f3a2-7c1e-7b52-9d0c-aaaaaaaaaaaa")
DIGEST = "sha256:" + "ab" * 32
POLICY = "sha256:" + "cd" * 32
CONTROLLER = Controller(
    name="Example Shop Ltd",
    address="1 Market Street, Dublin",
    country="IE",
    email="privacy@shop.example",
    phone="+353 1 5550100",
    url="https://shop.example",
    privacy_policy="https://shop.example/privacy",
    dpo=Contact("Data protection office", "dpo@shop.example"),
)


@cache
def policies():
    return PolicySet.from_folder(Path(vault.__file__).parent.parent / "policies")


def purpose_facts(name="direct-marketing"):
    shipped = policies()
    return PurposeFacts.of(shipped.purposes[name], shipped.catalogue, shipped.retention.get(name))


def event(kind="given", number=1, **more):
    facts = {
        "purpose": None if kind in RESTRICTION else "fraud-prevention" if kind in OBJECTION else "direct-marketing",
        "notice": "marketing@3",
        "notice_digest": DIGEST,
        "language": "en",
        "channel": "web",
        "method": "checkbox",
        "by": "subject",
        "recorder": RECORDER,
        "jurisdiction": "IE",
        "occurred_at": AT + timedelta(minutes=number),
        "recorded_at": AT + timedelta(minutes=number, seconds=1),
        "policy": POLICY,
    }
    if kind in OBJECTION | RESTRICTION:
        facts |= {"notice": None, "notice_digest": None, "language": None}
    return Event(id=UUID(int=SUBJECT.int + number), subject=SUBJECT, kind=kind, **(facts | more))


def facts(*events, controller=CONTROLLER, **more):
    events = events or (event(),)
    name = events[-1].purpose
    known = name is not None and "purpose" not in more
    created = {
        "pseudonym": PERSON,
        "tenant": "default",
        "controller": controller,
        "purpose": purpose_facts(name) if known else None,
        "notice_title": "News and offers by e-mail",
        "policy": POLICY,
        "made_at": AT + timedelta(hours=1),
    }
    return Facts(events=events, **(created | more))
