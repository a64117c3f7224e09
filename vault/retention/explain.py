"""Explain retention; no value is opened.

Until when the values of a field of a subject are kept, and on which grounds. And the relationship of a subject to the
company: prospect, customer or former, since when, and by which clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import select

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.model import HOME, UnknownName
from vault.catalogue.retention import Relationship
from vault.catalogue.retention_actions import action_of
from vault.consent.model import unpack as unpack_state
from vault.consent.transaction import not_found
from vault.errors import InvalidInput
from vault.retention import views
from vault.retention.clocks import RUNNING, clocks_of_one, relationship, relationship_ended
from vault.retention.ends import NEVER, REVIEWED, applies, day_of, ends_of, schedule_of, values_of
from vault.retention.holds import is_covered
from vault.retention.reviews import kept_by, reviews_in
from vault.subjects.rows import happened_at, unpack
from vault.subjects.store import GONE
from vault.subjects.tables import RECORD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Catalogue
    from vault.consent.model import ConsentState, Held
    from vault.context import Caller, Services
    from vault.ids import SubjectId, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.retention.ends import Claim, Ending, Ends, Value
    from vault.retention.reviews import Review


MOST: Final = 200
"""Values in one answer, of the newest records."""


@audited("read-retention")
async def explain_retention(
    services: Services, caller: Caller, subject: SubjectId, field: str, record: UUID | None = None
) -> views.RetentionExplanation:
    """Explain until when the values of a field are kept and why.

    Args:
        field: the field's name, with or without ``profile.``.
        record: only this record; None for all of them.

    Raises:
        Denied: the caller may not see retention.
        InvalidInput: neither the policies nor the subject's records have such a field.
        NotFound: the subject does not exist or is erased.
    """
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    active, now = services.policies.active(caller.tenant), services.clock.now()
    whole, declared = _whole_name(active.policy_set.catalogue, field)
    async with services.data.reading() as connection:
        row = await services.subjects.person(connection, caller.tenant, subject)
        clocks = await clocks_of_one(connection, caller.tenant, subject)
        reviews = await reviews_in(connection, caller.tenant, [subject])
        rows = await _newest_records(connection, caller.tenant, subject, whole.partition(".")[0], record)
    if row is None or row.state == "erased":
        raise await not_found(services, caller, "read-retention", subject, row, policy=active.version)
    state = unpack_state(row.standing)
    ends = ends_of(active.policy_set, state, clocks, now, retained=row.state == "retained")
    explainer = Explainer(active.policy_set, ends, state, applies(active.policy_set, state, now), now.date())
    values: list[views.RetainedValue] = []
    for record_row in rows:
        by_name = reviews.get((subject, record_row.collection, record_row.id), {})
        values += explainer.explain(record_row, whole, by_name)
    if not values and not declared:
        raise UnknownName("the catalogue declares no such field", hint="GET /v1/catalogue lists them")
    entry = audit_entry(
        services,
        caller,
        action="read-retention",
        decision="allowed",
        fields=(f"{whole}.clear",) if declared else (),
        subjects=(row.pseudonym,),
        target=record,
        policy=active.version,
    )
    await services.audit_log.append(entry)
    return views.RetentionExplanation(
        subject=subject,
        field=whole,
        today=now.date(),
        relationship=ends.relationship,
        values=values[:MOST],
        more=len(rows) > MOST,
        audit=entry.id,
    )


@dataclass(frozen=True, slots=True)
class Explainer:
    """Explains why the values of one subject are kept, from names and dates.

    Attributes:
        state: the subject's decisions on consent, and the holds on the subject.
        applying: the purposes that apply or did, with their last days.
    """

    policy_set: PolicySet
    ends: Ends
    state: ConsentState
    applying: Mapping[str, int | None]
    today: date

    def explain(self, row: Any, field: str, reviews: Mapping[str, Review]) -> list[views.RetainedValue]:
        """Explain a record's values of one field: as they were collected, or generalised."""
        body = unpack(row.body)
        happened = day_of(happened_at(row, body))
        return [
            self._value(row.id, value, happened, reviews.get(name))
            for name, value in values_of(row, body, kept_by(reviews)).items()
            if value.field == field
        ]

    def _value(self, record: UUID, value: Value, happened: int, review: Review | None) -> views.RetainedValue:
        ending = self.ends.of(value)
        holds = [hold for hold in self.state.holds if is_covered(hold, value.form or value.field, happened)]
        return views.RetainedValue(
            record=record,
            form=value.form,
            starts=date.fromordinal(value.start),
            collected=_date(value.collected),
            source=value.source,
            served_until=_date(ending.served_until),
            until=_date(ending.until),
            by=ending.by,
            then=ending.then,
            state=self._state(ending, holds, review),
            grounds=[self._ground(claim) for claim in ending.claims],
            idle=self._inactive(value, ending),
            limits=[
                views.RetentionLimit(
                    name=limit.name,
                    until=_date(until),
                    since=limit.since,
                    period=str(limit.most),
                    then=limit.then,
                    article=limit.article,
                    reason=limit.reason,
                )
                for limit, until in self.ends.limits(value)
            ],
            holds=[
                views.CoveringHold(id=UUID(bytes=hold.hold), purpose=hold.purpose, also_for=hold.also_for)
                for hold in holds
            ],
            review=None if review is None else views.RetentionReview.model_validate(review),
        )

    def _state(self, ending: Ending, holds: list[Held], review: Review | None) -> str:
        today = self.today.toordinal()
        if holds:
            return "held"
        if not ending.is_over(today):
            return "kept"
        if not ending.may_go(today):
            return "demanded"
        if review is not None and review.keeps(today):
            return action_of(review.kind).state or "over"
        return "over"

    def _ground(self, claim: Claim) -> views.RetentionGround:
        rule = self.policy_set.retention.get(claim.ground)
        purpose = self.policy_set.purposes.get(claim.ground)
        return views.RetentionGround(
            ground=claim.ground,
            until=_date(claim.until),
            least=None if claim.least == NEVER else _date(claim.least),
            since=claim.since,
            counted_from=_date(claim.counted_from),
            period=None if claim.period is None else str(claim.period),
            lost=claim.lost,
            then=claim.then,
            views=tuple(sorted(claim.views)),
            law=None if purpose is None else purpose.law,
            article=None if rule is None else rule.article,
            reason=None if rule is None else rule.reason,
        )

    def _inactive(self, value: Value, ending: Ending) -> list[views.InactivePurpose]:
        """List the purposes that need the field and do not keep the value."""
        keeping = {claim.ground for claim in ending.claims} | {REVIEWED}
        not_brought_about = {claim.ground for claim in ending.idle}
        purposes = {}
        for term in schedule_of(self.policy_set).terms(value.field):
            name = str(term.purpose.name)
            if name in keeping or (value.form is not None and value.form not in term.views):
                continue
            if name in not_brought_about:
                purposes[name] = views.InactivePurpose(purpose=name, why="not-brought-about")
            elif name in self.applying:
                purposes[name] = views.InactivePurpose(purpose=name, why="ended", until=_date(self.applying[name]))
            elif term.purpose.valid_from is None or term.purpose.valid_from <= self.today:
                purposes[name] = views.InactivePurpose(purpose=name, why="consent-missing")
            else:
                purposes[name] = views.InactivePurpose(purpose=name, why="not-in-force")
        return list(purposes.values())


@audited("read-retention")
async def show_relationship(services: Services, caller: Caller, subject: SubjectId) -> views.SubjectRelationship:
    """Show the relationship of a subject to the company today. No value is opened.

    Raises:
        Denied: the caller may not see retention.
        NotFound: the subject does not exist or is erased.
    """
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    async with services.data.reading() as connection:
        row = await services.subjects.person(connection, caller.tenant, subject)
        clocks = await clocks_of_one(connection, caller.tenant, subject)
    active = services.policies.active(caller.tenant)
    if row is None or row.state in GONE:
        raise await not_found(services, caller, "read-retention", subject, row, policy=active.version)
    entry = audit_entry(
        services,
        caller,
        action="read-retention",
        decision="allowed",
        subjects=(row.pseudonym,),
        policy=active.version,
    )
    await services.audit_log.append(entry)
    retention, today = active.policy_set.schedule, services.clock.now().date()
    state = relationship(clocks, retention, today.toordinal())
    ended = relationship_ended(clocks, retention)
    since = {
        Relationship.PROSPECT: row.created_at.date(),
        Relationship.CUSTOMER: None,  # the clocks keep the last order, not the first
        Relationship.FORMER: None if ended is None else date.fromordinal(ended + 1),
    }[state]
    return views.SubjectRelationship(
        subject=subject,
        state=state,
        since=since,
        last_contact=_date(clocks.last_contact),
        until=date.fromordinal(ended) if ended is not None and state is Relationship.CUSTOMER else None,
        running=[name for name, (began, over) in RUNNING.items() if clocks.running(began, over)],
        records={name: date.fromordinal(day) for name, day in sorted(clocks.newest.items())},
        events={name: date.fromordinal(day) for name, day in sorted(clocks.events.items())},
        audit=entry.id,
    )


def _whole_name(catalogue: Catalogue, name: str) -> tuple[str, bool]:
    """Return the whole name of a field, and whether it is declared: a field that is not may still have values."""
    try:
        return catalogue.field(name).whole, True
    except UnknownName:
        if not name.replace(".", "").replace("_", "").isalnum() or name.count(".") > 1 or name.startswith("."):
            raise InvalidInput("the field name is invalid", code="unknown-field") from None
        return (name if "." in name else f"{HOME}.{name}"), False


async def _newest_records(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, collection: str, record: UUID | None
) -> list[Any]:
    """Fetch the newest records of a collection, one more than an answer has."""
    columns = RECORD.c
    statement = select(columns.collection, columns.id, columns.occurred_at, columns.created_at, columns.body).where(
        columns.tenant_id == tenant, columns.subject_id == subject, columns.collection == collection
    )
    if record is not None:
        statement = statement.where(columns.id == record)
    return list((await connection.execute(statement.order_by(columns.id.desc()).limit(MOST + 1))).all())


def _date(number: int | None) -> date | None:
    return None if number is None else date.fromordinal(number)
