"""The names of the kinds of request, and requests.toml: who approves which kind, and how long things wait.

The file may be left out. Nothing is then approved automatically, and an erasure needs dual approval.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, get_args

from vault.catalogue.consent import is_jurisdiction
from vault.catalogue.notices import LANGUAGE
from vault.catalogue.toml_document import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.toml_document import Document, Table


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
        default_jurisdiction: jurisdiction of requests that name none; if None, the controller's country.
        languages: languages of answers; the first is the default.
    """

    approve: Mapping[str, Approve] = field(default_factory=lambda: SAFEST)
    internal_days: int = 7
    unverified_days: int = 14
    question_days: int = 7
    package_days: int = 14
    restriction_notice_days: int = 3
    default_jurisdiction: str | None = None
    languages: tuple[str, ...] = LANGUAGES

    def approval(self, rule: str) -> Approve:
        """Return who approves requests to which a rule applies."""
        return self.approve.get(rule, SAFEST.get(rule, Approve.FOUR_EYES))

    def language(self, preferred: str | None) -> str:
        """Return the language of the answer to a person who prefers one: ``de`` serves ``de-AT``."""
        wanted = (preferred or "").casefold()
        known = {language.casefold(): language for language in self.languages}
        return known.get(wanted) or known.get(wanted.partition("-")[0]) or self.languages[0]


def load_requests(document: Document) -> RequestRules:
    """Read the rules. Mistakes are added to the document's findings."""
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
    approve = dict(SAFEST)
    for rule in table.data:
        if rule not in APPROVAL_RULES:
            table.take(rule)
            message = f"{table.where} names `{rule[:80]}`, which is no kind of request"
            table.fault(rule, "wrong-value", message, did_you_mean(rule, APPROVAL_RULES, "take it out"))
            continue
        chosen = table.choice(rule, Approve)
        if chosen is not None:
            approve[rule] = chosen
    return approve


def _days(root: Table, key: str, default: int, *, least: int = 1, most: int) -> int:
    count = root.number(key, least=least, most=most)
    return default if count is None else count


def _jurisdiction(root: Table) -> str | None:
    country = root.optional("default_jurisdiction", most=6)
    if country and not is_jurisdiction(country):
        message = "`default_jurisdiction` is no country"
        root.fault("default_jurisdiction", "wrong-value", message, "write a code of ISO 3166-1 such as `IE`")
    return country


def _languages(root: Table) -> tuple[str, ...]:
    chosen = root.texts("languages")
    for language in chosen:
        if not LANGUAGE.fullmatch(language):
            message = f"`languages` names `{language[:20]}`, which is no language"
            root.fault("languages", "wrong-value", message, "write tags such as `en`")
    return chosen or LANGUAGES
