"""What is said of a consent, checked against the policies: all faults at once, and no value in them. Pure.

Free words beside an event, such as where the proof of a consent lies: sealed under the person's own key.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from vault.catalogue.consent import is_jurisdiction
from vault.catalogue.model import Article9
from vault.catalogue.notices import LANGUAGE
from vault.catalogue.types import decode, encode
from vault.clock import to_microseconds
from vault.consent.event import EXPLICIT, YES, By, Method
from vault.consent.transaction import missing
from vault.crypto.seal import record_aad
from vault.errors import Fault, InvalidInput
from vault.ids import is_slug

if TYPE_CHECKING:
    from uuid import UUID

    from vault.catalogue.model import Purpose
    from vault.catalogue.notices import Notice
    from vault.consent.event import Event
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId
    from vault.policy.policy_set import PolicySet


Decision = Literal["given", "refused", "withdrawn", "renewed"]
SKEW: Final = timedelta(seconds=60)
"""By how much the clocks of apps may be wrong."""
OF_THE_VAULT: Final = frozenset({"signal", "import"})
"""Methods by which nobody says yes: a browser's signal says no, and an import brings what was said elsewhere."""


class Said(NamedTuple):
    """What is said: as it came in, words from outside and all."""

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
        """Tell whether it is an agreement."""
        return self.decision in YES


class Checked(NamedTuple):
    """What was said, and what the policies make of it; ``text`` is the very text that the person saw."""

    said: Said
    purpose: Purpose
    text: Notice | None


def check(policy_set: PolicySet, said: Said, now: datetime) -> Checked:
    """Check what was said.

    Raises:
        InvalidInput: with all faults; its code is the first one's.
    """
    faults: list[Fault] = []
    purpose = _purpose(policy_set, said, faults)
    text = _text(policy_set, said, purpose, now, faults)
    _check_words(said, faults)
    _check_method(said, purpose, faults)
    _check_times(policy_set, said, now, faults)
    if faults or purpose is None:
        raise InvalidInput("what was said cannot be recorded as it is", faults=faults, code=_code(faults[0]))
    return Checked(said, purpose, text)


def _code(first: Fault) -> str:
    """Return the code of the whole: the first fault's, unless that only says what is wrong with a part."""
    return "invalid-value" if first.code in {"missing", "unknown-code", "out-of-range"} else first.code


def ends_at(policy_set: PolicySet, said: Said, start: datetime) -> datetime | None:
    """Return when an agreement ends by itself: as it says, or as the policies say if that is earlier."""
    if not said.is_yes:
        return None
    ends = [each for each in (said.valid_until, policy_set.consent.expiry(said.purpose, start)) if each is not None]
    return min(ends, default=None)


def _purpose(policy_set: PolicySet, said: Said, faults: list[Fault]) -> Purpose | None:
    purpose = policy_set.purposes.get(said.purpose)
    if purpose is None:
        detail = "There is no such purpose; GET /v1/purposes lists them."
        faults.append(Fault("/purpose", "unknown-purpose", detail))
    elif not purpose.rests_on_consent:
        detail = "This purpose does not rest on consent, so there is none to give, to refuse or to take back."
        faults.append(Fault("/purpose", "purpose-without-consent", detail))
    return purpose


def _text(
    policy_set: PolicySet, said: Said, purpose: Purpose | None, now: datetime, faults: list[Fault]
) -> Notice | None:
    """Find the very text; whoever agrees has seen one, and one that is good today."""
    if said.notice is None:
        if said.is_yes:
            faults.append(Fault("/notice", "missing", "Say which version of the notice the person agreed to."))
        return None
    texts = policy_set.notices.languages(said.notice)
    main = next(iter(texts.values()), None)
    if main is None:
        faults.append(Fault("/notice", "unknown-notice", "There is no such version of a notice."))
        return None
    text = main if said.language is None else texts.get(said.language)
    if text is None and LANGUAGE.fullmatch(said.language or ""):
        faults.append(Fault("/language", "unknown-language", "There is no such translation of this notice."))
    if purpose is None or not purpose.rests_on_consent:
        return text
    about = said.purpose in main.purposes
    if not about or (said.is_yes and said.notice not in policy_set.notices.accepted(purpose, now.date())):
        detail = (
            "A newer version asks for consent anew, or this one is not in force yet."
            if about
            else "It is about others."
        )
        faults.append(Fault("/notice", "notice-not-good", f"The notice is not good for this purpose today. {detail}"))
    return text


def _check_words(said: Said, faults: list[Fault]) -> None:
    if said.decision not in get_args(Decision):
        faults.append(Fault("/decision", "unknown-code", "One of given, refused, withdrawn and renewed."))
    faults.extend(word_faults(said))


def word_faults(said: Said) -> list[Fault]:
    """Check who said it, where, under which law, and the evidence: the same for what is recorded and imported."""
    faults = []
    if said.by not in get_args(By):
        faults.append(Fault("/by", "unknown-code", "One of subject, guardian, staff and app."))
    if said.channel is not None and not is_slug(said.channel):
        faults.append(Fault("/channel", "invalid-channel", "1 to 64 of a-z, 0-9, - and _, such as web or phone."))
    if said.language is not None and not LANGUAGE.fullmatch(said.language):
        faults.append(Fault("/language", "unknown-language", "A language tag, such as en or de-AT."))
    if said.jurisdiction is not None and not is_jurisdiction(said.jurisdiction):
        detail = "A country by ISO 3166-1, such as IE, or a part of one by ISO 3166-2, such as US-CA."
        faults.append(Fault("/jurisdiction", "invalid-jurisdiction", detail))
    evidence = words_fault(said.evidence, at="/evidence", code="invalid-evidence")
    if evidence is not None:
        faults.append(evidence)
    elif said.by == "guardian" and said.is_yes and said.evidence is None:
        detail = "Say how it was made sure that a parent or guardian consents (Art. 8(2))."
        faults.append(Fault("/evidence", "missing", detail))
    return faults


def _check_method(said: Said, purpose: Purpose | None, faults: list[Fault]) -> None:
    if said.method is None:
        if said.is_yes:
            faults.append(Fault("/method", "missing", "Say how the person indicated it, such as checkbox."))
        return
    if said.method not in get_args(Method) or (said.is_yes and said.method in OF_THE_VAULT):
        faults.append(Fault("/method", "unknown-code", "It is none of the methods that the API describes for this."))
        return
    explicit = purpose is not None and purpose.article9 == Article9.EXPLICIT_CONSENT
    if said.is_yes and explicit and said.method not in EXPLICIT:
        detail = "This purpose needs explicit consent (Art. 9(2)(a)): " + ", ".join(sorted(EXPLICIT)) + "."
        faults.append(Fault("/method", "method-not-explicit", detail))


def _check_times(policy_set: PolicySet, said: Said, now: datetime, faults: list[Fault]) -> None:
    occurred = _moment(said.occurred_at, "/occurred_at", faults)
    until = _moment(said.valid_until, "/valid_until", faults)
    if occurred is not None and occurred > now + SKEW:
        faults.append(Fault("/occurred_at", "event-in-future", "What was said was said already."))
    if occurred is not None and occurred < now - policy_set.consent.backdate:
        days = policy_set.consent.backdate.days
        detail = f"At most {days} days may lie between a word and its record; older ones are imported."
        faults.append(Fault("/occurred_at", "event-too-old", detail))
    if until is None:
        return
    if not said.is_yes:
        faults.append(Fault("/valid_until", "out-of-range", "Only an agreement ends by itself."))
    elif until <= max(occurred or now, now):
        faults.append(Fault("/valid_until", "out-of-range", "It would have ended before it began."))


def _moment(moment: datetime | None, at: str, faults: list[Fault]) -> datetime | None:
    try:
        if moment is not None:
            to_microseconds(moment)
    except ValueError:
        faults.append(Fault(at, "out-of-range", "a time zone, and the years 1 to 9999 in UTC"))
        return None
    return moment


COLLECTION = "consent"
FIELD = "evidence"
LONGEST = 500
_REFUSED = frozenset({"Cc", "Cs"})
"""Control characters, line breaks among them, and halves of characters."""


def words_fault(words: str | None, *, at: str, code: str) -> Fault | None:
    """Say what is wrong with free words; nothing where there are none."""
    if words is None:
        return None
    proper = words.strip() and len(words) <= LONGEST
    if proper and not any(unicodedata.category(each) in _REFUSED for each in words):
        return None
    return Fault(at, code, f"1 to {LONGEST} characters in one line, without control characters")


async def keys_of(services: Services, caller: Caller, subject: SubjectId) -> SubjectKeys:
    """Return a person's keys.

    Raises:
        NotFound: there are none, so that there is no such person, or no longer.
    """
    keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
    if keys is None:
        async with services.data.reading() as connection:
            raise await missing(services, caller, connection, subject)
    return keys


def seal_words(keys: SubjectKeys, tenant: TenantId, subject: SubjectId, event: UUID, words: str | None) -> bytes | None:
    """Seal the words beside an event; nothing where there are none."""
    if words is None:
        return None
    return keys.seal(FIELD, encode(words), record_aad(tenant, subject, COLLECTION, event))


def open_words(keys: SubjectKeys, tenant: TenantId, event: Event) -> str | None:
    """Open the words beside an event; nothing where there are none.

    Raises:
        CannotOpen: they do not open at their place.
    """
    if event.evidence is None:
        return None
    return str(decode(keys.open(FIELD, event.evidence, record_aad(tenant, event.subject, COLLECTION, event.id))))
