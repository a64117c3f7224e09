"""Check statements about consent against the policies.

The checks are pure. They report all faults at once, and no fault contains a value.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec

from vault.catalogue.company import is_jurisdiction
from vault.catalogue.model import Article9
from vault.catalogue.notices import LANGUAGE
from vault.consent.model import EXPLICIT, YES, By, Method
from vault.errors import Fault, InvalidInput
from vault.ids import is_slug
from vault.moments import SKEW, moment_fault

if TYPE_CHECKING:
    from vault.catalogue.model import Purpose
    from vault.catalogue.notices import Notice
    from vault.policy.policy_set import PolicySet


Decision = Literal["given", "refused", "withdrawn", "renewed"]
OF_THE_VAULT: Final = frozenset({"signal", "import"})
"""Methods of the vault itself. They do not express an agreement: a browser's signal denies, an import copies."""


class ConsentStatement(msgspec.Struct, frozen=True, kw_only=True):
    """What a person states about a purpose, as received and not checked yet."""

    purpose: str
    decision: str
    notice: str | None = None
    language: str | None = None
    channel: str | None = None
    method: str | None = None
    by: str = "subject"
    evidence: str | None = None
    jurisdiction: str | None = None
    occurred_at: datetime | None = None
    valid_until: datetime | None = None

    @property
    def is_yes(self) -> bool:
        """Return whether it is an agreement."""
        return self.decision in YES


STATEMENT_FIELDS: Final = ConsentStatement.__struct_fields__


@dataclass(frozen=True, slots=True)
class CheckedStatement:
    """A valid statement, with its purpose and the text of the notice that the person saw."""

    statement: ConsentStatement
    purpose: Purpose
    text: Notice | None


def check(policy_set: PolicySet, statement: ConsentStatement, now: datetime) -> CheckedStatement:
    """Check a statement.

    Raises:
        InvalidInput: with all faults; its code is that of the first.
    """
    faults: list[Fault] = []
    purpose = _purpose(policy_set, statement, faults)
    text = _text(policy_set, statement, purpose, now, faults)
    if statement.decision not in get_args(Decision):
        faults.append(Fault("/decision", "unknown-code", "One of given, refused, withdrawn and renewed."))
    faults += word_faults(statement)
    _check_method(statement, purpose, faults)
    _check_times(policy_set, statement, now, faults)
    if faults or purpose is None:
        code = faults[0].code
        if code in {"missing", "unknown-code", "out-of-range"}:  # they mean nothing without their ``at``
            code = "invalid-value"
        raise InvalidInput("the statement cannot be recorded", faults=faults, code=code)
    return CheckedStatement(statement, purpose, text)


def ends_at(policy_set: PolicySet, statement: ConsentStatement, start: datetime) -> datetime | None:
    """Return when an agreement expires: at its own end or at that of the policies, whichever is earlier."""
    if not statement.is_yes:
        return None
    ends = (statement.valid_until, policy_set.consent.expiry(statement.purpose, start))
    return min((end for end in ends if end is not None), default=None)


def _purpose(policy_set: PolicySet, statement: ConsentStatement, faults: list[Fault]) -> Purpose | None:
    purpose = policy_set.purposes.get(statement.purpose)
    if purpose is None:
        detail = "There is no such purpose; GET /v1/purposes lists them."
        faults.append(Fault("/purpose", "unknown-purpose", detail))
    elif not purpose.rests_on_consent:
        detail = "This purpose does not rest on consent, so there is none to give, to refuse or to take back."
        faults.append(Fault("/purpose", "purpose-without-consent", detail))
    return purpose


def _text(
    policy_set: PolicySet, statement: ConsentStatement, purpose: Purpose | None, now: datetime, faults: list[Fault]
) -> Notice | None:
    """Find the text of the notice. An agreement needs one, and one that is accepted today."""
    if statement.notice is None:
        if statement.is_yes:
            faults.append(Fault("/notice", "missing", "Say which version of the notice the person agreed to."))
        return None
    texts = policy_set.notices.languages(statement.notice)
    main = next(iter(texts.values()), None)
    if main is None:
        faults.append(Fault("/notice", "unknown-notice", "There is no such version of a notice."))
        return None
    text = main if statement.language is None else texts.get(statement.language)
    if text is None and LANGUAGE.fullmatch(statement.language or ""):
        faults.append(Fault("/language", "unknown-language", "There is no such translation of this notice."))
    if purpose is None or not purpose.rests_on_consent:
        return text
    about = statement.purpose in main.purposes
    if not about or (statement.is_yes and statement.notice not in policy_set.notices.accepted(purpose, now.date())):
        detail = "A newer version replaces it, or it is not in force yet." if about else "It is about other purposes."
        faults.append(Fault("/notice", "notice-not-good", f"The notice is not good for this purpose today. {detail}"))
    return text


def word_faults(statement: ConsentStatement) -> list[Fault]:
    """Check the parts that recorded and imported statements have in common: by, channel, language, law, evidence."""
    faults = []
    if statement.by not in get_args(By):
        faults.append(Fault("/by", "unknown-code", "One of subject, guardian, staff and app."))
    if statement.channel is not None and not is_slug(statement.channel):
        faults.append(Fault("/channel", "invalid-channel", "1 to 64 of a-z, 0-9, - and _, such as web or phone."))
    if statement.language is not None and not LANGUAGE.fullmatch(statement.language):
        faults.append(Fault("/language", "unknown-language", "A language tag, such as en or de-AT."))
    if statement.jurisdiction is not None and not is_jurisdiction(statement.jurisdiction):
        detail = "A country by ISO 3166-1, such as IE, or a part of one by ISO 3166-2, such as US-CA."
        faults.append(Fault("/jurisdiction", "invalid-jurisdiction", detail))
    evidence = words_fault(statement.evidence, at="/evidence", code="invalid-evidence")
    if evidence is not None:
        faults.append(evidence)
    elif statement.by == "guardian" and statement.is_yes and statement.evidence is None:
        detail = "Say how it was made sure that a parent or guardian consents (Art. 8(2))."
        faults.append(Fault("/evidence", "missing", detail))
    return faults


def _check_method(statement: ConsentStatement, purpose: Purpose | None, faults: list[Fault]) -> None:
    if statement.method is None:
        if statement.is_yes:
            faults.append(Fault("/method", "missing", "Say how the person indicated it, such as checkbox."))
        return
    if statement.method not in get_args(Method) or (statement.is_yes and statement.method in OF_THE_VAULT):
        faults.append(Fault("/method", "unknown-code", "Not one of the methods that the API describes for this."))
        return
    explicit = purpose is not None and purpose.article9 == Article9.EXPLICIT_CONSENT
    if statement.is_yes and explicit and statement.method not in EXPLICIT:
        detail = "This purpose needs explicit consent (Art. 9(2)(a)): " + ", ".join(sorted(EXPLICIT)) + "."
        faults.append(Fault("/method", "method-not-explicit", detail))


def _check_times(policy_set: PolicySet, statement: ConsentStatement, now: datetime, faults: list[Fault]) -> None:
    occurred = _checked(statement.occurred_at, now + SKEW, "/occurred_at", faults)
    until = _checked(statement.valid_until, None, "/valid_until", faults)
    if occurred is not None and occurred < now - policy_set.consent.backdate:
        days = policy_set.consent.backdate.days
        detail = f"At most {days} days may pass before a statement is recorded; import older ones."
        faults.append(Fault("/occurred_at", "event-too-old", detail))
    if until is None:
        return
    if not statement.is_yes:
        faults.append(Fault("/valid_until", "out-of-range", "Only an agreement can expire."))
    elif until <= max(occurred or now, now):
        faults.append(Fault("/valid_until", "out-of-range", "The end is before the beginning."))


def _checked(moment: datetime | None, latest: datetime | None, at: str, faults: list[Fault]) -> datetime | None:
    fault = moment_fault(moment, at=at, latest=latest)
    if fault is None:
        return moment
    faults.append(fault)
    return None


LONGEST = 500
_REFUSED = frozenset({"Cc", "Cs"})
"""Unicode categories of control characters (line breaks among them) and lone surrogates."""


def words_fault(words: str | None, *, at: str, code: str) -> Fault | None:
    """Return what is wrong with free text; None if nothing is, or there is no text."""
    if words is None:
        return None
    sized = words.strip() and len(words) <= LONGEST
    if sized and not any(unicodedata.category(character) in _REFUSED for character in words):
        return None
    return Fault(at, code, f"1 to {LONGEST} characters in one line, without control characters")


def require_words(reason: str | None, *, at: str = "/reason", code: str = "invalid-reason") -> None:
    """Check a free text, if there is one.

    Raises:
        InvalidInput: it is invalid.
    """
    fault = words_fault(reason, at=at, code=code)
    if fault is not None:
        raise InvalidInput(f"invalid {at[1:]}", faults=[fault], code=code)
