"""What is told of a value's end: the grounds that keep it, the limits, the holds, and what happens then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from vault.ids import SubjectId
    from vault.retention.reviews import Review

State = Literal["kept", "over", "demanded", "held", "in-review", "restricted"]


class Ground(NamedTuple):
    """Why a value is kept; days are included, and none stands for no end yet.

    Attributes:
        ground: the purpose; or ``reviewed``, because somebody decided so.
        until: the last day.
        least: the last day on which a law demands it.
        since: what the period counts from, and ``counted_from`` which day that was; none: it has not come.
        period: how long, as ISO 8601 writes it.
        lost: whether the ground itself ended before its period: consent taken back, objection upheld, purpose over.
        then: what happens at its end.
        views: as which views the purpose needs the field; empty: all.
        law: the law that demands it; ``article`` and ``reason`` say why so long.
    """

    ground: str
    until: date | None
    least: date | None = None
    since: str | None = None
    counted_from: date | None = None
    period: str | None = None
    lost: bool = False
    then: str = "erase"
    views: tuple[str, ...] = ()
    law: str | None = None
    article: str | None = None
    reason: str | None = None


class Limit(NamedTuple):
    """What ends a value earlier; ``until`` is the last day that it allows, none where its time has not begun."""

    name: str
    until: date | None
    since: str
    period: str
    then: str
    article: str | None
    reason: str


class Idle(NamedTuple):
    """A purpose that needs the field and keeps nothing: why not, and the last day on which it did apply.

    ``why`` is ``consent-missing`` (there never was one), ``not-in-force``, ``ended`` (before the value came in), or
    ``not-brought-about`` (of a law that does not concern the person).
    """

    purpose: str
    why: str
    until: date | None = None


class Hold(NamedTuple):
    """A legal hold that covers the value."""

    id: str
    purpose: str
    also_for: tuple[str, ...]


class Kept(NamedTuple):
    """One value: where it lies, until when it is there, and why.

    Attributes:
        record: its record; of the profile the person's own id.
        form: the view to which it was generalised; none: it is as it was collected.
        starts: the day from which it counts.
        collected: when it was collected, from which ``source``.
        served_until: the last day on which it is shown.
        until: the last day on which it is there; a hold or a review that is open may keep it longer.
        by: what decides that.
        then: what happens after it.
        state: how it stands today.
    """

    record: UUID
    form: str | None
    starts: date
    collected: date | None
    source: str | None
    served_until: date | None
    until: date | None
    by: str
    then: str
    state: State
    grounds: tuple[Ground, ...]
    idle: tuple[Idle, ...]
    limits: tuple[Limit, ...]
    holds: tuple[Hold, ...]
    review: Review | None


class Why(NamedTuple):
    """The answer: of each value of the field, the newest record first; ``more`` where there are others."""

    subject: SubjectId
    field: str
    today: date
    relationship: str
    values: tuple[Kept, ...]
    more: bool
    audit: UUID
