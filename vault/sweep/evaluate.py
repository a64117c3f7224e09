"""What a sweep has to do with a person today, value by value, and when it has to look again. Pure: it opens nothing.

A value goes on the day after its latest claim, or its limit; later where a law demands it for longer; and not as long
as a hold covers it, or somebody has yet to decide about it, or has decided to keep it.

What a sweep did with people, in names and numbers. Pure.

All that is needed to tell until when people's values are kept: fetched for several of them at once.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vault.catalogue.retention import ENDINGS, RESTRICT, REVIEW
from vault.consent.state import unpack as unpack_standing
from vault.ids import RecordId, SubjectId
from vault.lifecycle.erasures import Line
from vault.retention.clocks import NO_CLOCKS, at_day, clocks_in
from vault.retention.ends import day_of, ends_of, schedule_of, values_of
from vault.retention.holds import held_by
from vault.retention.review_store import Ended, reviews_in
from vault.subjects.due import records_of_people
from vault.subjects.record_body import happened_at, unpack
from vault.subjects.store import PROFILE
from vault.sweep.store import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.state import ConsentState
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.retention.ends import Ending, Ends, Value
    from vault.retention.review_store import Place, Review
    from vault.subjects.record_body import Stored


AT_MOST: Final = 365
"""Days after which a record is looked at again, however open its end is."""
KEPT: Final = "kept"
_NO_REVIEWS: Final[Mapping[str, Review]] = {}


class Person(NamedTuple):
    """What there is of a person.

    Attributes:
        row: their own.
        records: rows of records: all of them, or those that are due.
        clocks: theirs.
        reviews: of their values.
        is_whole: whether these are all of their records.
    """

    row: Any
    records: Sequence[Any]
    clocks: Clocks = NO_CLOCKS
    reviews: Mapping[Place, Mapping[str, Review]] = {}
    is_whole: bool = True


class Seen(NamedTuple):
    """A person as they were seen, on which day, by which policies, and what was to be done with them then."""

    person: Person
    policy_set: PolicySet
    day: int
    look: PersonLook

    def again(self, policy_set: PolicySet, person: Person, now: datetime) -> PersonLook:
        """See what is to be done now; where nothing has changed, it is what it was."""
        same = self.policy_set is policy_set and self.day == now.date().toordinal() and self.person == person
        return self.look if same else look_at(policy_set, person, now)


class RecordLook(NamedTuple):
    """What is to be done with one record.

    Attributes:
        row: the record's.
        body: its values.
        gone: names in the body of the values that are erased.
        views: of those that are generalised, the view that takes their place.
        ended: values of which a review is to be opened.
        closed: names of values with a review that is not needed any more: something claims them again.
        due: when to look at it next.
    """

    row: Any
    body: Mapping[str, Stored]
    gone: tuple[str, ...]
    views: Mapping[str, str]
    ended: tuple[Ended, ...]
    closed: tuple[str, ...]
    due: datetime

    @property
    def place(self) -> Place:
        """Return where the record is."""
        return SubjectId(self.row.subject_id), self.row.collection, RecordId(self.row.id)

    @property
    def left(self) -> int:
        """Count the values that stay, in whatever form."""
        return len(self.body) - len(self.gone)


class PersonLook(NamedTuple):
    """What is to be done with a person.

    Attributes:
        row: theirs.
        records: of each record.
        is_over: whether nothing of them is left then, so that they are erased as a whole.
    """

    row: Any
    records: Sequence[RecordLook]
    is_over: bool

    @property
    def subject(self) -> SubjectId:
        """Return who it is."""
        return SubjectId(self.row.id)

    @property
    def erases(self) -> bool:
        """Tell whether values of theirs go."""
        return self.is_over or any(each.gone or each.views for each in self.records)

    @property
    def acts(self) -> bool:
        """Tell whether there is anything to do at all."""
        return self.erases or any(each.ended for each in self.records)


class Foreseen(NamedTuple):
    """What will become of one value, as things stand.

    Attributes:
        name: the whole name of its field, or of the view that is kept of it.
        on: the number of the day on which it goes; none: nobody can tell yet. Of what is over it lies behind.
        then: what happens on that day.
        is_held: whether a hold keeps it for longer.
        review: whether somebody has to decide about it, or has decided to keep it.
    """

    name: str
    on: int | None
    then: str
    is_held: bool
    review: bool


class _Today(NamedTuple):
    day: int
    ends: Ends
    standing: ConsentState
    known: frozenset[str]


def look_at(policy_set: PolicySet, person: Person, now: datetime) -> PersonLook:
    """See what is to be done with a person.

    Args:
        policy_set: in force.
        person: what there is of them.
        now: the present.
    """
    at = _at(policy_set, person, now)
    turns = [day for day in (at.ends.turns_on, _next_text(policy_set, at.day)) if day is not None]
    records = [_record(at, row, person.reviews, turns) for row in person.records]
    if not person.is_whole or any(each.left for each in records):
        return PersonLook(person.row, records, is_over=False)
    if any(each.gone for each in records):
        return PersonLook(person.row, records, is_over=True)
    until = _empty_until(policy_set, person)
    if until < at.day:
        return PersonLook(person.row, records, is_over=True)
    return PersonLook(person.row, [each._replace(due=_midnight(until + 1)) for each in records], is_over=False)


def foresee(policy_set: PolicySet, person: Person, now: datetime) -> Iterator[Foreseen]:
    """Tell of each value of a person when it will go.

    Args:
        policy_set: in force.
        person: what there is of them.
        now: the present.
    """
    at = _at(policy_set, person, now)
    turn = at.ends.turns_on
    turned = at if turn is None else _at(policy_set, person, _midnight(turn))
    for row in person.records:
        body = unpack(row.body)
        happened = day_of(happened_at(row, body))
        decided = person.reviews.get((row.subject_id, row.collection, row.id), _NO_REVIEWS)
        for name, value in values_of(row, body, _kept(decided)).items():
            review = decided.get(name)
            then, ending = at, at.ends.of(value)
            on = None if ending.until is None else ending.until + 1
            if turn is not None and (on is None or on > turn):  # by then other periods may have come to apply
                then, ending = turned, turned.ends.of(value)
                on = None if ending.until is None else max(ending.until + 1, turn)
            held = bool(at.standing.holds) and held_by(at.standing, value.form or value.field, happened) is not None
            kept = review is not None and review.keeps(at.day) and ending.may_go(at.day)
            fate = ending.then
            if on is not None and not held:
                decided_on = None if review is None or review.state == "open" else review
                fate = _fate(then._replace(day=max(on, at.day)), value, ending, decided_on, happened)
            yield Foreseen(value.form or value.field, on, fate, held, kept)


def _at(policy_set: PolicySet, person: Person, now: datetime) -> _Today:
    standing = unpack_standing(person.row.standing)
    ends = ends_of(policy_set, standing, person.clocks, now, retained=person.row.state == "retained")
    return _Today(now.date().toordinal(), ends, standing, _known(policy_set))


@lru_cache(maxsize=64)
def _known(policy_set: PolicySet) -> frozenset[str]:
    return frozenset(field.whole for field in policy_set.catalogue.fields())


def next_midnight(day: int) -> datetime:
    """Return when the day after a day begins, by the number of the day."""
    return _midnight(day + 1)


@lru_cache(maxsize=64)
def _next_text(policy_set: PolicySet, today: int) -> int | None:
    """Tell on which day the next text comes into force: with it a consent to an earlier one may end."""
    days = (each.valid_from for each in policy_set.notices.values())
    return min((day.toordinal() for day in days if day is not None and day.toordinal() > today), default=None)


def _record(at: _Today, row: Any, reviews: Mapping[Place, Mapping[str, Review]], turns: Sequence[int]) -> RecordLook:
    body = unpack(row.body)
    happened = day_of(happened_at(row, body))
    decided = reviews.get((row.subject_id, row.collection, row.id), _NO_REVIEWS) if reviews else _NO_REVIEWS
    gone, ended, closed, views = [], [], [], {}
    days = [at.day + AT_MOST, *turns]
    for name, value in values_of(row, body, _kept(decided)).items():
        review = decided.get(name)
        ending = at.ends.of(value)
        fate = _fate(at, value, ending, review, happened)
        if fate == KEPT:
            days.append(_next(at, ending, review))
            if review is not None and review.state == "open" and not ending.is_over(at.day):
                closed.append(name)
        elif fate in {RESTRICT, REVIEW}:
            place = SubjectId(row.subject_id), row.collection, RecordId(row.id)
            kind = "restrict" if fate == RESTRICT else "review"
            ended.append(Ended(place, name, kind, date.fromordinal(ending.served_until or at.day)))  # type: ignore[arg-type]
        elif fate in ENDINGS:
            gone.append(name)
        else:
            views[name] = fate
            days.append(_next(at, at.ends.of(value._replace(form=fate)), None))
    return RecordLook(row, body, tuple(gone), views, tuple(ended), tuple(closed), _midnight(min(days)))


def _fate(at: _Today, value: Value, ending: Ending, review: Review | None, happened: int) -> str:
    """Tell what becomes of a value: it is kept, one of :data:`ENDINGS`, or the whole name of the view that stays."""
    if not ending.may_go(at.day):
        return KEPT
    if at.standing.holds and held_by(at.standing, value.form or value.field, happened) is not None:
        return KEPT
    if review is not None and review.keeps(at.day):
        return KEPT
    if review is not None and review.state == "erase":
        return "erase"
    if ending.then in ENDINGS:
        return ending.then
    general = value._replace(form=ending.then)
    return ending.then if value.field in at.known and not at.ends.of(general).may_go(at.day) else "erase"


def _next(at: _Today, ending: Ending, review: Review | None) -> int:
    """Tell on which day a kept value has to be looked at again, as far as it alone decides that."""
    return min(
        (day + 1 for day in (ending.until, _kept_until(review)) if day is not None and day >= at.day),
        default=at.day + AT_MOST,
    )


def _kept(decided: Mapping[str, Review]) -> dict[str, int] | None:
    return {name: day for name, each in decided.items() if (day := _kept_until(each)) is not None} if decided else None


def _kept_until(review: Review | None) -> int | None:
    return None if review is None or review.keep_until is None else review.keep_until.toordinal()


def _empty_until(policy_set: PolicySet, person: Person) -> int:
    """Tell until when somebody is kept of whom there is no value: as long as what nobody claims."""
    changed = [person.row.created_at, *(row.updated_at for row in person.records)]
    until: date = schedule_of(policy_set).retention.unclaimed.after(max(changed).date())
    return until.toordinal()


def _midnight(day: int) -> datetime:
    return at_day(min(day, date.max.toordinal()))


def code_of(person: PersonLook) -> str:
    """Say the most that was done."""
    if person.is_over:
        return "person-erased"
    if any(look.gone for look in person.records):
        return "erased"
    if any(look.views for look in person.records):
        return "generalised"
    kinds = {each.kind for look in person.records for each in look.ended}
    return "restricted" if kinds == {"restrict"} else "review"


def fields_of(policy_set: PolicySet, person: PersonLook) -> tuple[str, ...]:
    """Name the fields of which something ended, each by the view that went: of what had been generalised, that one."""
    names = (
        f"{look.row.collection}.{name}" if "." in name else f"{look.row.collection}.{name}.clear"
        for look in person.records
        for name in (*look.gone, *look.views, *(each.field for each in look.ended))
    )
    return tuple(name for name in dict.fromkeys(names) if name in policy_set.catalogue)


def lines_of(person: PersonLook) -> tuple[Line, ...]:
    """Sum up what went, field by field."""
    gone = Counter(f"{look.row.collection}.{name}" for look in person.records for name in (*look.gone, *look.views))
    return tuple(Line(field, records) for field, records in sorted(gone.items()))


def counted(looks: Iterable[PersonLook]) -> Counts:
    """Count what was done with people."""
    people = list(looks)
    records = [look for each in people for look in each.records]
    kinds = Counter(each.kind for look in records for each in look.ended)
    return Counts(
        erased=sum(len(look.gone) for look in records),
        generalised=sum(len(look.views) for look in records),
        restricted=kinds["restrict"],
        reviews=kinds["review"],
        whole=sum(each.is_over for each in people),
    )


async def people_in(
    connection: AsyncConnection, tenant: TenantId, rows: Sequence[Any], *, due: datetime | None = None
) -> list[Person]:
    """Fetch what there is of people, in the order of their rows.

    Args:
        rows: the people's own.
        due: only records that are due by this moment; of whom the profile is due, all of them.
    """
    subjects = [row.id for row in rows]
    if not subjects:
        return []
    records = await records_of_people(connection, tenant, subjects, due)
    clocks = await clocks_in(connection, tenant, subjects)
    reviews = await reviews_in(connection, tenant, subjects)
    return [
        Person(
            row,
            records[row.id],
            clocks.get(row.id, NO_CLOCKS),
            {place: found for place, found in reviews.items() if place[0] == row.id} if reviews else reviews,
            is_whole=due is None or _stands_for_all(records[row.id], due),
        )
        for row in rows
    ]


def _stands_for_all(records: Sequence[Any], due: datetime) -> bool:
    return any(row.collection == PROFILE and row.due_at is not None and row.due_at <= due for row in records)
