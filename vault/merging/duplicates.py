"""Propose who might be the same person: digests lead to candidates, and unsealing tells the false ones.

What is told are ids, names of fields and a score: never a value, and nothing of who is restricted or erased. What is
over, or under a legal hold, is not compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND, entry
from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.catalogue.types import decode
from vault.consent.legal_ground import RESTRICTED
from vault.consent.state import unpack as unpack_standing
from vault.crypto.seal import place
from vault.errors import Denied, NotFound
from vault.merging.matching import LEAST, alike, lookups, score, telling_fields, traits
from vault.retention.holds import held_by
from vault.retention.over import over_values
from vault.storage.columns import to_microseconds
from vault.subjects.record_body import unpack
from vault.subjects.store import GONE, PROFILE, Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from vault.catalogue.model import Field
    from vault.context import Caller, House
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId
    from vault.merging.matching import Trait
    from vault.subjects.store import Found

MOST_CANDIDATES = 50
MOST_OPENED = 200
MOST_LED_TO = 1_000
"""People to whom one digest may lead; a value that more share tells nobody from anybody."""


class Candidate(NamedTuple):
    """Somebody who might be the same person, how likely (0 to 99), and the names of the fields that say so."""

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

    found: Found
    traits: list[Trait]


@on_record("find-duplicates")
async def find_duplicates(house: House, caller: Caller, subject: SubjectId) -> Duplicates:
    """Propose who might be the same person as one.

    Raises:
        Denied: no role of the caller's may merge, or this person's data is restricted: it is stored and not compared.
        NotFound: there is no such person.
        TooMany: the principal has searched too often.
    """
    await require_right(house, caller, "vault:subjects", "merge", audited_as="find-duplicates")
    await house.limits.take(caller.principal, "search", 1)
    fields = telling_fields(house.policies.active(caller.tenant).policy_set.catalogue)
    (found,) = await house.subjects.find(Wanted(caller.tenant, (subject,), profile=True))
    known = await known_people(house, caller.tenant, fields, [found])
    if found is None or found.state in GONE or (not known and found.state == "active"):
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    if found.state == "restricted":
        raise Denied(RESTRICTED.detail, code=RESTRICTED.code)
    mine = known[subject].traits
    likely, is_cut = await _likely(house, caller.tenant, fields, subject, mine)
    others = await known_people(
        house, caller.tenant, fields, await house.subjects.find(Wanted(caller.tenant, tuple(likely), profile=True))
    )
    compared = [Candidate(each, *alike(mine, other.traits)) for each, other in others.items()]
    proposed = sorted((each for each in compared if each.score >= LEAST), key=lambda each: (-each.score, each.id))
    candidates = proposed[:MOST_CANDIDATES]
    whom = [found, *(others[each.id].found for each in candidates)]
    audit = await note_comparison(house, caller, fields, whom)
    return Duplicates(candidates, is_cut or len(proposed) > MOST_CANDIDATES, audit)


async def known_people(
    house: House, tenant: TenantId, fields: Mapping[str, Field], people: Sequence[Found | None]
) -> dict[SubjectId, Known]:
    """Open the telling fields of people, of those that are neither erased nor restricted."""
    present = [each for each in people if each is not None and each.state == "active" and each.profile is not None]
    keys = await house.keyring.subject_keys(tenant, [each.id for each in present])
    now, over = to_microseconds(house.clock.now()), await over_values(house, tenant, present)
    return {
        each.id: Known(
            each, traits(fields, _values(tenant, each, keys[each.id], fields, now, over.get(each.id, frozenset())))
        )
        for each in present
        if each.id in keys
    }


async def note_comparison(house: House, caller: Caller, fields: Mapping[str, Field], people: Sequence[Found]) -> UUID:
    """Write down by which fields which people were compared."""
    made = entry(
        house,
        caller,
        action="find-duplicates",
        decision="allowed",
        matched=tuple(f"{field.whole}.clear" for field in fields.values()),
        subjects=tuple(each.pseudonym for each in people),
        policy=house.policies.active(caller.tenant).version,
    )
    await house.ledger.append(made)
    return made.id


async def _likely(
    house: House, tenant: TenantId, fields: Mapping[str, Field], subject: SubjectId, mine: list[Trait]
) -> tuple[list[SubjectId], bool]:
    """Let the digests lead to people, and keep those who would be proposed if every digest told the truth."""
    index_keys = await house.keyring.index_keys(tenant)
    hints: dict[SubjectId, list[Trait]] = {}
    is_cut = False
    for trait in mine:
        for digest in lookups(index_keys, fields, trait):
            rows = await house.subjects.by_digest(tenant, digest, most=MOST_LED_TO + 1)
            is_cut = is_cut or len(rows) > MOST_LED_TO
            for other in {person for person, _record in rows} - {subject}:
                hints.setdefault(other, []).append(trait)
    scores = {other: score(shared) for other, shared in hints.items()}
    likely = sorted((other for other in scores if scores[other] >= LEAST), key=lambda other: (-scores[other], other))
    return likely[:MOST_OPENED], is_cut or len(likely) > MOST_OPENED


def _values(
    tenant: TenantId, found: Found, keys: SubjectKeys, fields: Mapping[str, Field], now: int, over: frozenset[str]
) -> dict[str, object]:
    where = place(tenant, found.id, PROFILE, found.id)
    body, standing = unpack(found.profile or b""), unpack_standing(found.standing)
    return {
        name: decode(keys.open(name, stored.sealed, where))
        for name, stored in body.items()
        if name in fields
        and name not in over
        and (stored.expires_at is None or stored.expires_at > now)
        and held_by(standing, fields[name].whole, 0) is None  # of a profile the day does not matter
    }
