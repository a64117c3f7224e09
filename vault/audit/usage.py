"""The use of data that an entry records, decoded in part, to count many entries quickly."""

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
    """The part of an entry that is counted; the decoder skips the rest.

    Attributes:
        at: RFC 3339 in UTC with a fixed width, so that strings compare as times do.
        fields: whole names of what was shown or written.
        subjects: the pseudonyms of the subjects.
        withheld: the subjects without a shown value.
        count: the number of equal events that the entry represents.
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
        """Return the number of people with shown or written values."""
        return len(self.subjects) - len(self.withheld)


class Disclosure(msgspec.Struct, frozen=True):
    """The part of an entry that says who was shown data; other subjects are skipped.

    Attributes:
        matched: whole names of the fields by which a search found the person; the caller knows their values.
        withheld: the subjects without a shown value.
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
    """Decode the counted part of a stored entry."""
    return _decoder.decode(body)


def disclosure_of(body: bytes) -> Disclosure:
    """Decode the disclosure that a stored entry records."""
    return _disclosures.decode(body)


def id_before(moment: datetime) -> UUID:
    """Return an id that is smaller than those of all entries since a moment; the log is ordered by id.

    The id and the time of an entry are taken one after the other. The margin of a day allows for an adjusted clock.
    """
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=max(0, (milliseconds << 80) - MARGIN))
