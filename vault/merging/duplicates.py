"""Propose who might be the same person: digests lead to candidates, and unsealing tells the false ones.

What is told are ids, names of fields and a score: never a value, and nothing of who is restricted or erased. What is
over, or under a legal hold, is not compared.

How much two entries look like one person: by values that few people share. Pure; no value leaves it.

A score of 100 would be certainty, which no comparison gives: a family shares a telephone, and twins a date of birth.
So a score proposes, and a person decides.

Propose who might be one among all people of a tenant: by digests that few share, a 256th of the index at a time.
"""

from __future__ import annotations

from itertools import combinations, groupby
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.types import TYPES, decode, index_text
from vault.clock import to_microseconds
from vault.consent.legal_ground import RESTRICTED
from vault.consent.model import unpack as unpack_standing
from vault.crypto.seal import record_aad
from vault.errors import Denied, NotFound
from vault.ids import SubjectId
from vault.retention.filter import over_values
from vault.retention.holds import held_by
from vault.subjects.blind_index import search_digest
from vault.subjects.record_body import unpack
from vault.subjects.store import GONE, PROFILE, SubjectQuery
from vault.subjects.tables import BLIND_INDEX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
    from typing import Any
    from uuid import UUID

    from vault.catalogue.model import Catalogue, Field, Index
    from vault.catalogue.types import Match
    from vault.context import Caller, Services
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.subjects.store import StoredSubject


LEAST = 60
"""The score from which on a pair is proposed: a shared name or date of birth alone is not enough, both together are."""


class Trait(NamedTuple):
    """A value by which people are compared: its field, what sharing it says, and its folded text."""

    field: Field
    match: Match
    text: str

    @property
    def group(self) -> str:
        """Name the group of fields that are compared with each other."""
        return _group(self.field, self.match)


class Likeness(NamedTuple):
    """How alike two entries are: a score of 0 to 99, and the names of the fields that match."""

    score: int
    matched: tuple[str, ...]


def comparable_fields(catalogue: Catalogue) -> dict[str, Field]:
    """List the fields of the profile that help to tell people apart: those with an index of whole values."""
    return {
        name: field
        for name, field in catalogue.collections[PROFILE].fields.items()
        if _exact(field) is not None and _match(field) is not None
    }


def traits(fields: Mapping[str, Field], values: Mapping[str, Any]) -> list[Trait]:
    """Read the traits of a person out of the values of :func:`comparable_fields`."""
    found = []
    for name, value in values.items():
        field = fields[name]
        match = _match(field)
        if match is not None:
            found.append(Trait(field, match, index_text(field.type, value)))
    return found


def lookups(index_keys: IndexKeys, fields: Mapping[str, Field], trait: Trait) -> list[bytes]:
    """List the digests under which others with the same value are found, in every field of the group."""
    return [
        search_digest(index_keys, field, index, trait.text)
        for field in fields.values()
        if (match := _match(field)) is not None
        and _group(field, match) == trait.group
        and (index := _exact(field)) is not None
    ]


def compare(mine: Iterable[Trait], theirs: Iterable[Trait]) -> Likeness:
    """Compare two people."""
    others = {(trait.group, trait.text) for trait in theirs}
    shared = [trait for trait in mine if (trait.group, trait.text) in others]
    return Likeness(score(shared), tuple(dict.fromkeys(trait.field.name for trait in shared)))


def score(shared: Iterable[Trait]) -> int:
    """Put weights together as independent hints; a value counts once, and so does the name, however it is kept."""
    weights = {
        (trait.match.kind or trait.group, "" if trait.match.kind else trait.text): trait.match.weight
        for trait in shared
    }
    return min(99, round(100 * (1 - prod(1 - weight / 100 for weight in weights.values()))))


def _match(field: Field) -> Match | None:
    match = TYPES[field.type].match
    return match if match is not None and match.applies(field.category) else None


def _group(field: Field, match: Match) -> str:
    return f"{match.kind}:{field.name}" if match.kind else field.type


def _exact(field: Field) -> Index | None:
    return next((index for index in field.indexes if index.kind == "exact"), None)


MOST_CANDIDATES = 50
MOST_OPENED = 200
MOST_LED_TO = 1_000
"""Most people with one digest; a value that more people share distinguishes no one."""


class Candidate(NamedTuple):
    """A subject that might be the same person, the likelihood (0 to 99), and the names of the matching fields."""

    id: SubjectId
    score: int
    matched: tuple[str, ...]


class Duplicates(NamedTuple):
    """Who might be the same person, the likeliest first; ``more`` says that there may be others."""

    candidates: list[Candidate]
    more: bool
    audit: UUID


class Known(NamedTuple):
    """A person with the traits by which people are told apart."""

    found: StoredSubject
    traits: list[Trait]


@audited("find-duplicates")
async def find_duplicates(services: Services, caller: Caller, subject: SubjectId) -> Duplicates:
    """Propose who might be the same person as one.

    Raises:
        Denied: no role of the caller's may merge, or this person's data is restricted: it is stored and not compared.
        NotFound: there is no such person.
        TooMany: the principal has searched too often.
    """
    await require_permission(services, caller, "vault:subjects", "merge", audit_action="find-duplicates")
    await services.limits.take(caller.principal, "search", 1)
    fields = comparable_fields(services.policies.active(caller.tenant).policy_set.catalogue)
    (found,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=True))
    known = await load_known(services, caller.tenant, fields, [found])
    if found is None or found.state in GONE or (not known and found.state == "active"):
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    if found.state == "restricted":
        raise Denied(RESTRICTED.detail, code=RESTRICTED.code)
    mine = known[subject].traits
    likely, is_cut = await _likely(services, caller.tenant, fields, subject, mine)
    others = await load_known(
        services,
        caller.tenant,
        fields,
        await services.subjects.find(SubjectQuery(caller.tenant, tuple(likely), profile=True)),
    )
    compared = [Candidate(each, *compare(mine, other.traits)) for each, other in others.items()]
    proposed = sorted((each for each in compared if each.score >= LEAST), key=lambda each: (-each.score, each.id))
    candidates = proposed[:MOST_CANDIDATES]
    whom = [found, *(others[each.id].found for each in candidates)]
    audit = await log_comparison(services, caller, fields, whom)
    return Duplicates(candidates, is_cut or len(proposed) > MOST_CANDIDATES, audit)


async def load_known(
    services: Services, tenant: TenantId, fields: Mapping[str, Field], people: Sequence[StoredSubject | None]
) -> dict[SubjectId, Known]:
    """Open the telling fields of people, of those that are neither erased nor restricted."""
    present = [each for each in people if each is not None and each.state == "active" and each.profile is not None]
    keys = await services.keyring.subject_keys(tenant, [each.id for each in present])
    now, over = to_microseconds(services.clock.now()), await over_values(services, tenant, present)
    return {
        each.id: Known(
            each, traits(fields, _values(tenant, each, keys[each.id], fields, now, over.get(each.id, frozenset())))
        )
        for each in present
        if each.id in keys
    }


async def log_comparison(
    services: Services, caller: Caller, fields: Mapping[str, Field], people: Sequence[StoredSubject]
) -> UUID:
    """Write down by which fields which people were compared."""
    made = audit_entry(
        services,
        caller,
        action="find-duplicates",
        decision="allowed",
        matched=tuple(f"{field.whole}.clear" for field in fields.values()),
        subjects=tuple(each.pseudonym for each in people),
        policy=services.policies.active(caller.tenant).version,
    )
    await services.audit_log.append(made)
    return made.id


async def _likely(
    services: Services, tenant: TenantId, fields: Mapping[str, Field], subject: SubjectId, mine: list[Trait]
) -> tuple[list[SubjectId], bool]:
    """Let the digests lead to people, and keep those who would be proposed if every digest told the truth."""
    index_keys = await services.keyring.index_keys(tenant)
    hints: dict[SubjectId, list[Trait]] = {}
    is_cut = False
    for trait in mine:
        for digest in lookups(index_keys, fields, trait):
            rows = await services.subjects.by_digest(tenant, digest, most=MOST_LED_TO + 1)
            is_cut = is_cut or len(rows) > MOST_LED_TO
            for other in {person for person, _record in rows} - {subject}:
                hints.setdefault(other, []).append(trait)
    scores = {other: score(shared) for other, shared in hints.items()}
    likely = sorted((other for other in scores if scores[other] >= LEAST), key=lambda other: (-scores[other], other))
    return likely[:MOST_OPENED], is_cut or len(likely) > MOST_OPENED


def _values(
    tenant: TenantId,
    found: StoredSubject,
    keys: SubjectKeys,
    fields: Mapping[str, Field],
    now: int,
    over: frozenset[str],
) -> dict[str, object]:
    where = record_aad(tenant, found.id, PROFILE, found.id)
    body, standing = unpack(found.profile or b""), unpack_standing(found.standing)
    return {
        name: decode(keys.open(name, stored.sealed, where))
        for name, stored in body.items()
        if name in fields
        and name not in over
        and (stored.expires_at is None or stored.expires_at > now)
        and held_by(standing, fields[name].whole, 0) is None  # of a profile the day does not matter
    }


STEPS = 256
MOST_SHARING = 8
"""Most people with one digest: a value that more share, such as the first letters of a name, proposes no one."""
WHOLE = 32
"""Bytes of a digest that was not cut short."""
AT_ONCE = 1_000


class Pair(NamedTuple):
    """Two who might be one, how likely (0 to 99), and the names of the fields that say so."""

    one: SubjectId
    other: SubjectId
    score: int
    matched: tuple[str, ...]


async def find_pairs(services: Services, caller: Caller) -> AsyncGenerator[list[Pair]]:
    """Go through a tenant's index and yield, step by step, the pairs that were found; there are :data:`STEPS`.

    Raises:
        Unavailable: a database does not answer.
    """
    seen: set[tuple[SubjectId, SubjectId]] = set()
    for step in range(STEPS):
        rows = await _shared(services, caller.tenant, step)
        likely = set(_pairs(rows)) - seen
        seen |= likely
        yield await _confirmed(services, caller, sorted(likely))


async def _confirmed(services: Services, caller: Caller, likely: Sequence[tuple[SubjectId, SubjectId]]) -> list[Pair]:
    fields = comparable_fields(services.policies.active(caller.tenant).policy_set.catalogue)
    found: list[Pair] = []
    for start in range(0, len(likely), AT_ONCE // 2):
        part = likely[start : start + AT_ONCE // 2]
        people = tuple(dict.fromkeys(each for pair in part for each in pair))
        known = await load_known(
            services,
            caller.tenant,
            fields,
            await services.subjects.find(SubjectQuery(caller.tenant, people, profile=True)),
        )
        if known:
            await log_comparison(services, caller, fields, [each.found for each in known.values()])
        pairs = [
            Pair(one, other, *compare(known[one].traits, known[other].traits))
            for one, other in part
            if one in known and other in known
        ]
        found += [pair for pair in pairs if pair.score >= LEAST]
    return found


async def _shared(services: Services, tenant: TenantId, step: int) -> list[tuple[bytes, SubjectId]]:
    """Fetch a part of the index: digests that are whole and that two to a few people share."""
    it = BLIND_INDEX.c
    here = [it.tenant_id == tenant, it.digest >= bytes([step]), func.length(it.digest) == WHOLE]
    if step + 1 < STEPS:
        here.append(it.digest < bytes([step + 1]))
    people = func.count(it.subject_id.distinct())
    few = select(it.digest).where(*here).group_by(it.digest).having(people.between(2, MOST_SHARING))
    statement = (
        select(it.digest, it.subject_id).where(*here, it.digest.in_(few)).distinct().order_by(it.digest, it.subject_id)
    )
    async with services.data.reading() as connection:
        return [(row[0], SubjectId(row[1])) for row in (await connection.execute(statement)).all()]


def _pairs(rows: Sequence[tuple[bytes, SubjectId]]) -> Iterator[tuple[SubjectId, SubjectId]]:
    for _digest, group in groupby(rows, key=lambda row: row[0]):
        yield from combinations([subject for _same, subject in group], 2)
