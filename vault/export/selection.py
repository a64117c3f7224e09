"""Which purposes use a person's data at present, and until when they keep it (Art. 15(1)(a) and (d)). Pure.

Which values belong into a package, and which of them are shown masked (Arts. 15(4), 20(1) and (4)). Pure.
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
from vault.export.schema import Keeping
from vault.retention.clocks import NO_CLOCKS
from vault.retention.ends import day_of, ends_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from vault.catalogue.model import Catalogue, Field, FieldView, Purpose
    from vault.consent.state import ConsentState
    from vault.export.schema import InUse
    from vault.export.survey import Survey
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.retention.ends import Value


MOVING: Final = frozenset({Since.LAST_CONTACT, Since.RELATIONSHIP_ENDED})
"""What an end counts from that moves on with each new contact."""
TAKEN_ALONG: Final = frozenset({LegalBasis.CONSENT, LegalBasis.CONTRACT})
"""Legal bases on which people may take their data along (Art. 20(1)(a))."""
HELD: Final[frozenset[InUse]] = frozenset({"in-use", "restricted"})
"""States of a purpose that go on keeping data; restricted data is stored and not used."""


def states(policy_set: PolicySet, standing: ConsentState, now: datetime) -> dict[str, InUse]:
    """Tell of each purpose whether it uses the person's data at a moment, and why it does not."""
    return {name: _state(policy_set, purpose, standing, now) for name, purpose in policy_set.purposes.items()}


def _state(policy_set: PolicySet, purpose: Purpose, standing: ConsentState, now: datetime) -> InUse:
    if not purpose.in_force(now.date()):
        return "not-in-force"
    refused = refusal(purpose_ground(policy_set, purpose, now.date()), standing, to_microseconds(now))
    if refused is None:
        return "in-use"
    codes: dict[str, InUse] = {"objected": "objected", "restricted": "restricted"}
    return codes.get(refused.code, "consent-missing")


def views_of(catalogue: Catalogue, field: Field) -> list[FieldView]:
    """List a field's views, the clear one among them."""
    return [catalogue.view(f"{field.whole}.{view}") for view in (CLEAR, *sorted(field.views))]


class Grounds:
    """What keeps and uses each field of one person.

    Args:
        policy_set: the policies in force.
        standing: what the person said.
        survey: what there is of the person.
        now: the present.
        clocks: the person's.
        retained: whether the person was erased, and a law keeps something.
    """

    def __init__(
        self,
        policy_set: PolicySet,
        standing: ConsentState,
        survey: Survey,
        now: datetime,
        clocks: Clocks = NO_CLOCKS,
        *,
        retained: bool = False,
    ) -> None:
        self._policy_set = policy_set
        there = {name: day_of(moment) for name, moment in survey.newest.items()}
        self.ends = ends_of(policy_set, standing, clocks.at_least(there), now, retained=retained)
        self._needing: dict[str, list[Purpose]] = {}
        told = states(policy_set, standing, now)
        if retained:
            told |= {name: "not-in-force" for name in told if name not in standing.kept_for}
        self.states: Mapping[str, InUse] = told

    def needing(self, field: Field) -> list[Purpose]:
        """List the purposes that need a field for this person, in the order of the policies."""
        found = self._needing.get(field.whole)
        if found is None:
            views = views_of(self._policy_set.catalogue, field)
            found = self._needing[field.whole] = [
                purpose
                for name, purpose in self._policy_set.purposes.items()
                if self.states[name] in HELD and any(map(purpose.covers, views))
            ]
        return found

    def is_for(self, field: Field, purposes: Collection[str]) -> bool:
        """Tell whether one of some purposes needs a field, whether or not it uses it for this person at present."""
        views = views_of(self._policy_set.catalogue, field)
        known = [each for name, each in self._policy_set.purposes.items() if name in purposes]
        return any(any(map(each.covers, views)) for each in known)

    def may_be_taken_along(self, field: Field) -> bool:
        """Tell whether a field is used on consent or for a contract (Art. 20(1)(a))."""
        return any(each.legal_basis in TAKEN_ALONG and each.collects for each in self.needing(field))

    def keeping(self, value: Value) -> Keeping:
        """Tell until when a value is kept: the day by which it goes, and the purpose because of which it stays."""
        ending = self.ends.of(value)
        last = next((each for each in ending.claims if each.ground in self.states), None)
        return Keeping(
            until=None if ending.until is None else date.fromordinal(ending.until).isoformat(),
            purpose=None if last is None else last.ground,
            moves=last is not None and ending.by == last.ground and last.since in MOVING,
        )


INFERRED: Final = re.compile(r"(?:inferred|derived|predicted|scored)(?![a-z])", re.IGNORECASE)
"""Names of sources that conclude: ``inferred``, ``derived:segments``."""
MASKS: Final = ("masked", "year")
"""Views that show little of somebody else, the first that a type has; a value of any other type is left out."""
WITHHELD: Final = "withheld"
EVERYTHING: Final = Scope()
_HANDED_OVER: Final = frozenset({Origin.PROVIDED, Origin.OBSERVED})


def is_inferred(field: Field | None, source: str | None) -> bool:
    """Tell whether a value is a conclusion: by what the catalogue says of the field, or by the name of its source."""
    if field is not None and field.origin == Origin.INFERRED:
        return True
    return source is not None and INFERRED.match(source) is not None


def mask_of(field: Field | None) -> str | None:
    """Say by which view a value that is about somebody else is shown; none where it is about nobody else.

    Returns:
        ``withheld`` where the type has no such view.
    """
    if field is None or not field.others:
        return None
    return next((view for view in MASKS if view in TYPES[field.type].views), WITHHELD)


class Selection:
    """Which of a person's values a package holds.

    Args:
        catalogue: in force.
        grounds: what uses the data.
        portable: whether only what people may take along.
        scope: what the person asked for; empty: everything.
    """

    def __init__(
        self, catalogue: Catalogue, grounds: Grounds | None, *, portable: bool, scope: Scope = EVERYTHING
    ) -> None:
        self._fields = {each.whole: each for each in catalogue.fields()}
        self._grounds = grounds
        self._scope = scope
        self._asked: dict[str, bool] = {}
        self.portable = portable

    def field(self, whole: str) -> Field | None:
        """Return a field; none where values are still held of one that is declared no longer."""
        return self._fields.get(whole)

    def holds(self, whole: str, source: str | None) -> bool:
        """Tell whether a value belongs into the package: for access every one that is held and asked for."""
        if not self.asked_for(whole):
            return False
        if not self.portable:
            return True
        field = self._fields.get(_without_view(whole))
        if field is None or field.origin not in _HANDED_OVER or is_inferred(field, source):
            return False
        return self._grounds is not None and self._grounds.may_be_taken_along(field)

    def asked_for(self, whole: str) -> bool:
        """Tell whether a field is what the person asked for: named itself, by its collection, or by a purpose of it."""
        if self._scope == EVERYTHING:
            return True
        found = self._asked.get(whole)
        if found is None:
            found = self._asked[whole] = self._in_scope(whole)
        return found

    def _in_scope(self, whole: str) -> bool:
        if _without_view(whole) in self._scope.fields or whole.partition(".")[0] in self._scope.collections:
            return True
        field = self._fields.get(_without_view(whole))
        return field is not None and self._grounds is not None and self._grounds.is_for(field, self._scope.purposes)


def _without_view(whole: str) -> str:
    """Return a field's whole name; that of what was generalised goes on with the view's."""
    return ".".join(whole.split(".")[:2])
