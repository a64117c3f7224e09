"""Steps 8 and 9a of a read: open the values that still may be shown, and show them as their views.

What to open of each subject is a :class:`Plan`, computed once for each cached decision. A subject whose values are so
young that none can have expired, and that has no hold, is shown at once. For the others a
:class:`~vault.retention.filter.Gate` decides; its facts are fetched in one query for all of them.

The loop in which a batch spends half of its time renders whole profiles in clear, written as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from vault.catalogue.model import CLEAR
from vault.catalogue.types import decode, show
from vault.clock import to_microseconds
from vault.consent.model import has_holds
from vault.crypto.seal import open_profiles, record_aad
from vault.errors import Refusal
from vault.ids import SubjectId
from vault.retention.ends import schedule_of
from vault.retention.filter import HELD, RETENTION_OVER, bodies_of, gates
from vault.subjects.rows import NotWhole, Picker, open_body, unpack
from vault.subjects.store import MOST_RECORDS, PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime

    from vault.catalogue.model import Field, Purpose
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.policy.decision import Decision
    from vault.retention.filter import Gate, RecordGate
    from vault.retention.schedule import Lasting, Schedule
    from vault.subjects.rows import Picked, Sealed
    from vault.subjects.store import Row, StoredSubject

    Person = tuple[StoredSubject, SubjectKeys]


NO_VALUE = Refusal(
    "no-value",
    "This person has no such value: it was never given, or was removed by a correction or an erasure. Ask the person "
    "if you need it.",
    "the record",
)
GENERALISED = Refusal(
    "no-value",
    "The retention time of this value has ended, and only a coarser view is kept. Read that view if it is enough.",
    "retention",
)


class Item(NamedTuple):
    """One view to show: the name in the request, the field in its record, and the view (None for the clear value)."""

    asked: str
    field: str
    type: str
    view: str | None


class Items(NamedTuple):
    """The views to show of one collection's records, and what the hot loop would otherwise compute for each record.

    ``lasts`` is the time in microseconds after its start for which a record is shown, whichever subject and source it
    has: the only value that is compared each time. ``lasting`` decides about older records.
    """

    views: tuple[Item, ...]
    asked: tuple[str, ...]
    fields: tuple[str, ...]
    needed: frozenset[str]
    all_clear: bool
    template: bytes
    picker: Picker
    lasts: int
    lasting: Lasting

    @classmethod
    def of(cls, items: Iterable[Item], lasting: Lasting) -> Items:
        """Build the items of one collection."""
        views = tuple(items)
        return cls(
            views,
            tuple(item.asked for item in views),
            tuple(item.field for item in views),
            frozenset(item.field for item in views),
            all(item.view is None for item in views),
            # A value is stored as canonical JSON, so that a clear one is put into the answer without being parsed.
            b"{" + b",".join([msgspec.json.encode(item.asked).replace(b"%", b"%%") + b":%b" for item in views]) + b"}",
            Picker(tuple(dict.fromkeys(item.field for item in views))),
            lasting.least,
            lasting,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What to open of each subject for a purpose, computed once for each cached decision."""

    purpose: Purpose
    profile: Items | None
    many: tuple[tuple[str, Items], ...]
    is_clear_profile: bool

    @property
    def collections(self) -> tuple[str, ...]:
        """Return the needed collections of many records."""
        return tuple(name for name, _items in self.many)


@dataclass(frozen=True, slots=True)
class Moment:
    """The current time, in the forms that rendering needs."""

    day: date
    microseconds: int

    @classmethod
    def of(cls, now: datetime) -> Moment:
        """Convert a time."""
        return cls(now.date(), to_microseconds(now))


@lru_cache(maxsize=4096)
def _plan(decision: Decision, schedule: Schedule) -> Plan:
    """Sort the granted views of a decision by collection. Both arguments compare by identity, so a hit is cheap."""
    by_collection: dict[str, list[Item]] = {}
    fields: dict[str, list[Field]] = {}
    for asked, shown in decision.granted:
        field = shown.field
        item = Item(asked, field.name, field.type, None if shown.view == CLEAR else shown.view)
        by_collection.setdefault(field.collection, []).append(item)
        fields.setdefault(field.collection, []).append(field)
    items_of = {
        name: Items.of(items, schedule.lasting(decision.purpose.name, fields[name]))
        for name, items in sorted(by_collection.items())
    }
    profile = items_of.pop(PROFILE, None)
    many = tuple(items_of.items())
    is_clear = profile is not None and profile.all_clear and not many and len(profile.needed) == len(profile.views)
    return Plan(decision.purpose, profile, many, is_clear)


def plan_of(services: Services, caller: Caller, decision: Decision) -> Plan:
    """Return the plan of a decision under the policies in force."""
    return _plan(decision, schedule_of(services.policies.active(caller.tenant).policy_set))


class SubjectAnswer(msgspec.Struct, frozen=True, gc=False, rename={"values": "fields"}):
    """The answer for one subject: values by the name in the request, and why the others are not shown.

    Attributes:
        values: each raw JSON or plain; or one raw JSON object with all granted values.
        denied: the refusals.
    """

    subject: SubjectId
    values: dict[str, object] | Raw
    denied: dict[str, Refusal]

    @property
    def fields(self) -> Mapping[str, object]:
        """Return the values by the name in the request."""
        return _split(self.values) if isinstance(self.values, Raw) else self.values


_split = msgspec.json.Decoder(dict[str, Raw]).decode


async def show_all(
    services: Services, tenant: TenantId, plan: Plan, people: Sequence[Person], moment: datetime
) -> list[SubjectAnswer]:
    """Render the views of a plan for subjects, in their order.

    Raises:
        CannotOpen: a value does not open at its place; nothing is shown.
        Unavailable: the database does not answer.
    """
    renderer = Renderer(tenant, moment)
    answers = renderer.show_all(plan, people)
    undecided = [person for person, answer in zip(people, answers, strict=True) if answer is None]
    if undecided:
        subjects = [found for found, _keys in undecided]
        bodies = [body for found in subjects for body in bodies_of(found)]
        gate_of = await gates(services, tenant, plan.purpose, subjects, bodies, moment)
        decided = iter([renderer.show(plan, person, gate_of[person[0].id]) for person in undecided])
        answers = [next(decided) if answer is None else answer for answer in answers]
    return [answer for answer in answers if answer is not None]  # a gate always decides


class Renderer:
    """Renders the views of one tenant's subjects and records at one time.

    Values in clear are raw JSON: they are sealed as canonical JSON. Every method raises
    :class:`~vault.errors.CannotOpen` if a value does not open at its place.

    Args:
        tenant: the subjects' tenant.
        moment: values that expire by then are not shown.
    """

    __slots__ = ("_now", "_tenant")

    def __init__(self, tenant: TenantId, moment: datetime) -> None:
        self._tenant = tenant
        self._now = Moment.of(moment)

    def show_all(self, plan: Plan, people: Iterable[Person]) -> list[SubjectAnswer | None]:
        """Render subjects of which no value can have expired or be held; None for those that need a gate."""
        if plan.profile is None or not plan.is_clear_profile:
            return [self.show(plan, person) for person in people]
        # Subjects go through the loop one by one, so that a value is opened while its row is in the processor's caches.
        # Everything that a function call would do for each of them is done before the loop or inline.
        others: list[tuple[int, Person]] = []
        opened = open_profiles(plan.profile.fields, self._tenant, PROFILE, self._picked(plan.profile, people, others))
        template = plan.profile.template
        answers: list[SubjectAnswer | None] = [
            SubjectAnswer(subject, Raw(template % tuple(values)), {}) for subject, values in opened
        ]
        for position, person in others:
            answers.insert(position, self.show(plan, person))
        return answers

    def show(self, plan: Plan, person: Person, gate: Gate | None = None) -> SubjectAnswer | None:
        """Render one subject: of a collection of many a list, newest record first.

        Returns:
            None if a gate has to decide and there is none.
        """
        found, keys = person
        if gate is None and found.standing is not None and has_holds(found.standing):
            return None
        fields: dict[str, object] = {}
        missing: dict[str, Refusal] = {}
        if plan.profile is not None and found.profile is None:
            missing = dict.fromkeys(plan.profile.asked, NO_VALUE)
        elif plan.profile is not None and found.profile is not None:
            aad = record_aad(self._tenant, found.id, PROFILE, found.id)
            record_gate = None if gate is None else gate.before(PROFILE, found.id)
            profile = self.show_record(plan.profile, aad, found.profile, keys, record_gate)
            if profile is None:
                return None
            fields, missing = profile
        for collection, items in plan.many:
            columns = self._show_many(items, person, found.many[collection][:MOST_RECORDS], gate)
            if columns is None:
                return None
            fields |= columns[0]
            missing |= columns[1]
        return SubjectAnswer(found.id, fields, missing)

    def show_record(
        self, items: Items, aad: bytes, packed: bytes, keys: SubjectKeys, gate: RecordGate | None
    ) -> tuple[dict[str, object], dict[str, Refusal]] | None:
        """Render views of one record.

        Args:
            items: the views.
            aad: the record's :func:`vault.crypto.seal.record_aad`.
            packed: the record's body.
            gate: the record's, if one has to decide.

        Returns:
            the values and the refusals; None if a gate has to decide and there is none.
        """
        body, now = open_body(packed), self._now.microseconds
        is_old = gate is None and body.since + items.lasts <= now
        if is_old and items.lasting.may_be_over(body.since, body.origins, now):
            return None
        is_whole = items.needed <= body.values.keys()
        if gate is None and not is_whole and any("." in name for name in body.values):
            return None  # a generalised value has its own end
        missing: dict[str, Refusal] = {}
        if gate is None and is_whole and (body.due is None or body.due > now):
            # The common case: the record has all values and none of them expires.
            shown, names = items.views, items.fields
        else:
            shown = self._items_to_show(items.views, body, packed, gate, missing)
            names = tuple(item.field for item in shown)
        opened = keys.open_all(names, body.values, aad)
        if items.all_clear and shown is items.views:
            return dict(zip(items.asked, map(Raw, opened), strict=True)), missing
        return {
            asked: Raw(plain) if view is None else show(kind, view, decode(plain), self._now.day)
            for (asked, _field, kind, view), plain in zip(shown, opened, strict=True)
        }, missing

    def _items_to_show(
        self,
        items: tuple[Item, ...],
        body: Sealed,
        packed: bytes,
        gate: RecordGate | None,
        missing: dict[str, Refusal],
    ) -> tuple[Item, ...]:
        """Return the items that may be shown; note in ``missing`` why the others are missing, expired or held."""
        now = self._now.microseconds
        is_due = gate is not None or (body.due is not None and body.due <= now)
        values = unpack(packed) if is_due else {}
        shown = []
        for item in items:
            stored_item = _stored_item(item, body)
            if isinstance(stored_item, Refusal):
                missing[item.asked] = stored_item
                continue
            refusal = None
            if is_due:
                stored = values[stored_item.field]
                if gate is not None:
                    refusal = gate.refusal(body, stored_item.field, stored, stored_item.view)
                elif stored.expires_at is not None and stored.expires_at <= now:
                    refusal = RETENTION_OVER
            if refusal is None:
                shown.append(stored_item)
            else:
                missing[item.asked] = refusal
        return tuple(shown)

    def _show_many(
        self, items: Items, person: Person, rows: list[Row], gate: Gate | None
    ) -> tuple[dict[str, object], dict[str, Refusal]] | None:
        """Render a collection of many as one list for each view, with null for a record without the value.

        If no record has a value to show, the refusal of the view is the weightiest of the records: held, else expired.
        """
        found, keys = person
        columns: dict[str, list[object]] = {asked: [] for asked in items.asked}
        refusals: dict[str, Refusal] = {}
        for row in rows:
            aad = record_aad(self._tenant, found.id, row.collection, row.id)
            record_gate = None if gate is None else gate.before(row.collection, row.id)
            record = self.show_record(items, aad, row.body, keys, record_gate)
            if record is None:
                return None
            shown, refused = record
            for asked, column in columns.items():
                column.append(shown.get(asked))
            for asked, refusal in refused.items():
                refusals[asked] = max(refusals.get(asked, refusal), refusal, key=_weight)
        values: dict[str, object] = {
            asked: column for asked, column in columns.items() if any(value is not None for value in column)
        }
        return values, {asked: refusals.get(asked, NO_VALUE) for asked in columns if asked not in values}

    def _picked(
        self, items: Items, people: Iterable[Person], others: list[tuple[int, Person]]
    ) -> Iterator[tuple[SubjectId, SubjectKeys, tuple[bytes, ...]]]:
        """Pick the sealed values of whole profiles; put the other subjects with their positions into ``others``."""
        pick, lasts, now = items.picker.pick, items.lasts, self._now.microseconds
        for position, (found, keys) in enumerate(people):
            try:
                is_held = found.standing is not None and has_holds(found.standing)
                picked = None if found.profile is None or is_held else pick(found.profile)
            except NotWhole:
                picked = None
            is_odd = picked is None or picked.due is not None or picked.since + lasts <= now
            if picked is None or (is_odd and self._may_be_over(items, picked)):
                others.append((position, (found, keys)))
            else:
                yield found.id, keys, astuple(picked.values)

    def _may_be_over(self, items: Items, picked: Picked) -> bool:
        now = self._now.microseconds
        if picked.due is not None and picked.due <= now:
            return True
        is_old = picked.since + items.lasts <= now
        return is_old and items.lasting.may_be_over(picked.since, bytes(picked.origins), now)


def _stored_item(item: Item, body: Sealed) -> Item | Refusal:
    """Find a value in a body: the value itself or, if that has been generalised, the same view that replaced it."""
    if item.field in body.values:
        return item
    if item.view is not None and f"{item.field}.{item.view}" in body.values:
        return Item(item.asked, f"{item.field}.{item.view}", item.type, None)
    is_general = any(name.startswith(f"{item.field}.") for name in body.values)
    return GENERALISED if is_general else NO_VALUE


def _weight(refusal: Refusal) -> int:
    return (NO_VALUE.code, RETENTION_OVER.code, HELD.code).index(refusal.code)
