"""One page of a search: candidates in the order of their ids, opened and compared until the page is full.

A page is bounded by work and not by time: it opens no more than :data:`MOST_OPENED` candidates, ends early if they were
not enough, and says where the next one continues. So no one is lost, however many share a digest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from vault.catalogue.types import decode, index_text
from vault.clock import to_microseconds
from vault.consent.legal_ground import subject_refusals
from vault.consent.model import has_holds
from vault.crypto.seal import record_aad
from vault.errors import InvalidInput
from vault.ids import RecordId
from vault.records.render import plan_of
from vault.retention.ends import schedule_of
from vault.retention.filter import Body, gates
from vault.subjects.leads import START, Lead, count_leads, first_leads, having_all, leads_of
from vault.subjects.rows import matches, open_body, search_digest, unpack
from vault.subjects.store import PROFILE, Row, SubjectQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId
    from vault.policy.decision import Decision
    from vault.records.criteria import Criterion
    from vault.retention.filter import Gate
    from vault.retention.schedule import Lasting, Schedule
    from vault.subjects.store import StoredSubject

MOST_SHARING: Final = 50_000
"""Index entries of the rarest of several criteria. The database looks the other criteria up for each of them."""
MOST_OPENED: Final = 1_000
"""Records that are opened for a page: it ends after the subject with which they are reached."""
PORTION: Final = 500
"""Records that are opened at once."""
AT_ONCE: Final = 200
"""Most candidates that are fetched at once."""


@dataclass(frozen=True, slots=True)
class Search:
    """One search: who searches for what, and what the policies decide about the fields to match and to show."""

    services: Services
    caller: Caller
    searching: Decision
    reading: Decision | None
    criteria: list[Criterion]
    moment: datetime


@dataclass(slots=True)
class Page:
    """The subjects of a page with their keys, and the last one that was looked at if there may be more after it."""

    matched: list[StoredSubject] = field(default_factory=list)
    keys: dict[SubjectId, SubjectKeys] = field(default_factory=dict)
    end: SubjectId | None = None


async def find_page(search: Search, after: SubjectId, limit: int, seen: set[SubjectId]) -> Page:
    """Find the subjects after one that match all criteria, in the order of their ids.

    Args:
        seen: gets the subjects whose keys were used.

    Raises:
        InvalidInput: ``search-too-wide``.
    """
    digests = await _rarest_first(search)
    page, opened, size = Page(), 0, limit + 1
    while digests:
        candidates = await _candidates(search, digests, after, size)
        if not candidates:
            break
        seen.update(candidates)
        part = await _Part.fetched(search, candidates)
        matched, end, used = await part.verified(digests, MOST_OPENED - opened)
        opened += used
        page.matched += matched
        page.keys.update(part.keys)
        if len(page.matched) > limit:
            del page.matched[limit:]
            page.end = page.matched[-1].id
            break
        after = end or candidates[-1]
        if after == candidates[-1] and len(candidates) < size:
            break
        if opened >= MOST_OPENED:
            page.end = after
            break
        size = min(2 * size, AT_ONCE)
    return page


async def _rarest_first(search: Search) -> list[bytes]:
    """Return the digests of the criteria, the rarest first; none if no one has one of them."""
    services, tenant = search.services, search.caller.tenant
    index_keys = await services.keyring.index_keys(tenant)
    digests = [search_digest(index_keys, each.field, each.by, each.text) for each in search.criteria]
    digests = list(dict.fromkeys(digests))
    if len(digests) == 1:
        return digests
    counts = {digest: await count_leads(services.data, tenant, digest, most=MOST_SHARING + 1) for digest in digests}
    rarest = min(counts.values())
    if rarest > MOST_SHARING:
        raise InvalidInput(
            f"each of these criteria is shared by more than {MOST_SHARING:,} records, so the search is too wide",
            code="search-too-wide",
            hint="add a criterion that fewer people share, or search by one criterion alone, page by page",
        )
    return sorted(digests, key=counts.__getitem__) if rarest else []


async def _candidates(search: Search, digests: Sequence[bytes], after: SubjectId, most: int) -> list[SubjectId]:
    services, tenant = search.services, search.caller.tenant
    if len(digests) == 1 and after == START:  # most searches: they share a query
        return await services.batcher(first_leads).submit(Lead(services.data, tenant, digests[0], most))
    return await having_all(services.data, tenant, digests, after=after, most=most)


@dataclass(frozen=True, slots=True)
class _Part:
    """Candidates that may be found, in the order of their ids, with what is needed to open them."""

    search: Search
    subjects: Mapping[SubjectId, StoredSubject]
    keys: Mapping[SubjectId, SubjectKeys]

    @classmethod
    async def fetched(cls, search: Search, candidates: Sequence[SubjectId]) -> _Part:
        services, caller, reading = search.services, search.caller, search.reading
        many = plan_of(services, caller, reading).collections if reading is not None else ()
        found = await services.subjects.find(SubjectQuery(caller.tenant, tuple(candidates), profile=True, many=many))
        keys = await services.keyring.subject_keys(caller.tenant, list(candidates))
        refusals = subject_refusals(services, caller, search.searching, found)
        subjects = {
            subject.id: subject
            for subject, refusal in zip(found, refusals, strict=True)
            if subject is not None and subject.id in keys and refusal is None
        }
        return cls(search, subjects, keys)

    async def verified(
        self, digests: Sequence[bytes], budget: int
    ) -> tuple[list[StoredSubject], SubjectId | None, int]:
        """Open the records to which the digests lead.

        Args:
            budget: how many records to open. The subject with which they are reached is looked at to its end.

        Returns:
            the subjects that really match; the one after which others are left, or None if all were looked at; and
            how many records were opened.
        """
        if all(criterion.field.collection == PROFILE for criterion in self.search.criteria):
            return await self._verified_profiles(budget)
        services, tenant = self.search.services, self.search.caller.tenant
        met: dict[SubjectId, set[int]] = {subject: set() for subject in self.subjects}
        whole, opened = len(self.search.criteria), 0
        position: tuple[SubjectId, RecordId] | None = None
        end: SubjectId | None = None
        waiting = list(met)
        while waiting:
            pairs = await leads_of(services.data, tenant, digests, waiting, after=position, most=PORTION)
            await self._open(pairs, met)
            opened += len(pairs)
            if len(pairs) < PORTION:
                break
            position = pairs[-1]
            last = position[0]
            if opened >= budget:
                end, waiting = last, [last]
            waiting = [each for each in waiting if each > last or (each == last and len(met[last]) < whole)]
        found = [subject for subject in self.subjects.values() if len(met[subject.id]) == whole]
        return [subject for subject in found if end is None or subject.id <= end], end, opened

    async def _verified_profiles(self, budget: int) -> tuple[list[StoredSubject], SubjectId | None, int]:
        """Compare the profiles, which came with the candidates: only they have the values of such criteria."""
        looked_at = list(self.subjects.values())[:budget]
        end = looked_at[-1].id if len(looked_at) < len(self.subjects) else None
        rows = {
            (subject.id, RecordId(subject.id)): Row(PROFILE, RecordId(subject.id), 0, subject.profile)
            for subject in looked_at
            if subject.profile is not None
        }
        verification = _Verification(self.search, self.keys, rows, await _gates(self.search, looked_at, rows))
        found = [
            subject
            for subject in looked_at
            if all(
                verification.matches(subject.id, RecordId(subject.id), criterion) for criterion in self.search.criteria
            )
        ]
        return found, end, len(looked_at)

    async def _open(self, pairs: Sequence[tuple[SubjectId, RecordId]], met: dict[SubjectId, set[int]]) -> None:
        """Open records, and add to each subject the numbers of the criteria that one of its records meets."""
        rows = await self.search.services.subjects.rows(self.search.caller.tenant, pairs)
        subjects = [self.subjects[subject] for subject in dict.fromkeys(subject for subject, _record in pairs)]
        verification = _Verification(self.search, self.keys, rows, await _gates(self.search, subjects, rows))
        for subject, record in pairs:
            met[subject].update(
                number
                for number, criterion in enumerate(self.search.criteria)
                if number not in met[subject] and verification.matches(subject, record, criterion)
            )


@dataclass(frozen=True, slots=True)
class _Verification:
    """The keys and records of the candidates, and the gates of subjects whose values may be expired or held."""

    search: Search
    keys: Mapping[SubjectId, SubjectKeys]
    rows: Mapping[tuple[SubjectId, RecordId], Row]
    gates: Mapping[SubjectId, Gate]

    def matches(self, subject: SubjectId, record: RecordId, criterion: Criterion) -> bool:
        """Return whether a record has the value, and the value may still be shown."""
        row, name = self.rows.get((subject, record)), criterion.field.name
        stored = None if row is None else unpack(row.body).get(name)
        gate = self.gates.get(subject)
        # A short digest may lead to a record of another collection that has a field of the same name.
        if row is None or stored is None or row.collection != criterion.field.collection:
            return False
        if gate is not None:
            if gate.before(row.collection, row.id).refusal(open_body(row.body), name, stored, None) is not None:
                return False
        elif stored.expires_at is not None and stored.expires_at <= to_microseconds(self.search.moment):
            return False
        aad = record_aad(self.search.caller.tenant, subject, row.collection, row.id)
        value = decode(self.keys[subject].open(name, stored.sealed, aad))
        return matches(criterion.by.kind, index_text(criterion.field.type, value), criterion.text)


@lru_cache(maxsize=4096)
def _lasting(decision: Decision, schedule: Schedule) -> Lasting:
    """Return for how long the purpose sees the values to match; both arguments compare by identity."""
    return schedule.lasting(decision.purpose.name, [view.field for view in decision.views.values()])


async def _gates(
    search: Search, subjects: list[StoredSubject], rows: Mapping[tuple[SubjectId, RecordId], Row]
) -> Mapping[SubjectId, Gate]:
    """Fetch gates for the subjects whose values may be expired or held: such values must not match."""
    services, searching, tenant = search.services, search.searching, search.caller.tenant
    lasting = _lasting(searching, schedule_of(services.policies.active(tenant).policy_set))
    now, old = to_microseconds(search.moment), set()
    for (subject, _record), row in rows.items():
        body = open_body(row.body)
        if lasting.may_be_over(body.since, body.origins, now):
            old.add(subject)
    gated = {subject.id: subject for subject in subjects if subject.id in old or has_holds(subject.standing)}
    if not gated:
        return {}
    bodies = [
        Body(subject, row.collection, row.id, row.body) for (subject, _id), row in rows.items() if subject in gated
    ]
    return await gates(services, tenant, searching.purpose, list(gated.values()), bodies, search.moment)
