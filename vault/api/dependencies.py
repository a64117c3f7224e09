"""Answer a write, under an idempotency key where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec
from starlette.responses import Response

from vault.access.idempotency import Answered, begin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection
    from starlette.requests import Request

    from vault.access.recording import Keep, Written
    from vault.audit.entry import Action
    from vault.context import Caller, House

T = TypeVar("T")

REPLAYED: Final = "Idempotent-Replayed"
"""The header of an answer that was kept."""


class Told(NamedTuple):
    """What a write is answered: the status, the body, and what of the body may be kept to be answered again."""

    status: int
    body: dict[str, Any]
    kept: dict[str, Any] | None = None

    @property
    def to_keep(self) -> bytes:
        """Return the bytes that are kept: the body, or the part of it that may lie in a database."""
        return msgspec.json.encode(self.body if self.kept is None else self.kept)


def tell_written(written: Written) -> Told:
    """Tell the id and revision of what was written."""
    return Told(201 if written.created else 200, {"id": written.id, "revision": written.revision})


async def once(
    house: House,
    caller: Caller,
    request: Request,
    key: str | None,
    action: Action,
    run: Callable[[Keep | None], Awaitable[T]],
    tell: Callable[[T], Told] = tell_written,  # type: ignore[assignment]
) -> Response:
    """Run a write; under a key, only the first time, and answer every time what the first was answered."""
    if key is None:
        return _response(tell(await run(None)))
    route = f"{request.method} {request.url.path}"
    call = await begin(house, caller, key, route, await request.body(), action=action)
    if isinstance(call, Answered):
        body = msgspec.json.decode(call.answer)
        headers = {**_tag(body), REPLAYED: "true"}
        return Response(call.answer, call.status, headers, "application/json")

    async def keep(connection: AsyncConnection, written: T) -> None:
        told = tell(written)
        await call.keep(connection, told.status, told.to_keep)

    try:
        return _response(tell(await run(keep)))
    except BaseException:
        await call.give_up()
        raise


def _response(told: Told) -> Response:
    return Response(msgspec.json.encode(told.body), told.status, _tag(told.body), "application/json")


def _tag(body: dict[str, Any]) -> dict[str, str]:
    """Name the revision as entity tag, where what was written has one."""
    return {"ETag": f'"{body["revision"]}"'} if "revision" in body else {}
