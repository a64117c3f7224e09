"""Step 1: find out who calls. Failed attempts are on the audit log, without letting anybody flood it.

How much one process lets strangers do in a minute of the clock, and how much of it it writes down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.context import Caller
from vault.errors import NotAuthenticated, TooMany
from vault.ids import DEFAULT_TENANT

if TYPE_CHECKING:
    from vault.clock import Clock
    from vault.context import Services
    from vault.principals.principal import Principal


MOST_ENTRIES_A_MINUTE = 60


class SignIns:
    """Turns bearers into callers.

    A failed attempt names nobody, so its entry is the default tenant's. After 60 entries within a minute further
    failures are counted, and the next entry says how many it stands for.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._minute = RateWindow(services.clock)

    async def sign_in(self, bearer: str | None, request_id: str) -> Caller:
        """Return the caller that a bearer stands for.

        Raises:
            NotAuthenticated: it stands for nobody, or there is none.
            Unavailable: nobody can tell, or a failure cannot be written down.
        """
        if bearer is not None:
            kept = self._services.principals.cached(bearer)
            if kept is not None:
                return Caller(kept, request_id)
        try:
            return Caller(await self._authenticate(bearer), request_id)
        except NotAuthenticated as error:
            await self._record(request_id, error)
            raise

    async def _authenticate(self, bearer: str | None) -> Principal:
        if bearer is None:
            raise NotAuthenticated("this door needs an API key or a token", hint="send it as `Authorization: Bearer …`")
        return await self._services.principals.authenticate(bearer)

    async def _record(self, request_id: str, error: NotAuthenticated) -> None:
        count = self._minute.refused(MOST_ENTRIES_A_MINUTE)
        if count is None:
            return
        made = self._services.audit_log.entry(
            tenant=DEFAULT_TENANT,
            action="sign-in",
            decision="denied",
            code=error.code,
            request=request_id,
            count=count,
        )
        await self._services.audit_log.append(made)


MOST_ENTRIES = 60
"""Entries on the audit log for refusals; the next one says how many it stands for."""


class RateWindow:
    """Counts what callers do of whom nobody knows who they are, so that none floods the database or the audit log.

    Args:
        clock: whose minutes.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minute = -1
        self._looks = self._written = self._uncounted = 0

    def look(self, most: int) -> None:
        """Count one attempt.

        Raises:
            TooMany: there were ``most`` within this minute.
        """
        self._roll()
        self._looks += 1
        if self._looks > most:
            raise TooMany("too many attempts at once", retry_after=60, first=False, hint="Try again in a minute.")

    def refused(self, most: int = MOST_ENTRIES) -> int | None:
        """Count one refusal.

        Returns:
            for how many refusals the entry stands that is to be written now; none where ``most`` were written within
            this minute, so that this one waits for the next entry.
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
            self._looks = self._written = 0
