"""The loop in which a batch spends half of its time: whole profiles in clear, written as JSON while they are at hand.

People go through it one by one, so that what is read of somebody is opened while it is in the processor's caches; and
whatever a call would do for each of them is done before, or in the loop itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from vault.consent.state import has_holds
from vault.crypto.seal import open_profiles
from vault.errors import Refusal
from vault.ids import SubjectId
from vault.subjects.record_body import NotWhole
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.records.read_plan import Items, Moment
    from vault.subjects.record_body import Picked
    from vault.subjects.store import Found


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
