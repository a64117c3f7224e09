"""Steps 8 and 9a of a read: open what is there and still may be shown, and show it as the view.

What came in so lately that nothing can have ended it is shown at once; all else is looked at through a
:class:`~vault.retention.filter.Gate`, for which the caller fetches what decides.

Show people: most at once; of whom something may be over or held, what decides is fetched first, for all together.

The loop in which a batch spends half of its time: whole profiles in clear, written as JSON while they are at hand.

People go through it one by one, so that what is read of somebody is opened while it is in the processor's caches; and
whatever a call would do for each of them is done before, or in the loop itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from vault.catalogue.types import decode, show
from vault.consent.state import has_holds
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
    from vault.subjects.store import Found, Row


NO_VALUE = Refusal(
    "no-value",
    "This person has no such value here: it was never given, or was corrected away or erased. Ask the person if you "
    "need it.",
    "the record",
)
GENERALISED = Refusal(
    "no-value",
    "The time of this value has run out, and only a coarser view of it was kept. Ask for that view if it is enough.",
    "retention",
)


def show_people(
    plan: Plan, tenant: TenantId, people: Iterable[tuple[Found, SubjectKeys]], now: Moment
) -> list[Shown | None]:
    """Open and show all that a plan names of subjects, of each if nothing of it can be over or held.

    Returns:
        what is shown of each (of a collection of many a list, newest record first). Values in clear come as raw JSON:
        they are canonical JSON already. None: the subject has to be looked at closer, by :func:`show_through`.

    Raises:
        CannotOpen: a value does not open at its place; nothing is shown then.
    """
    if plan.profile is None or not plan.is_clear_profile:
        return [_show_one(plan, tenant, found, keys, now) for found, keys in people]
    clear = ClearProfiles(plan.profile, tenant, now)
    shown: list[Shown | None] = list(clear.show(people))
    for position, found, keys in clear.aside:
        shown.insert(position, _show_one(plan, tenant, found, keys, now))
    return shown


def _show_one(plan: Plan, tenant: TenantId, found: Found, keys: SubjectKeys, now: Moment) -> Shown | None:
    if found.standing is not None and has_holds(found.standing):
        return None
    fields: dict[str, Any] = {}
    missing: dict[str, Refusal] = {}
    is_shown = _show_all(plan, tenant, found, keys, now, fields, missing, None)
    return Shown(found.id, fields, missing) if is_shown else None


def show_through(gate: Gate, plan: Plan, tenant: TenantId, found: Found, keys: SubjectKeys, now: Moment) -> Shown:
    """Open and show what of one subject the gate lets through; otherwise as :func:`show_people`."""
    fields: dict[str, Any] = {}
    missing: dict[str, Refusal] = {}
    _show_all(plan, tenant, found, keys, now, fields, missing, gate)
    return Shown(found.id, fields, missing)


def _show_all(
    plan: Plan,
    tenant: TenantId,
    found: Found,
    keys: SubjectKeys,
    now: Moment,
    fields: dict[str, Any],
    missing: dict[str, Refusal],
    gate: Gate | None,
) -> bool:
    """Show the profile, then the collections of many; tells whether it could without a gate."""
    if plan.profile is not None:
        if found.profile is None:
            missing |= dict.fromkeys(plan.profile.asked, NO_VALUE)
        else:
            where = record_aad(tenant, found.id, PROFILE, found.id)
            before = None if gate is None else gate.before(PROFILE, found.id)
            if not show_row(plan.profile, where, found.profile, keys, now, fields, missing, before):
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
    where: bytes,
    packed: bytes,
    keys: SubjectKeys,
    now: Moment,
    fields: dict[str, Any],
    missing: dict[str, Refusal],
    gate: RecordGate | None = None,
) -> bool:
    """Open and show views of one record into ``fields``, and say in ``missing`` what is not there.

    Args:
        items: what to show.
        where: the record's :func:`vault.crypto.seal.record_aad`.
        packed: its body.
        keys: its subject's.
        now: what has run out by then is not shown.
        fields: takes the values.
        missing: takes the refusals.
        gate: of the record, where the person is looked at closer.

    Returns:
        whether it was shown; if not, it has to be looked at through a gate.
    """
    body = open_body(packed)
    is_old = gate is None and body.since + items.lasts <= now.microseconds
    if is_old and items.lasting.may_be_over(body.since, body.origins, now.microseconds):
        return False
    is_whole = items.needed <= body.values.keys()
    if gate is None and not is_whole and any("." in name for name in body.values):
        return False  # what is left in a value's place has an end of its own
    if gate is None and is_whole and not _is_due(body, now):
        # Nearly always everything is there and nothing of it falls due.
        each, names = items.each, items.fields
    else:
        each = _what_is_left(items.each, body, packed, now, gate, missing)
        names = tuple(item.field for item in each)
    opened = keys.open_all(names, body.values, where)
    if items.all_clear and each is items.each:
        fields.update(zip(items.asked, map(Raw, opened), strict=True))
        return True
    for (asked, _field, kind, view), plain in zip(each, opened, strict=True):
        fields[asked] = Raw(plain) if view is None else show(kind, view, decode(plain), now.day)
    return True


def _what_is_left(
    items: tuple[Item, ...],
    body: Sealed,
    packed: bytes,
    now: Moment,
    gate: RecordGate | None,
    missing: dict[str, Refusal],
) -> tuple[Item, ...]:
    """Leave out, and say why, what is not there, what has run out, and what is held for something else."""
    there = []
    for item in items:
        found = _as_it_lies(item, body)
        if isinstance(found, Refusal):
            missing[item.asked] = found
        else:
            there.append(found)
    if gate is None and not _is_due(body, now):
        return tuple(there)
    return _not_run_out(there, body, packed, now, gate, missing)


def _as_it_lies(item: Item, body: Sealed) -> Item | Refusal:
    """Find a value in a body: itself, or where that has been generalised, the very view that was kept in its place."""
    if item.field in body.values:
        return item
    if item.view is not None and f"{item.field}.{item.view}" in body.values:
        return Item(item.asked, f"{item.field}.{item.view}", item.type, None)
    is_general = any(name.startswith(f"{item.field}.") for name in body.values)
    return GENERALISED if is_general else NO_VALUE


def _not_run_out(
    each: Iterable[Item],
    body: Sealed,
    packed: bytes,
    now: Moment,
    gate: RecordGate | None,
    missing: dict[str, Refusal],
) -> tuple[Item, ...]:
    """Leave out what has run out, and what is held."""
    whole = unpack(packed)
    kept = []
    for item in each:
        stored = whole[item.field]
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
    found: Found,
    rows: list[Row],
    keys: SubjectKeys,
    now: Moment,
    fields: dict[str, Any],
    missing: dict[str, Refusal],
    gate: Gate | None,
) -> bool:
    """Show a collection of many as one list a view; a record without the value has a null at its place.

    Where no record has a value to show, it says so of all of them: that one is held, else that one is over.
    """
    columns: dict[str, list[Any]] = {asked: [] for asked in items.asked}
    why: dict[str, Refusal] = {}
    for row in rows:
        shown: dict[str, Any] = {}
        lacking: dict[str, Refusal] = {}
        where = record_aad(tenant, found.id, row.collection, row.id)
        before = None if gate is None else gate.before(row.collection, row.id)
        if not show_row(items, where, row.body, keys, now, shown, lacking, before):
            return False
        for asked, column in columns.items():
            column.append(shown.get(asked))
        for asked, refusal in lacking.items():
            why[asked] = max(why.get(asked, refusal), refusal, key=_weight)
    for asked, column in columns.items():
        if any(value is not None for value in column):
            fields[asked] = column
        else:
            missing[asked] = why.get(asked, NO_VALUE)
    return True


def _weight(refusal: Refusal) -> int:
    return (NO_VALUE.code, RETENTION_OVER.code, HELD.code).index(refusal.code)


async def show_all(
    services: Services,
    tenant: TenantId,
    purpose: Purpose,
    opening: Plan,
    people: Sequence[tuple[Found, SubjectKeys]],
    moment: datetime,
) -> list[Shown]:
    """Show all that a plan names of people, in their order, as :func:`vault.records.render.show_people` does.

    Raises:
        CannotOpen: a value does not open at its place.
        Unavailable: the database does not answer.
    """
    shown = show_people(opening, tenant, people, Moment.of(moment))
    closer = [person for person, each in zip(people, shown, strict=True) if each is None]
    looked = iter(await _show_closer(services, tenant, purpose, opening, closer, moment) if closer else ())
    return [next(looked) if each is None else each for each in shown]


async def _show_closer(
    services: Services,
    tenant: TenantId,
    purpose: Purpose,
    opening: Plan,
    people: Sequence[tuple[Found, SubjectKeys]],
    moment: datetime,
) -> list[Shown]:
    bodies = [body for found, _keys in people for body in bodies_of(found)]
    through = await gates(services, tenant, purpose, [found for found, _keys in people], bodies, moment)
    now = Moment.of(moment)
    return [show_through(through[found.id], opening, tenant, found, keys, now) for found, keys in people]


class Shown(msgspec.Struct, frozen=True, gc=False, rename={"values": "fields"}):
    """What one subject's part of the answer is: what is shown by the name asked for, and of all else why not.

    Attributes:
        subject: whom it is about.
        values: each raw JSON or plain; or one raw JSON object of all that was granted.
        denied: the refusals.
    """

    subject: SubjectId
    values: dict[str, Any] | Raw
    denied: dict[str, Refusal]

    @property
    def fields(self) -> dict[str, Any]:
        """Return the values by the name asked for."""
        return _take_apart(self.values) if isinstance(self.values, Raw) else self.values


_take_apart = msgspec.json.Decoder(dict[str, Raw]).decode


class ClearProfiles:
    """Shows those whose profile has all that is asked for, none of which can be over or held.

    Args:
        items: what to show of the profile; all of it in clear.
        tenant: theirs.
        now: what has run out by then is not shown.

    Attributes:
        aside: the others, and where in the list they belong; filled while people are shown.
    """

    def __init__(self, items: Items, tenant: TenantId, now: Moment) -> None:
        self._items = items
        self._tenant = tenant
        self._now = now
        self.aside: list[tuple[int, Found, SubjectKeys]] = []

    def show(self, people: Iterable[tuple[Found, SubjectKeys]]) -> Iterator[Shown]:
        """Show people, in their order.

        Raises:
            CannotOpen: a value does not open at its place; nothing is shown then.
        """
        template = self._items.template
        opened = open_profiles(self._items.fields, self._tenant, PROFILE, self._picked(people))
        return (Shown(subject, Raw(template % tuple(values)), {}) for subject, values in opened)

    def _picked(
        self, people: Iterable[tuple[Found, SubjectKeys]]
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
                self.aside.append((position, found, keys))
            else:
                yield found.id, keys, astuple(picked.values)

    def _may_be_over(self, picked: Picked) -> bool:
        items, now = self._items, self._now.microseconds
        if picked.due is not None and picked.due <= now:
            return True
        is_old = picked.since + items.lasts <= now
        return is_old and items.lasting.may_be_over(picked.since, bytes(picked.origins), now)
