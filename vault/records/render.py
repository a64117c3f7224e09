"""Steps 8 and 9a of a read: open the values that still may be shown, and show them as their views.

A subject whose values are so young that none can have expired, and that has no hold, is shown at once. For the others
a :class:`~vault.retention.filter.Gate` decides; its facts are fetched in one query for all of them.

:class:`ClearProfiles` is the loop in which a batch spends half of its time: whole profiles in clear, written as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from vault.catalogue.types import decode, show
from vault.consent.model import has_holds
from vault.crypto.seal import open_profiles, record_aad
from vault.errors import Refusal
from vault.ids import SubjectId
from vault.records.read_plan import Item, Items, Moment
from vault.retention.filter import HELD, RETENTION_OVER, bodies_of, gates
from vault.subjects.record_body import NotWhole, open_body, unpack
from vault.subjects.store import MOST_RECORDS, PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from vault.catalogue.model import Purpose
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.records.read_plan import Plan
    from vault.retention.filter import Gate, RecordGate
    from vault.subjects.record_body import Picked, Sealed
    from vault.subjects.store import Row, StoredSubject


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


def show_people(
    plan: Plan, tenant: TenantId, people: Iterable[tuple[StoredSubject, SubjectKeys]], now: Moment
) -> list[SubjectAnswer | None]:
    """Render the views of a plan for subjects of which no value can have expired or be held.

    Returns:
        the answer for each subject (of a collection of many a list, newest record first). Values in clear are raw
        JSON: they are sealed as canonical JSON. None if a gate has to decide, by :func:`show_through`.

    Raises:
        CannotOpen: a value does not open at its place; nothing is shown.
    """
    if plan.profile is None or not plan.is_clear_profile:
        return [_show_one(plan, tenant, found, keys, now) for found, keys in people]
    clear = ClearProfiles(plan.profile, tenant, now)
    shown: list[SubjectAnswer | None] = list(clear.show(people))
    for position, found, keys in clear.others:
        shown.insert(position, _show_one(plan, tenant, found, keys, now))
    return shown


def _show_one(
    plan: Plan, tenant: TenantId, found: StoredSubject, keys: SubjectKeys, now: Moment
) -> SubjectAnswer | None:
    if found.standing is not None and has_holds(found.standing):
        return None
    fields: dict[str, Any] = {}
    missing: dict[str, Refusal] = {}
    is_shown = _show_all(plan, tenant, found, keys, now, fields, missing, None)
    return SubjectAnswer(found.id, fields, missing) if is_shown else None


def show_through(
    gate: Gate, plan: Plan, tenant: TenantId, found: StoredSubject, keys: SubjectKeys, now: Moment
) -> SubjectAnswer:
    """Render the values of one subject that a gate lets through; otherwise as :func:`show_people`."""
    fields: dict[str, Any] = {}
    missing: dict[str, Refusal] = {}
    _show_all(plan, tenant, found, keys, now, fields, missing, gate)
    return SubjectAnswer(found.id, fields, missing)


def _show_all(
    plan: Plan,
    tenant: TenantId,
    found: StoredSubject,
    keys: SubjectKeys,
    now: Moment,
    fields: dict[str, Any],
    missing: dict[str, Refusal],
    gate: Gate | None,
) -> bool:
    """Render the profile, then the collections of many. Returns False if a gate has to decide."""
    if plan.profile is not None:
        if found.profile is None:
            missing |= dict.fromkeys(plan.profile.asked, NO_VALUE)
        else:
            aad = record_aad(tenant, found.id, PROFILE, found.id)
            record_gate = None if gate is None else gate.before(PROFILE, found.id)
            if not show_row(plan.profile, aad, found.profile, keys, now, fields, missing, record_gate):
                return False
    for collection, items in plan.many:
        rows = found.many[collection][:MOST_RECORDS]
        if not _show_many(items, tenant, found, rows, keys, now, fields, missing, gate):
            return False
    return True


def _is_due(body: Sealed, now: Moment) -> bool:
    return body.due is not None and body.due <= now.microseconds


def show_row(
    items: Items,
    aad: bytes,
    packed: bytes,
    keys: SubjectKeys,
    now: Moment,
    fields: dict[str, Any],
    missing: dict[str, Refusal],
    gate: RecordGate | None = None,
) -> bool:
    """Render views of one record.

    Args:
        items: the views.
        aad: the record's :func:`vault.crypto.seal.record_aad`.
        packed: the record's body.
        keys: the subject's.
        now: values that expire by then are not shown.
        fields: receives the values.
        missing: receives the refusals.
        gate: the record's, if one has to decide.

    Returns:
        False if a gate has to decide and there is none; nothing is shown then.
    """
    body = open_body(packed)
    is_old = gate is None and body.since + items.lasts <= now.microseconds
    if is_old and items.lasting.may_be_over(body.since, body.origins, now.microseconds):
        return False
    is_whole = items.needed <= body.values.keys()
    if gate is None and not is_whole and any("." in name for name in body.values):
        return False  # a generalised value has its own end
    if gate is None and is_whole and not _is_due(body, now):
        # The common case: the record has all values and none of them expires.
        shown, names = items.each, items.fields
    else:
        shown = _items_to_show(items.each, body, packed, now, gate, missing)
        names = tuple(item.field for item in shown)
    opened = keys.open_all(names, body.values, aad)
    if items.all_clear and shown is items.each:
        fields.update(zip(items.asked, map(Raw, opened), strict=True))
        return True
    for (asked, _field, kind, view), plain in zip(shown, opened, strict=True):
        fields[asked] = Raw(plain) if view is None else show(kind, view, decode(plain), now.day)
    return True


def _items_to_show(
    items: tuple[Item, ...],
    body: Sealed,
    packed: bytes,
    now: Moment,
    gate: RecordGate | None,
    missing: dict[str, Refusal],
) -> tuple[Item, ...]:
    """Return the items that may be shown; note in ``missing`` why the others are missing, expired or held."""
    stored = []
    for item in items:
        stored_item = _stored_item(item, body)
        if isinstance(stored_item, Refusal):
            missing[item.asked] = stored_item
        else:
            stored.append(stored_item)
    if gate is None and not _is_due(body, now):
        return tuple(stored)
    return _without_expired(stored, body, packed, now, gate, missing)


def _stored_item(item: Item, body: Sealed) -> Item | Refusal:
    """Find a value in a body: the value itself or, if that has been generalised, the same view that replaced it."""
    if item.field in body.values:
        return item
    if item.view is not None and f"{item.field}.{item.view}" in body.values:
        return Item(item.asked, f"{item.field}.{item.view}", item.type, None)
    is_general = any(name.startswith(f"{item.field}.") for name in body.values)
    return GENERALISED if is_general else NO_VALUE


def _without_expired(
    items: Iterable[Item],
    body: Sealed,
    packed: bytes,
    now: Moment,
    gate: RecordGate | None,
    missing: dict[str, Refusal],
) -> tuple[Item, ...]:
    """Return the items without those that are expired or held; note why in ``missing``."""
    values = unpack(packed)
    kept = []
    for item in items:
        stored = values[item.field]
        if gate is not None:
            refusal = gate.refusal(body, item.field, stored, item.view)
        else:
            is_over = stored.expires_at is not None and stored.expires_at <= now.microseconds
            refusal = RETENTION_OVER if is_over else None
        if refusal is None:
            kept.append(item)
        else:
            missing[item.asked] = refusal
    return tuple(kept)


def _show_many(
    items: Items,
    tenant: TenantId,
    found: StoredSubject,
    rows: list[Row],
    keys: SubjectKeys,
    now: Moment,
    fields: dict[str, Any],
    missing: dict[str, Refusal],
    gate: Gate | None,
) -> bool:
    """Render a collection of many as one list for each view, with null for a record without the value.

    If no record has a value to show, the refusal of the view is the weightiest of the records: held, else expired.
    """
    columns: dict[str, list[Any]] = {asked: [] for asked in items.asked}
    refusals: dict[str, Refusal] = {}
    for row in rows:
        shown: dict[str, Any] = {}
        refused: dict[str, Refusal] = {}
        aad = record_aad(tenant, found.id, row.collection, row.id)
        record_gate = None if gate is None else gate.before(row.collection, row.id)
        if not show_row(items, aad, row.body, keys, now, shown, refused, record_gate):
            return False
        for asked, column in columns.items():
            column.append(shown.get(asked))
        for asked, refusal in refused.items():
            refusals[asked] = max(refusals.get(asked, refusal), refusal, key=_weight)
    for asked, column in columns.items():
        if any(value is not None for value in column):
            fields[asked] = column
        else:
            missing[asked] = refusals.get(asked, NO_VALUE)
    return True


def _weight(refusal: Refusal) -> int:
    return (NO_VALUE.code, RETENTION_OVER.code, HELD.code).index(refusal.code)


async def show_all(
    services: Services,
    tenant: TenantId,
    purpose: Purpose,
    plan: Plan,
    people: Sequence[tuple[StoredSubject, SubjectKeys]],
    moment: datetime,
) -> list[SubjectAnswer]:
    """Render the views of a plan for subjects, in their order.

    Raises:
        CannotOpen: a value does not open at its place.
        Unavailable: the database does not answer.
    """
    answers = show_people(plan, tenant, people, Moment.of(moment))
    undecided = [person for person, answer in zip(people, answers, strict=True) if answer is None]
    if not undecided:
        return [answer for answer in answers if answer is not None]
    decided = iter(await _show_with_gates(services, tenant, purpose, plan, undecided, moment))
    return [next(decided) if answer is None else answer for answer in answers]


async def _show_with_gates(
    services: Services,
    tenant: TenantId,
    purpose: Purpose,
    plan: Plan,
    people: Sequence[tuple[StoredSubject, SubjectKeys]],
    moment: datetime,
) -> list[SubjectAnswer]:
    bodies = [body for found, _keys in people for body in bodies_of(found)]
    gate_of = await gates(services, tenant, purpose, [found for found, _keys in people], bodies, moment)
    now = Moment.of(moment)
    return [show_through(gate_of[found.id], plan, tenant, found, keys, now) for found, keys in people]


class SubjectAnswer(msgspec.Struct, frozen=True, gc=False, rename={"values": "fields"}):
    """The answer for one subject: values by the name in the request, and why the others are not shown.

    Attributes:
        subject: the subject's id.
        values: each raw JSON or plain; or one raw JSON object with all granted values.
        denied: the refusals.
    """

    subject: SubjectId
    values: dict[str, Any] | Raw
    denied: dict[str, Refusal]

    @property
    def fields(self) -> dict[str, Any]:
        """Return the values by the name in the request."""
        return _split(self.values) if isinstance(self.values, Raw) else self.values


_split = msgspec.json.Decoder(dict[str, Raw]).decode


class ClearProfiles:
    """Renders the subjects whose profile has all requested values, none of which can be expired or held.

    Subjects go through the loop one by one, so that a value is opened while its row is in the processor's caches.
    Everything that a function call would do for each of them is done before the loop or inline.

    Args:
        items: the views of the profile, all in clear.
        tenant: the subjects' tenant.
        now: values that expire by then are not shown.

    Attributes:
        others: the other subjects and their positions in the list; filled while subjects are rendered.
    """

    def __init__(self, items: Items, tenant: TenantId, now: Moment) -> None:
        self._items = items
        self._tenant = tenant
        self._now = now
        self.others: list[tuple[int, StoredSubject, SubjectKeys]] = []

    def show(self, people: Iterable[tuple[StoredSubject, SubjectKeys]]) -> Iterator[SubjectAnswer]:
        """Render subjects, in their order.

        Raises:
            CannotOpen: a value does not open at its place; nothing is shown.
        """
        template = self._items.template
        opened = open_profiles(self._items.fields, self._tenant, PROFILE, self._picked(people))
        return (SubjectAnswer(subject, Raw(template % tuple(values)), {}) for subject, values in opened)

    def _picked(
        self, people: Iterable[tuple[StoredSubject, SubjectKeys]]
    ) -> Iterator[tuple[SubjectId, SubjectKeys, tuple[bytes, ...]]]:
        pick, lasts, now = self._items.picker.pick, self._items.lasts, self._now.microseconds
        for position, (found, keys) in enumerate(people):
            try:
                is_held = found.standing is not None and has_holds(found.standing)
                picked = None if found.profile is None or is_held else pick(found.profile)
            except NotWhole:
                picked = None
            is_odd = picked is None or picked.due is not None or picked.since + lasts <= now
            if picked is None or (is_odd and self._may_be_over(picked)):
                self.others.append((position, found, keys))
            else:
                yield found.id, keys, astuple(picked.values)

    def _may_be_over(self, picked: Picked) -> bool:
        items, now = self._items, self._now.microseconds
        if picked.due is not None and picked.due <= now:
            return True
        is_old = picked.since + items.lasts <= now
        return is_old and items.lasting.may_be_over(picked.since, bytes(picked.origins), now)
