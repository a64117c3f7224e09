"""Which of a person's values a package tells of: all that are kept, and not what goes with the next sweep.

What is over and yet kept, because a law demands it, a hold covers it, or it is restricted or waits for a decision, is
the person's to know of like all else (Art. 15(1) GDPR).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vault.catalogue.retention import RESTRICT, REVIEW
from vault.export.schema import Keeping
from vault.retention.applying import day_of, ends_of, values_of
from vault.retention.holds import held_by
from vault.retention.reviews import reviews_in
from vault.retention.store import NO_CLOCKS, clocks_of
from vault.storage.columns import to_microseconds
from vault.subjects.record_body import happened_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from vault.consent.state import Held, Standing
    from vault.context import House
    from vault.ids import SubjectId, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.retention.ends import Ends, Value
    from vault.retention.reviews import Place, Review
    from vault.subjects.record_body import Stored


@dataclass(frozen=True, slots=True)
class Still:
    """Tells what of a person is still kept.

    Attributes:
        subject: the person.
        ends: until when each value is kept.
        clocks: of the person.
        standing: with the holds.
        reviews: of the person's values.
        now: the present.
    """

    subject: SubjectId
    ends: Ends
    clocks: Clocks
    standing: Standing
    reviews: Mapping[Place, Mapping[str, Review]]
    now: datetime

    @classmethod
    async def of(
        cls,
        house: House,
        tenant: TenantId,
        subject: SubjectId,
        policy_set: PolicySet,
        standing: Standing,
        now: datetime,
        *,
        retained: bool,
    ) -> Still:
        """Fetch what decides it."""
        clocks = (await clocks_of(house.data, tenant, [subject])).get(subject, NO_CLOCKS)
        async with house.data.reading() as connection:
            reviews = await reviews_in(connection, tenant, [subject])
        ends = ends_of(policy_set, standing, clocks, now, retained=retained)
        return cls(subject, ends, clocks, standing, reviews, now)

    def values(self, row: Any, body: Mapping[str, Stored], collection: str) -> dict[str, Value]:
        """Describe the values of a record."""
        reviews = self.reviews.get((self.subject, collection, row.id), {})
        kept = {name: each.keep_until.toordinal() for name, each in reviews.items() if each.keep_until is not None}
        return values_of(row, body, kept, collection=collection)

    def body(self, row: Any, body: Mapping[str, Stored], collection: str) -> dict[str, Stored]:
        """Return those values of a record that are kept, by the names under which they lie in its body."""
        values = self.values(row, body, collection)
        reviews = self.reviews.get((self.subject, collection, row.id), {})
        happened, now = day_of(happened_at(row, body)), to_microseconds(self.now)
        today, found = day_of(now), {}
        for name, stored in body.items():
            ending, review = self.ends.of(values[name]), reviews.get(name)
            waits = ending.then in {RESTRICT, REVIEW} if review is None else review.keeps(today)
            if waits or not ending.may_go(today) or held_by(self.standing, f"{collection}.{name}", happened):
                found[name] = stored
        return found

    def keeping(self, keep: Keeping, row: Any, body: Mapping[str, Stored], whole: str) -> Keeping:
        """Tell of what a hold covers that it has no end yet."""
        held: Held | None = held_by(self.standing, whole, day_of(happened_at(row, body)))
        return keep if held is None else Keeping(purpose=held.purpose)
