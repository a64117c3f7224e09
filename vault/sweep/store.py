"""The store of sweeps: which one is under way and who runs it, its progress, and what each did."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import Column, Index, LargeBinary, String, delete, insert, or_, select, union, update

from vault.catalogue.retention_actions import ACTIONS, Effect
from vault.retention.tables import HOLD_SUBJECT, RETENTION_REVIEW
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId

State = Literal["waiting", "running", "to-confirm", "done"]
Kind = Literal["all", "due"]
"""Over all subjects, because the policies have changed; or over subjects that are due."""
SILENT: Final = timedelta(seconds=150)
"""A runner that has not written for so long is dead; a running one writes at least every minute."""
KEPT: Final = timedelta(days=400)
"""How long sweeps are listed."""


class RetentionSweepRow(DataTable, table=True):
    """One sweep: its policies, its progress, and what it did. The counts are stored in ``body``.

    ``cursor`` is the last subject that a full sweep has evaluated, ``runner`` the process that runs it. A tenant has at
    most one sweep that is not finished.
    """

    __tablename__ = "retention_sweep"
    __table_args__ = (
        Index("ix_retention_sweep_finished", "tenant_id", "finished_at"),
        Index(
            "uq_retention_sweep_open",
            "tenant_id",
            unique=True,
            sqlite_where=Column("finished_at").is_(None),
            postgresql_where=Column("finished_at").is_(None),
        ),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    kind: str = column(String(16))
    policy: str = column(String(80))
    started_at: datetime = column(Moment)
    changed_at: datetime = column(Moment)
    finished_at: datetime | None = column(Moment, nullable=True)
    cursor: UUID | None = column(Id, nullable=True)
    runner: UUID | None = column(Id, nullable=True)
    body: bytes = column(LargeBinary)


RETENTION_SWEEP = table_of(RetentionSweepRow)
_T: Final = RETENTION_SWEEP


class Counts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a sweep did.

    Attributes:
        of: how many subjects there were to evaluate when it began.
        people: subjects evaluated.
        records: records evaluated.
        whole: subjects that were erased completely.
        waiting: subjects left alone until the next day, because a request or an erasure is under way.
        unreadable: subjects left alone because a value of theirs does not open.
        values: values by the counter of the action that was applied to them.
    """

    of: int = 0
    people: int = 0
    records: int = 0
    whole: int = 0
    waiting: int = 0
    unreadable: int = 0
    values: dict[str, int] = {}

    def __add__(self, other: Counts) -> Counts:
        added = other.by_name()
        return Counts.from_names({name: count + added[name] for name, count in self.by_name().items()})

    def by_name(self) -> dict[str, int]:
        """Return all counts by their names in JSON."""
        counts = {name: getattr(self, name) for name in _COUNTERS}
        return counts | {action.counter: self.values.get(action.counter, 0) for action in ACTIONS}

    @classmethod
    def from_names(cls, counts: Mapping[str, Any]) -> Counts:
        """Build counts from their names in JSON; those that are left out are 0."""
        values = {action.counter: counts[action.counter] for action in ACTIONS if counts.get(action.counter)}
        return cls(**{name: counts[name] for name in _COUNTERS if name in counts}, values=values)

    @property
    def deletes(self) -> bool:
        """Return whether something was deleted."""
        deleting = (action.counter for action in ACTIONS if action.effect is not Effect.RETAIN)
        return bool(self.whole or any(self.values.get(counter) for counter in deleting))


_COUNTERS: Final = ("of", "people", "records", "whole", "waiting", "unreadable")


class Check(msgspec.Struct, frozen=True):
    """From how many subjects a sweep would delete values, counted before it deletes anything.

    Attributes:
        on: the day of the count.
        people: how many subjects would lose values.
        of: how many subjects there are.
        most: how many may lose values without a confirmation.
    """

    on: date
    people: int
    of: int
    most: int

    @property
    def is_too_much(self) -> bool:
        """Return whether it needs a confirmation."""
        return self.people > self.most


class SweepRun(msgspec.Struct, frozen=True, kw_only=True):
    """One sweep of one tenant.

    Attributes:
        policy: the version of the policies by which it evaluates.
        cursor: the last subject that a full sweep has evaluated.
        runner: the process that runs it; None if no process does at the moment.
        check: from how many subjects it would delete values by these policies; None if not counted yet.
        confirmed: the version of the policies for which it may delete from any number of subjects.
    """

    id: UUID
    kind: Kind
    policy: str
    started_at: datetime
    changed_at: datetime
    finished_at: datetime | None = None
    cursor: UUID | None = None
    runner: UUID | None = None
    counts: Counts = Counts()
    check: Check | None = None
    confirmed: str | None = None

    @property
    def is_held_up(self) -> bool:
        """Return whether it deletes nothing until it is confirmed."""
        too_much = self.check is not None and self.check.is_too_much
        return too_much and self.confirmed != self.policy and self.finished_at is None

    @property
    def state(self) -> State:
        """Return its state."""
        if self.finished_at is not None:
            return "done"
        if self.runner is not None:
            return "running"
        return "to-confirm" if self.is_held_up else "waiting"


_encode = msgspec.json.Encoder(order="sorted").encode


async def add_sweep(connection: AsyncConnection, tenant: TenantId, sweep: SweepRun) -> None:
    """Insert a sweep.

    Raises:
        sqlalchemy.exc.IntegrityError: there is one that is not finished.
    """
    await connection.execute(insert(_T), [{"tenant_id": tenant, "id": sweep.id, **_columns(sweep)}])


async def take_sweep(
    connection: AsyncConnection, tenant: TenantId, sweep: UUID, runner: UUID, now: datetime
) -> SweepRun | None:
    """Take a sweep as its runner; None if another runner has it, or it is finished.

    A sweep whose runner has been silent for :data:`SILENT` is taken over.
    """
    free = or_(_T.c.runner.is_(None), _T.c.runner == runner, _T.c.changed_at < now - SILENT)
    statement = update(_T).where(_T.c.tenant_id == tenant, _T.c.id == sweep, _T.c.finished_at.is_(None), free)
    taken = await connection.execute(statement.values(runner=runner, changed_at=now))
    return await find_sweep(connection, tenant, sweep) if taken.rowcount else None


async def save_sweep(connection: AsyncConnection, tenant: TenantId, sweep: SweepRun) -> bool:
    """Store the progress of a sweep, and return whether its runner still has it."""
    statement = update(_T).where(*_own(tenant, sweep), _T.c.finished_at.is_(None))
    return bool((await connection.execute(statement.values(**_columns(sweep)))).rowcount)


async def finish_sweep(connection: AsyncConnection, tenant: TenantId, sweep: SweepRun, now: datetime) -> None:
    """Store that a sweep is finished, and delete old sweeps."""
    ended = {**_columns(sweep), "finished_at": now, "changed_at": now, "runner": None}
    await connection.execute(update(_T).where(*_own(tenant, sweep)).values(**ended))
    await connection.execute(delete(_T).where(_T.c.tenant_id == tenant, _T.c.finished_at < now - KEPT))


async def leave_sweep(connection: AsyncConnection, tenant: TenantId, sweep: SweepRun) -> None:
    """Give a sweep up, so that another runner can take it at once."""
    await connection.execute(update(_T).where(*_own(tenant, sweep)).values(runner=None))


async def find_sweep(connection: AsyncConnection, tenant: TenantId, sweep: UUID) -> SweepRun | None:
    """Fetch a sweep; None if there is none."""
    row = (await connection.execute(select(_T).where(_T.c.tenant_id == tenant, _T.c.id == sweep))).one_or_none()
    return None if row is None else _read(row)


async def sweep_under_way(connection: AsyncConnection, tenant: TenantId) -> SweepRun | None:
    """Fetch the sweep that is not finished."""
    statement = select(_T).where(_T.c.tenant_id == tenant, _T.c.finished_at.is_(None))
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _read(row)


async def swept_policy(connection: AsyncConnection, tenant: TenantId) -> str | None:
    """Return the version of the policies of the last full sweep; None if there was none."""
    statement = select(_T.c.policy).where(_T.c.tenant_id == tenant, _T.c.kind == "all", _T.c.finished_at.is_not(None))
    version: str | None = (await connection.execute(statement.order_by(_T.c.id.desc()).limit(1))).scalar_one_or_none()
    return version


async def list_sweeps(
    connection: AsyncConnection, tenant: TenantId, *, before: UUID | None = None, limit: int
) -> Sequence[SweepRun]:
    """List sweeps, the newest first."""
    statement = select(_T).where(_T.c.tenant_id == tenant)
    if before is not None:
        statement = statement.where(_T.c.id < before)
    return [_read(row) for row in (await connection.execute(statement.order_by(_T.c.id.desc()).limit(limit))).all()]


async def kept_people(connection: AsyncConnection, tenant: TenantId, *, after: UUID, most: int) -> list[UUID]:
    """Return subjects with values that a review or a hold keeps, by id, after a given one."""
    parts = [
        select(table.c.subject_id).where(table.c.tenant_id == tenant, table.c.subject_id > after)
        for table in (RETENTION_REVIEW, HOLD_SUBJECT)
    ]
    subjects = union(*parts).subquery()
    statement = select(subjects.c.subject_id).order_by(subjects.c.subject_id).limit(most)
    return list((await connection.execute(statement)).scalars())


def _own(tenant: TenantId, sweep: SweepRun) -> tuple[ColumnElement[bool], ...]:
    return _T.c.tenant_id == tenant, _T.c.id == sweep.id, _T.c.runner == sweep.runner


def _columns(sweep: SweepRun) -> dict[str, Any]:
    body = {**sweep.counts.by_name(), "check": sweep.check, "confirmed": sweep.confirmed}
    return {
        "kind": sweep.kind,
        "policy": sweep.policy,
        "started_at": sweep.started_at,
        "changed_at": sweep.changed_at,
        "finished_at": sweep.finished_at,
        "cursor": sweep.cursor,
        "runner": sweep.runner,
        "body": _encode({name: value for name, value in body.items() if value}),
    }


def _read(row: Any) -> SweepRun:
    body: dict[str, Any] = msgspec.json.decode(row.body)
    return SweepRun(
        id=row.id,
        kind=row.kind,
        policy=row.policy,
        started_at=row.started_at,
        changed_at=row.changed_at,
        finished_at=row.finished_at,
        cursor=row.cursor,
        runner=row.runner,
        counts=Counts.from_names(body),
        check=msgspec.convert(body.get("check"), Check | None),
        confirmed=body.get("confirmed"),
    )
