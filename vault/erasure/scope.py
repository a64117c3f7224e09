"""What an erasure is about: everything, or the fields, collections or purposes that were named. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from vault.catalogue.model import HOME, LegalBasis, UnknownName, covers
from vault.catalogue.scope import Scope
from vault.consent.lawfulness import purpose_ground
from vault.consent.legal_ground import refusal
from vault.consent.state import Standing
from vault.errors import Fault, InvalidInput
from vault.storage.columns import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from vault.catalogue.model import Catalogue, Purpose
    from vault.policy.policy_set import PolicySet

EVERYTHING = Scope()


def checked_scope(policy_set: PolicySet, scope: Scope) -> Scope:
    """Write the names of a scope in the form in which they are kept.

    Raises:
        InvalidInput: a field, collection or purpose is unknown; which one is told by its place.
    """
    catalogue = policy_set.catalogue
    faults = _unknown("fields", [_canonical(catalogue, name) is not None for name in scope.fields])
    faults += _unknown("collections", [name in catalogue.collections for name in scope.collections])
    faults += _unknown("purposes", [name in policy_set.purposes for name in scope.purposes])
    if faults:
        raise InvalidInput("the scope names what is not there", faults=faults, code="unknown-scope")
    fields = [name for each in scope.fields if (name := _canonical(catalogue, each)) is not None]
    return Scope(tuple(fields), scope.collections, scope.purposes)


def in_scope(policy_set: PolicySet, scope: Scope, standing: Standing, now: datetime) -> Callable[[str], bool]:
    """Return the test whether a field, by its whole name, is to be erased.

    By purposes, a field is in scope if one of them needs it and no other purpose does that still holds for this
    person. A legal obligation is no such other: whether it keeps the field is for the verdict.
    """
    if scope == EVERYTHING:
        return lambda _whole: True
    catalogue = policy_set.catalogue
    names = [name if "." in name else f"{HOME}.{name}" for name in scope.fields]
    names += [f"{collection}.*" for collection in scope.collections]
    given = [policy_set.purposes[name] for name in scope.purposes if name in policy_set.purposes]
    others = [
        purpose
        for name, purpose in policy_set.purposes.items()
        if name not in scope.purposes and _still_holds(policy_set, purpose, standing, now)
    ]
    left = {field.whole for field in catalogue.fields()} & (_needed(given) - _needed(others))
    return lambda whole: whole in left or any(covers(whole, name) for name in names)


def also(scope: Scope, fields: Sequence[str]) -> Scope:
    """Widen a scope by fields, named whole."""
    return replace(scope, fields=tuple(dict.fromkeys([*scope.fields, *fields])))


def _still_holds(policy_set: PolicySet, purpose: Purpose, standing: Standing, now: datetime) -> bool:
    """Tell whether a purpose holds for a person; a restriction stops its use for a while, and not its need."""
    if not purpose.collects or purpose.legal_basis == LegalBasis.LEGAL_OBLIGATION or not purpose.in_force(now.date()):
        return False
    ground = purpose_ground(policy_set, purpose, now.date())
    return refusal(ground, Standing(standing.purposes), to_microseconds(now)) is None


def _needed(purposes: list[Purpose]) -> set[str]:
    return {name.rpartition(".")[0] for purpose in purposes for name in purpose.views}


def _canonical(catalogue: Catalogue, name: str) -> str | None:
    try:
        return catalogue.field(name).whole
    except UnknownName:
        return None


def _unknown(part: str, known: list[bool]) -> list[Fault]:
    return [
        Fault(f"/scope/{part}/{position}", f"unknown-{part[:-1]}", "the policies declare nothing of that name")
        for position, there in enumerate(known)
        if not there
    ]
