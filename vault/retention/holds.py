"""Legal holds: which values each covers, and for what they may be used meanwhile. Pure.

What a hold covers is not deleted by anything until the hold is lifted (Art. 17(3)(e) GDPR), and is used for nothing
but what it is held for. Days are counted as the proleptic calendar does (``date.toordinal``), in UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from vault.catalogue.model import HOME, covers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CODE: Final = "held"
"""The code of what is refused because of a hold."""


class Held(Protocol):
    """A hold as it is marked on a person's row; rooms are blind to each other, and the mark is consent's."""

    @property
    def hold(self) -> bytes:
        """Its id, 16 bytes."""

    @property
    def purpose(self) -> str:
        """For which what it covers is used."""

    @property
    def also_for(self) -> tuple[str, ...]:
        """Purposes that go on with it meanwhile."""

    @property
    def names(self) -> tuple[str, ...]:
        """Canonical names of the fields that it covers."""

    @property
    def since(self) -> int | None:
        """The first day on which a record that it covers happened; none: from the beginning."""

    @property
    def until(self) -> int | None:
        """The last day."""


class Standing(Protocol):
    """Where a person stands, as far as holds go."""

    @property
    def holds(self) -> Sequence[Held]:
        """The holds on the person's data."""


def held_by(standing: Standing, whole: str, happened: int) -> Held | None:
    """Return a hold that covers a value, if there is one; as long as there is, nothing may delete the value.

    Args:
        standing: the person's.
        whole: the whole name of its field; of what was generalised also that of the view.
        happened: the day on which its record happened. Of the profile it does not matter: who a person is belongs to
            whatever they did on any day.
    """
    return next((held for held in standing.holds if is_covered(held, whole, happened)), None)


def refusing(standing: Standing, purpose: str, whole: str, happened: int) -> Held | None:
    """Return the hold because of which a value is not used for a purpose; none: it may be.

    Of several holds on one value each goes on with its own purpose, and any other purpose only if all of them let it.
    Whether the purpose answers the person, which no hold stops, is for the caller to know.
    """
    covering = [held for held in standing.holds if is_covered(held, whole, happened)]
    if any(held.purpose == purpose for held in covering):
        return None
    return next((held for held in covering if purpose not in held.also_for), None)


def is_covered(held: Held, whole: str, happened: int) -> bool:
    """Tell whether a hold covers a value; see :func:`held_by`."""
    if not any(covers(whole, name) for name in held.names):
        return False
    if whole.startswith(f"{HOME}."):
        return True
    return (held.since is None or held.since <= happened) and (held.until is None or happened <= held.until)


def purposes_of(holds: Iterable[Held]) -> tuple[str, ...]:
    """Name the purposes for which anything is held: the holds' own, and those that go on meanwhile."""
    return tuple(sorted({name for held in holds for name in (held.purpose, *held.also_for)}))
