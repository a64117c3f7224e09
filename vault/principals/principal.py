"""The caller, and what is known of its keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vault.errors import Fault, InvalidInput, NotAuthenticated
from vault.ids import KeyId, PrincipalId, RoleName, TenantId, is_slug

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from vault.sensitive import Sensitive

Kind = Literal["app", "staff"]
State = Literal["active", "disabled"]


@dataclass(frozen=True, slots=True)
class Principal:
    """One caller. It acts in exactly one tenant.

    ``roles`` are sorted and free of repeats, so that the same roles always make the same key of a kept decision.
    ``created_at`` is None for the bearer of a token: such a person is registered at the issuer and not here.
    """

    id: PrincipalId
    tenant: TenantId
    name: str
    kind: Kind
    roles: tuple[RoleName, ...]
    state: State = "active"
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of an API key once it is issued: everything but the key."""

    id: KeyId
    principal: PrincipalId
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new API key. ``key`` exists here and nowhere else: the vault keeps only its digest."""

    id: KeyId
    principal: PrincipalId
    key: Sensitive[str]
    expires_at: datetime


def not_authenticated() -> NotAuthenticated:
    """Return the one error for every bearer that is not accepted, so that none tells why or whether a key exists."""
    return NotAuthenticated(
        "the bearer is not accepted",
        hint="Send `Authorization: Bearer` with a current API key of an active app, or a current token of an issuer "
        "that this vault is set up for.",
    )


def checked_name(name: str) -> str:
    """Return the name of a principal if it is a slug.

    Raises:
        InvalidInput: it is not.
    """
    if not is_slug(name):
        fault = Fault(
            "/name", "invalid-name", "a name has 1 to 64 of a-z, 0-9, - and _, and starts and ends with a-z0-9"
        )
        raise InvalidInput("the name of the principal is not valid", faults=[fault])
    return name


def checked_roles(roles: Iterable[str]) -> tuple[RoleName, ...]:
    """Return roles sorted and without repeats if all are slugs; whether a policy knows them is for the policy to say.

    Raises:
        InvalidInput: one is not, or there are more than 32; each bad one has its fault, by place and not by value.
    """
    given = list(roles)
    faults = [
        Fault(f"/roles/{place}", "invalid-role", "a role has 1 to 64 of a-z, 0-9, - and _")
        for place, role in enumerate(given)
        if not is_slug(role)
    ]
    if len(given) > 32:
        faults.append(Fault("/roles", "too-many-roles", "a principal has at most 32 roles"))
    if faults:
        raise InvalidInput("the roles of the principal are not valid", faults=faults)
    return tuple(RoleName(role) for role in sorted(set(given)))
