"""The facts of a receipt, and the contents that are read from one, independent of the format. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vault.catalogue.retention import Since
from vault.consent.model import CONSENT
from vault.ids import is_slug

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from vault.catalogue.company import Controller
    from vault.catalogue.model import Catalogue, Field, Purpose
    from vault.catalogue.retention import Rule
    from vault.consent.model import Event
    from vault.ids import Pseudonym

EVENT_TEXTS: Final = {
    "given": "The person consented",
    "renewed": "The person consented again",
    "refused": "The person refused consent",
    "withdrawn": "The person withdrew consent",
    "expired": "The consent ended by itself",
    "requested": "Consent was asked for and waits for its confirmation",
    "objected": "The person objected (Art. 21 GDPR)",
    "objection-upheld": "The objection was upheld (Art. 21 GDPR)",
    "objection-overruled": "The objection was overruled (Art. 21 GDPR)",
    "restricted": "The person's data was restricted: it is stored and not used (Art. 18 GDPR)",
    "lift-announced": "The person was told that the restriction will be lifted (Art. 18(3) GDPR)",
    "restriction-lifted": "The restriction was lifted (Art. 18 GDPR)",
}
"""Every kind of event in plain words."""

_SINCE: Final = {
    Since.COLLECTED: "from when it was collected",
    Since.LAST_CONTACT: "from the last contact",
    Since.RELATIONSHIP_ENDED: "from the end of the relationship",
    Since.CONTRACT_ENDED: "from the end of the contract",
    Since.CLAIM_CLOSED: "from when the claim was closed",
    Since.DRAW_HELD: "from the draw",
}


@dataclass(frozen=True, slots=True)
class Category:
    """Fields of one DPV term that a purpose needs, with fideslang's keys and the names of the fields."""

    dpv: str
    special: bool
    keys: tuple[str, ...]
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long values are retained for a purpose: an ISO 8601 duration, and a sentence."""

    duration: str
    text: str


@dataclass(frozen=True, slots=True)
class PurposeFacts:
    """The purpose in a receipt."""

    name: str
    title: str
    description: str
    legal_basis: str | None
    article9: str | None
    recipients: tuple[str, ...]
    categories: tuple[Category, ...]
    retention: Retention | None

    @classmethod
    def of(cls, purpose: Purpose, catalogue: Catalogue, rule: Rule | None) -> PurposeFacts:
        """Collect the facts of a purpose from the policies."""
        fields = {view.field.whole: view.field for view in catalogue.views() if purpose.covers(view)}
        return cls(
            name=purpose.name,
            title=purpose.title,
            description=purpose.description,
            legal_basis=str(purpose.legal_basis),
            article9=None if purpose.article9 is None else str(purpose.article9),
            recipients=purpose.recipients,
            categories=_categories(fields.values()),
            retention=None if rule is None else _retention(rule),
        )

    @classmethod
    def unknown(cls, name: str) -> PurposeFacts:
        """Return the facts of a purpose that the policies no longer declare: its name alone."""
        return cls(name, name, "", None, None, (), (), None)


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that a receipt is built from.

    Attributes:
        events: the events that the event answers, oldest first, and the event itself last.
        pseudonym: of the person.
        tenant: name of the controller within the vault.
        controller: the controller.
        purpose: None for a restriction, which concerns all purposes.
        notice_title: title of the text that the person saw.
        policy: version of the policies that describe the purpose.
        made_at: time of issue.
    """

    events: tuple[Event, ...]
    pseudonym: Pseudonym
    tenant: str
    controller: Controller
    purpose: PurposeFacts | None
    notice_title: str | None
    policy: str
    made_at: datetime

    @property
    def event(self) -> Event:
        """Return the event of the receipt."""
        return self.events[-1]

    @property
    def notice(self) -> Event | None:
        """Return the latest event with a notice; a withdrawal may have none."""
        return next((event for event in reversed(self.events) if event.notice is not None), None)

    @property
    def jurisdiction(self) -> str | None:
        """Return the country whose law applies: that of the event, else that of the controller."""
        return self.event.jurisdiction or self.controller.country or None

    @property
    def is_consent(self) -> bool:
        """Return whether the event is about a consent, and not an objection or a restriction."""
        return self.event.kind in CONSENT


@dataclass(frozen=True, slots=True)
class ReceiptContents:
    """The contents of a receipt of either format, for display."""

    kind: str
    receipt: str
    person: str
    controller: str
    purpose: str | None
    notice: str | None
    occurred_at: str
    method: str | None
    valid_until: str | None


def plain(name: str | None) -> str | None:
    """Return a name that has the form of a slug, such as a channel; other text might contain a personal value."""
    return name if name is not None and is_slug(name) else None


def _categories(fields: Iterable[Field]) -> tuple[Category, ...]:
    alike: defaultdict[tuple[str, bool], list[Field]] = defaultdict(list)
    for field in fields:
        alike[field.dpv or "dpv:PersonalData", field.special].append(field)
    return tuple(
        Category(
            term,
            special,
            tuple(sorted({field.category for field in group})),
            tuple(sorted(field.whole for field in group)),
        )
        for (term, special), group in sorted(alike.items())
    )


def _retention(rule: Rule) -> Retention:
    years, months = divmod(rule.keep.months, 12)
    parts = ((years, "Y", "year"), (months, "M", "month"), (rule.keep.days, "D", "day"))
    duration = "P" + "".join(f"{count}{letter}" for count, letter, _word in parts if count)
    spoken = " ".join(f"{count} {word}{'s' * (count > 1)}" for count, _letter, word in parts if count)
    return Retention(duration, f"{spoken} {_SINCE[rule.since]}: {rule.reason}")
