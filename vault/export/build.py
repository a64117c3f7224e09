"""Build a package: entries into a ZIP, the ZIP into sealed pieces. Never a byte of it in clear on a disk.

A package is built under a row of its own. The row is what holds a build together: a try that begins anew deletes the
row of the one before, an erasure deletes it too, and whoever finds it gone stops.

What the job of an access or portability request does: build the package, and tell the person that it is there.

This stands beside the packages and not in them, because it needs letters as well, and whoever sends letters hands out
packages.
"""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry
from vault.access.callers import system_caller
from vault.access.recording import record_failure
from vault.errors import Conflict, NotFound, VaultError
from vault.export.archive import write_archive
from vault.export.collect import fields_shown
from vault.export.contents import PORTABILITY, package_entries
from vault.export.store import (
    Facts,
    Package,
    add_chunk,
    add_package,
    cut,
    drop_package,
    drop_unfinished,
    find_package,
    finish_package,
    package_aad,
    seal_chunk,
    set_facts,
)
from vault.export.verify import Cover, signed_manifest
from vault.ids import SubjectId, new_id
from vault.letters.send import notify_person
from vault.requests.model import WrongState
from vault.requests.store import find_request
from vault.requests.transaction import changing_request, no_request
from vault.subjects.merged import still_there
from vault.subjects.store import Wanted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID

    from vault.audit.entry import Entry
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.export.archive import Listed
    from vault.ids import TenantId
    from vault.jobs.workflow import Step
    from vault.requests.model import Request


PACKAGED: Final = frozenset({"access", "portability"})
"""Kinds of requests that are answered by a package."""
UNDER_WAY: Final = frozenset({"approved", "in_progress"})
OUTRUN_SECONDS: Final = 30.0
"""For so long a build that lost its row leaves the field to the one that took it."""


class _Outrun(Exception):
    """The package's row is gone: another try took over, or the person was erased."""


async def build_package(services: Services, tenant: TenantId, request: UUID) -> float | None:
    """Build the package that answers a request; what an earlier try left half-way is thrown away.

    Raises:
        NotFound: there is no such request, or no such person any more.
        WrongState: nobody has approved the request, or it is of a kind that no package answers.
        TooLarge: the package would be too large.
        Unavailable: a database does not answer.
    """
    try:
        asked = await request_of(services, tenant, request)
        if await _is_answered(services, tenant, asked):
            return None
        _require_under_way(asked)
        async with _begun(services, tenant, asked) as package:
            await _fill(services, tenant, asked, package)
    except _Outrun:
        return OUTRUN_SECONDS
    except VaultError as error:
        await record_failure(services, system_caller(tenant), "build-package", error, target=request)
        raise
    return None


async def request_of(services: Services, tenant: TenantId, request: UUID) -> Request:
    """Fetch a request.

    Raises:
        NotFound: there is none.
    """
    async with services.data.reading() as connection:
        kept = await find_request(connection, tenant, request)
    if kept is None:
        raise no_request()
    return kept.request


async def package_of(services: Services, tenant: TenantId, asked: Request) -> Package | None:
    """Fetch the package that a request has at this moment; none where it has none."""
    if asked.package is None:
        return None
    async with services.data.reading() as connection:
        return await find_package(connection, tenant, asked.package)


async def _is_answered(services: Services, tenant: TenantId, asked: Request) -> bool:
    """Tell whether this run of the request has its package already.

    One that ran out before the request was answered is none: the person would be told of what is not there.
    """
    package = await package_of(services, tenant, asked)
    if package is None or package.state == "building" or package.facts.run != asked.run:
        return False
    lasts = package.state == "ready" and services.clock.now() < package.expires_at
    return lasts or asked.state not in UNDER_WAY


def _require_under_way(asked: Request) -> None:
    """Go on only for a request that somebody verified and somebody, or a rule, approved."""
    if asked.kind not in PACKAGED:
        raise WrongState(f"a request of the kind {asked.kind} is not answered by a package")
    if asked.state not in UNDER_WAY or asked.verification is None:
        raise WrongState(f"a request that is {asked.state} gets no package", hint="verify and approve it first")


@asynccontextmanager
async def _begun(services: Services, tenant: TenantId, asked: Request) -> AsyncIterator[Package]:
    """Make the row of a new package, and throw away all of it if it does not come to its end."""
    now = services.clock.now()
    days = services.policies.active(tenant).policy_set.requests.package_days
    subject = SubjectId(asked.subject) if asked.subject is not None else None
    if subject is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    package = Package(
        id=new_id(),
        request=asked.id,
        subject=subject,
        state="building",
        created_at=now,
        expires_at=now + timedelta(days=days),
        size=0,
        chunks=0,
        digest=None,
        facts=Facts(kind=asked.kind, run=asked.run),
    )
    async with services.data.transaction() as connection:
        if not await still_there(connection, tenant, [subject]):
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        await drop_unfinished(connection, tenant, asked.id)
        await add_package(connection, tenant, package)
    try:
        yield package
    except VaultError:
        async with services.data.transaction() as connection:
            await drop_package(connection, tenant, package.id)
        raise


async def _fill(services: Services, tenant: TenantId, asked: Request, package: Package) -> None:
    """Write, seal and keep piece after piece; the last one and the end of the build are one transaction."""
    keys = await _fresh_keys(services, tenant, SubjectId(package.subject))
    where = package_aad(tenant, package.subject, package.id)
    made = await _entry(services, tenant, package)
    digest, size, number, listed = hashlib.sha256(), 0, 0, 0
    sign_off = await _signer(services, tenant, package, made.id)

    def manifest(entries: Sequence[Listed]) -> bytes:
        nonlocal listed
        listed = len(entries)
        return sign_off(entries)

    subject, portable = SubjectId(package.subject), asked.kind == PORTABILITY
    fields = await fields_shown(services, tenant, subject, asked, portable=portable)
    entries = package_entries(services, tenant, subject, asked)
    async for data, last in cut(write_archive(entries, manifest)):
        digest.update(data)
        size += len(data)
        sealed = seal_chunk(keys, where, number, data, last=last)
        if not last:
            async with services.data.transaction() as connection:
                if not await add_chunk(connection, tenant, package.id, number, sealed):
                    raise _Outrun
            number += 1
            continue
        facts = Facts(kind=asked.kind, run=asked.run, entries=listed + 1, audit=made.id, fields=fields)
        whole = msgspec.structs.replace(package, size=size, digest=digest.digest(), facts=facts)
        await _finish(services, tenant, asked, whole, (number, sealed), made)


async def _finish(
    services: Services, tenant: TenantId, asked: Request, whole: Package, last: tuple[int, bytes], made: Entry
) -> None:
    number, sealed = last
    async with changing_request(services, system_caller(tenant), asked.id, action="build-package") as change:
        _require_under_way(change.request)
        if change.request.run != asked.run:
            raise Conflict("the request was reopened meanwhile")
        added = await add_chunk(change.connection, tenant, whole.id, number, sealed)
        if not added or not await finish_package(change.connection, tenant, whole):
            raise _Outrun
        if change.request.package is not None:  # of an earlier run: what it says is out of date
            await drop_package(change.connection, tenant, change.request.package)
        change.request = msgspec.structs.replace(change.request, package=whole.id)
        await services.audit_log.append_in(change.connection, [made])


async def _fresh_keys(services: Services, tenant: TenantId, subject: SubjectId) -> SubjectKeys:
    """Fetch the person's keys now that the package has its row.

    A key that was fetched before could be one that an erasure of some of their data destroys, and never finds in use.
    """
    services.keyring.evict(tenant, subject)
    found = await services.keyring.subject_keys(tenant, [subject])
    if subject not in found:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    return found[subject]


async def _entry(services: Services, tenant: TenantId, package: Package) -> Entry:
    """Make the audit entry, whose id the manifest names; it is written with the last piece."""
    (found,) = await services.subjects.find(Wanted(tenant, (SubjectId(package.subject),), profile=False))
    return audit_entry(
        services,
        system_caller(tenant),
        action="build-package",
        decision="allowed",
        subjects=() if found is None else (found.pseudonym,),
        target=package.request,
        policy=services.policies.active(tenant).version,
    )


async def _signer(
    services: Services, tenant: TenantId, package: Package, audit: UUID
) -> Callable[[Sequence[Listed]], bytes]:
    controller = services.policies.active(tenant).policy_set.controller
    cover = Cover(package.request, package.facts.kind, controller.name, package.created_at, package.expires_at, audit)
    key = await services.keyring.signing_key(tenant)
    return lambda listed: signed_manifest(key, cover, listed)


async def announce_package(services: Services, tenant: TenantId, request: UUID) -> float | None:
    """Tell the person that their package is there, once; where no letter can be sent, it is there all the same."""
    asked = await request_of(services, tenant, request)
    package = await package_of(services, tenant, asked)
    if package is None or package.state != "ready" or package.facts.announced_at is not None:
        return None
    codes: dict[str, Any] = {"kind": asked.kind, "id": asked.id, "until": package.expires_at.date()}
    await notify_person(services, tenant, asked.subject, "package-ready", language=asked.language, **codes)
    facts = msgspec.structs.replace(package.facts, announced_at=services.clock.now())
    async with services.data.transaction() as connection:
        await set_facts(connection, tenant, package.id, facts)
    return None


PACKAGE_STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("build-package", build_package),
    ("announce-package", announce_package),
)
"""The steps of access and portability between starting and completing a request."""
