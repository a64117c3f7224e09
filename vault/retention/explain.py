"""Tell until when the values of a field of a person are kept, and on which grounds; no value is opened for it.

What is told of a value's end: the grounds that keep it, the limits, the holds, and what happens then.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import select

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.model import HOME, UnknownName
from vault.catalogue.retention_actions import action_of
from vault.consent.state import unpack as unpack_standing
from vault.consent.transaction import missing
from vault.errors import InvalidInput
from vault.retention.clocks import NO_CLOCKS, clocks_in
from vault.retention.ends import NEVER, REVIEWED, applies, day_of, ends_of, schedule_of, values_of
from vault.retention.holds import is_covered
from vault.retention.review_store import reviews_in
from vault.subjects.changes import person
from vault.subjects.record_body import happened_at, unpack
from vault.subjects.tables import RECORD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Catalogue
    from vault.consent.state import ConsentState, Held
    from vault.context import Caller, Services
    from vault.errors import NotFound
    from vault.ids import SubjectId, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.retention.ends import Claim, Ending, Ends, Value
    from vault.retention.review_store import Review


MOST: Final = 200
"""Values that are told of at once, of the newest records."""


@audited("read-retention")
async def why(services: Services, caller: Caller, subject: SubjectId, field: str, record: UUID | None = None) -> Why:
    """Tell until when values are kept and why.

    Args:
        subject: whose values.
        field: its name, with or without ``profile.``.
        record: the one that is meant; none: all of them.

    Raises:
        Denied: no role of the caller's may see retention.
        InvalidInput: there is no such field, in the policies or of this person.
        NotFound: there is no such person, or no longer.
    """
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    await services.limits.take(caller.principal, "read", 1)
    active, now = services.policies.active(caller.tenant), services.clock.now()
    whole, declared = _whole(active.policy_set.catalogue, field)
    async with services.data.reading() as connection:
        row = await person(connection, caller.tenant, subject)
        clocks = (await clocks_in(connection, caller.tenant, [subject])).get(subject, NO_CLOCKS)
        reviews = await reviews_in(connection, caller.tenant, [subject])
        rows = await _rows(connection, caller.tenant, subject, whole.partition(".")[0], record)
    if row is None or row.state == "erased":
        raise await _nobody(services, caller, subject, row, active.version)
    standing = unpack_standing(row.standing)
    ends = ends_of(active.policy_set, standing, clocks, now, retained=row.state == "retained")
    teller = Teller(active.policy_set, ends, standing, applies(active.policy_set, standing, now), now.date())
    values = []
    for each in rows:
        known = reviews.get((subject, each.collection, each.id), {})
        values += teller.of(each, whole, known)
    if not values and not declared:
        raise UnknownName("the catalogue declares no such field", hint="GET /v1/catalogue lists them")
    made = audit_entry(
        services,
        caller,
        action="read-retention",
        decision="allowed",
        fields=(f"{whole}.clear",) if declared else (),
        subjects=(row.pseudonym,),
        target=record,
        policy=active.version,
    )
    await services.audit_log.append(made)
    more = len(rows) > MOST
    return Why(subject, whole, now.date(), ends.relationship.value, tuple(values[:MOST]), more, made.id)


class Teller:
    """Tells why one person's values are kept. It looks at names and dates, and opens nothing.

    Args:
        policy_set: in force.
        ends: the person's.
        standing: what the person said, and the holds.
        applying: the purposes that apply or did, with their last days.
        today: the day.
    """

    def __init__(
        self,
        policy_set: PolicySet,
        ends: Ends,
        standing: ConsentState,
        applying: Mapping[str, int | None],
        today: date,
    ) -> None:
        self._policy_set = policy_set
        self._ends = ends
        self._standing = standing
        self._applying = applying
        self._today = today

    def of(self, row: Any, whole: str, reviews: Mapping[str, Review]) -> list[Kept]:
        """Tell of a record's values of one field: whole, or generalised."""
        body = unpack(row.body)
        kept = {name: each.keep_until.toordinal() for name, each in reviews.items() if each.keep_until is not None}
        happened = day_of(happened_at(row, body))
        return [
            self._kept(row, value, happened, reviews.get(name))
            for name, value in values_of(row, body, kept).items()
            if value.field == whole
        ]

    def _kept(self, row: Any, value: Value, happened: int, review: Review | None) -> Kept:
        ending = self._ends.of(value)
        name = value.form or value.field
        holds = [held for held in self._standing.holds if is_covered(held, name, happened)]
        return Kept(
            record=row.id,
            form=value.form,
            starts=date.fromordinal(value.start),
            collected=_day(value.collected),
            source=value.source,
            served_until=_day(ending.served_until),
            until=_day(ending.until),
            by=ending.by,
            then=ending.then,
            state=self._state(ending, holds, review),
            grounds=tuple(map(self._ground, ending.claims)),
            idle=tuple(self._idle(value, ending)),
            limits=tuple(
                Limit(each.name, _day(end), each.since.value, str(each.most), each.then, each.article, each.reason)
                for each, end in self._ends.limits(value)
            ),
            holds=tuple(Hold(held.hold.hex(), held.purpose, held.also_for) for held in holds),
            review=review,
        )

    def _state(self, ending: Ending, holds: list[Held], review: Review | None) -> str:
        today = self._today.toordinal()
        if holds:
            return "held"
        if not ending.is_over(today):
            return "kept"
        if not ending.may_go(today):
            return "demanded"
        if review is not None and review.keeps(today):
            return action_of(review.kind).state or "over"
        return "over"

    def _ground(self, claim: Claim) -> Ground:
        rule = self._policy_set.retention.get(claim.ground)
        purpose = self._policy_set.purposes.get(claim.ground)
        return Ground(
            ground=claim.ground,
            until=_day(claim.until),
            least=None if claim.least == NEVER else _day(claim.least),
            since=None if claim.since is None else claim.since.value,
            counted_from=_day(claim.counted_from),
            period=None if claim.period is None else str(claim.period),
            lost=claim.lost,
            then=claim.then,
            views=tuple(sorted(claim.views)),
            law=None if purpose is None else purpose.law,
            article=None if rule is None else rule.article,
            reason=None if rule is None else rule.reason,
        )

    def _idle(self, value: Value, ending: Ending) -> list[Idle]:
        """Name the purposes that need the field and do not keep the value."""
        keeping = {each.ground for each in ending.claims} | {REVIEWED}
        unmoved = {each.ground for each in ending.idle}
        found = {}
        for term in schedule_of(self._policy_set).terms(value.field):
            name = str(term.purpose.name)
            if name not in keeping and (value.form is None or value.form in term.views):
                found[name] = self._why_idle(name, is_unmoved=name in unmoved)
        return list(found.values())

    def _why_idle(self, name: str, *, is_unmoved: bool) -> Idle:
        purpose = self._policy_set.purposes[name]
        if is_unmoved:
            return Idle(name, "not-brought-about")
        if name in self._applying:
            return Idle(name, "ended", _day(self._applying[name]))
        still = purpose.valid_from is None or purpose.valid_from <= self._today
        return Idle(name, "consent-missing" if still else "not-in-force")


def _whole(catalogue: Catalogue, name: str) -> tuple[str, bool]:
    """Return the whole name of a field, and whether it is declared: one that is not may still have values."""
    try:
        return catalogue.field(name).whole, True
    except UnknownName:
        if not name.replace(".", "").replace("_", "").isalnum() or name.count(".") > 1 or name.startswith("."):
            raise InvalidInput("that is no name of a field", code="unknown-field") from None
        return (name if "." in name else f"{HOME}.{name}"), False


async def _rows(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, collection: str, record: UUID | None
) -> list[Any]:
    """Fetch the newest records of a collection, one more than are told of."""
    table = RECORD
    statement = select(table.c.collection, table.c.id, table.c.occurred_at, table.c.created_at, table.c.body).where(
        table.c.tenant_id == tenant, table.c.subject_id == subject, table.c.collection == collection
    )
    if record is not None:
        statement = statement.where(table.c.id == record)
    return list((await connection.execute(statement.order_by(table.c.id.desc()).limit(MOST + 1))).all())


async def _nobody(services: Services, caller: Caller, subject: SubjectId, row: Any, version: str) -> NotFound:
    """Write down that there is nobody, and return the error that says so."""
    made = audit_entry(
        services,
        caller,
        action="read-retention",
        decision="denied",
        code=SUBJECT_NOT_FOUND.code,
        subjects=() if row is None else (row.pseudonym,),
        policy=version,
    )
    await services.audit_log.append(made)
    async with services.data.reading() as connection:
        error = await missing(services, caller, connection, subject)
    error.audit = str(made.id)
    return error


def _day(number: int | None) -> date | None:
    return None if number is None else date.fromordinal(number)


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
    state: str
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
