"""The transaction in which a sweep erases what nothing keeps any more, of several subjects at once.

1. The subjects' requests and rows are locked, in the order of their ids, and the subjects are evaluated again: what was
   true before the locks may have changed. A subject with an open request, or whose erasure was requested, is left alone
   until the next day; so is one whose data is restricted, for it may have asked for that instead of an erasure
   (Art. 18(1)(b) and (c) GDPR).
2. The engine erases (:mod:`vault.erasure.execute`).
3. An erasure is stored for each subject, and the audit entries are written; the transaction commits.
4. The older keys are destroyed (:func:`end_erasures`). A process that dies before this leaves erasures that have not
   ended; the next sweep begins with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from vault import logs
from vault.access.authorization import audit_entry
from vault.access.callers import system_caller
from vault.consent.model import ConsentState
from vault.consent.model import pack as pack_state
from vault.consent.model import unpack as unpack_state
from vault.erasure.execute import RecordResealer, RetainedRecord, SubjectErasure, erase_subjects
from vault.ids import SubjectId, new_id
from vault.lifecycle.erasures import RETENTION, Erasure, Facts, add_sweep_erasures, being_erased, end_sweep_erasures
from vault.lifecycle.personal_data import ErasureContext
from vault.requests.model import OPEN
from vault.requests.store import REQUEST, requests_of
from vault.retention.reviews import close_reviews, open_reviews
from vault.subjects.due import PutOff, put_off, put_off_people
from vault.subjects.rows import EXTERNAL_IDS
from vault.subjects.store import PROFILE
from vault.sweep.evaluate import audit_code, audit_fields, count_actions, erasure_lines, load_subjects, midnight
from vault.sweep.store import Counts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Entry
    from vault.context import Services
    from vault.crypto.derive import IndexKeys
    from vault.erasure.execute import ErasedSubject
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.requests.store import StoredRequest
    from vault.sweep.evaluate import Evaluation, RecordPlan, SubjectPlan

    SaveProgress = Callable[[AsyncConnection, Counts], Awaitable[None]]
    """Saves what was done, in the transaction that did it."""


log = logs.get_logger()

REQUEST_ID: Final = "sweep"
"""The request id in audit entries of sweeps."""


class PoliciesChanged(Exception):
    """Other policies are in force than those of the evaluation; the sweep starts over with them."""


@dataclass(frozen=True, slots=True)
class _Transaction:
    """What the transaction works with."""

    services: Services
    connection: AsyncConnection
    tenant: TenantId
    policy_set: PolicySet
    now: datetime
    run: UUID


async def apply_plans(
    services: Services, tenant: TenantId, run: UUID, evaluations: Sequence[Evaluation], save: SaveProgress
) -> None:
    """Apply the plans for subjects with ended values.

    Args:
        evaluations: the subjects' plans, as they were made without a lock.
        save: saves the counts within the transaction.

    Raises:
        CannotOpen: a value of one of them does not open; nothing was done.
        PoliciesChanged: other policies are in force than those of the plans; nothing was done.
        Unavailable: a database does not answer; nothing was done, or everything but the destruction of keys.
    """
    by_subject = {evaluation.plan.subject: evaluation for evaluation in evaluations}
    subjects = list(by_subject)
    for subject in subjects:
        # All versions of the key are needed, also one that another node made a moment ago.
        services.keyring.evict(tenant, subject)
    index_keys, row_keys = await services.keyring.index_keys(tenant), await services.keyring.row_keys(tenant)
    async with services.data.transaction() as connection:
        # Requests are locked before the subjects' rows (the global lock order), to avoid a deadlock.
        requests = await requests_of(connection, row_keys, subjects, lock=True)
        rows = await services.subjects.locked_many(connection, tenant, subjects)
        policy_set = services.policies.active(tenant).policy_set
        versions = {evaluation.policy_set.version for evaluation in evaluations}
        # Nothing is erased by policies that are no longer in force, on this node or another.
        if versions != {policy_set.version} or not await services.policies.is_newest(connection, tenant):
            raise PoliciesChanged
        transaction = _Transaction(services, connection, tenant, policy_set, services.clock.now(), run)
        busy = await _busy(transaction, subjects, requests)
        busy |= {row.id for row in rows.values() if row.state == "restricted"}
        data = await load_subjects(connection, tenant, [row for row in rows.values() if row.state != "erased"])
        plans = [by_subject[SubjectId(found.row.id)].renewed(policy_set, found, transaction.now) for found in data]
        free = [plan for plan in plans if plan.subject not in busy]
        erasures, counts = await _erase(transaction, free, index_keys)
        counts += await _only_review(transaction, [plan for plan in free if not plan.erases])
        waiting = [plan.subject for plan in plans if plan.subject in busy]
        await put_off_people(connection, tenant, waiting, midnight(transaction.now.date().toordinal() + 1))
        await save(connection, counts + Counts(waiting=len(waiting)))
    await end_erasures(services, tenant, erasures)


async def end_erasures(services: Services, tenant: TenantId, erasures: Sequence[Erasure]) -> None:
    """Destroy the keys of what was erased, and mark the erasures as done; safe to repeat after a crash."""
    if not erasures:
        return
    versions: dict[SubjectId, int] = {}
    gone: list[SubjectId] = []
    for erasure in erasures:
        if erasure.key_version is None:
            gone.append(SubjectId(erasure.subject))
        else:
            versions[SubjectId(erasure.subject)] = erasure.key_version
        gone += map(SubjectId, erasure.facts.aliases)
    if versions:
        await services.keyring.destroy_older_keys(tenant, versions)
    if gone:
        await services.keyring.destroy_subject_keys(tenant, gone)
    async with services.data.transaction() as connection:
        await end_sweep_erasures(connection, tenant, [erasure.id for erasure in erasures], services.clock.now())


def sweep_entry(services: Services, tenant: TenantId, **facts: Any) -> Entry:
    """Build an audit entry of a sweep."""
    return audit_entry(services, system_caller(tenant, REQUEST_ID), action="sweep", **facts)


def postponed(record: RecordPlan) -> PutOff:
    """Return when a record is to be evaluated next."""
    row = record.row
    return PutOff(row.subject_id, row.collection, row.id, row.revision, row.due_at, record.due)


async def put_off_unreadable(
    services: Services, tenant: TenantId, run: UUID, subjects: Sequence[SubjectId], save: SaveProgress
) -> None:
    """Leave subjects alone until the next day whose values do not open: staff have to find out why.

    Args:
        save: saves the counts within the transaction.
    """
    log.warning("values do not open that a sweep has to look at", tenant=tenant, count=len(subjects))
    now, policy = services.clock.now(), services.policies.active(tenant).version
    facts = {"decision": "failed", "code": "cannot-open", "target": run, "policy": policy}
    async with services.data.transaction() as connection:
        rows = (await services.subjects.locked_many(connection, tenant, subjects)).values()
        await put_off_people(connection, tenant, subjects, midnight(now.date().toordinal() + 1))
        entries = [sweep_entry(services, tenant, subjects=(row.pseudonym,), **facts) for row in rows]
        await services.audit_log.append_in(connection, entries)
        await save(connection, Counts(unreadable=len(subjects)))


async def _busy(
    transaction: _Transaction, subjects: Sequence[SubjectId], requests: Sequence[StoredRequest]
) -> frozenset[UUID]:
    """Pick subjects that are left alone: they have an open request, or an erasure of theirs is under way.

    A request that came in between the locks counts too, in whatever state: it is not locked.
    """
    connection, tenant = transaction.connection, transaction.tenant
    locked = {stored.request.id for stored in requests}
    statement = select(REQUEST.c.id, REQUEST.c.subject_id, REQUEST.c.state).where(
        REQUEST.c.tenant_id == tenant, REQUEST.c.subject_id.in_(subjects)
    )
    rows = (await connection.execute(statement)).all()
    requesting = {row.subject_id for row in rows if row.state in OPEN or row.id not in locked}
    return await being_erased(connection, tenant, subjects) | requesting


async def _erase(
    transaction: _Transaction, plans: Sequence[SubjectPlan], index_keys: IndexKeys
) -> tuple[list[Erasure], Counts]:
    """Erase what has ended; returns the erasures, and what was done."""
    erasing = [plan for plan in plans if plan.erases]
    values = {
        (plan.subject, record.row.collection, record.row.id, name)
        for plan in erasing
        for record in plan.records
        for name in record.deleted
    }
    row_keys = await transaction.services.keyring.row_keys(transaction.tenant)
    erased = await erase_subjects(
        transaction.services,
        ErasureContext(transaction.connection, transaction.tenant, row_keys, lambda *value: value in values),
        [_erasure_of(plan) for plan in erasing],
        RecordResealer(transaction.policy_set.catalogue, index_keys, transaction.now),
    )
    await _update_reviews(transaction, [plan for plan in erasing if not plan.is_over])
    return await _save_erasures(transaction, erasing, erased), count_actions(erasing)


def _erasure_of(plan: SubjectPlan) -> SubjectErasure:
    """Return the erasure that carries a plan out. The profile of a subject that goes on stays, even without a value."""
    if plan.is_over:
        # A hold outlives the erasure, with its mark on the subject's row.
        state = pack_state(ConsentState(holds=unpack_state(plan.row.standing).holds))
        return SubjectErasure(plan.row, (), is_whole=True, erased_state=state)
    retained = []
    for record in plan.records:
        deleted = frozenset(record.deleted)
        values = {name: stored for name, stored in record.body.items() if name not in deleted}
        generalised = {name: (record.body[name], view) for name, view in record.views.items()}
        is_profile = record.row.collection == PROFILE
        retained.append(RetainedRecord(record.row, values, record.due, generalised, stays_empty=is_profile))
    loses_ids = any(record.row.collection == PROFILE and EXTERNAL_IDS in record.removed for record in plan.records)
    return SubjectErasure(plan.row, retained, is_whole=False, loses_external_ids=loses_ids)


async def _update_reviews(transaction: _Transaction, plans: Sequence[SubjectPlan]) -> None:
    """Close the reviews of values that are deleted or claimed again, and open those that the plans require."""
    records = [record for plan in plans for record in plan.records]
    closed = [(record.place, (*record.deleted, *record.closed)) for record in records]
    await close_reviews(transaction.connection, transaction.tenant, closed)
    reviews = [review for record in records for review in record.reviews]
    await open_reviews(transaction.connection, transaction.tenant, reviews, transaction.now)


async def _save_erasures(
    transaction: _Transaction, plans: Sequence[SubjectPlan], erased: Mapping[SubjectId, ErasedSubject]
) -> list[Erasure]:
    """Save an erasure for each subject, and write the audit entries."""
    now = transaction.now
    entries = [_entry(transaction, plan) for plan in plans]
    erasures = [
        Erasure(
            id=new_id(),
            request=None,
            subject=plan.subject,
            state="taken",
            started_at=now,
            changed_at=now,
            key_version=erased[plan.subject].key_version,
            facts=Facts(
                cause=RETENTION,
                lines=erasure_lines(plan),
                erased_at=now,
                aliases=erased[plan.subject].aliases,
                entry=entry.id,
            ),
        )
        for plan, entry in zip(plans, entries, strict=True)
    ]
    await add_sweep_erasures(transaction.connection, transaction.tenant, erasures)
    await transaction.services.audit_log.append_in(transaction.connection, entries)
    return erasures


async def _only_review(transaction: _Transaction, plans: Sequence[SubjectPlan]) -> Counts:
    """Open and close reviews of subjects without an erasure today, and postpone their records."""
    await _update_reviews(transaction, plans)
    later = [postponed(record) for plan in plans for record in plan.records]
    await put_off(transaction.services.data, transaction.connection, transaction.tenant, later)
    entries = [_entry(transaction, plan) for plan in plans if plan.acts]
    await transaction.services.audit_log.append_in(transaction.connection, entries)
    return count_actions(plans)


def _entry(transaction: _Transaction, plan: SubjectPlan) -> Entry:
    return sweep_entry(
        transaction.services,
        transaction.tenant,
        decision="allowed",
        code=audit_code(plan),
        fields=audit_fields(transaction.policy_set, plan),
        subjects=(plan.row.pseudonym,),
        target=transaction.run,
        policy=transaction.policy_set.version,
    )
