"""Reads the optional files about the company: controller.toml, consent.toml and requests.toml.

The controller is needed for receipts, letters and the record of processing (Art. 30(1)(a) GDPR). Without consent.toml,
ages of consent are :data:`AGES`. Without requests.toml, nothing is approved automatically, and an erasure needs dual
approval.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeVar, get_args

from vault.catalogue.notices import LANGUAGE
from vault.catalogue.periods import Period
from vault.catalogue.purposes import check_declared
from vault.catalogue.toml_document import Form, did_you_mean
from vault.catalogue.types.places import countries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.model import Purpose
    from vault.catalogue.toml_document import Document, Table


_JURISDICTION: Final = re.compile(r"(?P<country>[A-Z]{2})(?:-[A-Z0-9]{1,3})?")
"""A country by ISO 3166-1 alpha-2, or one of its parts by ISO 3166-2: ``FR``, ``US-CA``."""


def is_jurisdiction(text: str) -> bool:
    """Return whether a text names a country, or has the form of a part of one."""
    match = _JURISDICTION.fullmatch(text)
    return match is not None and countries().get(match["country"].casefold()) == match["country"]


COUNTRY: Final = Form(is_jurisdiction, "is no country", "write a code of ISO 3166-1 such as `IE`")
EMAIL: Final = Form(
    re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s.]+").fullmatch, "is no e-mail address", "write `a@example.org`"
)
URL: Final = Form(re.compile(r"https?://[^\s/]+(?:/\S*)?").fullmatch, "is no web address", "write `https://…`")


# --- controller.toml


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact: the data protection officer, or the representative in the Union (Art. 27)."""

    name: str
    email: str
    address: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Authority:
    """The supervisory authority of the controller, to which people may complain (Art. 77)."""

    name: str
    url: str = ""
    email: str | None = None
    address: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Controller:
    """The company that decides why and how data is processed (Art. 4(7) GDPR).

    Texts are empty, and contacts ``None``, if the policies do not state them. ``country`` is ISO 3166-1 alpha-2.
    """

    name: str = ""
    address: str = ""
    country: str = ""
    email: str = ""
    phone: str = ""
    url: str = ""
    privacy_policy: str = ""
    representative: Contact | None = None
    dpo: Contact | None = None
    authority: Authority | None = None

    @property
    def stated(self) -> bool:
        """Return whether the policies name the controller."""
        return bool(self.name)


def load_controller(document: Document) -> Controller:
    """Read the controller, adding every mistake to the document's findings."""
    root = document.root()
    controller = Controller(
        name=root.text("name", most=200),
        address=root.text("address", most=300),
        country=root.text("country", most=2, form=COUNTRY),
        email=root.text("email", most=254, form=EMAIL),
        phone=root.optional("phone", most=40) or "",
        url=root.optional("url", most=500, form=URL) or "",
        privacy_policy=root.text("privacy_policy", most=500, form=URL),
        representative=_contact(root, "representative"),
        dpo=_contact(root, "dpo"),
        authority=_authority(root),
    )
    root.finish()
    return controller


def _contact(root: Table, key: str) -> Contact | None:
    if key not in root.data:
        return None
    table = root.table(key)
    contact = Contact(
        name=table.text("name", most=200),
        email=table.text("email", most=254, form=EMAIL),
        address=table.optional("address", most=300),
        phone=table.optional("phone", most=40),
    )
    table.finish()
    return contact


def _authority(root: Table) -> Authority | None:
    if "authority" not in root.data:
        return None
    table = root.table("authority")
    authority = Authority(
        name=table.text("name", most=200),
        url=table.optional("url", most=500, form=URL) or "",
        email=table.optional("email", most=254, form=EMAIL),
        address=table.optional("address", most=300),
        phone=table.optional("phone", most=40),
    )
    table.finish()
    return authority


# --- consent.toml

Moment = TypeVar("Moment", date, datetime)

OTHER_AGE: Final = 16
"""Art. 8(1) GDPR, if no law says otherwise. No member state may require more, so it is the safe default elsewhere."""
AGES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "AT": 14, "BE": 13, "BG": 14, "CH": 16, "CY": 14, "CZ": 15, "DE": 16, "DK": 15, "EE": 13, "ES": 14, "FI": 13,
        "FR": 15, "GB": 13, "GR": 15, "HR": 16, "HU": 16, "IE": 16, "IS": 13, "IT": 14, "LI": 16, "LT": 14, "LU": 16,
        "LV": 13, "MT": 13, "NL": 16, "NO": 13, "PL": 16, "PT": 13, "RO": 16, "SE": 13, "SI": 15, "SK": 16,
    }
)  # fmt: skip
"""The age from which a person consents alone (Art. 8(1) GDPR), by country; the shipped consent.toml names the laws."""


@dataclass(frozen=True, slots=True, eq=False)
class ConsentRules:
    """How consents are taken.

    Attributes:
        default_jurisdiction: the country that applies if none is named.
        ages: the age from which a person consents alone, by country or part of a country.
        other_age: that age everywhere else.
        backdate: how long ago a statement may have been made that is recorded now.
        confirm: how long the link of a double opt-in works.
        valid: how long a consent without an end of its own is valid; ``None``: until it is withdrawn.
        valid_for: that span for single purposes.
    """

    default_jurisdiction: str | None = None
    ages: Mapping[str, int] = field(default_factory=lambda: AGES)
    other_age: int = OTHER_AGE
    backdate: timedelta = timedelta(days=30)
    confirm: timedelta = timedelta(hours=48)
    valid: Period | None = None
    valid_for: Mapping[str, Period] = field(default_factory=dict)

    def age(self, jurisdiction: str | None) -> int:
        """Return the age from which a person consents alone (Art. 8 GDPR), by country or part of a country."""
        where = jurisdiction or self.default_jurisdiction or ""
        return self.ages.get(where, self.ages.get(where.partition("-")[0], self.other_age))

    def needs_guardian(self, born: date, day: date, jurisdiction: str | None) -> bool:
        """Return whether a parent has to consent for a person on a day.

        A person born on 29 February is a year older on 1 March of a common year, as in the views of dates.
        """
        years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
        return years < self.age(jurisdiction)

    def expiry(self, purpose: str, start: Moment) -> Moment | None:
        """Return when a consent of that moment expires; ``None`` if it is valid until it is withdrawn."""
        period = self.valid_for.get(purpose, self.valid)
        return None if period is None else period.after(start)


def load_consent(document: Document, purposes: Mapping[str, Purpose] | None) -> ConsentRules:
    """Read the rules, adding every mistake to the document's findings.

    Args:
        document: consent.toml.
        purposes: names that may be used; ``None`` if they could not be read.
    """
    root = document.root()
    days, hours = root.number("backdate_days", least=1, most=366), root.number("confirm_hours", least=1, most=24 * 30)
    rules = ConsentRules(
        default_jurisdiction=root.optional("default_jurisdiction", most=6, form=COUNTRY),
        ages=_ages(root.table("ages")) if "ages" in root.data else AGES,
        other_age=root.number("other_age", least=13, most=18) or OTHER_AGE,
        backdate=timedelta(days=days or 30),
        confirm=timedelta(hours=hours or 48),
        valid=_months(root),
        valid_for=_valid_for(root.table("purpose"), purposes),
    )
    root.finish()
    return rules


def _ages(table: Table) -> dict[str, int]:
    ages: dict[str, int] = {}
    for country in table.data:
        age = table.number(country, least=13, most=18)
        if not is_jurisdiction(country):
            message = f"{table.where} names `{country[:20]}`, which is no country"
            table.fault(country, "wrong-value", message, "write a code of ISO 3166-1 such as `IE`; Greece is `GR`")
        elif age is not None:
            ages[country] = age
    return ages


def _months(table: Table) -> Period | None:
    count = table.number("valid_months", least=1, most=1200)
    return None if count is None else Period(count, 0)


def _valid_for(tables: Table, purposes: Mapping[str, Purpose] | None) -> dict[str, Period]:
    periods: dict[str, Period] = {}
    for name, table in tables.tables():
        check_declared(name, table, purposes)
        if purposes is not None and name in purposes and not purposes[name].rests_on_consent:
            message = f"{table.where} is about a purpose that does not rest on consent"
            table.fault((), "wrong-value", message, "take it out")
        period = _months(table)
        if period is not None:
            periods[name] = period
        elif "valid_months" not in table.data:
            table.missing("valid_months", "add it, or take the table out")
        table.finish()
    return periods


# --- requests.toml

KindName = Literal[
    "access", "portability", "rectification", "erasure", "restriction", "objection", "withdrawal", "review"
]
"""The kinds of request. The command line, the API and the defaults of requests.toml derive from it; what a kind does is
in its :class:`vault.requests.kind.RequestKind`."""
KINDS: Final[tuple[KindName, ...]] = get_args(KindName)


class Approve(StrEnum):
    """Who approves a verified request."""

    AUTOMATIC = "automatic"
    REVIEW = "review"
    FOUR_EYES = "four-eyes"


DIRECT_MARKETING: Final = "objection-to-direct-marketing"
"""The rule for an objection to direct marketing alone: there is nothing to weigh (Art. 21(2) and (3) GDPR)."""
APPROVAL_RULES: Final = (*KINDS, DIRECT_MARKETING)
"""The keys of ``[approve]`` in requests.toml."""
LANGUAGES: Final = ("en", "de", "fr")
SAFEST: Final[Mapping[str, Approve]] = MappingProxyType(
    {rule: Approve.FOUR_EYES if rule == "erasure" else Approve.REVIEW for rule in APPROVAL_RULES}
)
"""Who approves where requests.toml does not say."""


@dataclass(frozen=True, slots=True, eq=False)
class RequestRules:
    """How requests are handled.

    Attributes:
        approve: who approves, by rule; :data:`SAFEST` has the defaults.
        internal_days: days before the legal deadline at which the controller's own deadline is.
        unverified_days: days after which an unverified request expires.
        question_days: days after receipt within which a request for proof of identity suspends the deadline.
        package_days: days for which a package can be downloaded.
        restriction_notice_days: days between announcing the end of a restriction and its end (Art. 18(3)).
        contact_days: days for which a changed e-mail address has to be there before it proves who the person is.
        default_jurisdiction: jurisdiction of requests that name none; if None, the controller's country.
        languages: languages of answers; the first is the default.
    """

    approve: Mapping[str, Approve] = field(default_factory=lambda: SAFEST)
    internal_days: int = 7
    unverified_days: int = 14
    question_days: int = 7
    package_days: int = 14
    restriction_notice_days: int = 3
    contact_days: int = 14
    default_jurisdiction: str | None = None
    languages: tuple[str, ...] = LANGUAGES

    def approval(self, rule: str) -> Approve:
        """Return who approves requests to which a rule applies."""
        return self.approve.get(rule, SAFEST.get(rule, Approve.FOUR_EYES))

    def language(self, preferred: str | None) -> str:
        """Return the language of the answer to a person who prefers one: ``de`` serves ``de-AT``."""
        tag = (preferred or "").casefold()
        known = {language.casefold(): language for language in self.languages}
        return known.get(tag) or known.get(tag.partition("-")[0]) or self.languages[0]


_DAYS: Final = {
    "internal_days": (0, 29),
    "unverified_days": (1, 90),
    "question_days": (1, 28),
    "package_days": (1, 90),
    "restriction_notice_days": (1, 90),
    "contact_days": (1, 90),
}
"""The least and the greatest number of days that requests.toml may set."""


def load_requests(document: Document) -> RequestRules:
    """Read the rules. Mistakes are added to the document's findings."""
    root = document.root()
    days = {key: root.number(key, least=least, most=most) for key, (least, most) in _DAYS.items()}
    rules = RequestRules(
        approve=_approve(root.table("approve")),
        default_jurisdiction=root.optional("default_jurisdiction", most=6, form=COUNTRY),
        languages=tuple(root.texts("languages")) or LANGUAGES,
        **{key: count for key, count in days.items() if count is not None},
    )
    for language in rules.languages:
        if not LANGUAGE.fullmatch(language):
            message = f"`languages` names `{language[:20]}`, which is no language"
            root.fault("languages", "wrong-value", message, "write tags such as `en`")
    root.finish()
    return rules


def _approve(table: Table) -> dict[str, Approve]:
    approve = dict(SAFEST)
    for rule in table.data:
        if rule not in APPROVAL_RULES:
            table.take(rule)
            message = f"{table.where} names `{rule[:80]}`, which is no kind of request"
            table.fault(rule, "wrong-value", message, did_you_mean(rule, APPROVAL_RULES, "take it out"))
        elif (choice := table.choice(rule, Approve)) is not None:
            approve[rule] = choice
    return approve
