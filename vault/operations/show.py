"""Steps 8 and 9a of a read: open what is there and due to nobody, and show it as the view."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from vault.catalogue.model import CLEAR
from vault.catalogue.types import decode
from vault.crypto.seal import place
from vault.errors import Refusal
from vault.storage.columns import to_microseconds
from vault.subjects.records import Picker, open_body, unpack
from vault.subjects.store import MOST_RECORDS, PROFILE
from vault.subjects.views import show

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.policy.decision import Decision
    from vault.subjects.records import Sealed
    from vault.subjects.store import Found, Row

NO_VALUE = Refusal(
    "no-value",
    "This person has no such value here: it was never given, or was corrected away or erased. Ask the person if you "
    "need it.",
    "the record",
)
RETENTION_OVER = Refusal(
    "retention-over",
    "The time for which this value may be kept has run out. Ask the person again if you still need it.",
    "retention",
)

Raw = msgspec.Raw


class Item(NamedTuple):
    """One view to show: the name that was asked for, the field in its record, and how to show it (none: in clear)."""

    asked: str
    field: str
    type: str
    view: str | None


class Items(NamedTuple):
    """The views to show of one collection's records, and what the hot loop would otherwise work out each time."""

    each: tuple[Item, ...]
    asked: tuple[str, ...]
    fields: tuple[str, ...]
    needed: frozenset[str]
    all_clear: bool
    template: bytes
    picker: Picker

    @classmethod
    def of(cls, items: Iterable[Item]) -> Items:
        """Put items together."""
        each = tuple(items)
        return cls(
            each,
            tuple(item.asked for item in each),
            tuple(item.field for item in each),
            frozenset(item.field for item in each),
            all(item.view is None for item in each),
            b"{" + b",".join([msgspec.json.encode(item.asked).replace(b"%", b"%%") + b":%b" for item in each]) + b"}",
            Picker(tuple(dict.fromkeys(item.field for item in each))),
        )


class Clear(msgspec.Struct, frozen=True, gc=False):
    """A profile shown in clear, written as JSON while its values were at hand: in a batch that saves a tenth."""

    items: Items
    json: Raw

    def fields(self) -> dict[str, Any]:
        """Return the values by the name asked for, each as raw JSON."""
        return _take_apart(self.json)


_take_apart = msgspec.json.Decoder(dict[str, Raw]).decode


@dataclass(frozen=True, slots=True)
class Plan:
    """What to open of each subject, worked out once for each kept decision."""

    profile: Items | None
    many: tuple[tuple[str, Items], ...]
    is_clear_profile: bool = False

    @property
    def collections(self) -> tuple[str, ...]:
        """Return the collections of many records that are needed."""
        return tuple(name for name, _items in self.many)


@dataclass(frozen=True, slots=True)
class Moment:
    """The present, in the forms in which opening needs it."""

    day: date
    microseconds: int

    @classmethod
    def of(cls, now: datetime) -> Moment:
        """Take a moment apart."""
        return cls(now.date(), to_microseconds(now))


@lru_cache(maxsize=4096)
def plan(decision: Decision) -> Plan:
    """Sort the granted views of a decision by collection. Decisions compare by identity, so this is a look-up."""
    by_collection: dict[str, list[Item]] = {}
    for asked, shown in decision.granted:
        field = shown.field
        item = Item(asked, field.name, field.type, None if shown.view == CLEAR else shown.view)
        by_collection.setdefault(field.collection, []).append(item)
    profile = by_collection.pop(PROFILE, None)
    one = None if profile is None else Items.of(profile)
    many = tuple((name, Items.of(items)) for name, items in sorted(by_collection.items()))
    is_clear = one is not None and one.all_clear and not many and len(one.needed) == len(one.each)
    return Plan(one, many, is_clear)


def show_subject(
    plan: Plan, tenant: TenantId, found: Found, keys: SubjectKeys, now: Moment
) -> tuple[dict[str, Any] | Clear, dict[str, Refusal]]:
    """Open and show all that a plan names of one subject.

    Returns:
        the values by the name asked for (a list, newest record first, for a collection of many), and why some are
        missing. Values in clear come as raw JSON: they are canonical JSON already. A whole profile in clear comes as
        :class:`Clear`.

    Raises:
        CannotOpen: a value does not open at its place; nothing of the subject is shown then.
    """
    if plan.is_clear_profile and found.profile is not None:
        clear = _show_clear(plan, tenant, found, found.profile, keys, now)
        if clear is not None:
            return clear, {}
    fields: dict[str, Any] = {}
    missing: dict[str, Refusal] = {}
    if plan.profile is not None:
        if found.profile is None:
            missing = dict.fromkeys(plan.profile.asked, NO_VALUE)
        else:
            where = place(tenant, found.id, PROFILE, found.id)
            show_row(plan.profile, where, found.profile, keys, now, fields, missing)
    for collection, items in plan.many:
        _show_many(items, tenant, found, found.many[collection][:MOST_RECORDS], keys, now, fields, missing)
    return fields, missing


def _show_clear(
    plan: Plan, tenant: TenantId, found: Found, packed: bytes, keys: SubjectKeys, now: Moment
) -> Clear | None:
    """Show a profile that is asked for in clear; none where a part of it is missing or has run out."""
    items = plan.profile
    picked = None if items is None else items.picker.pick(packed)
    if items is None or picked is None:
        return None
    due, _since, sealed = picked
    if due is not None and due <= now.microseconds:
        return None
    opened = keys.open_each(items.fields, sealed, place(tenant, found.id, PROFILE, found.id))
    return Clear(items, Raw(items.template % tuple(opened)))


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
) -> None:
    """Open and show views of one record into ``fields``, and say in ``missing`` what is not there.

    Args:
        items: what to show.
        where: the record's :func:`vault.crypto.seal.place`.
        packed: its body.
        keys: its subject's.
        now: what has run out by then is not shown.
        fields: takes the values.
        missing: takes the refusals.
    """
    body = open_body(packed)
    if items.needed <= body.values.keys() and not _is_due(body, now):
        # Nearly always everything is there and nothing of it falls due.
        each, names = items.each, items.fields
    else:
        each = _what_is_left(items.each, body, packed, now, missing)
        names = tuple(item.field for item in each)
    opened = keys.open_all(names, body.values, where)
    if items.all_clear and each is items.each:
        fields.update(zip(items.asked, map(Raw, opened), strict=True))
        return
    for (asked, _field, kind, view), plain in zip(each, opened, strict=True):
        fields[asked] = Raw(plain) if view is None else show(kind, view, decode(plain), now.day)


def _what_is_left(
    items: tuple[Item, ...], body: Sealed, packed: bytes, now: Moment, missing: dict[str, Refusal]
) -> tuple[Item, ...]:
    """Leave out, and say why, what is not there and what has run out."""
    missing |= {item.asked: NO_VALUE for item in items if item.field not in body.values}
    there = tuple(item for item in items if item.field in body.values)
    if not _is_due(body, now):
        return there
    return _not_run_out(there, packed, now, missing)


def _not_run_out(each: tuple[Item, ...], packed: bytes, now: Moment, missing: dict[str, Refusal]) -> tuple[Item, ...]:
    """Leave out what has run out."""
    body = unpack(packed)
    kept = []
    for item in each:
        expires = body[item.field].expires_at
        if expires is not None and expires <= now.microseconds:
            missing[item.asked] = RETENTION_OVER
        else:
            kept.append(item)
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
) -> None:
    """Show a collection of many as one list a view; a record without the value has a null at its place."""
    columns: dict[str, list[Any]] = {asked: [] for asked in items.asked}
    for row in rows:
        shown: dict[str, Any] = {}
        where = place(tenant, found.id, row.collection, row.id)
        show_row(items, where, row.body, keys, now, shown, {})
        for asked, column in columns.items():
            column.append(shown.get(asked))
    for asked, column in columns.items():
        if any(value is not None for value in column):
            fields[asked] = column
        else:
            missing[asked] = NO_VALUE
