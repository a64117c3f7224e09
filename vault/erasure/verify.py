"""The proof of an erasure, after the data is deleted.

Its keys are destroyed, the databases' files are cleaned, and it is verified that nothing remains. Then a certificate is
signed, which anyone can check without a vault. It names fields and days, and contains no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from vault.clock import rfc3339
from vault.crypto.seal import record_aad
from vault.crypto.signing import BadDocument, check, sign
from vault.erasure.letter import tell_person
from vault.erasure.views import ErasureCheck
from vault.errors import CannotOpen, Conflict
from vault.ids import SubjectId
from vault.lifecycle.erasures import CheckResult, find_erasure, save_erasure
from vault.lifecycle.personal_data import owned_tables
from vault.subjects.rows import unpack
from vault.subjects.store import records_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from uuid import UUID

    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.crypto.signing import Signed
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure, Line, State
    from vault.policy.policy_set import PolicySet

    Proof = Callable[[Services, TenantId, Erasure], Awaitable[float | None]]

SOON: Final = 0.2
"""Seconds until the next attempt to clean the files, if a reader was in the way."""
MAX_CHECKS: Final = 50
"""After so many checks that found something, staff have to find out what is wrong."""
LABEL: Final = "cdv-erasure-v1"
KIND: Final = "certificate"
"""The document's name in its signed file."""


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
    # The key store first: once its files are clean, copies of the data elsewhere do not open any more.
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
    result = await scan(services, tenant, erasure)
    if not result.is_clean:
        await _count_check(services, tenant, erasure)
        await services.keyring.scrub()
        await services.data.scrub(owned_tables(services.personal_data))
        return SOON
    look = CheckResult(services.clock.now(), result.files, result.bytes, result.rows)
    await advance(services, tenant, erasure.id, "scrubbed", "checked", look=look)
    return None


async def scan(services: Services, tenant: TenantId, erasure: Erasure) -> ErasureCheck:
    """Scan the key store's files for destroyed keys, and the rows for what should not be there."""
    subject = SubjectId(erasure.subject)
    # Of a person without a key the register has no version; the first one is looked for all the same.
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
        # A step that was killed after its commit is called again, and finds its work done.
        if current is not None and current.state == before:
            # No address outlives the step before the keys are destroyed, whichever way led here.
            done = replace(
                current,
                state=after,
                changed_at=services.clock.now(),
                addressee=None,
                facts=replace(current.facts, **facts),
            )
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
        # Without a version nothing was kept: then the owners count every row as a remain.
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


def check_certificate(file: Mapping[str, Any]) -> Signed:
    """Check the form of a certificate's file, and the signature by the key that it carries.

    Raises:
        BadDocument: the form is invalid; see :func:`vault.crypto.signing.check`.
    """
    return check(file, LABEL, KIND)


def summary_of(document: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Summarize a certificate: a text, or a list of lines, for each of its parts.

    Raises:
        BadDocument: it is not a certificate of an erasure.
    """
    try:
        summary: dict[str, str | list[str]] = {
            "person": document["subject"],
            "controller": document["controller"]["name"],
            "when": document["erased_at"],
            "erased": sorted({line["field"] for line in document["erased"]}) or "nothing",
            "kept": _kept_fields(document["kept"]) or "nothing",
            "keys": f"{document['keys_destroyed']} destroyed",
            "audit": document["audit_entry"],
        }
    except (KeyError, TypeError):
        raise BadDocument("parts of the certificate are missing or invalid") from None
    lines = [line for part in summary.values() for line in ([part] if isinstance(part, str) else part)]
    if not all(isinstance(line, str) for line in lines):
        raise BadDocument("parts of the certificate are missing or invalid")
    return summary


def _kept_fields(kept: Iterable[Mapping[str, Any]]) -> list[str]:
    """Describe each field that is kept once: until when, and on which grounds."""
    by_field: dict[str, list[Mapping[str, Any]]] = {}
    for line in kept:
        by_field.setdefault(line["field"], []).append(line)
    described = []
    for field, lines in sorted(by_field.items()):
        days = [line["until"] for line in lines]
        until = "a hold on it is lifted" if None in days else max(days)
        grounds = dict.fromkeys(line.get("purpose") or line["ground"] for line in lines)
        articles = dict.fromkeys(line["article"] for line in lines)
        described.append(f"{field} until {until}, for {', '.join(grounds)} (Art. {', '.join(articles)})")
    return described


async def certify(services: Services, tenant: TenantId, erasure: Erasure) -> None:
    """Sign the certificate and end the erasure, in one transaction: there is exactly one certificate."""
    signer = await services.keyring.signing_key(tenant)
    policy_set = services.policies.active(tenant).policy_set
    async with services.data.transaction() as connection:
        current = await find_erasure(connection, tenant, erasure.id, lock=True)
        # Under the lock: two processes may hold the job for a moment, and there is one certificate.
        if current is None or current.state != "checked":
            return
        now = services.clock.now()
        file = sign(signer, LABEL, KIND, document(policy_set, tenant, current), now)
        done = replace(current, state="done", changed_at=now, finished_at=now, certificate=msgspec.json.encode(file))
        await save_erasure(connection, tenant, done)


def document(policy_set: PolicySet, tenant: TenantId, erasure: Erasure) -> dict[str, Any]:
    """Return the contents of a certificate."""
    facts, check_result, controller = erasure.facts, erasure.facts.look, policy_set.controller
    stated = {"name": controller.name, "address": controller.address, "email": controller.email}
    return {
        "controller": {part: text for part, text in stated.items() if text} if controller.stated else {"name": tenant},
        "erasure": str(erasure.id),
        "request": None if erasure.request is None else str(erasure.request),
        "subject": str(erasure.subject),
        "scope": "everything" if erasure.is_whole else {
            "fields": list(facts.scope.fields),
            "collections": list(facts.scope.collections),
            "purposes": list(facts.scope.purposes),
        },
        "erased_at": None if facts.erased_at is None else rfc3339(facts.erased_at),
        "erased": [{"field": line.field, "records": line.records} for line in facts.lines if line.ground is None],
        "kept": [_kept(policy_set, line) for line in facts.lines if line.ground is not None],
        "keys_destroyed": facts.keys,
        "recipients_told": facts.told,
        "check": None if check_result is None else {
            "at": rfc3339(check_result.at),
            "files": check_result.files,
            "bytes": check_result.bytes,
            "rows": check_result.rows,
            "found": 0,
        },
        "audit_entry": None if facts.entry is None else str(facts.entry),
        "policy": policy_set.version,
    }  # fmt: skip


def _kept(policy_set: PolicySet, line: Line) -> dict[str, Any]:
    kept: dict[str, Any] = {"field": line.field, "records": line.records, "ground": line.ground}
    kept |= {"article": line.article, "until": None if line.until is None else line.until.isoformat()}
    purpose = None if line.purpose is None else policy_set.purposes.get(line.purpose)
    if line.purpose is not None:
        kept["purpose"] = line.purpose
    if purpose is not None and purpose.law is not None:
        kept["law"] = purpose.law
    return kept


PROOF: Final[tuple[tuple[str, State, Proof], ...]] = (
    ("tell", "taken", tell_person),
    ("destroy-keys", "taken", destroy_keys),
    ("scrub", "destroyed", scrub),
    ("check", "scrubbed", check_remains),
    ("certify", "checked", certify),
)
"""The letter and the steps of the proof: the name of each, the state in which an erasure needs it, and what is done.

A function returns the seconds until it is to be called again, or None when it is done."""
