"""The clocks of one person: the newest record of each kind, and when a contract or the relationship ended. Pure.

Days are counted as the proleptic calendar does (``date.toordinal``), in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Final, Literal

from vault.catalogue.retention import CONTACTS, Relationship, Since

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.retention import Retention

Event = Literal[
    "contract-began", "contract-ended", "claim-opened", "claim-closed", "relationship-ended", "relationship-resumed"
]
"""What is recorded of a person beside records, and starts or stops a clock."""
OPEN: Final = None
"""Nothing to count from yet: what the period waits for has not happened."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The newest day of each thing from which a period may count.

    Attributes:
        newest: of the records of each collection. It stays when the record itself is deleted.
        events: of each event.
    """

    newest: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[Event, int] = field(default_factory=dict)

    @property
    def last_contact(self) -> int | None:
        """Return the day of the last order or message."""
        return max((day for name, day in self.newest.items() if name in CONTACTS), default=None)

    def running(self, began: Event, ended: Event) -> bool:
        """Tell whether something has begun and not ended since."""
        start = self.events.get(began)
        return start is not None and start > self.events.get(ended, start - 1)


def relationship(clocks: Clocks, retention: Retention, today: int) -> Relationship:
    """Tell how a person stands to the company on a day."""
    if _last_purchase(clocks, retention) is None:
        return Relationship.PROSPECT
    ended = relationship_ended(clocks, retention)
    return Relationship.CUSTOMER if ended is OPEN or today <= ended else Relationship.FORMER


def relationship_ended(clocks: Clocks, retention: Retention) -> int | None:
    """Tell the last day of the relationship: by an event, or by so long a silence. None while neither is in sight.

    Of somebody who never was a customer it is the day of the last contact; none where there was none.
    """
    bought = _last_purchase(clocks, retention)
    if bought is None:
        return clocks.last_contact
    ended = clocks.events.get("relationship-ended")
    resumed = clocks.events.get("relationship-resumed")
    if ended is not None and ended >= bought and (resumed is None or resumed < ended):
        return ended
    if retention.inactive is None:
        return OPEN
    silent_since = max(day for day in (bought, clocks.last_contact, resumed) if day is not None)
    return retention.inactive.after(date.fromordinal(silent_since)).toordinal()


def anchor(since: Since, clocks: Clocks, retention: Retention, start: int, source: str | None) -> int | None:
    """Tell from which day on a period counts for a value that has been there from a day on; none: from none yet."""
    if since == Since.LAST_CONTACT:
        return max(start, clocks.last_contact or start)
    if since == Since.RELATIONSHIP_ENDED:
        return _relationship_anchor(clocks, retention, start)
    if since == Since.CONTRACT_ENDED:
        return _after(clocks, "contract-began", "contract-ended", start)
    if since == Since.CLAIM_CLOSED:
        return _after(clocks, "claim-opened", "claim-closed", start)
    if since == Since.DRAW_HELD and source is not None and source in retention.draws:
        held = retention.draws[source]
        return OPEN if held is None else max(start, held.toordinal())
    return start


def _relationship_anchor(clocks: Clocks, retention: Retention, start: int) -> int | None:
    ended = relationship_ended(clocks, retention)
    if ended is None:
        return start if _last_purchase(clocks, retention) is None else OPEN
    return max(start, ended)


def _after(clocks: Clocks, began: Event, ended: Event, start: int) -> int | None:
    return OPEN if clocks.running(began, ended) else max(start, clocks.events.get(ended, start))


def _last_purchase(clocks: Clocks, retention: Retention) -> int | None:
    return max((day for name, day in clocks.newest.items() if name in retention.customer_by), default=None)
