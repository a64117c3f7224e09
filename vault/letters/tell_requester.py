"""The letters about a request: jobs of their own, which begin after the change they tell of was committed.

This stands beside the packages of operations and not in one of them: letters are identity's, requests are another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vault.jobs.workflow import Workflow
from vault.letters.send import notify_person
from vault.requests.store import find_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from vault.context import House
    from vault.ids import TenantId
    from vault.jobs.workflow import Step
    from vault.requests.model import Request

_Codes = dict[str, Any]


def _letter(name: str, codes: Callable[[Request], _Codes], *, state: str | None = None) -> Step:
    """Make the step that sends a letter, to whom it still concerns: while the request is in that state."""

    async def send(house: House, tenant: TenantId, request: UUID) -> None:
        async with house.data.reading() as connection:
            kept = await find_request(connection, tenant, request)
        if kept is None or kept.request.subject is None or kept.request.state != (state or kept.request.state):
            return
        told = kept.request
        facts = {"kind": told.kind, "id": told.id, **codes(told)}
        await notify_person(house, tenant, told.subject, name, language=told.language, **facts)

    return send


tell_completed: Final[Step] = _letter("request-completed", lambda _request: {}, state="completed")
"""The last step of a job whose result nobody tells otherwise."""

LETTERS: Final[Mapping[str, Workflow]] = {
    name: Workflow(name, (("send", step),))
    for name, step in {
        "tell-received": _letter("request-received", lambda request: {"due": request.due.on}),
        "tell-identity": _letter("request-identity", lambda _request: {}, state="verifying"),
        "tell-extended": _letter(
            "request-extended",
            lambda request: {
                "due": request.due.on,
                "reason": request.extension.reason if request.extension else "complexity",
            },
        ),
        "tell-rejected": _letter(
            "request-rejected", lambda request: {"ground": request.ground or ""}, state="rejected"
        ),
        "tell-completed": tell_completed,
    }.items()
}
"""A job for each letter, by the name under which it is started."""
