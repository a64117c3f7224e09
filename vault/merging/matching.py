"""How much two entries look like one person: by values that few people share. Pure; no value leaves it.

A score of 100 would be certainty, which no comparison gives: a family shares a telephone, and twins a date of birth.
So a score proposes, and a person decides.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from vault.catalogue.types import index_text
from vault.subjects.blind_index import sought
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from vault.catalogue.model import Catalogue, Field, Index
    from vault.crypto.derive import IndexKeys

WEIGHTS = {"national_id": 95, "iban": 85, "email": 85, "phone": 75}
"""By type: how likely two who share such a value are one, in percent. Fields of one type are compared together."""
NAME, BORN = 40, 40
"""A name alone, or a birthday alone, proposes nobody; both together do."""
LEAST = 60
"""From this score on somebody is proposed."""


class Trait(NamedTuple):
    """A value by which people are told apart: of which field, in which group it is compared, and its weight."""

    field: Field
    group: str
    weight: int
    text: str


class Likeness(NamedTuple):
    """How alike two entries are: a score of 0 to 99, and the names of the fields that match."""

    score: int
    matched: tuple[str, ...]


def telling_fields(catalogue: Catalogue) -> dict[str, Field]:
    """List the fields of the profile that help to tell people apart: those with an index of whole values."""
    return {
        name: field
        for name, field in catalogue.collections[PROFILE].fields.items()
        if _exact(field) is not None and _group(field) is not None
    }


def traits(fields: Mapping[str, Field], values: Mapping[str, Any]) -> list[Trait]:
    """Read the traits of a person out of the values of :func:`telling_fields`."""
    found = []
    for name, value in values.items():
        field = fields[name]
        group = _group(field)
        if group is not None:
            found.append(Trait(field, *group, index_text(field.type, value)))
    return found


def lookups(index_keys: IndexKeys, fields: Mapping[str, Field], trait: Trait) -> list[bytes]:
    """List the digests under which others with the same value are found, in every field of the group."""
    return [
        sought(index_keys, field, index, trait.text)
        for field in fields.values()
        if (group := _group(field)) is not None and group[0] == trait.group and (index := _exact(field)) is not None
    ]


def alike(mine: Iterable[Trait], theirs: Iterable[Trait]) -> Likeness:
    """Compare two people."""
    others = {(trait.group, trait.text) for trait in theirs}
    shared = [trait for trait in mine if (trait.group, trait.text) in others]
    return Likeness(score(shared), tuple(dict.fromkeys(trait.field.name for trait in shared)))


def score(shared: Iterable[Trait]) -> int:
    """Put weights together as independent hints; a value counts once, and so does the name, however it is kept."""
    weights = {(_kind(trait.group), trait.text if trait.group in WEIGHTS else ""): trait.weight for trait in shared}
    return min(99, round(100 * (1 - prod(1 - weight / 100 for weight in weights.values()))))


def _group(field: Field) -> tuple[str, int] | None:
    if field.type in WEIGHTS:
        return field.type, WEIGHTS[field.type]
    if field.type == "text" and field.category.startswith("user.name"):
        return f"name:{field.name}", NAME
    if field.type == "date" and field.category.endswith("date_of_birth"):
        return f"born:{field.name}", BORN
    return None


def _kind(group: str) -> str:
    return group.partition(":")[0]


def _exact(field: Field) -> Index | None:
    return next((index for index in field.indexes if index.kind == "exact"), None)
