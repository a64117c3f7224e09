"""Principals (callers) and their API keys: ``cdv_<id>_<secret>``.

The id is the key row's UUID in 32 hex digits: public, of fixed length and free of ``_``, so that the secret, which may
contain ``_`` and ``-``, starts at a known place. The secret is 32 random bytes in base64url without padding. 256 bits
cannot be guessed offline, so no slow password hash is needed. The stored digest is keyed all the same: a key that an
attacker made up and wrote into the main database is none, for its digest takes the tenant's secret.
"""

from __future__ import annotations

import base64
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from vault.errors import Fault, InvalidInput, NotAuthenticated
from vault.ids import KeyId, PrincipalId, RoleName, TenantId, is_slug
from vault.sensitive import Sensitive

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


Kind = Literal["app", "staff"]
State = Literal["active", "disabled"]


@dataclass(frozen=True, slots=True)
class Principal:
    """One caller. It acts in exactly one tenant.

    ``roles`` are sorted and without duplicates, so that the same roles always make the same key of a cached decision.
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
    """An issued API key, without the key itself."""

    id: KeyId
    principal: PrincipalId
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new API key. ``key`` is nowhere else: the vault stores only its digest."""

    id: KeyId
    principal: PrincipalId
    key: Sensitive[str]
    expires_at: datetime


def not_authenticated() -> NotAuthenticated:
    """Return the error for every bearer that is not accepted. It is always the same and does not reveal the reason."""
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
    """Return roles sorted and without duplicates, if all are slugs. A policy need not know them.

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


PREFIX = "cdv_"

# 32 bytes are 42 whole base64 characters and one that carries 4 bits: its other two bits must be zero, or four
# different texts would be one secret.
_SHAPE = re.compile(r"cdv_([0-9a-f]{32})_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


def make_key(key_id: KeyId) -> Sensitive[str]:
    """Make a new key for the row with this id, from the operating system's randomness."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return Sensitive(f"{PREFIX}{key_id.hex}_{secret}")


def key_id_of(bearer: str) -> KeyId | None:
    """Return the public id in an API key, or None if the text does not have the one form that keys have."""
    match = _SHAPE.fullmatch(bearer)
    return KeyId(UUID(hex=match[1])) if match else None
