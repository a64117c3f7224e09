"""Tokens of the company's OpenID Connect issuer (RFC 7519, RFC 8725), verified with the issuer's public keys.

:class:`TokenVerifier` verifies a token; :class:`OidcIssuer` is pure and maps its claims to a principal.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.util import urlsafe_b64decode

from vault.errors import Misconfigured
from vault.ids import PrincipalId, RoleName, TenantId, is_slug
from vault.principals.jwks import Jwks, is_url
from vault.principals.principal import Principal, not_authenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from joserfc.jwa import JWSAlgModel

    from vault.clock import Clock


ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})
LEEWAY = 30
"""Seconds by which the issuer's clock and ours may differ."""

# "at+jwt" is RFC 9068 §2.1. Any other type, such as a logout token's, was made for something else (RFC 8725 §3.11).
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_MALFORMED = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Verified:
    """The principal of a token, and the seconds until it expires (0 in the leeway after its end)."""

    principal: Principal
    lifetime: float


class TokenVerifier:
    """Checks the tokens of one issuer.

    Args:
        issuer: the claims that they must have.
        clock: for ``exp`` and ``nbf``.
        timeout: seconds for fetching the issuer's keys.
        monotonic: seconds from any start, for the age of the issuer's keys.
    """

    def __init__(
        self,
        issuer: OidcIssuer,
        clock: Clock,
        *,
        timeout: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer.issuer
        self._expected = issuer
        self._clock = clock
        self._jwks = Jwks(issuer.jwks, timeout=timeout, monotonic=monotonic)

    async def verify(self, bearer: str) -> Verified:
        """Return the principal of a token.

        1. The header names one of three signature algorithms, a type for signing in, and nothing critical (RFC 7515
           §4.1.11).
        2. The key comes from the issuer's set by its id; the header's own ``jwk``, ``jku`` and ``x5u`` are ignored.
        3. The key's type fits the algorithm, and the signature is right.
        4. Issuer, audience, expiry, not-before and issued-at hold, and the subject is named.
        5. Tenant and roles are those that the settings give for the claims.

        The issuer is not asked whether it revoked the token, so tokens should be short-lived.

        Raises:
            NotAuthenticated: any of these fails.
            Unavailable: the issuer's keys cannot be read.
        """
        try:
            kid = _checked_header(bearer)
        except _MALFORMED as exc:
            raise not_authenticated() from exc
        key = await self._jwks.key(kid)
        if key is None:
            raise not_authenticated()
        try:
            claims = jwt.decode(bearer, key, registry=_REGISTRY).claims
            now = int(self._clock.now().timestamp())
            jwt.JWTClaimsRegistry(
                now=now,
                leeway=LEEWAY,
                iss={"essential": True, "value": self._expected.issuer},
                aud={"essential": True, "value": self._expected.audience},
                exp={"essential": True},
            ).validate(claims)
            return Verified(self._expected.principal(claims), lifetime=float(max(0, min(claims["exp"] - now, 86_400))))
        except _MALFORMED as exc:
            raise not_authenticated() from exc


def unverified_issuer(bearer: str) -> str | None:
    """Return the unverified ``iss`` of a token, which chooses the verifier; None if it is not a token."""
    parts = bearer.split(".")
    if len(parts) != 3:
        return None
    try:
        issuer = json.loads(urlsafe_b64decode(parts[1].encode()))["iss"]
    except _MALFORMED:
        return None
    return issuer if isinstance(issuer, str) else None


class _Registry(jws.JWSRegistry):
    """joserfc's registry with three algorithms only."""

    max_header_length = 4096  # some issuers send their certificate chain along

    def get_alg(self, name: str) -> JWSAlgModel:
        # joserfc's own look-up warns at every EdDSA token that RFC 9864 prefers another name; issuers still use it.
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError("the algorithm is not allowed")
        return self.algorithms[name]


# Unknown header parameters are ignored (RFC 7515 §4); "crit" is refused before.
_REGISTRY = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


def _checked_header(bearer: str) -> str | None:
    """Return the key id in a token's header; raises one of `_MALFORMED` if the header is not acceptable."""
    header = json.loads(urlsafe_b64decode(bearer.split(".", 1)[0].encode()))
    if header["alg"] not in ALGORITHMS or not header.keys().isdisjoint({"crit", "b64"}):  # RFC 7797 §7 on b64
        raise ValueError("algorithm or extension not allowed")
    if header.get("typ", "JWT").lower() not in _TYPES:
        raise ValueError("not a type for signing in")
    kid = header.get("kid")
    if not (kid is None or isinstance(kid, str)):
        raise TypeError("the key id is not a text")
    return kid


@dataclass(frozen=True, slots=True)
class TenantClaim:
    """The tenant is the value of this claim, if it is allowed."""

    claim: str
    allowed: frozenset[str]


@dataclass(frozen=True, slots=True)
class OidcIssuer:
    """An issuer: the claims that its tokens must have, and how they map to tenant and roles.

    Attributes:
        issuer: the ``iss`` of its tokens, character by character.
        audience: what must be among their ``aud``: this vault's client id or API identifier there.
        jwks: https URL (http on loopback only) or file of its public keys.
        roles_claim: claim with the roles, a whole name or a path with dots such as ``realm_access.roles``.
        roles: the claim's values and the vault's role for each; other values are ignored.
        tenant: the tenant of all its people, or the claim that names it.
        subject_claim: claim that identifies the person permanently; not one that can be reassigned, such as an e-mail.
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

    def principal(self, claims: Mapping[str, object]) -> Principal:
        """Return the principal of verified claims.

        Raises:
            KeyError, TypeError, ValueError: they name no subject, or no tenant of this issuer.
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

    def _tenant_of(self, claims: Mapping[str, object]) -> TenantId:
        tenant = self.tenant
        if isinstance(tenant, TenantClaim):
            named = claims[tenant.claim]
            if not isinstance(named, str) or named not in tenant.allowed:
                raise ValueError("not a tenant of this issuer")
            return TenantId(named)
        return TenantId(tenant)

    def _roles_of(self, claims: Mapping[str, object]) -> tuple[RoleName, ...]:
        value = _claim_at(claims, self.roles_claim)
        values = value if isinstance(value, list) else [value]
        ours = {self.roles[name] for name in values if isinstance(name, str) and name in self.roles}
        return tuple(RoleName(role) for role in sorted(ours))


def principal_id(issuer: str, subject: str) -> PrincipalId:
    """Return the id of a person, derived from issuer and subject: the same on every node, and stored nowhere.

    A UUIDv8 (RFC 9562 §5.8) of SHA-256 over both, length-prefixed. It is a pseudonym and not a secret: anyone who knows
    issuer and subject can compute it. It keeps names and e-mails out of the audit log.
    """
    named = issuer.encode("utf-8", "surrogatepass")
    text = b"cdv oidc principal" + len(named).to_bytes(4, "big") + named + subject.encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(text).digest()[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return PrincipalId(UUID(int=number))


def _claim_at(claims: Mapping[str, object], path: str) -> object:
    """Return a claim by its whole name (which may contain dots, as URLs do), or else by a path with dots."""
    if path in claims:
        return claims[path]
    value: object = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
