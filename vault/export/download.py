"""Hand a package out: for download, or to another controller (Art. 20(2) GDPR).

The disclosure is recorded before the first byte leaves; the chunks are opened one by one.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from pydantic import Field

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited, record_failure
from vault.crypto.age import begin
from vault.errors import Conflict, Gone, NotFound, VaultError
from vault.export.build import PACKAGED
from vault.export.store import PackageState, find_chunk, find_package, list_packages, open_chunk, package_aad
from vault.ids import SubjectId
from vault.messaging.http import NotPosted
from vault.requests.store import find_request
from vault.requests.transaction import no_request
from vault.views import Moment, View

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vault.audit.entry import Action
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.export.store import Package
    from vault.ids import TenantId
    from vault.requests.model import Request


class PackageSummary(View):
    """A package, without its content."""

    id: UUID
    request: UUID = Field(description="The request that it answers.")
    kind: str
    state: PackageState
    size: int = Field(description="Bytes of the ZIP.")
    sha256: str | None = Field(description="Of the ZIP, in hexadecimal; null until it is ready.")
    created_at: Moment
    expires_at: Moment


class ExpiredPackages(View):
    """How many packages were deleted because their time was over."""

    expired: int


class SentPackage(View):
    """A package that was sent to another controller, and the answer to it."""

    size: int = Field(description="Bytes of the ZIP.")
    sha256: str = Field(description="Of the ZIP, in hexadecimal.")
    status: int = Field(description="The HTTP status of the answer, 200 to 299.")
    audit: UUID = Field(description="The audit entry that was written before the first byte was sent.")


ANSWERED: Final = frozenset({"in_progress", "completed"})
"""States of a request in which its package is handed out; not if it was reopened, withdrawn or rejected."""
ZIP: Final = "application/zip"
AGE: Final = "application/x-age-encryption"
PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Download:
    """A file to be sent.

    Attributes:
        stream: its bytes; to be read once.
        size: their number.
        digest: SHA-256 of the ZIP; None if the ZIP is encrypted to a passphrase.
        name: file name.
    """

    stream: AsyncIterator[bytes]
    size: int
    digest: bytes | None
    name: str
    media_type: str


@dataclass(frozen=True, slots=True)
class ReadyPackage:
    """A package that may be handed out, with what is needed to open it and to record the disclosure.

    Attributes:
        keys: the subject's data keys.
        first: the first chunk, opened: proof that the package can be opened.
    """

    request: Request
    package: Package
    pseudonym: UUID
    keys: SubjectKeys
    first: bytes


@audited("download-package")
async def open_package(
    services: Services, caller: Caller, request: UUID, *, person: SubjectId | None = None, passphrase: str | None = None
) -> Download:
    """Open the package that answers a request. When this returns, the audit entry is durable.

    Args:
        caller: who gets it.
        request: of access or portability.
        person: the signed-in subject, if the caller is the subject. No permission is needed then, but the request must
            be theirs. The caller has checked that they proved their identity within the last minutes.
        passphrase: encrypts the file in the ``age`` format; 12 characters or more.

    Raises:
        Denied: the caller may not read packages.
        NotFound: the request does not exist, is not this subject's, or its kind is not answered by a package.
        Conflict: the package is not ready.
        Gone: the package expired, or the subject's data was erased.
        InvalidInput: the passphrase is too short or too long.
        CannotOpen: the stored package was damaged or tampered with.
    """
    if person is None:
        await require_permission(services, caller, "vault:packages", "read", audit_action="download-package")
    ready = await find_ready_package(services, caller, request, "download-package", person=person)
    encryption = None if passphrase is None else await begin(passphrase)
    await record_disclosure(services, caller, ready, "download-package")
    package = ready.package
    plain = open_chunks(services, caller.tenant, ready)
    name = f"{package.facts.kind}-{package.request}.zip"
    if encryption is None:
        return Download(plain, package.size, package.digest, name, ZIP)
    return Download(encryption.stream(plain), encryption.size(package.size), None, f"{name}.age", AGE)


@audited("read-requests")
async def list_all_packages(services: Services, caller: Caller, *, after: UUID | None = None) -> list[PackageSummary]:
    """List the packages, including expired ones, :data:`PAGE` at a time, oldest first.

    Raises:
        Denied: the caller may not read packages.
    """
    await require_permission(services, caller, "vault:packages", "read", audit_action="read-requests")
    async with services.data.reading() as connection:
        packages = await list_packages(connection, caller.tenant, after=after, limit=PAGE)
    await services.audit_log.append(audit_entry(services, caller, action="read-requests", decision="allowed"))
    return [
        PackageSummary.from_object(
            package, kind=package.facts.kind, sha256=None if package.digest is None else package.digest.hex()
        )
        for package in packages
    ]


async def find_ready_package(
    services: Services, caller: Caller, request_id: UUID, action: Action, *, person: SubjectId | None = None
) -> ReadyPackage:
    """Find a request's package, and check that it may be handed out and can be opened.

    Raises:
        NotFound, Conflict, Gone, CannotOpen: as :func:`open_package`; recorded in the audit log.
    """
    pseudonym: UUID | None = None
    try:
        request, package, pseudonym = await _load(services, caller.tenant, request_id, person)
        usable = _require_usable(services, request, package)
        subject = SubjectId(usable.subject)
        keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
        if keys is None or pseudonym is None:
            raise _gone()
        first = await _open_chunk(services, caller.tenant, usable, keys, 0)
    except VaultError as error:
        subjects = () if pseudonym is None else (pseudonym,)
        await record_failure(services, caller, action, error, target=request_id, subjects=subjects)
        raise
    return ReadyPackage(request, usable, pseudonym, keys, first)


async def record_disclosure(services: Services, caller: Caller, ready: ReadyPackage, action: Action) -> UUID:
    """Record in the audit log that a package is about to be sent; returns the id of the entry."""
    entry = audit_entry(
        services,
        caller,
        action=action,
        decision="allowed",
        subjects=(ready.pseudonym,),
        fields=ready.package.facts.fields,  # an app that downloads the package is a recipient of all of them
        target=ready.request.id,
        policy=services.policies.active(caller.tenant).version,
    )
    return await services.audit_log.append(entry)


async def open_chunks(services: Services, tenant: TenantId, ready: ReadyPackage) -> AsyncIterator[bytes]:
    """Iterate over the ZIP's bytes; each chunk is fetched and opened on demand.

    Raises:
        Gone: the package was deleted in the meantime.
        CannotOpen: a chunk was damaged or tampered with.
    """
    yield ready.first
    for number in range(1, ready.package.chunks):
        yield await _open_chunk(services, tenant, ready.package, ready.keys, number)


async def _load(
    services: Services, tenant: TenantId, request_id: UUID, person: SubjectId | None
) -> tuple[Request, Package | None, UUID | None]:
    async with services.data.reading() as connection:
        stored = await find_request(connection, await services.keyring.row_keys(tenant), request_id)
        # To a subject, the request of another subject does not exist.
        if stored is None or (person is not None and stored.request.subject != person):
            raise no_request()
        request = stored.request
        package = None if request.package is None else await find_package(connection, tenant, request.package)
        return request, package, await services.subjects.pseudonym_of(connection, tenant, request.subject)


def _require_usable(services: Services, request: Request, package: Package | None) -> Package:
    """Check that a package is complete, belongs to this run of the request, and has not expired."""
    if request.kind not in PACKAGED:
        raise NotFound("a request of this kind is not answered by a package", code="no-package")
    if request.package is None or request.state not in ANSWERED:
        raise _not_ready()
    if package is None or package.state == "expired" or package.expires_at <= services.clock.now():
        raise _gone()
    if package.state != "ready" or package.facts.run != request.run or package.subject != request.subject:
        raise _not_ready()
    return package


async def _open_chunk(services: Services, tenant: TenantId, package: Package, keys: SubjectKeys, number: int) -> bytes:
    async with services.data.reading() as connection:
        sealed = await find_chunk(connection, tenant, package.id, number)
    if sealed is None:
        raise _gone()
    aad = package_aad(tenant, package.subject, package.id)
    return open_chunk(keys, aad, number, sealed, last=number == package.chunks - 1)


def _not_ready() -> Conflict:
    return Conflict(
        "the package is not ready", code="package-not-ready", hint="see the request's state; it is built once approved"
    )


def _gone() -> Gone:
    return Gone("the package is no longer available", code="package-expired", hint="reopen the request for a new one")


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
    is_portable = services.request_kinds[ready.request.kind].is_portable
    if not is_portable or ready.request.verification is None or digest is None:
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
