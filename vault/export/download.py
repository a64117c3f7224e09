"""Hand out a package: on record before the first byte, opened piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited, record_failure
from vault.crypto.age import begin
from vault.errors import Conflict, Gone, NotFound, VaultError
from vault.export.build import PACKAGED
from vault.export.store import find_chunk, find_package, list_packages, open_chunk, package_aad
from vault.ids import SubjectId
from vault.requests.store import find_request
from vault.requests.transaction import no_request, pseudonym_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from vault.audit.entry import Action
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.export.store import Package
    from vault.ids import TenantId
    from vault.requests.model import Request

ANSWERED: Final = frozenset({"in_progress", "completed"})
"""States of a request in which its package may be handed out: one that was handed back or rejected gives none."""
ZIP: Final = "application/zip"
AGE: Final = "application/x-age-encryption"
PAGE: Final = 100


class Download(NamedTuple):
    """A package on its way out.

    Attributes:
        stream: its bytes, once.
        size: how many.
        digest: SHA-256 of the ZIP; none where the ZIP is inside a file encrypted to a passphrase.
        name: of the file.
        media_type: of the file.
    """

    stream: AsyncIterator[bytes]
    size: int
    digest: bytes | None
    name: str
    media_type: str


class Ready(NamedTuple):
    """A package that may be handed out, with what it takes to open and to record that."""

    request: Request
    package: Package
    pseudonym: UUID
    keys: SubjectKeys
    first: bytes


@audited("download-package")
async def open_package(
    services: Services, caller: Caller, request: UUID, *, person: SubjectId | None = None, passphrase: str | None = None
) -> Download:
    """Open the package that answers a request; the audit entry is durable when this returns.

    Args:
        caller: who gets it.
        request: of access or portability.
        person: who signed in, where the caller is the person: no right is asked for, but the request must be theirs.
            That they showed it is them within the last minutes is for the caller to have seen.
        passphrase: to encrypt the file to, in the form of ``age``; 12 characters or more.

    Raises:
        Denied: no role of the caller's may.
        NotFound: there is no such request, not for this person, or it is of a kind that no package answers.
        Conflict: the package is not ready.
        Gone: its time is over, or the person's data is gone.
        InvalidInput: the passphrase is too short or too long.
        CannotOpen: what lies there is not what was put there.
    """
    if person is None:
        await require_permission(services, caller, "vault:packages", "read", audit_action="download-package")
        await services.limits.take(caller.principal, "read", 1)
    ready = await find_ready(services, caller, request, "download-package", person=person)
    encryption = None if passphrase is None else await begin(passphrase)
    await record_handing_out(services, caller, ready, "download-package")
    package = ready.package
    plain = open_pieces(services, caller.tenant, ready)
    name = f"{package.facts.kind}-{package.request}.zip"
    if encryption is None:
        return Download(plain, package.size, package.digest, name, ZIP)
    return Download(encryption.stream(plain), encryption.size(package.size), None, f"{name}.age", AGE)


@audited("read-requests")
async def show_packages(services: Services, caller: Caller, *, after: UUID | None = None) -> list[Package]:
    """List the packages that there are or were, :data:`PAGE` at a time: ids, sizes, states and times.

    Raises:
        Denied: no role of the caller's may.
    """
    await require_permission(services, caller, "vault:packages", "read", audit_action="read-requests")
    async with services.data.reading() as connection:
        found = await list_packages(connection, caller.tenant, after=after, limit=PAGE)
    await services.audit_log.append(audit_entry(services, caller, action="read-requests", decision="allowed"))
    return found


async def find_ready(
    services: Services, caller: Caller, request: UUID, action: Action, *, person: SubjectId | None = None
) -> Ready:
    """Find a request's package, and see that it may be handed out and opens.

    Raises:
        NotFound, Conflict, Gone, CannotOpen: as :func:`open_package`; it is on the audit log before it is raised.
    """
    pseudonym: UUID | None = None
    try:
        asked, package, pseudonym = await _look(services, caller.tenant, request, person)
        usable = _usable(services, asked, package)
        subject = SubjectId(usable.subject)
        keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
        if keys is None or pseudonym is None:
            raise _gone()
        first = await _piece(services, caller.tenant, usable, keys, 0)
    except VaultError as error:
        subjects = () if pseudonym is None else (pseudonym,)
        await record_failure(services, caller, action, error, target=request, subjects=subjects)
        raise
    return Ready(asked, usable, pseudonym, keys, first)


async def record_handing_out(services: Services, caller: Caller, ready: Ready, action: Action) -> UUID:
    """Write down that a package leaves, before its first byte does; returns the id of the audit entry."""
    made = audit_entry(
        services,
        caller,
        action=action,
        decision="allowed",
        subjects=(ready.pseudonym,),
        fields=ready.package.facts.fields,  # an app that fetches it is a recipient of all of them
        target=ready.request.id,
        policy=services.policies.active(caller.tenant).version,
    )
    return await services.audit_log.append(made)


async def open_pieces(services: Services, tenant: TenantId, ready: Ready) -> AsyncIterator[bytes]:
    """Go through the ZIP's bytes; each piece is fetched when it is wanted.

    Raises:
        Gone: the package was deleted meanwhile.
        CannotOpen: a piece is not what was put there.
    """
    yield ready.first
    for number in range(1, ready.package.chunks):
        yield await _piece(services, tenant, ready.package, ready.keys, number)


async def _look(
    services: Services, tenant: TenantId, request: UUID, person: SubjectId | None
) -> tuple[Request, Package | None, UUID | None]:
    async with services.data.reading() as connection:
        kept = await find_request(connection, tenant, request)
        if kept is None or (person is not None and kept.request.subject != person):
            raise no_request()
        asked = kept.request
        package = None if asked.package is None else await find_package(connection, tenant, asked.package)
        return asked, package, await pseudonym_of(connection, tenant, asked.subject)


def _usable(services: Services, asked: Request, package: Package | None) -> Package:
    """See that a package is whole, of this run of the request, and not over."""
    if asked.kind not in PACKAGED:
        raise NotFound("a request of this kind is not answered by a package", code="no-package")
    if asked.package is None or asked.state not in ANSWERED:
        raise _not_ready()
    if package is None or package.state == "expired" or package.expires_at <= services.clock.now():
        raise _gone()
    if package.state != "ready" or package.facts.run != asked.run or package.subject != asked.subject:
        raise _not_ready()
    return package


async def _piece(services: Services, tenant: TenantId, package: Package, keys: SubjectKeys, number: int) -> bytes:
    async with services.data.reading() as connection:
        sealed = await find_chunk(connection, tenant, package.id, number)
    if sealed is None:
        raise _gone()
    where = package_aad(tenant, package.subject, package.id)
    return open_chunk(keys, where, number, sealed, last=number == package.chunks - 1)


def _not_ready() -> Conflict:
    return Conflict(
        "the package is not ready", code="package-not-ready", hint="see the request's state; it is built once approved"
    )


def _gone() -> Gone:
    return Gone("the package is no longer there", code="package-expired", hint="reopen the request for a new one")
