"""What an OpenID Connect issuer's tokens must say, and how its words become ours. Pure: it checks no signature."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vault.errors import Misconfigured
from vault.ids import PrincipalId, RoleName, TenantId, is_slug
from vault.principals.jwks import is_url
from vault.principals.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class TenantClaim:
    """The tenant is what this claim says, if it is one of those allowed."""

    claim: str
    allowed: frozenset[str]


@dataclass(frozen=True, slots=True)
class OidcIssuer:
    """What an issuer's tokens must say, and how its words become ours.

    Attributes:
        issuer: the ``iss`` of its tokens, character by character.
        audience: what must be among their ``aud``: this vault's client id or API identifier there.
        jwks: https URL (http on loopback only) or file of its public keys.
        roles_claim: claim with the roles, a whole name or a path with dots such as ``realm_access.roles``.
        roles: the claim's values and the vault's role for each; other values mean nothing here.
        tenant: the tenant of everyone from there, or the claim that names it.
        subject_claim: claim that names the person for ever; never one that may be given to another, such as an e-mail.
    """

    issuer: str
    audience: str
    jwks: str
    roles_claim: str
    roles: Mapping[str, str]
    tenant: str | TenantClaim
    subject_claim: str = "sub"

    def __post_init__(self) -> None:
        is_url(self.jwks)
        if not (self.issuer and self.audience and self.jwks and self.roles_claim and self.subject_claim):
            raise Misconfigured("an issuer needs its name, an audience, its JWKS, a role claim and a subject claim")
        tenants = self.tenant.allowed if isinstance(self.tenant, TenantClaim) else {self.tenant}
        if not tenants or not all(map(is_slug, [*tenants, *self.roles.values()])):
            raise Misconfigured("an issuer's tenants and roles must be names of tenants and roles of the vault")

    def principal(self, claims: dict[str, Any]) -> Principal:
        """Return whom verified claims speak for.

        Raises:
            KeyError, TypeError, ValueError: they name no subject, or no tenant that this issuer may speak for.
        """
        subject = claims[self.subject_claim]
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise ValueError("no subject")
        identity = principal_id(self.issuer, subject)
        return Principal(
            id=identity,
            tenant=self._tenant_of(claims),
            name=f"oidc-{identity.hex[:12]}",
            kind="staff",
            roles=self._roles_of(claims),
        )

    def _tenant_of(self, claims: dict[str, Any]) -> TenantId:
        tenant = self.tenant
        if isinstance(tenant, TenantClaim):
            named = claims[tenant.claim]
            if not isinstance(named, str) or named not in tenant.allowed:
                raise ValueError("not a tenant of this issuer")
            return TenantId(named)
        return TenantId(tenant)

    def _roles_of(self, claims: dict[str, Any]) -> tuple[RoleName, ...]:
        value = _claim_at(claims, self.roles_claim)
        values = value if isinstance(value, list) else [value]
        ours = {self.roles[name] for name in values if isinstance(name, str) and name in self.roles}
        return tuple(RoleName(role) for role in sorted(ours))


def principal_id(issuer: str, subject: str) -> PrincipalId:
    """Return the id of a person known by issuer and subject: the same on every node and for ever, and stored nowhere.

    A UUIDv8 (RFC 9562 §5.8) of SHA-256 over both, length-prefixed. It is a pseudonym, not a secret: who knows issuer
    and subject can compute it. It keeps names and e-mails out of the audit log, no more.
    """
    named = issuer.encode("utf-8", "surrogatepass")
    text = b"cdv oidc principal" + len(named).to_bytes(4, "big") + named + subject.encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(text).digest()[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return PrincipalId(UUID(int=number))


def _claim_at(claims: dict[str, Any], path: str) -> Any:
    """Return a claim by its whole name (which may hold dots, as names that are URLs do), else by a path with dots."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
