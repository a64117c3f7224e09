"""See erasures: the list, and the certificate of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from vault.access.authorization import entry
from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.erasure.start import erasure_of
from vault.erasure.verify import look_for_remains
from vault.errors import Conflict, InvalidInput
from vault.lifecycle import erasures as store
from vault.requests.store import find_request
from vault.requests.transaction import no_request

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import Caller, House
    from vault.erasure.verify import Seen
    from vault.lifecycle.erasures import Erasure

MOST = 200


class ErasurePage(NamedTuple):
    """Some erasures, the newest first, and where to go on."""

    erasures: list[Erasure]
    next: UUID | None


@on_record("read-requests")
async def list_erasures(house: House, caller: Caller, *, before: UUID | None = None, limit: int = 50) -> ErasurePage:
    """List erasures: how far each has come.

    Raises:
        Denied: no role of the caller's may read requests.
        InvalidInput: the limit is out of 1 to 200.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} erasures", code="invalid-page")
    await require_right(house, caller, "vault:requests", "read", audited_as="read-requests")
    async with house.data.reading() as connection:
        found = await store.list_erasures(connection, caller.tenant, before=before, limit=limit + 1)
    await house.ledger.append(entry(house, caller, action="read-requests", decision="allowed"))
    return ErasurePage(found[:limit], found[limit - 1].id if len(found) > limit else None)


@on_record("read-requests")
async def read_certificate(house: House, caller: Caller, request: UUID) -> dict[str, Any]:
    """Hand out the signed certificate of the erasure that carried a request out.

    Raises:
        Denied: no role of the caller's may read requests.
        NotFound: there is no such request, or it is no erasure.
        Conflict: the erasure has not come to its end.
    """
    await require_right(house, caller, "vault:requests", "read", audited_as="read-requests")
    async with house.data.reading() as connection:
        kept = await find_request(connection, caller.tenant, request)
        if kept is None or kept.request.kind != "erasure":
            raise no_request()
        erasure = kept.request.erasure
        found = None if erasure is None else await store.find_erasure(connection, caller.tenant, erasure)
    if found is None or found.certificate is None:
        raise Conflict(
            "the erasure is not done, so there is no certificate yet",
            code="certificate-not-ready",
            hint="GET /v1/requests/{id} tells how far it is",
        )
    made = entry(house, caller, action="read-requests", decision="allowed", target=request)
    await house.ledger.append(made)
    file: dict[str, Any] = msgspec.json.decode(found.certificate)
    return file


@on_record("read-requests")
async def check_again(house: House, caller: Caller, request: UUID) -> Seen:
    """Look once more whether anything is left of what a request erased, as the databases are now.

    Raises:
        Denied: no role of the caller's may read requests.
        NotFound: there is no such request, or nothing was erased by it.
        Conflict: the erasure has not come to its end.
    """
    await require_right(house, caller, "vault:requests", "read", audited_as="read-requests")
    erasure = await erasure_of(house, caller.tenant, request)
    if erasure.finished_at is None:
        raise Conflict("the erasure is not done, so there is nothing to check yet", code="certificate-not-ready")
    seen = await look_for_remains(house, caller.tenant, erasure)
    await house.ledger.append(entry(house, caller, action="read-requests", decision="allowed", target=request))
    return seen
