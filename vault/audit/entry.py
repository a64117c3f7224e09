"""The content of an audit entry: an allow-list of keys and types.

An entry cannot hold a value of a person: its types admit only ids, pseudonyms, names of fields, codes and times. Free
text (``reason``) arrives sealed under the subject's data key, so an erasure destroys it too.

To count many entries quickly, :class:`Use` and :class:`Disclosure` decode a stored entry in part.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta

from vault.errors import VaultError

if TYPE_CHECKING:
    from collections.abc import Hashable

Slug = Annotated[str, Meta(pattern=r"^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?\Z")]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*(?:[.:][a-z0-9_-]+){0,2}\Z", max_length=200)]
Code = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,63}\Z")]
Rule = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:,;*()|/\t -]{1,1000}\Z")]
"""The rule that decided, as the policy files name it: text of the controller's own, never of a request."""
Version = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")]
Time = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")]

Action = Literal[
    "sign-in",
    "read",
    "search",
    "list",
    "explain",
    "write",
    "create",
    "update",
    "append",
    "import",
    "read-audit",
    "read-policies",
    "record-consent",
    "confirm-consent",
    "read-consents",
    "check-consents",
    "import-consents",
    "object",
    "decide-objection",
    "restrict",
    "lift-restriction",
    "read-receipt",
    "merge",
    "find-duplicates",
    "settle-contact",
    "read-processing",
    "submit-request",
    "move-request",
    "read-requests",
    "send-code",
    "verify-identity",
    "open-session",
    "end-session",
    "build-package",
    "download-package",
    "send-package",
    "preview-erasure",
    "erase",
    "rectify",
    "dispute",
    "verify-value",
    "set-webhook",
    "send-notice",
    "acknowledge-notice",
    "read-notices",
    "read-jobs",
    "record-event",
    "read-retention",
    "sweep",
    "place-hold",
    "change-hold",
    "lift-hold",
    "read-holds",
    "decide-review",
    "backup",
    "restore",
    "apply-policies",
    "add-tenant",
    "add-principal",
    "set-roles",
    "disable-principal",
    "issue-key",
    "revoke-key",
    "rotate-keys",
]
Decision = Literal["allowed", "partly", "denied", "failed"]
Kind = Literal["read", "search", "write"]

KINDS: dict[str, Kind] = {
    "read": "read",
    "list": "read",
    "search": "search",
    "create": "write",
    "update": "write",
    "append": "write",
    "import": "write",
}
"""The actions that use data for a purpose, and what kind of use each is."""

MARGIN = 86_400_000 << 80
"""A day, as a distance between ids, whose first 48 bits are milliseconds (RFC 9562 §5.7)."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of the audit log.

    Attributes:
        principal: the caller; None for a failed sign-in.
        fields: whole names of the fields and views concerned.
        matched: whole names of the fields by which a search looked.
        subjects: the pseudonyms of the subjects; a batch lists all of them.
        withheld: the subjects of a batch without a shown value.
        decision: ``allowed``, ``denied``, ``partly`` (some fields were refused) or ``failed``.
        refused: for each refused field the code of the refusal.
        code: why the call as a whole was refused; for a transition of a request, its name.
        rule: the rule that decided, if there is one.
        policy: version of the policies that decided.
        reason: the caller's free text, sealed under the key of the one subject.
        reasons: the same for a batch, one per subject, in the order of ``subjects``.
        target: the id of the changed object: a record, a principal, a key.
        count: the number of equal events that this entry represents.
    """

    id: UUID
    tenant: Slug
    at: Time
    action: Action
    decision: Decision
    principal: UUID | None = None
    principal_name: Slug | None = None
    purpose: Slug | None = None
    fields: tuple[Name, ...] = ()
    matched: tuple[Name, ...] = ()
    subjects: tuple[UUID, ...] = ()
    withheld: tuple[UUID, ...] = ()
    refused: dict[Name, Code] = {}
    code: Code | None = None
    rule: Rule | None = None
    policy: Version | None = None
    request: RequestId | None = None
    reason: bytes | None = None
    reasons: tuple[bytes, ...] = ()
    target: UUID | None = None
    count: Annotated[int, Meta(ge=1)] = 1


class EntryRefused(VaultError):
    """An entry has a key or a type that is not on the list. It was not appended, so nothing may be shown."""

    code = "audit-entry-refused"


class Checked(NamedTuple):
    """An entry as decoded from its own bytes, its time, and those bytes."""

    entry: Entry
    at: datetime
    body: bytes


_encoder = msgspec.json.Encoder(order="sorted", uuid_format="canonical")
_decoder = msgspec.json.Decoder(Entry, strict=True)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_REQUEST = re.compile(r"[A-Za-z0-9-]{1,64}")
MOST_KNOWN = 4096
_known: set[Hashable] = set()


def checked(entry: Entry) -> Checked:
    """Write an entry as canonical JSON and check it against the list on the way.

    The constructor of a struct checks no types. Decoding the bytes does, and it checks what is really stored. The
    recurring part of an entry (principal, action, purpose, rule) is decoded once and then remembered.

    Raises:
        EntryRefused: a value has the wrong type or form.
    """
    try:
        body = _encoder.encode(entry)
        recurring = _recurring(entry)
        # To decode costs more than the rest of a write. What is never the same in two entries is checked by hand each
        # time.
        if recurring not in _known or not _is_unique_part_right(entry):
            entry = _decoder.decode(body)
            if len(_known) >= MOST_KNOWN:
                # As a whole: to remember nothing costs some decoding, to remember everything costs memory without end.
                _known.clear()
            _known.add(_recurring(entry))
        at = datetime.fromisoformat(entry.at)
    except (msgspec.MsgspecError, TypeError, ValueError, NotImplementedError, OverflowError, RecursionError):
        raise EntryRefused("invalid audit entry") from None
    if not all(map(_is_sealed, (entry.reason or b"", *entry.reasons))):
        raise EntryRefused("the reason in the audit entry is not sealed")
    return Checked(entry, at, body)


def _recurring(entry: Entry) -> Hashable:
    """Return the part of an entry that other entries share, with the types of its values.

    The types are part of the key because ``1 == True``. A part of the wrong type may not be hashable; the result then
    equals nothing.
    """
    if not (isinstance(entry.fields, tuple) and isinstance(entry.matched, tuple) and isinstance(entry.refused, dict)):
        return object()
    part = (
        entry.tenant, entry.action, entry.decision, entry.principal, entry.principal_name, entry.purpose, entry.fields,
        entry.matched, tuple(entry.refused.items()), entry.code, entry.rule, entry.policy, entry.count,
    )  # fmt: skip
    return (part, tuple(map(type, part)))


def _is_unique_part_right(entry: Entry) -> bool:
    """Return whether the unique part of an entry has the right types. If not, the entry is decoded to be sure."""
    return (
        isinstance(entry.id, UUID)
        and isinstance(entry.at, str)
        and _TIME.fullmatch(entry.at) is not None
        and (
            entry.request is None or (isinstance(entry.request, str) and _REQUEST.fullmatch(entry.request) is not None)
        )
        and isinstance(entry.subjects, tuple)
        and isinstance(entry.withheld, tuple)
        and all(issubclass(kind, UUID) for kind in {*map(type, entry.subjects), *map(type, entry.withheld)})
        and (entry.target is None or isinstance(entry.target, UUID))
        and (entry.reason is None or isinstance(entry.reason, bytes))
        and isinstance(entry.reasons, tuple)
        and all(isinstance(reason, bytes) for reason in entry.reasons)
    )


def encode(entry: Entry) -> bytes:
    """Write an entry as canonical JSON; raises what :func:`checked` raises."""
    return checked(entry).body


def decode(body: bytes) -> Entry:
    """Read an entry from its stored bytes."""
    return _decoder.decode(body)


def leaf_hash(body: bytes) -> bytes:
    """Hash an entry as a leaf of the Merkle tree (RFC 6962 §2.1): 32 bytes."""
    return hashlib.sha256(b"\x00" + body).digest()


def _is_sealed(blob: bytes) -> bool:
    """Return whether bytes have the shape of a sealed value, so that no plain text is stored by mistake.

    Format 1 has 3 bytes of versions, a nonce of 12, a tag of 16 and a multiple of 16. Empty bytes mean an erased
    person.
    """
    # Versions, nonce and tag are 31 bytes, so that a padded text leaves 15; the shortest text is one block of 16.
    return not blob or (blob[0] == 1 and len(blob) >= 47 and len(blob) % 16 == 15)


class _Part(msgspec.Struct, frozen=True):
    """The part of an entry that both views of it have; the decoder skips the rest.

    Attributes:
        at: RFC 3339 in UTC with a fixed width, so that strings compare as times do.
        fields: whole names of what was shown or written.
        withheld: the subjects without a shown value.
    """

    at: str
    action: str
    purpose: str = ""
    principal: str | None = None
    principal_name: str = ""
    fields: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()


class Use(_Part, frozen=True):
    """The part of an entry that is counted.

    Attributes:
        subjects: the pseudonyms of the subjects.
        count: the number of equal events that the entry represents.
    """

    subjects: tuple[str, ...] = ()
    count: int = 1

    @property
    def people(self) -> int:
        """Return the number of people with shown or written values."""
        return len(self.subjects) - len(self.withheld)


class Disclosure(_Part, frozen=True):
    """The part of an entry that says who was shown data; other subjects are skipped.

    Attributes:
        matched: whole names of the fields by which a search found the person; the caller knows their values.
    """

    matched: tuple[str, ...] = ()


use_of = msgspec.json.Decoder(Use).decode
disclosure_of = msgspec.json.Decoder(Disclosure).decode


def id_before(moment: datetime) -> UUID:
    """Return an id that is smaller than those of all entries since a moment.

    The id and the time of an entry are taken one after the other. The margin of a day allows for an adjusted clock; ids
    of a process never go back, so they are not behind the times.
    """
    return _id_at(moment, -MARGIN)


def id_after(moment: datetime) -> UUID:
    """Return an id that is greater than those of all entries before a moment, with the same margin."""
    return _id_at(moment, MARGIN)


def _id_at(moment: datetime, margin: int) -> UUID:
    return UUID(int=min(max(0, (int(moment.timestamp() * 1000) << 80) + margin), (1 << 128) - 1))
