"""Callers: authenticated principals, and those that are neither an app nor staff.

Step 1 of every operation authenticates the caller. Failed attempts are recorded, at a bounded rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from vault.context import OPERATOR_NAME, Caller
from vault.errors import NotAuthenticated, TooMany
from vault.ids import DEFAULT_TENANT, THE_PERSON, PrincipalId, RoleName
from vault.principals.principal import Principal

if TYPE_CHECKING:
    from vault.audit.entry import Action
    from vault.clock import Clock
    from vault.context import Services
    from vault.errors import VaultError
    from vault.ids import TenantId


MOST_ENTRIES: Final = 60
"""Audit entries for refusals within a minute; the next entry has the number of those that were not recorded."""
JOBS: Final = UUID("00000000-0000-7000-8000-000000000003")
"""The principal of jobs and of approvals by rule in the audit log."""


def system_caller(tenant: TenantId, request_id: str = "job") -> Caller:
    """Return the caller of a job."""
    return Caller(Principal(PrincipalId(JOBS), tenant, "vault", "app", ()), request_id)


def data_subject_caller(tenant: TenantId, request_id: str) -> Caller:
    """Return the caller for a person's own data; it has no role."""
    return Caller(Principal(PrincipalId(THE_PERSON), tenant, "the-person", "app", ()), request_id)


OPERATOR = UUID("00000000-0000-7000-8000-000000000001")
"""The principal of the command line in the audit log."""


def operator_caller(tenant: TenantId = DEFAULT_TENANT) -> Caller:
    """Return the caller of the command line."""
    principal = Principal(PrincipalId(OPERATOR), tenant, "command-line", "staff", (RoleName("operator"),))
    return Caller(principal, "command-line", OPERATOR_NAME.get())


class SignIns:
    """Authenticates callers by their bearers.

    A failed attempt has no known tenant, so its entry is in the default tenant's log. After 60 entries within a minute
    further failures are counted only, and the next entry has their number.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._minute = RateWindow(services.clock)

    async def sign_in(self, bearer: str | None, request_id: str) -> Caller:
        """Return the caller of a bearer.

        Raises:
            NotAuthenticated: the bearer is missing or unknown.
            Unavailable: it cannot be verified, or a failure cannot be recorded.
        """
        if bearer is not None:
            kept = self._services.principals.cached(bearer)
            if kept is not None:
                return Caller(kept, request_id)
        try:
            return Caller(await self._authenticate(bearer), request_id)
        except NotAuthenticated as error:
            await record_refusal(self._services, self._minute, "sign-in", error, request_id)
            raise

    async def _authenticate(self, bearer: str | None) -> Principal:
        if bearer is None:
            raise NotAuthenticated(
                "the request needs an API key or a token", hint="send it as `Authorization: Bearer …`"
            )
        return await self._services.principals.authenticate(bearer)


class RateWindow:
    """Bounds the attempts of unauthenticated callers, and the audit entries that they cause."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minute = -1
        self._attempts = self._written = self._uncounted = 0

    def count_attempt(self, most: int) -> None:
        """Count one attempt.

        Raises:
            TooMany: there were ``most`` within this minute.
        """
        self._roll()
        self._attempts += 1
        if self._attempts > most:
            raise TooMany("too many attempts at once", retry_after=60, first=False, hint="Try again in a minute.")

    def count_event(self, most: int = MOST_ENTRIES) -> int | None:
        """Count one event for the audit log, such as a refusal.

        Returns:
            the number of events for the entry to write now; None if ``most`` entries were written within this minute,
            so that the next entry has to include this event.
        """
        self._roll()
        self._uncounted += 1
        if self._written >= most:
            return None
        self._written += 1
        count, self._uncounted = self._uncounted, 0
        return count

    def _roll(self) -> None:
        minute = int(self._clock.now().timestamp() // 60)
        if minute != self._minute:
            self._minute = minute
            self._attempts = self._written = 0


async def record_refusal(
    services: Services,
    minute: RateWindow,
    action: Action,
    error: VaultError,
    request_id: str,
    *,
    most: int = MOST_ENTRIES,
) -> str | None:
    """Record the refusal of a caller who is not authenticated, at a limited rate.

    Returns:
        the id of the audit entry; None if a later entry counts this refusal.
    """
    count = minute.count_event(most)
    if count is None:
        return None
    # A caller who is not authenticated has no tenant: the refusal goes to the default tenant's log.
    entry = services.audit_log.entry(
        tenant=DEFAULT_TENANT, action=action, decision="denied", code=error.code, request=request_id, count=count
    )
    await services.audit_log.append(entry)
    return str(entry.id)
