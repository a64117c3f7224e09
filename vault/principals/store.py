"""The check of who calls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, select

from vault.errors import Misconfigured
from vault.principals.api_key import PREFIX, digest, key_id_of, matches
from vault.principals.kept import KeptBearers
from vault.principals.oidc import unverified_issuer
from vault.principals.principal import IssuedKey, KeyInfo, Principal, not_authenticated
from vault.principals.register import API_KEY, PRINCIPAL, SHOWN, Register, to_principal
from vault.storage.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vault.clock import Clock
    from vault.principals.oidc import TokenVerifier
    from vault.storage.database import Database

__all__ = ["IssuedKey", "KeyInfo", "Principal", "Principals"]

LONGEST_BEARER = 16 * 1024
"""Characters; a longer one is not looked at."""

_BY_KEY = Query(
    select(API_KEY.c.digest, API_KEY.c.expires_at, API_KEY.c.revoked_at, *SHOWN)
    .join(PRINCIPAL, and_(PRINCIPAL.c.tenant_id == API_KEY.c.tenant_id, PRINCIPAL.c.id == API_KEY.c.principal_id))
    .where(API_KEY.c.id == bindparam("key"))
)


class Principals(Register):
    """Who may call, and who is calling.

    A change made here counts on this node from its commit on, and on every other node ``max_age`` seconds later at the
    latest.

    Args:
        database: the main database.
        clock: the present, for expiries.
        verifiers: one for each OIDC issuer whose tokens are accepted.
        max_age: seconds for which a verified bearer is taken on trust.
        most: number of bearers kept in memory.
        monotonic: seconds from any start, for the ages.

    Raises:
        Misconfigured: two verifiers are for the same issuer.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        verifiers: Sequence[TokenVerifier] = (),
        *,
        max_age: float = 5.0,
        most: int = 10_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock, KeptBearers(monotonic, max_age=max_age, most=most))
        self._database = database
        self._verifiers = {verifier.issuer: verifier for verifier in verifiers}
        self._monotonic = monotonic
        if len(self._verifiers) < len(verifiers):
            raise Misconfigured("two issuers have the same name")

    def kept(self, bearer: str) -> Principal | None:
        """Return the principal of a bearer that was verified a moment ago, or None: then ask :meth:`authenticate`."""
        return self._kept.get(digest(bearer))

    async def authenticate(self, bearer: str) -> Principal:
        """Return the principal that a bearer speaks for: an API key of an active app, or a token of a known issuer.

        Raises:
            NotAuthenticated: it speaks for nobody; the same error whatever the reason.
            Unavailable: the database, or the issuer's key set, cannot be asked.
        """
        if len(bearer) > LONGEST_BEARER:
            raise not_authenticated()
        presented = digest(bearer)
        principal = self._kept.get(presented)
        if principal is not None:
            return principal
        if bearer.startswith(PREFIX):
            return await self._by_key(bearer, presented)
        return await self._by_token(bearer, presented)

    async def _by_key(self, bearer: str, presented: bytes) -> Principal:
        """Check an API key; a refusal comes after the same comparison in each case: time tells nothing either."""
        key = key_id_of(bearer)
        if key is None:
            raise not_authenticated()
        since = self._monotonic()
        rows = await self._database.fetch(_BY_KEY, key=key)
        kept, expires_at, revoked_at, *shown = rows[0] if rows else (None, None, None)
        if not matches(presented, kept) or revoked_at is not None:
            raise not_authenticated()
        lifetime = (expires_at - self._clock.now()).total_seconds()
        principal = to_principal(shown)
        if lifetime <= 0 or principal.state != "active":
            raise not_authenticated()
        self._kept.put(presented, principal, since=since, lifetime=lifetime, stands_on=frozenset((key, principal.id)))
        return principal

    async def _by_token(self, bearer: str, presented: bytes) -> Principal:
        verifier = self._verifiers.get(unverified_issuer(bearer) or "") if self._verifiers else None
        if verifier is None:
            raise not_authenticated()
        since = self._monotonic()
        verified = await verifier.verify(bearer)
        self._kept.put(presented, verified.principal, since=since, lifetime=verified.lifetime, stands_on=frozenset())
        return verified.principal
