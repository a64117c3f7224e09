"""Propose subjects that may be the same person: digests lead to candidates, and opened values exclude the wrong ones.

Results are ids, names of fields and a score. They contain no value, and no restricted or erased subject. Values that
are over or under a legal hold are not compared.

A score of 100 would be certainty, which no comparison gives: a family shares a telephone, and twins a date of birth.
A score only proposes; a person decides.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations, groupby
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from vault.access.authorization import audit_entry, require_permission, subject_not_found
from vault.access.recording import audited
from vault.catalogue.types import TYPES, decode, index_text
from vault.clock import to_microseconds
from vault.consent.legal_ground import RESTRICTED
from vault.consent.model import unpack as unpack_standing
from vault.crypto.seal import record_aad
from vault.errors import Denied
from vault.ids import SubjectId
from vault.merging.views import DuplicateCandidate, DuplicateCandidates
from vault.retention.filter import over_values
from vault.retention.holds import held_by
from vault.subjects.index_builds import index_name, require_built, unbuilt
from vault.subjects.leads import MOST_DIGESTS, START, among, count_leads, having_all
from vault.subjects.rows import search_digest, unpack
from vault.subjects.store import GONE, PROFILE, SubjectQuery
from vault.subjects.tables import BLIND_INDEX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
    from uuid import UUID

    from vault.catalogue.model import Catalogue, Field, Index
    from vault.catalogue.types import Match
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.storage.database import Database
    from vault.subjects.store import StoredSubject

LEAST = 60
"""The score from which on subjects are proposed. A shared name or birth date alone is not enough, both together are."""
MOST_CANDIDATES = 50
MOST_OPENED = 200
MOST_PER_DIGEST = 1_000
"""Most subjects that are fetched for a digest. A value that more share counts only together with others."""
MOST_SHARING_BOTH = 50_000
"""Index entries of the rarest of several such values, of each of which the database looks the others up."""
STEPS = 256
"""Parts of the index in a search for all pairs: one for each first byte of a digest."""
MOST_SHARING = 8
"""Most subjects with a digest in a search for all pairs. Values that more share, such as first letters, are ignored."""
WHOLE = 32
"""Bytes of a digest that is not truncated."""
PAIRS_AT_ONCE = 500


class TraitField(NamedTuple):
    """A field whose values tell people apart. Fields of one group are compared with each other."""

    field: Field
    match: Match
    exact: Index
    group: str


class Trait(NamedTuple):
    """A value by which people are compared, as the text of its index."""

    source: TraitField
    text: str


class KnownSubject(NamedTuple):
    """A subject with its traits."""

    stored: StoredSubject
    traits: list[Trait]


class Likely(NamedTuple):
    """The likeliest subjects; whether there are others; and fields whose value too many people share."""

    subjects: list[SubjectId]
    is_cut: bool
    too_wide: list[str]


class Pair(NamedTuple):
    """Two subjects that may be the same person: a score of 0 to 99, and the names of the matching fields."""

    one: SubjectId
    other: SubjectId
    score: int
    matched: list[str]


@dataclass(frozen=True, slots=True)
class FoundPairs:
    """The pairs of a part of the index.

    Attributes:
        too_common: how many values, or beginnings of values, were not compared: more than :data:`MOST_SHARING` people
            share each of them.
    """

    pairs: list[Pair]
    too_common: int


def trait_fields(catalogue: Catalogue) -> dict[str, TraitField]:
    """List the fields of the profile that tell people apart: those with an index of whole values."""
    fields = {}
    for name, field in catalogue.collections[PROFILE].fields.items():
        match = TYPES[field.type].match
        exact = next((index for index in field.indexes if index.kind == "exact"), None)
        if match is not None and exact is not None and match.applies(field.category):
            group = f"{match.kind}:{field.name}" if match.kind else field.type
            fields[name] = TraitField(field, match, exact, group)
    return fields


def compare(traits: Iterable[Trait], others: Iterable[Trait]) -> tuple[int, list[str]]:
    """Compare two subjects: returns the score, and the names of the first one's fields that match."""
    values = {(other.source.group, other.text) for other in others}
    shared = [trait for trait in traits if (trait.source.group, trait.text) in values]
    return score(shared), list(dict.fromkeys(trait.source.field.name for trait in shared))


def score(shared: Iterable[Trait]) -> int:
    """Combine shared values as independent hints. A value counts once, and so does the name, in all fields together."""
    weights = {
        (match.kind or group, "" if match.kind else text): match.weight
        for (_field, match, _exact, group), text in shared
    }
    return min(99, round(100 * (1 - prod(1 - weight / 100 for weight in weights.values()))))


@audited("find-duplicates")
async def find_duplicates(services: Services, caller: Caller, subject: SubjectId) -> DuplicateCandidates:
    """Propose subjects that may be the same person as this one.

    Raises:
        Denied: no role of the caller may merge, or the subject is restricted: its data may not be compared.
        NotFound: the subject does not exist.
        TooMany: the principal has searched too often.
    """
    await require_permission(services, caller, "vault:subjects", "merge", audit_action="find-duplicates")
    await services.limits.take(caller.principal, "search", 1)
    comparison = Comparison(services, caller)
    (stored,) = await comparison.fetch([subject])
    known = await comparison.open([stored])
    if stored is None or stored.state in GONE or (not known and stored.state == "active"):
        raise subject_not_found()
    if stored.state == "restricted":
        raise Denied(RESTRICTED.detail, code=RESTRICTED.code)
    traits = known[subject].traits
    likely = await comparison.candidates(subject, traits)
    others = await comparison.open(await comparison.fetch(likely.subjects))
    scored = [(other, *compare(traits, others[other].traits)) for other in others]
    proposed = sorted(
        (
            DuplicateCandidate(id=other, score=points, matched=matched)
            for other, points, matched in scored
            if points >= LEAST
        ),
        key=lambda candidate: (-candidate.score, candidate.id),
    )
    results = proposed[:MOST_CANDIDATES]
    audit = await comparison.record([stored, *(others[SubjectId(result.id)].stored for result in results)])
    more = likely.is_cut or bool(likely.too_wide) or len(proposed) > MOST_CANDIDATES
    return DuplicateCandidates(results=results, more=more, too_wide=likely.too_wide, audit=audit)


async def find_pairs(services: Services, caller: Caller) -> AsyncGenerator[FoundPairs]:
    """Search a tenant's whole index for pairs, a part at a time; yields the pairs of each of the :data:`STEPS` parts.

    People who share nothing but values that very many share are in no pair; each part says how many such values it has.

    Raises:
        Unavailable: an index does not lead to all people yet, or a database does not answer.
    """
    comparison = Comparison(services, caller)
    await comparison.require_built()
    compared: set[tuple[SubjectId, SubjectId]] = set()
    for step in range(STEPS):
        rows, too_common = await _shared_digests(services, caller.tenant, step)
        likely = set(_pairs(rows)) - compared
        compared |= likely
        yield FoundPairs(await _confirmed(comparison, sorted(likely)), too_common)


class Comparison:
    """Opens what can be compared of a tenant's subjects, and records whose data was compared."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services = services
        self._caller = caller
        self._fields = trait_fields(services.policies.active(caller.tenant).policy_set.catalogue)

    async def require_built(self) -> None:
        """Require that the indexes of all traits lead to all people."""
        indexes = [(source.field, source.exact.kind) for source in self._fields.values()]
        await require_built(self._services.data, self._caller.tenant, indexes)

    async def fetch(self, subjects: Sequence[SubjectId]) -> list[StoredSubject | None]:
        """Fetch subjects with their profiles."""
        return await self._services.subjects.find(SubjectQuery(self._caller.tenant, tuple(subjects), profile=True))

    async def known_among(self, subjects: Sequence[SubjectId]) -> dict[SubjectId, KnownSubject]:
        """Fetch subjects, and open the traits of those that can be compared."""
        return await self.open(await self.fetch(subjects))

    async def open(self, subjects: Iterable[StoredSubject | None]) -> dict[SubjectId, KnownSubject]:
        """Open the traits of those subjects that are neither erased nor restricted."""
        services, tenant = self._services, self._caller.tenant
        active = [
            subject for subject in subjects if subject is not None and subject.state == "active" and subject.profile
        ]
        keys = await services.keyring.subject_keys(tenant, [subject.id for subject in active])
        over = await over_values(services, tenant, active)
        return {
            subject.id: KnownSubject(
                subject, self._traits(subject, keys[subject.id], over.get(subject.id, frozenset()))
            )
            for subject in active
            if subject.id in keys
        }

    def _traits(self, subject: StoredSubject, keys: SubjectKeys, over: frozenset[str]) -> list[Trait]:
        aad = record_aad(self._caller.tenant, subject.id, PROFILE, subject.id)
        standing, now = unpack_standing(subject.standing), to_microseconds(self._services.clock.now())
        traits = []
        for name, stored in unpack(subject.profile or b"").items():
            source = self._fields.get(name)
            if (
                source is not None
                and name not in over
                and (stored.expires_at is None or stored.expires_at > now)
                and held_by(standing, source.field.whole, 0) is None  # the day does not matter for a profile
            ):
                value = decode(keys.open(name, stored.sealed, aad))
                traits.append(Trait(source, index_text(source.field.type, value)))
        return traits

    async def candidates(self, subject: SubjectId, traits: list[Trait]) -> Likely:
        """Find by digest the subjects that would be proposed if equal digests always meant equal values."""
        services, tenant = self._services, self._caller.tenant
        index_keys = await services.keyring.index_keys(tenant)
        hints: dict[SubjectId, list[Trait]] = defaultdict(list)  # a value may be there twice; it counts once
        common: list[tuple[bytes, Trait]] = []
        for trait in traits:
            for source in self._fields.values():
                if source.group != trait.source.group:
                    continue
                digest = search_digest(index_keys, source.field, source.exact, trait.text)
                rows = await services.subjects.by_digest(tenant, digest, most=MOST_PER_DIGEST + 1)
                if len(rows) > MOST_PER_DIGEST:
                    common.append((digest, trait))
                    continue
                for other, _record in rows:
                    hints[other].append(trait)
        missing = await unbuilt(services.data, tenant)
        building = [name for name, source in self._fields.items() if index_name(source.field, "exact") in missing]
        too_wide = list(dict.fromkeys([*building, *await self._add_common(hints, common)]))
        hints.pop(subject, None)
        scores = {other: score(shared) for other, shared in hints.items()}
        likely = sorted(
            (other for other in scores if scores[other] >= LEAST), key=lambda other: (-scores[other], other)
        )
        return Likely(likely[:MOST_OPENED], len(likely) > MOST_OPENED, too_wide)

    async def _add_common(self, hints: dict[SubjectId, list[Trait]], common: list[tuple[bytes, Trait]]) -> list[str]:
        """Add the values that very many share: to those who share another one, and where several are enough together.

        Returns:
            the fields of which not all people could be found.
        """
        data, tenant = self._services.data, self._caller.tenant
        enough: list[set[bytes]] = []
        too_wide: dict[str, None] = {}
        for size in range(1, min(len(common), MOST_DIGESTS) + 1):
            for part in combinations(common, size):
                digests = {digest for digest, _trait in part}
                if score(trait for _digest, trait in part) < LEAST or any(less <= digests for less in enough):
                    continue
                enough.append(digests)
                found = await _having(data, tenant, list(digests)) if size > 1 else None
                if found is None:
                    too_wide.update(dict.fromkeys(trait.source.field.name for _digest, trait in part))
                for other in found or ():
                    hints[other].extend(trait for _digest, trait in part)
        known = sorted(hints)
        for digest, trait in common:
            for start in range(0, len(known), PAIRS_AT_ONCE):
                for other in await among(data, tenant, digest, known[start : start + PAIRS_AT_ONCE]):
                    hints[other].append(trait)
        return list(too_wide)

    async def record(self, subjects: Iterable[StoredSubject]) -> UUID:
        """Write to the audit log whose data was compared, and by which fields."""
        entry = audit_entry(
            self._services,
            self._caller,
            action="find-duplicates",
            decision="allowed",
            matched=tuple(f"{source.field.whole}.clear" for source in self._fields.values()),
            subjects=tuple(subject.pseudonym for subject in subjects),
            policy=self._services.policies.active(self._caller.tenant).version,
        )
        await self._services.audit_log.append(entry)
        return entry.id


async def _having(data: Database, tenant: TenantId, digests: list[bytes]) -> list[SubjectId] | None:
    """Return the subjects that have all of several digests; None if it is too much work, or they are too many."""
    counts = {digest: await count_leads(data, tenant, digest, most=MOST_SHARING_BOTH + 1) for digest in digests}
    if min(counts.values()) > MOST_SHARING_BOTH:
        return None
    rarest_first = sorted(digests, key=counts.__getitem__)
    found = await having_all(data, tenant, rarest_first, after=START, most=MOST_PER_DIGEST + 1)
    return found if len(found) <= MOST_PER_DIGEST else None


async def _confirmed(comparison: Comparison, likely: Sequence[tuple[SubjectId, SubjectId]]) -> list[Pair]:
    confirmed: list[Pair] = []
    for start in range(0, len(likely), PAIRS_AT_ONCE):
        part = likely[start : start + PAIRS_AT_ONCE]
        subjects = list(dict.fromkeys(subject for pair in part for subject in pair))
        known = await comparison.open(await comparison.fetch(subjects))
        if known:
            await comparison.record(subject.stored for subject in known.values())
        pairs = [
            Pair(one, other, *compare(known[one].traits, known[other].traits))
            for one, other in part
            if one in known and other in known
        ]
        confirmed += [pair for pair in pairs if pair.score >= LEAST]
    return confirmed


async def _shared_digests(services: Services, tenant: TenantId, step: int) -> tuple[list[tuple[bytes, SubjectId]], int]:
    """Fetch the untruncated digests of a part of the index that two to :data:`MOST_SHARING` subjects share.

    Returns:
        the digests with their subjects, and the number of digests that more subjects share.
    """
    index = BLIND_INDEX.c
    part = [index.tenant_id == tenant, index.digest >= bytes([step]), func.length(index.digest) == WHOLE]
    if step + 1 < STEPS:
        part.append(index.digest < bytes([step + 1]))
    sharing = func.count(index.subject_id.distinct())
    shared = select(index.digest).where(*part).group_by(index.digest).having(sharing.between(2, MOST_SHARING))
    statement = select(index.digest, index.subject_id).where(*part, index.digest.in_(shared)).distinct()
    common = select(index.digest).where(*part).group_by(index.digest).having(sharing > MOST_SHARING).subquery()
    async with services.data.reading() as connection:
        rows = (await connection.execute(statement.order_by(index.digest, index.subject_id))).all()
        too_common = (await connection.execute(select(func.count()).select_from(common))).scalar_one()
    return [(digest, SubjectId(subject)) for digest, subject in rows], too_common


def _pairs(rows: Sequence[tuple[bytes, SubjectId]]) -> Iterator[tuple[SubjectId, SubjectId]]:
    for _digest, group in groupby(rows, key=lambda row: row[0]):
        yield from combinations([subject for _same, subject in group], 2)
