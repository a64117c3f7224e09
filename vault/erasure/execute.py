"""The one transaction of an erasure: what goes is gone, what stays is sealed anew, and recipients are to be told.

A new data key for what stays is made while the person's row is locked. So nobody seals under it what is about to be
erased; and whoever wrote with an older key before waits, and is then refused by the fence (:mod:`.fence`). Should the
transaction fail after that, the key opens nothing, and the next try makes another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry
from vault.access.callers import system_caller
from vault.catalogue.types import decode
from vault.consent.state import ConsentState
from vault.consent.state import pack as pack_standing
from vault.consent.state import unpack as unpack_standing
from vault.crypto.seal import record_aad
from vault.erasure.claims import claims_of
from vault.erasure.related_data import clear_beside, lock_requests, renew_beside
from vault.erasure.reseal import Anew, what_stays
from vault.erasure.start import also, in_scope
from vault.erasure.verdict import decided, lines, of_rests, purposes_kept_for
from vault.errors import CannotOpen, NotFound, Unavailable
from vault.ids import SubjectId, new_id
from vault.lifecycle.erasures import add_tombstones, find_erasure, save_erasure
from vault.lifecycle.restore_lines import note_erasure
from vault.lifecycle.tombstones import EMAIL, digests_of
from vault.recipients.outbox import EVERYTHING, tell_recipients
from vault.requests.store import request_ids_of
from vault.retention.clocks import NO_CLOCKS, clocks_in
from vault.subjects.changes import (
    aliases_of,
    clear_aliases,
    clear_external,
    clear_records,
    close_person,
    locked_subject,
    records_of,
)
from vault.subjects.record_body import unpack, view_name
from vault.subjects.rows import EXTERNAL_IDS
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Scope
    from vault.context import Services
    from vault.crypto.derive import IndexKeys, TokenKey
    from vault.crypto.seal import SubjectKeys
    from vault.erasure.verdict import Claim, Verdicts
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure, Facts
    from vault.policy.policy_set import PolicySet


class Secrets(NamedTuple):
    """Keys that are fetched before the transaction: the key store is another database."""

    keys: SubjectKeys | None
    search: IndexKeys
    token: TokenKey


class Taken(NamedTuple):
    """What the transaction works on."""

    services: Services
    connection: AsyncConnection
    tenant: TenantId
    erasure: Erasure
    row: Any
    records: list[Any]
    requests: list[Any]
    found: Verdicts
    now: datetime
    claims: list[Claim]
    scope: Scope
    again: bool = False

    @property
    def subject(self) -> SubjectId:
        """Return whom it is about."""
        return SubjectId(self.erasure.subject)

    @property
    def policy_set(self) -> PolicySet:
        """Return the policies in force."""
        return self.services.policies.active(self.tenant).policy_set


async def take_away(
    services: Services,
    tenant: TenantId,
    erasure: Erasure,
    *,
    replayed: Sequence[Claim] | None = None,
    gone: Sequence[str] = (),
) -> None:
    """Take away what an erasure takes; does nothing where that has happened.

    Args:
        erasure: laid down before.
        replayed: where it is carried out once more after a restore: what staff kept for legal claims then. The ledger
            of tombstones, by which it is, has its line already.
        gone: of a part that is: the fields that went then, under policies that may not be in force now.

    Raises:
        NotFound: there is no such person, or only a part was to be erased and there is nobody any more.
        CannotOpen: a value that stays does not open; nothing is changed.
        Unavailable: a request of the person's came in at this moment, or the ledger of tombstones does not answer.
    """
    subject = SubjectId(erasure.subject)
    services.keyring.evict(tenant, subject)  # all versions are needed, also one that another node made a moment ago
    secrets = Secrets(
        (await services.keyring.subject_keys(tenant, [subject])).get(subject),
        await services.keyring.index_keys(tenant),
        await services.keyring.token_key(tenant),
    )
    async with services.data.transaction() as connection:
        requests = await lock_requests(connection, tenant, subject)
        row = await locked_subject(connection, tenant, subject)
        current = await find_erasure(connection, tenant, erasure.id, lock=True)
        if current is None or current.state != "begun":
            return
        if row is None:
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        if await request_ids_of(connection, tenant, [subject]) - {each.id for each in requests}:
            raise Unavailable("a request of this person came in between the locks")  # what it says is to stay, or go
        records = await records_of(connection, tenant, subject)
        now = services.clock.now()
        policy_set = services.policies.active(tenant).policy_set
        claims = [*claims_of(tenant, requests, current, secrets.keys), *(replayed or ())]
        clocks = (await clocks_in(connection, tenant, [subject])).get(subject, NO_CLOCKS)
        scope = current.facts.scope if current.is_whole else also(current.facts.scope, gone)
        found = decided(policy_set, row, records, scope, claims, now, clocks)
        found = of_rests(found, records, current.facts.rests)
        again = replayed is not None
        taken = Taken(services, connection, tenant, current, row, records, requests, found, now, claims, scope, again)
        await (_whole(taken, secrets) if current.is_whole else _part(taken, secrets))


async def _whole(taken: Taken, secrets: Secrets) -> None:
    """Erase a person as a whole; what a law keeps stays, for the purposes it is kept for and nobody else."""
    connection, tenant, subject = taken.connection, taken.tenant, taken.subject
    told = await _tell(taken, EVERYTHING)
    tombstones = _tombstones(taken, secrets)
    aliases = await aliases_of(connection, tenant, subject)
    versions = await taken.services.keyring.key_versions(tenant, [subject, *map(SubjectId, aliases)])
    keeps = any(keep for fields in taken.found.values() for keep in fields.values())
    anew = await _anew(taken) if keeps else None
    await clear_records(connection, tenant, subject)
    if anew is not None:
        left = what_stays(anew, taken.records, taken.found, now=taken.now, leads=None)
        await taken.services.subjects.add(connection, records=left.records)
    await clear_external(connection, tenant, subject)
    await clear_aliases(connection, tenant, subject)
    own = {taken.erasure.id, *taken.erasure.facts.resumes}
    await clear_beside(connection, tenant, subject, taken.requests, erasures=own, anew=anew)
    await add_tombstones(connection, tenant, taken.erasure.id, tombstones, taken.now)
    await close_person(
        connection,
        tenant,
        subject,
        state="erased" if anew is None else "retained",
        standing=None if anew is None else _standing(taken),
    )
    newest = max([0 if anew is None else anew.keys.current_version, *(each[-1] for each in versions.values())])
    await _save(taken, anew, told, aliases=tuple(aliases), newest=newest, keys=sum(map(len, versions.values())))
    await _note(taken, aliases=aliases, tombstones=tombstones)


async def _part(taken: Taken, secrets: Secrets) -> None:
    """Erase a part of what there is of a person, who goes on as before."""
    connection, tenant, subject = taken.connection, taken.tenant, taken.subject
    if taken.row.state == "erased":
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    versions = await taken.services.keyring.key_versions(tenant, [subject])
    anew = await _anew(taken)
    if anew is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    gone = [line.field for line in lines(taken.found) if line.ground is None]
    told = await _tell(taken, gone)
    leads = None if taken.row.state == "retained" else (taken.policy_set.catalogue, secrets.search)
    left = what_stays(anew, taken.records, taken.found, now=taken.now, leads=leads)
    await clear_records(connection, tenant, subject)
    await taken.services.subjects.add(connection, records=left.records, index=left.leads)
    if f"{PROFILE}.{EXTERNAL_IDS}" in gone:
        await clear_external(connection, tenant, subject)
    test = in_scope(taken.policy_set, taken.scope, unpack_standing(taken.row.standing), taken.now)
    await renew_beside(connection, anew, taken.requests, in_scope=test)
    await _save(taken, anew, told, newest=anew.keys.current_version, keys=len(versions.get(subject, [])))
    await _note(taken, gone=gone)


async def _anew(taken: Taken) -> Anew | None:
    """Make the key under which what stays is sealed; none where the person has lost all keys: nothing opens then."""
    keys = await taken.services.keyring.renew_subject_keys(taken.tenant, taken.subject)
    return None if keys is None else Anew(taken.tenant, taken.subject, keys)


async def _tell(taken: Taken, fields: Sequence[str]) -> int:
    """Put notices to those who read what goes into the outbox (Art. 19); none of somebody erased before."""
    if taken.row.state in {"erased", "retained"}:
        return 0
    return await tell_recipients(
        taken.services,
        taken.connection,
        taken.tenant,
        taken.subject,
        taken.row.pseudonym,
        kind="subject.erased",
        fields=fields,
        request=taken.erasure.request,
    )


def _tombstones(taken: Taken, secrets: Secrets) -> dict[bytes, str]:
    """Digest the person's ids and addresses; a value that does not open leaves none, and does not stop the erasure."""
    fields = taken.policy_set.catalogue.collections[PROFILE].fields
    profile = next((row for row in taken.records if row.collection == PROFILE), None)
    if profile is None or secrets.keys is None:
        return {}
    where = record_aad(taken.tenant, taken.subject, PROFILE, profile.id)
    values = {}
    for name, stored in unpack(profile.body).items():
        if name == EXTERNAL_IDS or (name in fields and fields[name].type == EMAIL):
            try:
                values[name] = decode(secrets.keys.open(name, stored.sealed, where))
            except CannotOpen:
                continue
    return digests_of(secrets.token, fields, values)


def _standing(taken: Taken) -> bytes | None:
    """Say what what is kept is kept for; to answer the person about it is always among that."""
    answers = [name for name, purpose in taken.policy_set.purposes.items() if purpose.answers_people]
    before = unpack_standing(taken.row.standing)
    kept_for = sorted({*purposes_kept_for(taken.found), *before.kept_for, *answers})
    return pack_standing(ConsentState(restricted_at=before.restricted_at, kept_for=tuple(kept_for), holds=before.holds))


async def _save(taken: Taken, anew: Anew | None, told: int, **facts: Any) -> None:
    """Write down what happened, on the audit log and on the erasure's own row."""
    entry_id = new_id()
    summed = lines(taken.found)
    made = audit_entry(
        taken.services,
        system_caller(taken.tenant),
        id=entry_id,
        action="erase",
        decision="allowed",
        fields=_names(taken, summed),
        subjects=(taken.row.pseudonym,),
        target=taken.erasure.id,
        policy=taken.policy_set.version,
    )
    await taken.services.audit_log.append_in(taken.connection, [made])
    version = None if anew is None else anew.keys.current_version
    done: Facts = replace(taken.erasure.facts, lines=summed, erased_at=taken.now, entry=entry_id, told=told, **facts)
    saved = replace(taken.erasure, state="taken", changed_at=taken.now, key_version=version, facts=done)
    await save_erasure(taken.connection, taken.tenant, saved)


async def _note(taken: Taken, **facts: Any) -> None:
    """Write the erasure on the ledger of tombstones, as the last thing before the commit: no backup is to undo it."""
    if not taken.again:
        await note_erasure(taken.services, taken.tenant, taken.erasure, claims=taken.claims, **facts)


def _names(taken: Taken, summed: Sequence[Any]) -> tuple[str, ...]:
    catalogue = taken.policy_set.catalogue
    gone = dict.fromkeys(line.field.partition(".") for line in summed if line.ground is None)
    names = (f"{collection}.{view_name(name)}" for collection, _dot, name in gone)
    return tuple(name for name in names if name in catalogue)
