"""Answer a write, under an idempotency key where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from vault.operations.idempotency import Answered, begin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection
    from starlette.requests import Request

    from vault.audit.entry import Action
    from vault.operations.house import Caller, House
    from vault.operations.write import Keep, Written

    Run = Callable[[Keep | None], Awaitable[Written]]


async def once(house: House, caller: Caller, request: Request, key: str | None, action: Action, run: Run) -> Response:
    """Run a write; under a key, only the first time, and answer every time what the first was answered."""
    if key is None:
        return _response(await run(None))
    route = f"{request.method} {request.url.path}"
    call = await begin(house, caller, key, route, await request.body(), action=action)
    if isinstance(call, Answered):
        revision = msgspec.json.decode(call.answer)["revision"]
        headers = {"ETag": f'"{revision}"', "Idempotent-Replayed": "true"}
        return Response(call.answer, call.status, headers, "application/json")

    async def keep(connection: AsyncConnection, written: Written) -> None:
        await call.keep(connection, _status(written), _body(written))

    try:
        return _response(await run(keep))
    except BaseException:
        await call.give_up()
        raise


def _response(written: Written) -> Response:
    headers = {"ETag": f'"{written.revision}"'}
    return Response(_body(written), _status(written), headers, "application/json")


def _status(written: Written) -> int:
    return 201 if written.created else 200


def _body(written: Written) -> bytes:
    return msgspec.json.encode({"id": written.id, "revision": written.revision})
