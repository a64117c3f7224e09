"""Tokens of the company's OpenID Connect issuer (RFC 7519, RFC 8725), checked with the issuer's public keys."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from joserfc import jws, jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.util import urlsafe_b64decode

from vault.principals.issuer import OidcIssuer, TenantClaim
from vault.principals.jwks import Jwks
from vault.principals.principal import not_authenticated

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwa import JWSAlgModel

    from vault.clock import Clock
    from vault.principals.principal import Principal

__all__ = ["OidcIssuer", "TenantClaim", "TokenVerifier", "Verified"]

ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})
LEEWAY = 30
"""Seconds by which the issuer's clock and ours may differ."""

# "at+jwt" is RFC 9068 §2.1. Any other type, such as a logout token's, was made for something else (RFC 8725 §3.11).
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_MALFORMED = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Verified:
    """Who a token speaks for, and for how many seconds more at most (0 in the leeway after its end)."""

    principal: Principal
    lifetime: float


class TokenVerifier:
    """Checks the tokens of one issuer.

    Args:
        issuer: what they must say.
        clock: the present, for ``exp`` and ``nbf``.
        timeout: seconds that fetching the issuer's keys may take.
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
        """Return the principal that a token speaks for.

        1. The header names one of three signature algorithms, a type for signing in, and nothing critical (RFC 7515
           §4.1.11).
        2. The key comes from the issuer's set by its id; the header's own ``jwk``, ``jku`` and ``x5u`` are ignored.
        3. The key's type fits the algorithm, and the signature is right.
        4. Issuer, audience, expiry, not-before and issued-at hold, and the subject is named.
        5. Tenant and roles are those that the settings give for the claims.

        Whether the token was revoked at the issuer is not asked: it should be short-lived.

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
            self._check_claims(claims, now)
            return Verified(self._expected.principal(claims), lifetime=float(max(0, min(claims["exp"] - now, 86_400))))
        except _MALFORMED as exc:
            raise not_authenticated() from exc

    def _check_claims(self, claims: dict[str, Any], now: int) -> None:
        jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY,
            iss={"essential": True, "value": self._expected.issuer},
            aud={"essential": True, "value": self._expected.audience},
            exp={"essential": True},
        ).validate(claims)


def unverified_issuer(bearer: str) -> str | None:
    """Return the ``iss`` that a token claims, only to choose who verifies it; None if it is no token."""
    parts = bearer.split(".")
    if len(parts) != 3:
        return None
    try:
        issuer = json.loads(urlsafe_b64decode(parts[1].encode()))["iss"]
    except _MALFORMED:
        return None
    return issuer if isinstance(issuer, str) else None


class _Registry(jws.JWSRegistry):
    """Three algorithms and no others; other rules as joserfc has them."""

    max_header_length = 4096  # some issuers send their certificate chain along

    def get_alg(self, name: str) -> JWSAlgModel:
        # joserfc's own look-up warns at every EdDSA token that RFC 9864 prefers another name; issuers still use it.
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError("the algorithm is not allowed")
        return self.algorithms[name]


# Header parameters that nobody here understands are to be ignored (RFC 7515 §4); "crit" is refused beforehand.
_REGISTRY = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


def _checked_header(bearer: str) -> str | None:
    """Return the key id of a token's header, if the header is acceptable; raises one of `_MALFORMED` if it is not."""
    header = json.loads(urlsafe_b64decode(bearer.split(".", 1)[0].encode()))
    if header["alg"] not in ALGORITHMS or not header.keys().isdisjoint({"crit", "b64"}):  # RFC 7797 §7 on b64
        raise ValueError("algorithm or extension not allowed")
    if header.get("typ", "JWT").lower() not in _TYPES:
        raise ValueError("not a type for signing in")
    kid = header.get("kid")
    if not (kid is None or isinstance(kid, str)):
        raise TypeError("the key id is not a text")
    return kid
