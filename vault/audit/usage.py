"""What an entry says of the use of data: read back in part, for counting many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from datetime import datetime

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


class Use(msgspec.Struct, frozen=True):
    """What counts of one entry; the rest of its bytes is skipped and not even looked at.

    Attributes:
        at: when, as RFC 3339 in UTC of one width, so that texts compare as moments do.
        fields: whole names of what was shown or written.
        subjects: whom, by pseudonym.
        withheld: those of whom nothing was shown.
        count: how many alike the entry stands for.
    """

    at: str
    action: str
    purpose: str = ""
    principal: str | None = None
    principal_name: str = ""
    fields: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    count: int = 1

    @property
    def people(self) -> int:
        """Return of how many people something was shown or written."""
        return len(self.subjects) - len(self.withheld)


class Disclosure(msgspec.Struct, frozen=True):
    """What one entry says of who was shown something; whom else it names, is passed over.

    Attributes:
        matched: whole names of the fields by which a search found the person: whoever searches by a value knows it.
        withheld: those of whom nothing was shown.
    """

    at: str
    action: str
    purpose: str = ""
    principal: str | None = None
    principal_name: str = ""
    fields: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()


_decoder = msgspec.json.Decoder(Use)
_disclosures = msgspec.json.Decoder(Disclosure)


def use_of(body: bytes) -> Use:
    """Read what counts from an entry's stored bytes."""
    return _decoder.decode(body)


def disclosure_of(body: bytes) -> Disclosure:
    """Read from an entry's stored bytes what it says of who was shown something."""
    return _disclosures.decode(body)


def id_before(moment: datetime) -> UUID:
    """Return an id that is older than those of all entries since a moment: the log is in the order of ids.

    An entry's id and its time are taken one after the other; the margin of a day allows for a clock that was set.
    """
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=max(0, (milliseconds << 80) - MARGIN))
