"""Send a portability package to another controller, where the person asked for that (Art. 20(2) GDPR)."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.access.authorization import require_permission
from vault.access.recording import audited, record_failure
from vault.errors import Conflict
from vault.export.download import ZIP, find_ready, open_pieces, record_handing_out
from vault.messaging.http import NotPosted

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import Caller, Services
    from vault.export.download import Ready

SECONDS: Final = 300.0
"""For the whole transfer. The door that asked for it may be less patient."""


class Sent(NamedTuple):
    """What was sent, and what the other side answered.

    Attributes:
        size: bytes.
        digest: their SHA-256.
        status: the HTTP status of the answer, 200 to 299.
        audit: the audit entry that was written before the first byte left.
    """

    size: int
    digest: bytes
    status: int
    audit: UUID


@audited("send-package")
async def send_package(services: Services, caller: Caller, request: UUID, url: str) -> Sent:
    """Send the package of a portability request to another controller's address, as one POST of the ZIP.

    What leaves is on record before the first byte does; that it did not arrive is an entry of its own.

    Args:
        caller: who has it sent.
        request: of portability, verified and answered.
        url: where to: https, unless this vault allows private addresses.

    Raises:
        Denied: no role of the caller's may.
        InvalidInput: the address does not have its form.
        NotFound, Gone, CannotOpen: as with a download.
        Conflict: the package is not ready, the request is of another kind, or the other side did not take it.
    """
    await require_permission(services, caller, "vault:packages", "read", audit_action="send-package")
    await services.limits.take(caller.principal, "read", 1)
    services.post.check(url)
    ready = await find_ready(services, caller, request, "send-package")
    digest = ready.package.digest
    if ready.request.kind != "portability" or ready.request.verification is None or digest is None:
        raise Conflict("only a portability package is sent to others (Art. 20(2) GDPR)", code="not-portable")
    audit = await record_handing_out(services, caller, ready, "send-package")
    try:
        status = await _post(services, caller, ready, url, digest)
    except Conflict as error:
        await record_failure(services, caller, "send-package", error, target=request, subjects=(ready.pseudonym,))
        raise
    return Sent(ready.package.size, digest, status, audit)


async def _post(services: Services, caller: Caller, ready: Ready, url: str, digest: bytes) -> int:
    package = ready.package
    headers = {
        "Content-Type": ZIP,
        "Content-Length": str(package.size),
        "Content-Disposition": f'attachment; filename="{package.facts.kind}-{package.request}.zip"',
        "Content-Digest": f"sha-256=:{b64encode(digest).decode()}:",  # RFC 9530
        "Idempotency-Key": f'"{package.id}"',
    }
    try:
        posted = await services.post.send(url, open_pieces(services, caller.tenant, ready), headers, timeout=SECONDS)
    except NotPosted as error:
        raise _not_taken(error.detail) from None
    if not posted.taken:
        raise _not_taken("the other side did not take the package")
    return posted.status


def _not_taken(detail: str) -> Conflict:
    return Conflict(detail, code="transfer-failed", hint="ask the other controller, and send it again")
