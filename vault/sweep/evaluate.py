"""What a sweep has to do with a subject today, value by value, and when it has to look again. It opens nothing.

A value goes on the day after its latest claim ends, or its limit; later where a law demands it for longer; and not
while a hold covers it, or while a person has yet to decide about it or has decided to keep it.

The evaluation itself is pure; :func:`load_subjects` fetches its input for several subjects at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from vault.catalogue.retention_actions import ACTIONS, ERASE, Effect, RetentionAction, action_of
from vault.consent.model import unpack as unpack_state
from vault.ids import RecordId, SubjectId
from vault.lifecycle.erasures import Line
from vault.retention.clocks import NO_CLOCKS, at_day, clocks_in
from vault.retention.ends import SubjectData, day_of, ends_of, schedule_of, values_of
from vault.retention.holds import held_by
from vault.retention.reviews import NewReview, kept_by, reviews_in
from vault.subjects.due import records_of_people
from vault.subjects.rows import happened_at, unpack
from vault.subjects.store import PROFILE
from vault.sweep.store import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.model import ConsentState
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.retention.ends import Ending, Ends, Value
    from vault.retention.reviews import Place, Review
    from vault.retention.schedule import Schedule
    from vault.subjects.rows import Stored


AT_MOST: Final = 365
"""Days after which a record is evaluated again, however open its end is."""
_NO_REVIEWS: Final[Mapping[str, Review]] = {}


@dataclass(frozen=True, slots=True)
class ReviewedData(SubjectData):
    """What the evaluation of a subject needs.

    Attributes:
        reviews: reviews of the subject's values, by record and name.
        is_complete: whether ``records`` are all records of the subject; otherwise they are those that are due.
    """

    reviews: Mapping[Place, Mapping[str, Review]] = field(default_factory=dict)
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A plan for a subject, and what it was made from: the data, the policies and the day."""

    data: ReviewedData
    policy_set: PolicySet
    day: int
    plan: SubjectPlan

    def renewed(self, policy_set: PolicySet, data: ReviewedData, now: datetime) -> SubjectPlan:
        """Return the plan for the present; it is made again only if something has changed."""
        same = self.policy_set is policy_set and self.day == now.date().toordinal() and self.data == data
        return self.plan if same else evaluate(policy_set, data, now)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happens to one value now.

    Attributes:
        then: how a rule selects it: its name, or the whole name of the view that takes the value's place.
        ended_on: the last day on which the value was served.
    """

    action: RetentionAction
    then: str
    ended_on: date


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """What is to be done with one record.

    Attributes:
        outcomes: what happens to values, by their names in the body; a value that stays as it is is left out.
        closed: names of values whose review is no longer needed, because something claims them again.
        due: when to evaluate the record next.
    """

    row: Any
    body: Mapping[str, Stored]
    outcomes: Mapping[str, Outcome]
    closed: tuple[str, ...]
    due: datetime

    @property
    def place(self) -> Place:
        """Return which record it is."""
        return SubjectId(self.row.subject_id), self.row.collection, RecordId(self.row.id)

    @property
    def removed(self) -> tuple[str, ...]:
        """Return the names of the values of which nothing stays."""
        return tuple(name for name, outcome in self.outcomes.items() if outcome.action.effect is Effect.REMOVE)

    @property
    def views(self) -> dict[str, str]:
        """Return the views that are stored in place of values, by the values' names."""
        return {
            name: outcome.then for name, outcome in self.outcomes.items() if outcome.action.effect is Effect.REPLACE
        }

    @property
    def deleted(self) -> tuple[str, ...]:
        """Return the names of the values that are deleted, whether or not a view takes their place."""
        return tuple(name for name, outcome in self.outcomes.items() if outcome.action.effect is not Effect.RETAIN)

    @property
    def reviews(self) -> list[NewReview]:
        """Return the reviews that are to be opened."""
        return [
            NewReview(self.place, name, outcome.action.name, outcome.ended_on)
            for name, outcome in self.outcomes.items()
            if outcome.action.effect is Effect.RETAIN
        ]

    @property
    def left(self) -> int:
        """Count the values that stay, in whatever form."""
        return len(self.body) - len(self.removed)


@dataclass(frozen=True, slots=True)
class SubjectPlan:
    """What is to be done with a subject.

    Attributes:
        is_over: whether nothing of the subject is left then, so that the subject is erased as a whole.
    """

    row: Any
    records: Sequence[RecordPlan]
    is_over: bool

    @property
    def subject(self) -> SubjectId:
        """Return the subject's id."""
        return SubjectId(self.row.id)

    @property
    def erases(self) -> bool:
        """Return whether values of the subject are deleted."""
        return self.is_over or any(record.outcomes and record.deleted for record in self.records)

    @property
    def acts(self) -> bool:
        """Return whether there is anything to do at all."""
        return self.is_over or any(record.outcomes for record in self.records)

    @property
    def actions(self) -> Counter[RetentionAction]:
        """Count the values by the action that is applied to them."""
        return Counter(outcome.action for record in self.records for outcome in record.outcomes.values())


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will happen to one value, as things are today.

    Attributes:
        name: the whole name of its field, or of the view to which it was generalised.
        on: the number of the day on which it goes; None if that is not known yet. For a value that is over, a past day.
        then: what happens on that day, as a rule selects it.
        is_held: whether a hold keeps it for longer.
        in_review: whether a person has to decide about it, or has decided to keep it.
    """

    name: str
    on: int | None
    then: str
    is_held: bool
    in_review: bool


@dataclass(frozen=True, slots=True)
class _Context:
    day: int
    ends: Ends
    state: ConsentState
    schedule: Schedule


def evaluate(policy_set: PolicySet, data: ReviewedData, now: datetime) -> SubjectPlan:
    """Decide what is to be done with a subject."""
    context = _context(policy_set, data, now)
    turns = [day for day in (context.ends.turns_on, _next_notice(policy_set, context.day)) if day is not None]
    records = [_evaluate_record(context, row, data.reviews, turns) for row in data.records]
    if not data.is_complete or any(record.left for record in records):
        return SubjectPlan(data.row, records, is_over=False)
    if any(record.removed for record in records):
        return SubjectPlan(data.row, records, is_over=True)
    until = _empty_until(policy_set, data)
    if until < context.day:
        return SubjectPlan(data.row, records, is_over=True)
    return SubjectPlan(data.row, [replace(record, due=midnight(until + 1)) for record in records], is_over=False)


def forecast(policy_set: PolicySet, data: ReviewedData, now: datetime) -> Iterator[Forecast]:
    """Foresee when each value of a subject will go."""
    today = _context(policy_set, data, now)
    turn = today.ends.turns_on
    turned = today if turn is None else _context(policy_set, data, midnight(turn))
    for row in data.records:
        body = unpack(row.body)
        happened = day_of(happened_at(row, body))
        reviews = data.reviews.get((row.subject_id, row.collection, row.id), _NO_REVIEWS)
        for name, value in values_of(row, body, kept_by(reviews)).items():
            review = reviews.get(name)
            context, ending = today, today.ends.of(value)
            on = None if ending.until is None else ending.until + 1
            if turn is not None and (on is None or on > turn):  # by then other periods may apply
                context, ending = turned, turned.ends.of(value)
                on = None if ending.until is None else max(ending.until + 1, turn)
            held = bool(today.state.holds) and _is_held(today, value, happened)
            in_review = review is not None and review.keeps(today.day) and ending.may_go(today.day)
            then = ending.then
            if on is not None and not held:
                decided = None if review is None or review.state == "open" else review
                on_day = replace(context, day=max(on, today.day))
                then = _select(on_day, value, ending, decided, happened) or then
            yield Forecast(value.form or value.field, on, then, held, in_review)


def _context(policy_set: PolicySet, data: ReviewedData, now: datetime) -> _Context:
    state = unpack_state(data.row.standing)
    ends = ends_of(policy_set, state, data.clocks, now, retained=data.row.state == "retained")
    return _Context(now.date().toordinal(), ends, state, schedule_of(policy_set))


@lru_cache(maxsize=64)
def _next_notice(policy_set: PolicySet, today: int) -> int | None:
    """Return the day on which the next notice comes into force: consent to an earlier version may end with it."""
    days = (notice.valid_from for notice in policy_set.notices.values())
    return min((day.toordinal() for day in days if day is not None and day.toordinal() > today), default=None)


def _evaluate_record(
    context: _Context, row: Any, reviews_by_place: Mapping[Place, Mapping[str, Review]], turns: Sequence[int]
) -> RecordPlan:
    body = unpack(row.body)
    happened = day_of(happened_at(row, body))
    reviews = _NO_REVIEWS
    if reviews_by_place:
        reviews = reviews_by_place.get((row.subject_id, row.collection, row.id), _NO_REVIEWS)
    outcomes, closed = {}, []
    days = [context.day + AT_MOST, *turns]
    for name, value in values_of(row, body, kept_by(reviews)).items():
        review = reviews.get(name)
        ending = context.ends.of(value)
        then = _select(context, value, ending, review, happened)
        if then is None:
            days.append(_next_day(context, ending, review))
            if review is not None and review.state == "open" and not ending.is_over(context.day):
                closed.append(name)
            continue
        action = action_of(then)
        outcomes[name] = Outcome(action, then, date.fromordinal(ending.served_until or context.day))
        if action.effect is Effect.REPLACE:
            days.append(_next_day(context, context.ends.of(value._replace(form=then)), None))
    return RecordPlan(row, body, outcomes, tuple(closed), midnight(min(days)))


def _select(context: _Context, value: Value, ending: Ending, review: Review | None, happened: int) -> str | None:
    """Return the action that applies to a value today, as a rule selects it; None if the value is kept."""
    if not ending.may_go(context.day):
        return None
    if context.state.holds and _is_held(context, value, happened):
        return None
    if review is not None and review.keeps(context.day):
        return None
    if review is not None and review.state == "erase":
        return ERASE
    if action_of(ending.then).effect is not Effect.REPLACE:
        return ending.then
    view = value._replace(form=ending.then)
    is_needed = context.schedule.declares(value.field) and not context.ends.of(view).may_go(context.day)
    return ending.then if is_needed else ERASE


def _is_held(context: _Context, value: Value, happened: int) -> bool:
    return held_by(context.state, value.form or value.field, happened) is not None


def _next_day(context: _Context, ending: Ending, review: Review | None) -> int:
    """Return the day on which a kept value has to be evaluated again, as far as it alone decides that."""
    kept_until = None if review is None or review.keep_until is None else review.keep_until.toordinal()
    days = (day + 1 for day in (ending.until, kept_until) if day is not None and day >= context.day)
    return min(days, default=context.day + AT_MOST)


def _empty_until(policy_set: PolicySet, data: ReviewedData) -> int:
    """Return until when a subject without any value is kept: as long as a value that no purpose claims."""
    changed = [data.row.created_at, *(row.updated_at for row in data.records)]
    until: date = schedule_of(policy_set).retention.unclaimed.after(max(changed).date())
    return until.toordinal()


def midnight(day: int) -> datetime:
    """Return when a day begins, by its number."""
    return at_day(min(day, date.max.toordinal()))


def audit_code(plan: SubjectPlan) -> str:
    """Return the code of a subject's audit entry: that of the most serious action."""
    if plan.is_over:
        return "person-erased"
    actions = plan.actions
    return next(action.audit_code for action in ACTIONS if action in actions)


def audit_fields(policy_set: PolicySet, plan: SubjectPlan) -> tuple[str, ...]:
    """Name the fields of which a value ended: the clear view, or for what had been generalised the view that ended."""
    names = (
        f"{record.row.collection}.{name}" if "." in name else f"{record.row.collection}.{name}.clear"
        for record in plan.records
        for name in (*record.deleted, *(review.name for review in record.reviews))
    )
    return tuple(name for name in dict.fromkeys(names) if name in policy_set.catalogue)


def erasure_lines(plan: SubjectPlan) -> tuple[Line, ...]:
    """Sum up by field what is deleted."""
    deleted = Counter(f"{record.row.collection}.{name}" for record in plan.records for name in record.deleted)
    return tuple(Line(name, records) for name, records in sorted(deleted.items()))


def count_actions(plans: Iterable[SubjectPlan]) -> Counts:
    """Count what is done with subjects."""
    subjects, values = 0, Counter[str]()
    for plan in plans:
        subjects += plan.is_over
        values.update({action.counter: count for action, count in plan.actions.items()})
    return Counts(whole=subjects, values=dict(values))


async def load_subjects(
    connection: AsyncConnection, tenant: TenantId, rows: Sequence[Any], *, due: datetime | None = None
) -> list[ReviewedData]:
    """Fetch what the evaluation of subjects needs, in the order of their rows.

    Args:
        due: only records that are due by this moment; all records of a subject whose profile is due.
    """
    subjects = [row.id for row in rows]
    if not subjects:
        return []
    records = await records_of_people(connection, tenant, subjects, due)
    clocks = await clocks_in(connection, tenant, subjects)
    reviews = await reviews_in(connection, tenant, subjects)
    return [
        ReviewedData(
            row,
            records[row.id],
            clocks.get(row.id, NO_CLOCKS),
            {place: by_name for place, by_name in reviews.items() if place[0] == row.id} if reviews else reviews,
            is_complete=due is None
            or any(
                record.collection == PROFILE and record.due_at is not None and record.due_at <= due
                for record in records[row.id]
            ),
        )
        for row in rows
    ]
