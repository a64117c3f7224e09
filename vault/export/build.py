"""Build the package that answers a request: write the ZIP, seal it in chunks, and notify the subject.

No plaintext is written to disk. Each build has a package row of its own, which ties it together: a new attempt deletes
the rows of earlier ones, and so does an erasure. A build that finds its row deleted stops.
"""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from vault.access.authorization import audit_entry, subject_not_found
from vault.access.callers import system_caller
from vault.access.recording import record_failure
from vault.errors import Conflict, VaultError
from vault.export import store
from vault.export.archive import write_archive
from vault.export.collect import fields_shown
from vault.export.contents import package_entries
from vault.export.verify import ManifestHeader, signed_manifest
from vault.ids import SubjectId, new_id
from vault.letters.send import LetterContent, notify_person
from vault.requests.kind import Ground, RequestKind
from vault.requests.model import UNDER_WAY, WrongState
from vault.requests.store import find_request
from vault.requests.transaction import changing_request, no_request
from vault.subjects.store import GONE, SubjectQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from vault.audit.entry import Entry
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.export.archive import ArchiveEntry
    from vault.ids import TenantId
    from vault.jobs.workflow import Step
    from vault.requests.model import Request


PACKAGED: Final = frozenset({"access", "portability"})
"""Kinds of requests that are answered by a package."""
SUPERSEDED_SECONDS: Final = 30.0
"""Seconds after which a build whose row was deleted is tried again, so that the one that replaced it can end."""


class _Superseded(Exception):
    """The package's row was deleted: another attempt has replaced this one, or the subject was erased."""


async def build_package(services: Services, tenant: TenantId, request_id: UUID) -> float | None:
    """Build the package that answers a request, and delete what earlier attempts left unfinished.

    Raises:
        NotFound: the request or its subject does not exist.
        WrongState: the request is not approved, or its kind is not answered by a package.
        TooLarge: the package would be too large.
        Unavailable: a database does not answer.
    """
    try:
        request = await load_request(services, tenant, request_id)
        if await _has_package(services, tenant, request):
            return None
        _require_under_way(request)
        async with _new_package(services, tenant, request) as package:
            await _write(services, tenant, request, package)
    except _Superseded:
        return SUPERSEDED_SECONDS
    except VaultError as error:
        await record_failure(services, system_caller(tenant), "build-package", error, target=request_id)
        raise
    return None


async def load_request(services: Services, tenant: TenantId, request_id: UUID) -> Request:
    """Fetch a request.

    Raises:
        NotFound: it does not exist.
    """
    async with services.data.reading() as connection:
        stored = await find_request(connection, await services.keyring.row_keys(tenant), request_id)
    if stored is None:
        raise no_request()
    return stored.request


async def _current_package(services: Services, tenant: TenantId, request: Request) -> store.Package | None:
    if request.package is None:
        return None
    async with services.data.reading() as connection:
        return await store.find_package(connection, tenant, request.package)


async def _has_package(services: Services, tenant: TenantId, request: Request) -> bool:
    """Return whether this run of the request has its package already."""
    package = await _current_package(services, tenant, request)
    if package is None or package.state == "building" or package.facts.run != request.run:
        return False
    # A package that expired before the request was answered does not count: the subject would be notified of a
    # package that can no longer be downloaded.
    is_valid = package.state == "ready" and services.clock.now() < package.expires_at
    return is_valid or request.state not in UNDER_WAY


def _require_under_way(request: Request) -> None:
    """Require that the subject's identity was verified, and that the request was approved by staff or by a rule."""
    if request.kind not in PACKAGED:
        raise WrongState(f"a request of the kind {request.kind} is not answered by a package")
    if request.state not in UNDER_WAY or request.verification is None:
        raise WrongState(f"a request in state {request.state} gets no package", hint="verify and approve it first")


@asynccontextmanager
async def _new_package(services: Services, tenant: TenantId, request: Request) -> AsyncIterator[store.Package]:
    """Insert the row of a new package; delete the package if the block fails."""
    now = services.clock.now()
    days = services.policies.active(tenant).policy_set.requests.package_days
    subject = SubjectId(request.subject) if request.subject is not None else None
    if subject is None:
        raise subject_not_found()
    package = store.Package(
        id=new_id(),
        request=request.id,
        subject=subject,
        state="building",
        created_at=now,
        expires_at=now + timedelta(days=days),
        size=0,
        chunks=0,
        digest=None,
        facts=store.PackageFacts(kind=request.kind, run=request.run),
    )
    async with services.data.transaction() as connection:
        row = (await services.subjects.shared(connection, tenant, [subject])).get(subject)
        if row is None or row.state in GONE:
            raise subject_not_found()
        await store.drop_unfinished(connection, tenant, request.id)
        await store.add_package(connection, tenant, package)
    try:
        yield package
    except VaultError:
        async with services.data.transaction() as connection:
            await store.drop_package(connection, tenant, package.id)
        raise


async def _write(services: Services, tenant: TenantId, request: Request, package: store.Package) -> None:
    """Write, seal and store chunk after chunk. The last chunk is stored with the end of the build."""
    subject = SubjectId(package.subject)
    keys = await _fresh_keys(services, tenant, subject)
    aad = store.package_aad(tenant, package.subject, package.id)
    entry = await _audit_entry(services, tenant, package)
    digest, size, number, listed = hashlib.sha256(), 0, 0, 0
    header = ManifestHeader(
        request=package.request,
        kind=package.facts.kind,
        controller=services.policies.active(tenant).policy_set.controller.name,
        created_at=package.created_at,
        expires_at=package.expires_at,
        audit=entry.id,
    )
    signing_key = await services.keyring.signing_key(tenant)

    def manifest(entries: Sequence[ArchiveEntry]) -> bytes:
        nonlocal listed
        listed = len(entries)
        return signed_manifest(signing_key, header, entries)

    fields = await fields_shown(services, tenant, subject, request)
    entries = package_entries(services, tenant, subject, request)
    async for data, last in store.split_chunks(write_archive(entries, manifest)):
        digest.update(data)
        size += len(data)
        sealed = store.seal_chunk(keys, aad, number, data, last=last)
        if not last:
            async with services.data.transaction() as connection:
                if not await store.add_chunk(connection, tenant, package.id, number, sealed):
                    raise _Superseded
            number += 1
            continue
        facts = store.PackageFacts(
            kind=request.kind, run=request.run, entries=listed + 1, audit=entry.id, fields=fields
        )
        finished = msgspec.structs.replace(package, size=size, chunks=number, digest=digest.digest(), facts=facts)
        await _finish(services, tenant, finished, sealed, entry)


async def _finish(
    services: Services, tenant: TenantId, package: store.Package, last_chunk: bytes, entry: Entry
) -> None:
    """Store the last chunk (number ``package.chunks``), mark the package as ready, and link it to its request."""
    async with changing_request(services, system_caller(tenant), package.request, action="build-package") as change:
        _require_under_way(change.request)
        if change.request.run != package.facts.run:
            raise Conflict("the request was reopened in the meantime")
        added = await store.add_chunk(change.connection, tenant, package.id, package.chunks, last_chunk)
        if not added or not await store.finish_package(change.connection, tenant, package):
            raise _Superseded
        if change.request.package is not None:  # the package of an earlier run is out of date
            await store.drop_package(change.connection, tenant, change.request.package)
        change.request = msgspec.structs.replace(change.request, package=package.id)
        await services.audit_log.append_in(change.connection, [entry])


async def _fresh_keys(services: Services, tenant: TenantId, subject: SubjectId) -> SubjectKeys:
    # Key fencing: a cached key could be one that a concurrent erasure replaces and destroys. An erasure that begins
    # after the package's row exists finds and deletes the row.
    services.keyring.evict(tenant, subject)
    keys = await services.keyring.subject_keys(tenant, [subject])
    if subject not in keys:
        raise subject_not_found()
    return keys[subject]


async def _audit_entry(services: Services, tenant: TenantId, package: store.Package) -> Entry:
    """Create the audit entry. The manifest names its id; it is appended with the last chunk."""
    (subject,) = await services.subjects.find(SubjectQuery(tenant, (SubjectId(package.subject),), profile=False))
    return audit_entry(
        services,
        system_caller(tenant),
        action="build-package",
        decision="allowed",
        subjects=() if subject is None else (subject.pseudonym,),
        target=package.request,
        policy=services.policies.active(tenant).version,
    )


async def announce_package(services: Services, tenant: TenantId, request_id: UUID) -> float | None:
    """Notify the subject once that the package is ready. If no letter can be sent, the package is available anyway."""
    request = await load_request(services, tenant, request_id)
    package = await _current_package(services, tenant, request)
    if package is None or package.state != "ready" or package.facts.announced_at is not None:
        return None
    codes = {"kind": request.kind, "id": request.id, "until": package.expires_at.date()}
    await notify_person(services, tenant, request.subject, LetterContent("package-ready", codes, request.language))
    facts = msgspec.structs.replace(package.facts, announced_at=services.clock.now())
    async with services.data.transaction() as connection:
        await store.set_facts(connection, tenant, package.id, facts)
    return None


PACKAGE_STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("build-package", build_package),
    ("announce-package", announce_package),
)
"""The steps of access and portability between starting and completing a request."""


ACCESS: Final = RequestKind(
    name="access",
    steps=PACKAGE_STEPS,
    texts=None,
    grounds=(
        Ground("no-data", "nothing is held about the person", "Art. 15(1) GDPR", "Cal. Civ. Code § 1798.100"),
        Ground(
            "rights-of-others",
            "a copy would harm the rights and freedoms of others",
            "Art. 15(4) GDPR",
            "Cal. Civ. Code § 1798.145(k)",
        ),
    ),
    sends_letter=False,
)
PORTABILITY: Final = RequestKind(
    name="portability",
    steps=PACKAGE_STEPS,
    texts=None,
    grounds=(
        Ground("not-portable", "the data rests neither on consent nor on a contract", "Art. 20(1) GDPR", ""),
        Ground("public-task", "the data serves a task in the public interest", "Art. 20(3) GDPR", ""),
        Ground(
            "rights-of-others",
            "handing the data over would harm the rights and freedoms of others",
            "Art. 20(4) GDPR",
            "Cal. Civ. Code § 1798.145(k)",
        ),
    ),
    sends_letter=False,
    is_portable=True,
)
