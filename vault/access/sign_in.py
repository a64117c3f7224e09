"""Step 1: find out who calls. Failed attempts are on the audit log, without letting anybody flood it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.access.minute import Minute
from vault.context import Caller
from vault.errors import NotAuthenticated
from vault.ids import DEFAULT_TENANT

if TYPE_CHECKING:
    from vault.context import House
    from vault.principals.principal import Principal

MOST_ENTRIES_A_MINUTE = 60


class SignIns:
    """Turns bearers into callers.

    A failed attempt names nobody, so its entry is the default tenant's. After 60 entries within a minute further
    failures are counted, and the next entry says how many it stands for.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._minute = Minute(house.clock)

    async def sign_in(self, bearer: str | None, request_id: str) -> Caller:
        """Return the caller that a bearer stands for.

        Raises:
            NotAuthenticated: it stands for nobody, or there is none.
            Unavailable: nobody can tell, or a failure cannot be written down.
        """
        if bearer is not None:
            kept = self._house.principals.kept(bearer)
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
        return await self._house.principals.authenticate(bearer)

    async def _record(self, request_id: str, error: NotAuthenticated) -> None:
        count = self._minute.refused(MOST_ENTRIES_A_MINUTE)
        if count is None:
            return
        made = self._house.ledger.entry(
            tenant=DEFAULT_TENANT,
            action="sign-in",
            decision="denied",
            code=error.code,
            request=request_id,
            count=count,
        )
        await self._house.ledger.append(made)
