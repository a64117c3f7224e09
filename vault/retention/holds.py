"""Legal holds: which values each covers, and for what they may be used meanwhile. Pure.

What a hold covers is not deleted by anything until the hold is lifted (Art. 17(3)(e) GDPR), and is used for nothing
but what it is held for. Days are counted as the proleptic calendar does (``date.toordinal``), in UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vault.catalogue.model import HOME, covers

if TYPE_CHECKING:
    from vault.consent.state import Held, Standing

CODE: Final = "held"
"""The code of what is refused because of a hold."""


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
