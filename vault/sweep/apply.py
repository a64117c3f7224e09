"""The one transaction in which a sweep takes away what nothing keeps any more, for several people at once.

1. Their requests and rows are locked, in the order of their ids, and they are looked at again: what was true before the
   locks may be over. Who has an open request, or is being erased by one, is left alone until the next day; so is whose
   data is restricted: they may have asked for that instead of an erasure (Art. 18(1)(b) and (c)).
2. A further data key is made for each of whom something stays. Nobody else can seal under it before the commit; and
   a writer that sealed with an older one waits, and is then refused (:mod:`vault.lifecycle.key_fence`).
3. What stays is sealed anew; records, digests, and what lies beside them are written; of whom nothing stays, all goes.
4. An erasure is laid down for each, with what went on the audit log: with these the transaction commits.
5. After that the older keys are destroyed (:func:`end_erasures`). A process that dies before this leaves erasures that
   have not ended; the next sweep begins with them.

What a sweep leaves of people's records, sealed anew under the newest data key; a view in place of some. No I/O.

What lies beside the records of those whom a sweep erases in part or as a whole: for many people at once.

It is what :mod:`vault.erasure.related_data` does for one person, who asked for it. Their rows and requests are
locked, and none of the requests is open.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace
from sqlalchemy import bindparam, delete, or_, select, update

from vault import logs
from vault.access.authorization import audit_entry
from vault.access.callers import system_caller
from vault.catalogue.types import decode, encode, show
from vault.consent import event as consents
from vault.consent.state import ConsentState
from vault.consent.state import pack as pack_standing
from vault.consent.state import unpack as unpack_standing
from vault.consent.store import CONFIRMATION, EVENT
from vault.consent.validation import COLLECTION as CONSENT
from vault.consent.validation import FIELD as EVIDENCE
from vault.crypto.seal import record_aad
from vault.erasure.related_data import bare, rewrite_request
from vault.erasure.reseal import Anew as Person
from vault.errors import CannotOpen
from vault.export.store import drop_packages
from vault.export.tables import PACKAGE
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.ids import SubjectId, new_id
from vault.lifecycle.erasures import RETENTION, Erasure, Facts, add_swept, being_erased, end_swept
from vault.rectification.store import COLLECTION as RECTIFICATION_PLACE
from vault.rectification.store import DETAILS as RECTIFICATION_DETAILS
from vault.rectification.tables import RECTIFICATION
from vault.requests.model import OPEN
from vault.requests.model import decode as decode_request
from vault.requests.tables import REQUEST
from vault.retention.clocks import clear_clocks
from vault.retention.review_store import clear_reviews, close_reviews, open_reviews
from vault.subjects.blind_index import digests
from vault.subjects.due import (
    PutOff,
    clear_people,
    clear_references,
    close_people,
    put_off,
    put_off_people,
    take_aliases,
)
from vault.subjects.merged import locked_subjects
from vault.subjects.record_body import pack
from vault.subjects.rows import EXTERNAL_IDS
from vault.subjects.store import PROFILE
from vault.sweep.evaluate import audit_code, audit_fields, count_actions, erasure_lines, load_subjects, next_midnight
from vault.sweep.safeguard import check_policies
from vault.sweep.store import Counts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Entry
    from vault.catalogue.model import Collection as CatalogueCollection
    from vault.catalogue.model import Field
    from vault.context import Services
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.erasure.reseal import Anew
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.subjects.record_body import Stored
    from vault.sweep.evaluate import Evaluation, RecordPlan, SubjectPlan

    Note = Callable[[AsyncConnection, Counts], Awaitable[None]]
    """Writes down what was done, in the transaction that did it."""
    Gone = Callable[[UUID, str, UUID, str], bool]
    """Tells whether a value is erased: by person, collection, record and name in the body."""


log = logs.get_logger()

CANNOT_OPEN: Final = "cannot-open"
REQUEST_ID: Final = "sweep"
"""Under which entries of sweeps are found on the audit log."""


class _Work(NamedTuple):
    """What the transaction works on."""

    services: Services
    connection: AsyncConnection
    tenant: TenantId
    policy_set: PolicySet
    requests: Sequence[Any]
    now: datetime
    run: UUID

    def of(self, people: Collection[UUID]) -> list[Any]:
        """Pick people's requests."""
        return [row for row in self.requests if row.subject_id in people]


async def act(services: Services, tenant: TenantId, run: UUID, found: Sequence[Evaluation], note: Note) -> None:
    """Do what is to be done with people of whom something has ended.

    Args:
        run: the sweep.
        found: the people of whom something has ended.
        note: is told what was done, within the transaction.

    Raises:
        CannotOpen: something of one of them does not open; then nothing of this was done.
        PoliciesChanged: other policies are in force than those by which they were seen; nothing of this was done.
        Unavailable: a database does not answer; nothing of this was done, or all of it but the destruction of keys.
    """
    seen = {each.plan.subject: each for each in found}
    subjects = list(seen)
    for subject in subjects:
        services.keyring.evict(tenant, subject)  # all versions are needed, also one that another node made a moment ago
    digest_keys = await services.keyring.index_keys(tenant)
    async with services.data.transaction() as connection:
        requests = await _locked_requests(connection, tenant, subjects)
        rows = await locked_subjects(connection, tenant, subjects)
        policy_set = services.policies.active(tenant).policy_set
        await check_policies(services, connection, tenant, {each.policy_set.version for each in found})
        work = _Work(services, connection, tenant, policy_set, requests, services.clock.now(), run)
        busy = await _busy(work, subjects) | {row.id for row in rows.values() if row.state == "restricted"}
        people = await load_subjects(connection, tenant, [row for row in rows.values() if row.state != "erased"])
        looks = [seen[SubjectId(each.row.id)].renewed(policy_set, each, work.now) for each in people]
        free = [each for each in looks if each.subject not in busy]
        erasures, counts = await _erase(work, free, digest_keys)
        counts += await _put_aside(work, [each for each in free if not each.erases])
        waiting = [each.subject for each in looks if each.subject in busy]
        await put_off_people(connection, tenant, waiting, next_midnight(work.now.date().toordinal()))
        await note(connection, counts + Counts(waiting=len(waiting)))
    await end_erasures(services, tenant, erasures)


async def end_erasures(services: Services, tenant: TenantId, erasures: Sequence[Erasure]) -> None:
    """Destroy the keys of what was erased, and write down that this is done; to be done again where it was cut off."""
    if not erasures:
        return
    kept = {SubjectId(each.subject): each.key_version for each in erasures if each.key_version is not None}
    gone = [SubjectId(each.subject) for each in erasures if each.key_version is None]
    aliases = [SubjectId(alias) for each in erasures for alias in each.facts.aliases]
    if kept:
        await services.keyring.destroy_older_keys(tenant, kept)
    if gone or aliases:
        await services.keyring.destroy_subject_keys(tenant, [*gone, *aliases])
    async with services.data.transaction() as connection:
        await end_swept(connection, tenant, [each.id for each in erasures], services.clock.now())


async def set_aside(services: Services, tenant: TenantId, run: UUID, subjects: Sequence[SubjectId], note: Note) -> None:
    """Leave people alone until the next day of whom something does not open: somebody has to look why.

    Args:
        run: the sweep.
        subjects: the people.
        note: is told, within the transaction.

    Raises:
        Unavailable: a database does not answer.
    """
    log.warning("values do not open that a sweep has to look at", tenant=tenant, count=len(subjects))
    now = services.clock.now()
    facts = {
        "decision": "failed",
        "code": CANNOT_OPEN,
        "target": run,
        "policy": services.policies.active(tenant).version,
    }
    async with services.data.transaction() as connection:
        rows = (await locked_subjects(connection, tenant, subjects)).values()
        await put_off_people(connection, tenant, subjects, next_midnight(now.date().toordinal()))
        caller = system_caller(tenant, REQUEST_ID)
        made = [audit_entry(services, caller, action="sweep", subjects=(row.pseudonym,), **facts) for row in rows]
        await services.audit_log.append_in(connection, made)
        await note(connection, Counts(unreadable=len(subjects)))


async def _locked_requests(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]) -> list[Any]:
    """Lock people's requests before their rows, as everywhere, so that nobody waits in a ring."""
    columns = (REQUEST.c.id, REQUEST.c.subject_id, REQUEST.c.state, REQUEST.c.body, REQUEST.c.details)
    statement = select(*columns).where(REQUEST.c.tenant_id == tenant, REQUEST.c.subject_id.in_(subjects))
    return list((await connection.execute(statement.order_by(REQUEST.c.id).with_for_update())).all())


async def _busy(work: _Work, subjects: Sequence[SubjectId]) -> frozenset[UUID]:
    """Pick whom to leave alone: who has an open request, or one that came in between the locks, or is being erased."""
    known = {row.id for row in work.requests}
    theirs = REQUEST.c.tenant_id == work.tenant, REQUEST.c.subject_id.in_(subjects)
    statement = select(REQUEST.c.id, REQUEST.c.subject_id, REQUEST.c.state).where(*theirs)
    found = (await work.connection.execute(statement)).all()
    asking = {row.subject_id for row in found if row.state in OPEN or row.id not in known}
    return await being_erased(work.connection, work.tenant, subjects) | asking


async def _erase(work: _Work, looks: Sequence[SubjectPlan], digest_keys: IndexKeys) -> tuple[list[Erasure], Counts]:
    """Erase what has ended; returns the erasures, and what was done."""
    over = [each for each in looks if each.is_over]
    parts = [each for each in looks if each.erases and not each.is_over]
    keys = await work.services.keyring.renew_many(work.tenant, [each.subject for each in parts]) if parts else {}
    anew, rows, sealed = SubjectReseal(work.policy_set, digest_keys, work.now), Rows([], []), []
    for each in parts:
        own = keys.get(each.subject)
        if own is None:
            raise CannotOpen
        left = left_of(anew, own, each)
        rows.records.extend(left.records)
        rows.leads.extend(left.leads)
        sealed.append((each, own))
        await asyncio.sleep(0)  # whoever reads meanwhile is not to wait for all of them
    erased = [*parts, *over]
    await clear_people(work.connection, work.tenant, [each.subject for each in erased])
    await work.services.subjects.add(work.connection, records=rows.records, index=list(dict.fromkeys(rows.leads)))
    await _beside_parts(work, sealed)
    aliases = await _end_people(work, over)
    versions = {each.subject: own.current_version for each, own in sealed}
    return await _write_down(work, erased, versions, aliases), count_actions(erased)


async def _beside_parts(work: _Work, sealed: Sequence[tuple[SubjectPlan, SubjectKeys]]) -> None:
    if not sealed:
        return
    gone = {
        (each.subject, look.row.collection, look.row.id, name)
        for each, _own in sealed
        for look in each.records
        for name in look.deleted
    }
    people = {each.subject: Person(work.tenant, each.subject, own) for each, own in sealed}
    requests = work.of(people.keys())
    await renew_besides(work.connection, work.tenant, people, requests, lambda *value: value in gone)
    without = [each.subject for each, _own in sealed if _loses_ids(each)]
    if without:
        await clear_references(work.connection, work.tenant, without)
    looks = [look for each, _own in sealed for look in each.records]
    closed = [(each.place, (*each.deleted, *each.closed)) for each in looks]
    await close_reviews(work.connection, work.tenant, closed)
    await open_reviews(work.connection, work.tenant, [ended for each in looks for ended in each.reviews], work.now)


def _loses_ids(person: SubjectPlan) -> bool:
    return any(look.row.collection == PROFILE and EXTERNAL_IDS in look.removed for look in person.records)


async def _end_people(work: _Work, over: Sequence[SubjectPlan]) -> dict[SubjectId, list[UUID]]:
    """End those of whom nothing is left; returns whom was once merged into them. A hold outlives them."""
    if not over:
        return {}
    subjects = [each.subject for each in over]
    await clear_besides(work.connection, work.tenant, subjects, work.of(subjects))
    await clear_references(work.connection, work.tenant, subjects)
    standings = {each.subject: _left_standing(each.row.standing) for each in over}
    await close_people(work.connection, work.tenant, standings)
    return await take_aliases(work.connection, work.tenant, subjects)


def _left_standing(packed: bytes | None) -> bytes | None:
    return pack_standing(ConsentState(holds=unpack_standing(packed).holds))


async def _write_down(
    work: _Work,
    erased: Sequence[SubjectPlan],
    versions: Mapping[SubjectId, int],
    aliases: Mapping[SubjectId, list[UUID]],
) -> list[Erasure]:
    """Write down what happened, on the audit log and as an erasure for each."""
    entries = [_entry(work, each) for each in erased]
    erasures = [
        Erasure(
            id=new_id(),
            request=None,
            subject=each.subject,
            state="taken",
            started_at=work.now,
            changed_at=work.now,
            key_version=versions.get(each.subject),
            facts=Facts(
                cause=RETENTION,
                lines=erasure_lines(each),
                erased_at=work.now,
                aliases=tuple(aliases.get(each.subject, ())),
                entry=made.id,
            ),
        )
        for each, made in zip(erased, entries, strict=True)
    ]
    await add_swept(work.connection, work.tenant, erasures)
    await work.services.audit_log.append_in(work.connection, entries)
    return erasures


async def _put_aside(work: _Work, looks: Sequence[SubjectPlan]) -> Counts:
    """Open reviews of people of whom nothing is erased today."""
    ended = [each for person in looks for look in person.records for each in look.reviews]
    closed = [(look.place, look.closed) for person in looks for look in person.records]
    await close_reviews(work.connection, work.tenant, closed)
    await open_reviews(work.connection, work.tenant, ended, work.now)
    records = [look for person in looks for look in person.records]
    later = [_later(look.row, look.due) for look in records]
    await put_off(work.services.data, work.connection, work.tenant, later)
    entries = [_entry(work, each) for each in looks if each.acts]
    await work.services.audit_log.append_in(work.connection, entries)
    return count_actions(looks)


def _later(row: Any, due: datetime) -> PutOff:
    return PutOff(row.subject_id, row.collection, row.id, row.revision, row.due_at, due)


def _entry(work: _Work, person: SubjectPlan) -> Entry:
    return audit_entry(
        work.services,
        system_caller(work.tenant, REQUEST_ID),
        action="sweep",
        decision="allowed",
        code=audit_code(person),
        fields=audit_fields(work.policy_set, person),
        subjects=(person.row.pseudonym,),
        target=work.run,
        policy=work.policy_set.version,
    )


class SubjectReseal(NamedTuple):
    """What sealing anew needs: the policies in force, the keys of the digests that lead to people, and the present."""

    policy_set: PolicySet
    digest_keys: IndexKeys
    now: datetime


class Rows(NamedTuple):
    """Whole rows of records, and of the digests that lead to them."""

    records: list[tuple[Any, ...]]
    leads: list[tuple[Any, ...]]


def left_of(anew: SubjectReseal, keys: SubjectKeys, person: SubjectPlan) -> Rows:
    """Seal what stays of a person: a record of which nothing is left goes, but for the profile.

    Raises:
        CannotOpen: a value that stays does not open.
    """
    rows = Rows([], [])
    is_found = person.row.state != "retained"  # whom an erasure has left something of is not to be found by it
    for look in person.records:
        collection = anew.policy_set.catalogue.collections.get(look.row.collection)
        body = _body(anew, keys, look, collection, rows.leads if is_found else None)
        if body or look.row.collection == PROFILE:
            rows.records.append(_row(anew, look, body, is_found=is_found))
    return rows


def _body(
    anew: SubjectReseal,
    keys: SubjectKeys,
    look: RecordPlan,
    collection: CatalogueCollection | None,
    leads: list[tuple[Any, ...]] | None,
) -> dict[str, Stored]:
    row = look.row
    where = record_aad(row.tenant_id, row.subject_id, row.collection, row.id)
    fields: Mapping[str, Field] = {} if collection is None else collection.fields
    gone = {*look.deleted}
    body: dict[str, Stored] = {}
    for name, stored in look.body.items():
        if name in gone:
            continue
        plain = keys.open(name, stored.sealed, where)
        body[name] = replace(stored, sealed=keys.seal(name, plain, where))
        field = fields.get(name)
        if leads is not None and field is not None and field.indexes:
            found = digests(anew.digest_keys, field, decode(plain))
            leads.extend((row.tenant_id, digest, row.subject_id, row.id, anew.digest_keys.version) for digest in found)
    for name, whole in look.views.items():
        stored, field, view = look.body[name], fields[name], whole.rpartition(".")[2]
        value = decode(keys.open(name, stored.sealed, where))
        shown = show(field.type, view, value, anew.now.date())
        if shown is not None:
            general = f"{name}.{view}"
            body[general] = replace(stored, sealed=keys.seal(general, encode(shown), where))
    return body


def _row(anew: SubjectReseal, look: RecordPlan, body: Mapping[str, Stored], *, is_found: bool) -> tuple[Any, ...]:
    row = look.row
    return (
        row.tenant_id, row.subject_id, row.collection, row.id, row.revision + 1, row.created_at, anew.now,
        row.occurred_at, look.due, row.external_digest if is_found else None, pack(body, row.occurred_at),
    )  # fmt: skip


async def clear_besides(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId], requests: Sequence[Any]
) -> None:
    """Take away what lies beside the records of those of whom nothing is left.

    Of consents stays that they were given or taken back, and of requests what became of them: proof without a value.

    Args:
        subjects: the people.
        requests: theirs.
    """
    await _drop_packages(connection, tenant, subjects)
    await clear_clocks(connection, tenant, subjects)
    await clear_reviews(connection, tenant, subjects)
    for table in (SUBJECT_SESSION, RECTIFICATION, CONFIRMATION):
        await connection.execute(delete(table).where(*_theirs(table, tenant, subjects)))
    mine = or_(IDENTITY_CODE.c.subject_id.in_(subjects), IDENTITY_CODE.c.request_id.in_([row.id for row in requests]))
    await connection.execute(delete(IDENTITY_CODE).where(IDENTITY_CODE.c.tenant_id == tenant, mine))
    events = [(subject, event, bare(event)) for subject, event in await _events(connection, tenant, subjects)]
    await _rewrite_events(connection, tenant, [(who, after) for who, before, after in events if after != before])
    for row in requests:
        await rewrite_request(connection, tenant, row, None)


async def renew_besides(
    connection: AsyncConnection, tenant: TenantId, people: Mapping[SubjectId, Anew], requests: Sequence[Any], gone: Gone
) -> None:
    """Seal anew what lies beside the records of those of whom something is erased; what tells of that goes.

    Packages hold what is erased, so they go; so do corrections of erased values, and what requests to rectify said.

    Args:
        people: with the keys that seal anew.
        requests: theirs.
        gone: tells what is erased.

    Raises:
        CannotOpen: something does not open.
    """
    subjects = list(people)
    await _drop_packages(connection, tenant, subjects)
    changed = []
    for subject, event in await _events(connection, tenant, subjects):
        if event.evidence is not None:
            evidence = people[subject].sealed(CONSENT, event.id, EVIDENCE, event.evidence)
            changed.append((subject, replace(event, evidence=evidence)))
    await _rewrite_events(connection, tenant, changed)
    await _renew_rectifications(connection, tenant, people, gone)
    for row in requests:
        anew = people[row.subject_id]
        without = decode_request(row.body).kind == "rectification"
        await rewrite_request(connection, tenant, row, anew, without_details=without)


async def _drop_packages(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]) -> None:
    statement = select(PACKAGE.c.subject_id).where(*_theirs(PACKAGE, tenant, subjects)).distinct()
    for subject in (await connection.execute(statement)).scalars().all():
        await drop_packages(connection, tenant, subject)


async def _events(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> list[tuple[SubjectId, consents.Event]]:
    statement = select(EVENT.c.subject_id, EVENT.c.body).where(*_theirs(EVENT, tenant, subjects))
    return [(row[0], consents.decode(row[1])) for row in (await connection.execute(statement)).all()]


async def _rewrite_events(
    connection: AsyncConnection, tenant: TenantId, events: Iterable[tuple[SubjectId, consents.Event]]
) -> None:
    rows = [{"whose": subject, "event": event.id, "anew": consents.encode(event)} for subject, event in events]
    if rows:
        mine = EVENT.c.subject_id == bindparam("whose"), EVENT.c.id == bindparam("event")
        statement = update(EVENT).where(EVENT.c.tenant_id == tenant, *mine).values(body=bindparam("anew"))
        await connection.execute(statement, rows)


async def _renew_rectifications(
    connection: AsyncConnection, tenant: TenantId, people: Mapping[SubjectId, Anew], gone: Gone
) -> None:
    statement = select(RECTIFICATION).where(*_theirs(RECTIFICATION, tenant, list(people)))
    for row in (await connection.execute(statement)).all():
        this = (*_theirs(RECTIFICATION, tenant, [row.subject_id]), RECTIFICATION.c.id == row.id)
        if gone(row.subject_id, row.collection, row.record_id, row.field):
            await connection.execute(delete(RECTIFICATION).where(*this))
        elif row.details is not None:
            anew = people[row.subject_id]
            sealed = anew.sealed(RECTIFICATION_PLACE, row.id, RECTIFICATION_DETAILS, row.details)
            await connection.execute(update(RECTIFICATION).where(*this).values(details=sealed))


def _theirs(table: Table, tenant: TenantId, subjects: Sequence[SubjectId]) -> tuple[Any, ...]:
    return table.c.tenant_id == tenant, table.c.subject_id.in_(subjects)
