"""Select the values of a package and decide how they are shown. Pure.

:class:`Grounds` finds the purposes that use a subject's data, and until when each value is kept (Art. 15(1)(a) and (d)
GDPR). :class:`Selection` decides which values belong in a package (Art. 20(1)), and :func:`mask_of` which of them are
masked because they are about other people (Arts. 15(4) and 20(4)).
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Final

from vault.catalogue.model import CLEAR, LegalBasis, Origin, Scope
from vault.catalogue.retention import Since
from vault.catalogue.types import TYPES
from vault.clock import to_microseconds
from vault.consent.legal_ground import purpose_ground, refusal
from vault.export.schema import RetentionEnd
from vault.retention.ends import day_of, ends_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from vault.catalogue.model import Catalogue, Field, FieldView, Purpose
    from vault.consent.model import ConsentState
    from vault.export.schema import InUse
    from vault.export.survey import RetainedValues, Survey
    from vault.policy.policy_set import PolicySet
    from vault.retention.ends import Value


MOVING: Final = frozenset({Since.LAST_CONTACT, Since.RELATIONSHIP_ENDED})
"""Starting points of retention that move with each new contact."""
PORTABLE: Final = frozenset({LegalBasis.CONSENT, LegalBasis.CONTRACT})
"""Legal bases of data that is portable (Art. 20(1)(a))."""
HELD: Final[frozenset[InUse]] = frozenset({"in-use", "restricted"})
"""States of a purpose that keep data; restricted data is stored but not used."""


def states(policy_set: PolicySet, consent_state: ConsentState, now: datetime) -> dict[str, InUse]:
    """Return for each purpose whether it uses the subject's data at a moment, or why it does not."""
    return {name: _state(policy_set, purpose, consent_state, now) for name, purpose in policy_set.purposes.items()}


def _state(policy_set: PolicySet, purpose: Purpose, consent_state: ConsentState, now: datetime) -> InUse:
    if not purpose.in_force(now.date()):
        return "not-in-force"
    refused = refusal(purpose_ground(policy_set, purpose, now.date()), consent_state, to_microseconds(now))
    if refused is None:
        return "in-use"
    codes: dict[str, InUse] = {"objected": "objected", "restricted": "restricted"}
    return codes.get(refused.code, "consent-missing")


def views_of(catalogue: Catalogue, field: Field) -> list[FieldView]:
    """List a field's views, including the clear one."""
    return [catalogue.view(f"{field.whole}.{view}") for view in (CLEAR, *sorted(field.views))]


class Grounds:
    """The purposes that use and keep each field of one subject."""

    def __init__(self, policy_set: PolicySet, retained: RetainedValues, survey: Survey) -> None:
        self._policy_set = policy_set
        consent_state, now = retained.consent_state, retained.now
        newest = {name: day_of(moment) for name, moment in survey.newest.items()}
        clocks = retained.clocks.at_least(newest)
        self.ends = ends_of(policy_set, consent_state, clocks, now, retained=retained.erased)
        self._needing: dict[str, list[Purpose]] = {}
        purposes = states(policy_set, consent_state, now)
        if retained.erased:
            purposes |= {name: "not-in-force" for name in purposes if name not in consent_state.kept_for}
        self.states: Mapping[str, InUse] = purposes

    def needing(self, field: Field) -> list[Purpose]:
        """List the purposes that need a field of this subject, in the order of the policies."""
        purposes = self._needing.get(field.whole)
        if purposes is None:
            views = views_of(self._policy_set.catalogue, field)
            purposes = self._needing[field.whole] = [
                purpose
                for name, purpose in self._policy_set.purposes.items()
                if self.states[name] in HELD and any(map(purpose.covers, views))
            ]
        return purposes

    def is_for(self, field: Field, purposes: Collection[str]) -> bool:
        """Return whether any of these purposes needs a field, even if it does not use it for this subject now."""
        views = views_of(self._policy_set.catalogue, field)
        known = [purpose for name, purpose in self._policy_set.purposes.items() if name in purposes]
        return any(any(map(purpose.covers, views)) for purpose in known)

    def is_portable(self, field: Field) -> bool:
        """Return whether a field is used on consent or for a contract (Art. 20(1)(a))."""
        return any(purpose.legal_basis in PORTABLE and purpose.collects for purpose in self.needing(field))

    def retention_end(self, value: Value) -> RetentionEnd:
        """Return until when a value is kept, and the purpose that keeps it longest."""
        ending = self.ends.of(value)
        last = next((claim for claim in ending.claims if claim.ground in self.states), None)
        return RetentionEnd(
            until=None if ending.until is None else date.fromordinal(ending.until).isoformat(),
            purpose=None if last is None else last.ground,
            moves=last is not None and ending.by == last.ground and last.since in MOVING,
        )


INFERRED: Final = re.compile(r"(?:inferred|derived|predicted|scored)(?![a-z])", re.IGNORECASE)
"""Names of sources that draw conclusions: ``inferred``, ``derived:segments``."""
MASKS: Final = ("masked", "year")
"""Views for values about other people, in order of preference. A type with neither is left out."""
WITHHELD: Final = "withheld"
EVERYTHING: Final = Scope()
_HANDED_OVER: Final = frozenset({Origin.PROVIDED, Origin.OBSERVED})


def is_inferred(field: Field | None, source: str | None) -> bool:
    """Return whether a value is a conclusion, by the origin of its field or the name of its source."""
    if field is not None and field.origin == Origin.INFERRED:
        return True
    return source is not None and INFERRED.match(source) is not None


def mask_of(field: Field | None) -> str | None:
    """Return the view in which a value about other people is shown; None if the field is not about other people.

    Returns:
        ``withheld`` if the type has no such view.
    """
    if field is None or not field.others:
        return None
    return next((view for view in MASKS if view in TYPES[field.type].views), WITHHELD)


class Selection:
    """The values that a package contains.

    Args:
        portable: select only portable data.
        scope: what the subject asked for; empty: everything.
    """

    def __init__(self, catalogue: Catalogue, grounds: Grounds, *, portable: bool, scope: Scope) -> None:
        self._fields = {field.whole: field for field in catalogue.fields()}
        self._grounds = grounds
        self._scope = scope
        self._requested: dict[str, bool] = {}
        self.portable = portable

    def field(self, whole: str) -> Field | None:
        """Return a field; None if it is no longer declared, although values of it exist."""
        return self._fields.get(whole)

    def contains(self, whole: str, source: str | None) -> bool:
        """Return whether a value belongs in the package."""
        if not self.is_requested(whole):
            return False
        if not self.portable:
            return True
        field = self._fields.get(_without_view(whole))
        if field is None or field.origin not in _HANDED_OVER or is_inferred(field, source):
            return False
        return self._grounds.is_portable(field)

    def is_requested(self, whole: str) -> bool:
        """Return whether a field is in the scope of the request: by its name, its collection or a purpose."""
        if self._scope == EVERYTHING:
            return True
        requested = self._requested.get(whole)
        if requested is None:
            requested = self._requested[whole] = self._in_scope(whole)
        return requested

    def _in_scope(self, whole: str) -> bool:
        if _without_view(whole) in self._scope.fields or whole.partition(".")[0] in self._scope.collections:
            return True
        field = self._fields.get(_without_view(whole))
        return field is not None and self._grounds.is_for(field, self._scope.purposes)


def _without_view(whole: str) -> str:
    """Return a field's whole name; the name of a generalised value ends in its view."""
    return ".".join(whole.split(".")[:2])
