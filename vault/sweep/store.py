"""Sweeps as they are kept: which is under way and by whom, how far it has come, and what each did. No value in them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import delete, insert, or_, select, union, update

from vault.catalogue.retention_actions import ACTIONS, Effect
from vault.retention.tables import HOLD_SUBJECT, RETENTION_REVIEW
from vault.sweep.tables import RETENTION_SWEEP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId

State = Literal["waiting", "running", "to-confirm", "done"]
Kind = Literal["all", "due"]
"""Over everybody, because the policies have changed; or over those who are due."""
SILENT: Final = timedelta(seconds=150)
"""A runner that has not been heard of for so long is dead; one that is paced sends a sign at least every minute."""
KEPT: Final = timedelta(days=400)
"""Sweeps are listed for so long."""
_T: Final = RETENTION_SWEEP


class Counts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a sweep did.

    Attributes:
        of: how many people there were to look at when it began.
        people: looked at.
        records: looked at.
        whole: people of whom nothing was left.
        waiting: people who were left alone until the next day, for one of their requests or an erasure is under way.
        unreadable: people left alone because a value of theirs does not open.
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
        mine, more = self.by_name(), other.by_name()
        return Counts.from_names({name: count + more[name] for name, count in mine.items()})

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
    """From how many people a sweep would take something: counted before it takes anything.

    Attributes:
        on: the day on which that was counted.
        people: from so many it would.
        of: so many people there are.
        most: from no more it does before somebody has confirmed that.
    """

    on: date
    people: int
    of: int
    most: int

    @property
    def is_too_much(self) -> bool:
        """Tell whether somebody has to confirm it."""
        return self.people > self.most


class SweepRun(msgspec.Struct, frozen=True, kw_only=True):
    """One sweep of one tenant.

    Attributes:
        policy: the version of the policies by which it looks.
        cursor: the person up to whom a sweep over everybody has come.
        runner: who is at it; none: nobody, at the moment.
        check: from how many people it would take something, by these policies; none: not counted yet.
        confirmed: the version of the policies by which it may take something from however many people.
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
        """Tell whether it takes nothing until somebody has confirmed it."""
        too_much = self.check is not None and self.check.is_too_much
        return too_much and self.confirmed != self.policy and self.finished_at is None

    @property
    def state(self) -> State:
        """Tell how it stands."""
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
    """Become the one who is at a sweep; none where another one is, or it is finished.

    Of one who has been silent for :data:`SILENT` it is taken over.
    """
    free = or_(_T.c.runner.is_(None), _T.c.runner == runner, _T.c.changed_at < now - SILENT)
    statement = update(_T).where(_T.c.tenant_id == tenant, _T.c.id == sweep, _T.c.finished_at.is_(None), free)
    taken = await connection.execute(statement.values(runner=runner, changed_at=now))
    return await find_sweep(connection, tenant, sweep) if taken.rowcount else None


async def save_sweep(connection: AsyncConnection, tenant: TenantId, sweep: SweepRun) -> bool:
    """Write how far a sweep has come; tells whether its runner is still the one who is at it."""
    mine = _T.c.tenant_id == tenant, _T.c.id == sweep.id, _T.c.runner == sweep.runner, _T.c.finished_at.is_(None)
    return bool((await connection.execute(update(_T).where(*mine).values(**_columns(sweep)))).rowcount)


async def finish_sweep(connection: AsyncConnection, tenant: TenantId, sweep: SweepRun, now: datetime) -> None:
    """Write down that a sweep has come to its end, and forget those of long ago."""
    mine = _T.c.tenant_id == tenant, _T.c.id == sweep.id, _T.c.runner == sweep.runner
    ended = {**_columns(sweep), "finished_at": now, "changed_at": now, "runner": None}
    await connection.execute(update(_T).where(*mine).values(**ended))
    await connection.execute(delete(_T).where(_T.c.tenant_id == tenant, _T.c.finished_at < now - KEPT))


async def leave_sweep(connection: AsyncConnection, tenant: TenantId, sweep: UUID, runner: UUID) -> None:
    """Let others take a sweep over at once."""
    mine = _T.c.tenant_id == tenant, _T.c.id == sweep, _T.c.runner == runner
    await connection.execute(update(_T).where(*mine).values(runner=None))


async def find_sweep(connection: AsyncConnection, tenant: TenantId, sweep: UUID) -> SweepRun | None:
    """Fetch a sweep; none where there is none."""
    row = (await connection.execute(select(_T).where(_T.c.tenant_id == tenant, _T.c.id == sweep))).one_or_none()
    return None if row is None else _read(row)


async def sweep_under_way(connection: AsyncConnection, tenant: TenantId) -> SweepRun | None:
    """Fetch the sweep that is not finished."""
    statement = select(_T).where(_T.c.tenant_id == tenant, _T.c.finished_at.is_(None))
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _read(row)


async def swept_policy(connection: AsyncConnection, tenant: TenantId) -> str | None:
    """Tell by which version of the policies everybody was looked at last; none where that never happened."""
    statement = select(_T.c.policy).where(_T.c.tenant_id == tenant, _T.c.kind == "all", _T.c.finished_at.is_not(None))
    found: str | None = (await connection.execute(statement.order_by(_T.c.id.desc()).limit(1))).scalar_one_or_none()
    return found


async def list_sweeps(
    connection: AsyncConnection, tenant: TenantId, *, before: UUID | None = None, limit: int
) -> Sequence[SweepRun]:
    """List sweeps, the newest first."""
    statement = select(_T).where(_T.c.tenant_id == tenant)
    if before is not None:
        statement = statement.where(_T.c.id < before)
    return [_read(row) for row in (await connection.execute(statement.order_by(_T.c.id.desc()).limit(limit))).all()]


async def kept_people(connection: AsyncConnection, tenant: TenantId, *, after: UUID, most: int) -> list[UUID]:
    """Pick people of whom a review or a hold keeps something, in the order of their ids, after one of them."""
    parts = [
        select(table.c.subject_id).where(table.c.tenant_id == tenant, table.c.subject_id > after)
        for table in (RETENTION_REVIEW, HOLD_SUBJECT)
    ]
    found = union(*parts).subquery()
    statement = select(found.c.subject_id).order_by(found.c.subject_id).limit(most)
    return list((await connection.execute(statement)).scalars())


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
