"""After the data is deleted: destroy its keys, clean the databases' files, and verify that nothing remains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from vault.crypto.seal import record_aad
from vault.erasure.views import ErasureCheck
from vault.errors import CannotOpen, Conflict
from vault.ids import SubjectId
from vault.lifecycle.erasures import CheckResult, find_erasure, save_erasure
from vault.lifecycle.personal_data import owned_tables
from vault.subjects.changes import records_of
from vault.subjects.record_body import unpack

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure, State

SOON: Final = 0.2
"""Seconds until the next attempt to clean the files, if a reader was in the way."""
MAX_CHECKS: Final = 50
"""After so many checks that found something, staff have to find out what is wrong."""


class NotProven(Conflict):
    """Data of an erased subject is still found; staff have to find out why."""

    code = "erasure-not-proven"


async def destroy_keys(services: Services, tenant: TenantId, erasure: Erasure) -> None:
    """Destroy every key that is no longer needed. From here on no copy of what was erased opens, wherever it is."""
    subject = SubjectId(erasure.subject)
    others = [SubjectId(alias) for alias in erasure.facts.aliases]
    if erasure.key_version is None:
        await services.keyring.destroy_subject_keys(tenant, [subject, *others])
    else:
        await services.keyring.destroy_older_keys(tenant, {subject: erasure.key_version})
        await services.keyring.destroy_subject_keys(tenant, others)
    await advance(services, tenant, erasure.id, "taken", "destroyed")


async def scrub(services: Services, tenant: TenantId, erasure: Erasure) -> float | None:
    """Clean the files of both databases.

    Returns:
        None if they are clean; else the seconds until the next attempt, because a reader was in the way.
    """
    if not (await services.keyring.scrub() and await services.data.scrub(owned_tables(services.personal_data))):
        return SOON
    await advance(services, tenant, erasure.id, "destroyed", "scrubbed")
    return None


async def check_remains(services: Services, tenant: TenantId, erasure: Erasure) -> float | None:
    """Verify that nothing remains that opens or that leads to what was erased.

    Returns:
        None if nothing remains; else the seconds until the next check. The files have been cleaned once more.

    Raises:
        NotProven: something was found too often.
    """
    found = await scan(services, tenant, erasure)
    if not found.is_clean:
        await _count_check(services, tenant, erasure)
        await services.keyring.scrub()
        await services.data.scrub(owned_tables(services.personal_data))
        return SOON
    result = CheckResult(services.clock.now(), found.files, found.bytes, found.rows)
    await advance(services, tenant, erasure.id, "scrubbed", "checked", look=result)
    return None


async def scan(services: Services, tenant: TenantId, erasure: Erasure) -> ErasureCheck:
    """Scan the key store's files for destroyed keys, and the rows for what should not be there."""
    subject = SubjectId(erasure.subject)
    newest = max(erasure.facts.newest, 1)
    scanned = await services.keyring.remains(tenant, subject, kept=erasure.key_version, newest=newest)
    keys = scanned.keys
    for alias in erasure.facts.aliases:
        keys += (await services.keyring.remains(tenant, SubjectId(alias), kept=None, newest=newest)).keys
    rows, wrong = await _scan_rows(services, tenant, erasure)
    return ErasureCheck(files=scanned.files, bytes=scanned.bytes, rows=rows, keys=keys, wrong=wrong)


async def advance(
    services: Services, tenant: TenantId, erasure: UUID, before: State, after: State, **facts: object
) -> None:
    """Move an erasure to its next state; does nothing if it is no longer in the state before."""
    async with services.data.transaction() as connection:
        current = await find_erasure(connection, tenant, erasure, lock=True)
        if current is not None and current.state == before:
            done = replace(current, state=after, changed_at=services.clock.now(), facts=replace(current.facts, **facts))
            await save_erasure(connection, tenant, done)


async def _count_check(services: Services, tenant: TenantId, erasure: Erasure) -> None:
    """Count a check that found something.

    Raises:
        NotProven: it was the last one.
    """
    async with services.data.transaction() as connection:
        current = await find_erasure(connection, tenant, erasure.id, lock=True)
        if current is None:
            return
        checks = current.facts.looks + 1
        await save_erasure(connection, tenant, replace(current, facts=replace(current.facts, looks=checks)))
    if checks >= MAX_CHECKS:
        raise NotProven(
            "data of the erased person is still found in the databases",
            hint="check that no other program holds the database files open, then approve the request again",
        )


async def _scan_rows(services: Services, tenant: TenantId, erasure: Erasure) -> tuple[int, int]:
    """Count the rows of a subject, and those of them that should not be there. What was kept has to open."""
    subject = SubjectId(erasure.subject)
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    async with services.data.reading() as connection:
        remains = sum([await owner.remains(connection, tenant, erasure) for owner in services.personal_data])
        records = [] if erasure.key_version is None else await records_of(connection, tenant, subject)
    wrong = sum(_unreadable(tenant, keys, row) for row in records)
    return len(records) + remains, wrong + remains if erasure.is_whole else wrong


def _unreadable(tenant: TenantId, keys: SubjectKeys | None, row: Any) -> int:
    """Count the values of a record that do not open: each of them stayed, so each has to."""
    if keys is None:
        return 1
    aad = record_aad(tenant, row.subject_id, row.collection, row.id)
    wrong = 0
    for name, stored in unpack(row.body).items():
        try:
            keys.open(name, stored.sealed, aad)
        except CannotOpen:
            wrong += 1
    return wrong
