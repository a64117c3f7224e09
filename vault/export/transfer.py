"""Send a portability package to another controller, at the subject's request (Art. 20(2) GDPR)."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final

from vault.access.authorization import require_permission
from vault.access.recording import audited, record_failure
from vault.errors import Conflict
from vault.export.download import ZIP, find_ready_package, open_chunks, record_disclosure
from vault.export.views import SentPackage
from vault.messaging.http import NotPosted

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import Caller, Services
    from vault.export.download import ReadyPackage

TIMEOUT: Final = 300.0
"""Seconds for the whole transfer. The client of the API may give up earlier."""


@audited("send-package")
async def send_package(services: Services, caller: Caller, request: UUID, url: str) -> SentPackage:
    """Send the package of a portability request to another controller, as one POST of the ZIP.

    The disclosure is recorded before the first byte is sent. A failed transfer is recorded by an entry of its own.

    Args:
        request: of portability, verified and answered.
        url: of the other controller: https, unless this vault allows private addresses.

    Raises:
        Denied: the caller may not read packages.
        InvalidInput: the URL is invalid.
        NotFound, Gone, CannotOpen: as with a download.
        Conflict: the package is not ready, the request is of another kind, or the other side did not accept it.
    """
    await require_permission(services, caller, "vault:packages", "read", audit_action="send-package")
    await services.limits.take(caller.principal, "read", 1)
    services.post.check(url)
    ready = await find_ready_package(services, caller, request, "send-package")
    digest = ready.package.digest
    if ready.request.kind != "portability" or ready.request.verification is None or digest is None:
        raise Conflict(
            "only a portability package can be sent to another controller (Art. 20(2) GDPR)", code="not-portable"
        )
    audit = await record_disclosure(services, caller, ready, "send-package")
    try:
        status = await _post(services, caller, ready, url, digest)
    except Conflict as error:
        await record_failure(services, caller, "send-package", error, target=request, subjects=(ready.pseudonym,))
        raise
    return SentPackage(size=ready.package.size, sha256=digest.hex(), status=status, audit=audit)


async def _post(services: Services, caller: Caller, ready: ReadyPackage, url: str, digest: bytes) -> int:
    package = ready.package
    headers = {
        "Content-Type": ZIP,
        "Content-Length": str(package.size),
        "Content-Disposition": f'attachment; filename="{package.facts.kind}-{package.request}.zip"',
        "Content-Digest": f"sha-256=:{b64encode(digest).decode()}:",  # RFC 9530
        "Idempotency-Key": f'"{package.id}"',
    }
    try:
        posted = await services.post.send(url, open_chunks(services, caller.tenant, ready), headers, timeout=TIMEOUT)
    except NotPosted as error:
        raise _not_accepted(error.detail) from None
    if not posted.taken:
        raise _not_accepted("the other side did not accept the package")
    return posted.status


def _not_accepted(detail: str) -> Conflict:
    return Conflict(detail, code="transfer-failed", hint="ask the other controller, and send it again")
