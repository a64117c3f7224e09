"""Which purposes use a person's data at present, and until when they keep it (Art. 15(1)(a) and (d)). Pure."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

from vault.catalogue.model import CLEAR, LegalBasis
from vault.catalogue.retention import Since
from vault.consent.lawfulness import purpose_ground
from vault.consent.legal_ground import refusal
from vault.export.schema import Keeping
from vault.retention.applying import day_of, ends_of
from vault.retention.store import NO_CLOCKS
from vault.storage.columns import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from vault.catalogue.model import Catalogue, Field, FieldView, Purpose
    from vault.consent.state import Standing
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


def states(policy_set: PolicySet, standing: Standing, now: datetime) -> dict[str, InUse]:
    """Tell of each purpose whether it uses the person's data at a moment, and why it does not."""
    return {name: _state(policy_set, purpose, standing, now) for name, purpose in policy_set.purposes.items()}


def _state(policy_set: PolicySet, purpose: Purpose, standing: Standing, now: datetime) -> InUse:
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
        standing: Standing,
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
