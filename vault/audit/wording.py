"""What an audit entry says, in words for people: what was done to which fields, or why it was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vault.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.audit.entry import Entry

DONE: Final[Mapping[str, str]] = {
    "read": "read",
    "search": "shown",
    "list": "listed",
    "explain": "explained",
    "write": "written",
    "create": "created with",
    "update": "changed",
    "append": "appended",
    "import": "imported",
    "merge": "merged",
    "find-duplicates": "compared",
    "build-package": "packed",
    "download-package": "downloaded",
    "send-package": "sent",
    "preview-erasure": "to be erased",
    "erase": "erased",
    "rectify": "corrected",
    "dispute": "disputed",
    "verify-value": "verified",
    "send-notice": "told about",
    "decide-review": "reviewed",
    "read-retention": "ends looked up of",
    "sweep": "swept",
}
"""What was done to the fields of an entry, by its action."""

OF_FIELDS: Final = "about"
"""The same for actions that are not about fields as a rule."""

CODES: Final[Mapping[str, str]] = {
    "record-consent": "consent {}",
    "confirm-consent": "consent {}",
    "import-consents": "consents {}",
    "object": "{}",
    "decide-objection": "{}",
    "restrict": "{}",
    "lift-restriction": "{}",
    "record-event": "event {}",
    "dispute": "dispute {}",
    "move-request": "request: {}",
    "submit-request": "request: {}",
    "set-roles": "{}",
    "sweep": "{}",
}
"""What the code of an allowed call says, by its action: the kind of an event, the move of a request."""


def in_words(entry: Entry) -> str:
    """Say what was done, or why it was not; the action, the caller and the time are not repeated."""
    return "  ".join(part for part in (_done(entry), _refused(entry), *_circumstances(entry)) if part)


def _done(entry: Entry) -> str:
    parts = []
    if entry.code and entry.decision in {"allowed", "partly"}:
        parts.append(CODES.get(entry.action, "{}").format(entry.code))
    if entry.matched:
        parts.append(f"by {', '.join(entry.matched)}")
    if entry.fields:
        parts.append(f"{DONE.get(entry.action, OF_FIELDS)} {', '.join(entry.fields)}")
    return "  ".join(parts)


def _refused(entry: Entry) -> str:
    """Say what was refused, and why: the code of each field or of the whole, and the rule that decided."""
    parts = [f"{name} ({code})" for name, code in entry.refused.items()]
    if entry.code and entry.decision in {"denied", "failed"}:
        parts.append(entry.code)
    if not parts:
        return ""
    verb = "failed:" if entry.decision == "failed" else "refused"
    return f"{verb} {', '.join(parts)}" + (f"  by the rule {entry.rule}" if entry.rule else "")


def _circumstances(entry: Entry) -> list[str]:
    parts = [] if entry.purpose is None else [f"for {entry.purpose}"]
    if entry.subjects:
        parts.append(counted(len(entry.subjects), "person", "people"))
    if entry.withheld:
        parts.append(f"nothing of {counted(len(entry.withheld), 'person', 'people')}")
    if entry.count > 1:
        parts.append(f"{entry.count:,} times")
    return parts
