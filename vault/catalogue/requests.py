"""Reads requests.toml: who approves which requests of people about their data, and how long things wait.

The file may be left out: then nothing is approved by itself, and an erasure needs four eyes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from vault.catalogue.consent import is_jurisdiction
from vault.catalogue.notices import LANGUAGE
from vault.catalogue.toml_document import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.toml_document import Document, Table


class Approve(StrEnum):
    """Who says that a verified request is carried out."""

    AUTOMATIC = "automatic"
    REVIEW = "review"
    FOUR_EYES = "four-eyes"


DIRECT_MARKETING: Final = "objection-to-direct-marketing"
"""An objection to nothing else: there is nothing to weigh (Art. 21(2) and (3) GDPR)."""
KINDS: Final = (
    "access",
    "portability",
    "rectification",
    "erasure",
    "restriction",
    "objection",
    DIRECT_MARKETING,
    "withdrawal",
    "review",
)
LANGUAGES: Final = ("en", "de", "fr")
SAFEST: Final[Mapping[str, Approve]] = MappingProxyType(
    {kind: Approve.FOUR_EYES if kind == "erasure" else Approve.REVIEW for kind in KINDS}
)


@dataclass(frozen=True, slots=True, eq=False)
class RequestRules:
    """How requests are handled.

    Attributes:
        approve: who approves, by kind; what stands for a kind that is not listed is in :data:`SAFEST`.
        internal_days: days before the legal deadline by which the controller wants to be done.
        unverified_days: days after which a request whose requester has shown nothing expires.
        question_days: days after receipt within which a question about identity is prompt, and stops the clock.
        package_days: days for which a package can be fetched.
        restriction_notice_days: days between telling a person that a restriction ends, and its end (Art. 18(3)).
        default_jurisdiction: whose holidays count where a request names no other; none: the controller's country.
        languages: in which people are answered; the first where they ask for another.
    """

    approve: Mapping[str, Approve] = field(default_factory=lambda: SAFEST)
    internal_days: int = 7
    unverified_days: int = 14
    question_days: int = 7
    package_days: int = 14
    restriction_notice_days: int = 3
    default_jurisdiction: str | None = None
    languages: tuple[str, ...] = LANGUAGES

    def approval(self, kind: str) -> Approve:
        """Return who approves requests of a kind."""
        return self.approve.get(kind, SAFEST.get(kind, Approve.FOUR_EYES))

    def language(self, asked: str | None) -> str:
        """Return the language in which somebody is answered who asks for one: ``de`` serves ``de-AT``."""
        wanted = (asked or "").casefold()
        known = {each.casefold(): each for each in self.languages}
        return known.get(wanted) or known.get(wanted.partition("-")[0]) or self.languages[0]


def load_requests(document: Document) -> RequestRules:
    """Read the rules, noting every mistake in the document's findings."""
    root = document.root()
    default = RequestRules()
    rules = RequestRules(
        approve=_approve(root.table("approve")),
        internal_days=_days(root, "internal_days", default.internal_days, least=0, most=29),
        unverified_days=_days(root, "unverified_days", default.unverified_days, most=90),
        question_days=_days(root, "question_days", default.question_days, most=28),
        package_days=_days(root, "package_days", default.package_days, most=90),
        restriction_notice_days=_days(root, "restriction_notice_days", default.restriction_notice_days, most=90),
        default_jurisdiction=_jurisdiction(root),
        languages=_languages(root),
    )
    root.finish()
    return rules


def _approve(table: Table) -> dict[str, Approve]:
    found = dict(SAFEST)
    for kind in table.data:
        if kind not in KINDS:
            table.take(kind)
            message = f"{table.where} names `{kind[:80]}`, which is no kind of request"
            table.fault(kind, "wrong-value", message, did_you_mean(kind, KINDS, "take it out"))
            continue
        chosen = table.choice(kind, Approve)
        if chosen is not None:
            found[kind] = chosen
    return found


def _days(root: Table, key: str, otherwise: int, *, least: int = 1, most: int) -> int:
    count = root.number(key, least=least, most=most)
    return otherwise if count is None else count


def _jurisdiction(root: Table) -> str | None:
    country = root.optional("default_jurisdiction", most=6)
    if country and not is_jurisdiction(country):
        message = "`default_jurisdiction` is no country"
        root.fault("default_jurisdiction", "wrong-value", message, "write a code of ISO 3166-1 such as `IE`")
    return country


def _languages(root: Table) -> tuple[str, ...]:
    chosen = root.texts("languages")
    for each in chosen:
        if not LANGUAGE.fullmatch(each):
            message = f"`languages` names `{each[:20]}`, which is no language"
            root.fault("languages", "wrong-value", message, "write tags such as `en`")
    return chosen or LANGUAGES
