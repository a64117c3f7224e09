"""What a person's other entry had said, carried into the ledger of the one that stays. Pure.

A merge only narrows:

- A no, an objection that stands and a restriction always go along, and count.
- A yes goes along where the one who stays has never said a word about that purpose, or where it changes nothing: as
  proof of what was agreed to at the time. To somebody who is restricted no yes is added that counts.
- A double opt-in that waits does not: its link was made for a person who is no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from vault.consent.event import OBJECTION, YES
from vault.consent.state import NOTHING, UNSAID, apply, fold

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vault.consent.event import Event
    from vault.consent.state import PurposeStanding, Standing

DENIED = frozenset({"refused", "withdrawn"})


class _Going(NamedTuple):
    event: Event
    narrows: bool


def carried(own: Standing, events: Sequence[Event]) -> list[Event]:
    """Choose which of the other entry's events go along.

    Args:
        own: where the one who stays stands.
        events: the other entry's whole ledger, in its order.

    Returns:
        copies with the origin ``merged``, in the order in which they are to be appended; their ids, subject and
        evidence are still those of the originals.
    """
    theirs = fold(events)
    chosen = [each for purpose, said in theirs.purposes.items() for each in _about(purpose, said, events)]
    if theirs.restricted_at is not None:
        chosen += [_Going(each, narrows=True) for each in _standing_restrictions(events)]
    standing, going = own, []
    for event, narrows in chosen:
        copy = replace(event, origin="merged", answers=event.id)
        after = apply(standing, copy)
        if narrows or after == standing or (own.restricted_at is None and _is_silent(own, event.purpose)):
            standing = after
            going.append(copy)
    return going


def _about(purpose: str, said: PurposeStanding, events: Sequence[Event]) -> Iterator[_Going]:
    """List what was said of one purpose and still matters: consents by their time, the last word, the objections."""
    mine = [each for each in events if each.purpose == purpose]
    last = next((each for each in mine if each.id.bytes == said.event), None)
    if last is not None and said.state not in {"none", "pending"}:
        before = [each for each in mine if each.kind in YES and each.occurred_at < last.occurred_at]
        for each in sorted(before, key=lambda each: each.occurred_at):
            yield _Going(each, narrows=False)
        yield _Going(last, narrows=said.state in DENIED)
    for each in _standing_objections(purpose, mine):
        if each is not last:
            yield _Going(each, narrows=True)


def _standing_objections(purpose: str, mine: Sequence[Event]) -> list[Event]:
    """List what made up an objection that stands: none that was overruled, or taken back, before."""
    found: list[Event] = []
    standing = NOTHING
    for event in mine:
        standing = apply(standing, event)
        if standing.purposes.get(purpose, UNSAID).objection not in {"pending", "upheld"}:
            found = []
        elif event.kind in OBJECTION:
            found.append(event)
    return found


def _standing_restrictions(events: Sequence[Event]) -> list[Event]:
    """List the restrictions since the last one was lifted."""
    found: list[Event] = []
    standing = NOTHING
    for event in events:
        standing = apply(standing, event)
        if standing.restricted_at is None:
            found = []
        elif event.kind == "restricted":
            found.append(event)
    return found


def _is_silent(standing: Standing, purpose: str | None) -> bool:
    said = standing.purposes.get(purpose or "", UNSAID)
    return said.state == "none" and said.objection == "none"
