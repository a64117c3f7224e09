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
PAIRS: Final[tuple[tuple[Event, Event], ...]] = (("contract-began", "contract-ended"), ("claim-opened", "claim-closed"))
"""What begins, and runs until it ends."""
ENGAGED: Final[tuple[Event, ...]] = ("contract-ended", "relationship-resumed")
"""Events after which silence begins anew, as after an order or a message."""
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

    def at_least(self, newest: Mapping[str, int]) -> Clocks:
        """Return the clocks with records that there are: of each collection the later day counts."""
        merged = {name: max(day, self.newest.get(name, day)) for name, day in newest.items()}
        return Clocks({**self.newest, **merged}, self.events)

    def running(self, began: Event, ended: Event) -> bool:
        """Tell whether something has begun and not ended since."""
        start = self.events.get(began)
        return start is not None and start > self.events.get(ended, start - 1)


def relationship(clocks: Clocks, retention: Retention, today: int) -> Relationship:
    """Tell how a person stands to the company on a day."""
    if _last_bought(clocks, retention) is None:
        return Relationship.PROSPECT
    ended = relationship_ended(clocks, retention)
    return Relationship.CUSTOMER if ended is OPEN or today <= ended else Relationship.FORMER


def relationship_ended(clocks: Clocks, retention: Retention) -> int | None:
    """Tell the last day of the relationship: by an event, or by so long a silence. None while neither is in sight.

    Of somebody who never was a customer it is the day of the last contact; none where there was none. While a contract
    runs, silence ends nothing.
    """
    bought = _last_bought(clocks, retention)
    if bought is None:
        return clocks.last_contact
    ended = clocks.events.get("relationship-ended")
    resumed = clocks.events.get("relationship-resumed")
    if ended is not None and (ended < bought or (resumed is not None and resumed >= ended)):
        ended = None
    silent = _silent(clocks, retention, bought)
    return min((day for day in (ended, silent) if day is not None), default=OPEN)


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
        return start if _last_bought(clocks, retention) is None else OPEN
    return max(start, ended)


def _after(clocks: Clocks, began: Event, ended: Event, start: int) -> int | None:
    return OPEN if clocks.running(began, ended) else max(start, clocks.events.get(ended, start))


def _silent(clocks: Clocks, retention: Retention, bought: int) -> int | None:
    """Tell on which day silence has lasted so long that it ends the relationship; none where it never does."""
    if retention.inactive is None or clocks.running("contract-began", "contract-ended"):
        return OPEN
    signs = (bought, clocks.last_contact, *(clocks.events.get(name) for name in ENGAGED))
    silent_since = max(day for day in signs if day is not None)
    return retention.inactive.after(date.fromordinal(silent_since)).toordinal()


def _last_bought(clocks: Clocks, retention: Retention) -> int | None:
    """Tell when somebody last did what makes a customer: bought something, or began a contract."""
    days = [day for name, day in clocks.newest.items() if name in retention.customer_by]
    return max((*days, *(day for name, day in clocks.events.items() if name == "contract-began")), default=None)
