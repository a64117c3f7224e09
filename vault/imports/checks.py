"""What was said elsewhere, checked against the policies. Pure; all faults at once, and no value in them.

It may be as old as it likes, and may be about a text that no longer suffices: it is history, and a read looks at what
it is worth today. But nobody can have agreed to a text that the policies do not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from vault.catalogue.model import Article9
from vault.consent.event import EXPLICIT, YES, Method
from vault.consent.legal_ground import may_object
from vault.consent.validation import word_faults
from vault.errors import Fault
from vault.storage.columns import to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from vault.catalogue.model import Purpose
    from vault.catalogue.notices import Notice
    from vault.consent.validation import Said
    from vault.policy.policy_set import PolicySet

Decision = Literal["given", "renewed", "refused", "withdrawn", "objected"]
IMPORT: Final = "import"
"""The method of what came without one."""


class Checked(NamedTuple):
    """What was said, and what the policies make of it; ``text`` is the very text that the person saw, if known."""

    said: Said
    purpose: Purpose
    text: Notice | None


def check(policy_set: PolicySet, said: Said, now: datetime) -> Checked | list[Fault]:
    """Check what was said elsewhere; returns what is wrong with it, if anything is."""
    purpose = policy_set.purposes.get(said.purpose)
    if purpose is None:
        return [Fault("/purpose", "unknown-purpose", "There is no such purpose; purposes.toml lists them.")]
    faults = [*_decision_faults(said, purpose), *word_faults(said), *_method_faults(said, purpose)]
    faults += [*_time_faults(said, now)]
    text = _text(policy_set, said)
    if said.is_yes and purpose.rests_on_consent:
        faults += _text_faults(policy_set, said, text)
    return faults or Checked(said, purpose, text)


def _decision_faults(said: Said, purpose: Purpose) -> list[Fault]:
    if said.decision not in get_args(Decision):
        return [Fault("/decision", "unknown-code", "One of given, renewed, refused, withdrawn and objected.")]
    if said.decision == "objected":
        if may_object(purpose):
            return []
        detail = "There is no right to object to what rests on this ground (Art. 21); a consent can be withdrawn."
        return [Fault("/purpose", "no-right-to-object", detail)]
    if purpose.rests_on_consent:
        return []
    detail = "This purpose does not rest on consent, so there is none to give, to refuse or to take back."
    return [Fault("/purpose", "purpose-without-consent", detail)]


def _method_faults(said: Said, purpose: Purpose) -> list[Fault]:
    if said.method is not None and (said.method not in get_args(Method) or (said.is_yes and said.method == "signal")):
        return [Fault("/method", "unknown-code", "It is none of the methods by which a person says this.")]
    explicit = purpose.article9 == Article9.EXPLICIT_CONSENT
    if said.decision in YES and explicit and said.method not in EXPLICIT:
        detail = "This purpose needs explicit consent (Art. 9(2)(a)): " + ", ".join(sorted(EXPLICIT)) + "."
        return [Fault("/method", "method-not-explicit", detail)]
    return []


def _time_faults(said: Said, now: datetime) -> list[Fault]:
    occurred, until = said.occurred_at, said.valid_until
    faults = [
        Fault(at, "out-of-range", "a time zone, and the years 1 to 9999 in UTC")
        for at, moment in (("/occurred_at", occurred), ("/valid_until", until))
        if moment is not None and not _is_kept(moment)
    ]
    if faults:
        return faults
    if occurred is None:
        return [Fault("/occurred_at", "missing", "Say when the person said it.")]
    if occurred > now:
        return [Fault("/occurred_at", "event-in-future", "What was said was said already.")]
    if until is not None and not said.is_yes:
        return [Fault("/valid_until", "out-of-range", "Only an agreement ends by itself.")]
    if until is not None and until <= occurred:
        return [Fault("/valid_until", "out-of-range", "It would have ended before it began.")]
    return []


def _text(policy_set: PolicySet, said: Said) -> Notice | None:
    """Find the very text; of a no whose text nobody knows, the no is what counts."""
    texts = {} if said.notice is None else policy_set.notices.languages(said.notice)
    main = next(iter(texts.values()), None)
    return main if said.language is None or main is None else texts.get(said.language)


def _text_faults(policy_set: PolicySet, said: Said, text: Notice | None) -> list[Fault]:
    if said.notice is None:
        return [Fault("/notice", "missing", "Say which version of the notice the person agreed to.")]
    texts = policy_set.notices.languages(said.notice)
    if not texts:
        return [Fault("/notice", "unknown-notice", "There is no such version of a notice.")]
    if text is None:
        return [Fault("/language", "unknown-language", "There is no such translation of this notice.")]
    if said.purpose not in next(iter(texts.values())).purposes:
        return [Fault("/notice", "notice-not-good", "The notice is not about this purpose.")]
    return []


def _is_kept(moment: datetime) -> bool:
    try:
        to_microseconds(moment)
    except ValueError:
        return False
    return True
