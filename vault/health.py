"""Figures about the state of a vault, for ``cdv doctor`` and the metrics: what is overdue, has failed, or ends soon.

They are read from the tables without a permission and without an entry in the audit log: they count, and name nothing
of a person.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from vault.audit.log import Selection
from vault.errors import NotFound
from vault.recipients.store import NoticeQuery, list_notices
from vault.requests.deadlines import default_jurisdiction, local_date
from vault.requests.model import OPEN
from vault.requests.store import RequestQuery, list_requests
from vault.sweep.store import list_sweeps, sweep_under_way
from vault.workflows import WORKFLOWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vault.context import Services
    from vault.ids import TenantId
    from vault.principals.principal import KeyInfo

MOST: Final = 1000
"""Figures are counted up to this number: beyond it, only that there are many matters."""
JOB_STATES: Final = ("waiting", "running", "failed")
UNHEARD: Final = ("delivered", "waiting", "failed")
HEALTH_FILE: Final = "health.json"
UNHEARD_AFTER: Final = timedelta(days=7)
"""A notice that its app has not acknowledged for this time counts."""


@dataclass(frozen=True, slots=True)
class KeyEnd:
    """When the last API key of an app that is not disabled ends; None if it has none."""

    app: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class TenantHealth:
    """The figures of one tenant.

    Attributes:
        policies_since: when the policies in force were applied; None if there are none.
        overdue: open requests whose deadline has passed.
        jobs: number of jobs that are not done, by state.
        unheard: notices that apps have not acknowledged for a week.
        to_confirm: whether a sweep waits for a confirmation.
        last_sweep: the end of the last sweep.
        last_backup: when the last backup was made.
        last_trial: when a backup was last restored for trial.
        last_failed: whether the last backup or trial failed.
        keys: of each app.
    """

    policies_since: datetime | None
    overdue: int
    jobs: dict[str, int]
    unheard: int
    to_confirm: bool
    last_sweep: datetime | None
    last_backup: datetime | None
    last_trial: datetime | None
    last_failed: bool
    keys: tuple[KeyEnd, ...]


class Measured:
    """The figures of a vault as they were last measured: by one of the processes that share a port, for all of them.

    Args:
        shared: the folder of the processes that share a port; None if there is one process.
    """

    def __init__(self, services: Services, shared: str | None) -> None:
        self._services = services
        self._folder = None if shared is None else Path(shared)
        self._healths: list[TenantHealth] = []
        self._lock: int | None = None

    async def measure(self) -> None:
        """Read the figures, unless another process does it: it goes on until it ends, and then this one does."""
        if self._folder is not None and not self._is_first(self._folder):
            return
        tenants = await self._services.keyring.tenants()
        self._healths = [await health_of(self._services, tenant) for tenant in tenants]
        if self._folder is not None:
            unfinished = self._folder / "health.new"
            unfinished.write_bytes(msgspec.json.encode(self._healths))
            unfinished.replace(self._folder / HEALTH_FILE)

    def figures(self, now: datetime) -> dict[str, dict[str, float]]:
        """Return the figures; ages and ends are those of this moment."""
        if self._folder is not None and self._lock is None:
            try:
                body = (self._folder / HEALTH_FILE).read_bytes()
            except FileNotFoundError:  # no worker has measured yet
                return {}
            return figures(msgspec.json.decode(body, type=list[TenantHealth]), now)
        return figures(self._healths, now) if self._healths else {}

    def close(self) -> None:
        """Leave it to another process to measure."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _is_first(self, folder: Path) -> bool:
        """Return whether this process holds the lock of those who measure; the system frees that of a dead process."""
        if self._lock is None:
            lock = os.open(folder / "health.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return False
            self._lock = lock
        return True


async def health_of(services: Services, tenant: TenantId) -> TenantHealth:
    """Read the figures of a tenant.

    Raises:
        Unavailable: a database does not answer.
    """
    now = services.clock.now()
    backup, trial, failed = await _backups(services, tenant)
    async with services.data.reading() as connection:
        under_way = await sweep_under_way(connection, tenant)
        sweeps = await list_sweeps(connection, tenant, limit=2)
        before = now - UNHEARD_AFTER
        notices = await list_notices(
            connection, tenant, NoticeQuery(states=("delivered", "waiting", "failed"), limit=MOST)
        )
        apps = [app for app in await services.principals.list_principals(connection, tenant) if app.state == "active"]
        ends = [(app, await services.principals.list_keys(connection, tenant, app.id)) for app in apps]
    jobs = await services.jobs.find(WORKFLOWS, tenant, states=JOB_STATES, limit=MOST)
    return TenantHealth(
        policies_since=await _policies_since(services, tenant),
        overdue=await _overdue(services, tenant, now),
        jobs=Counter(job.state for job in jobs),
        unheard=sum(notice.created_at <= before for notice in notices),
        to_confirm=under_way is not None and under_way.state == "to-confirm",
        last_sweep=next((sweep.finished_at for sweep in sweeps if sweep.finished_at is not None), None),
        last_backup=backup,
        last_trial=trial,
        last_failed=failed,
        keys=tuple(KeyEnd(app.name, _last_end(keys)) for app, keys in ends),
    )


def _last_end(keys: Iterable[KeyInfo]) -> datetime | None:
    return max((key.expires_at for key in keys if key.revoked_at is None), default=None)


async def _policies_since(services: Services, tenant: TenantId) -> datetime | None:
    history = await services.policies.history(tenant, most=1)
    return history[0].applied_at if history else None


async def _overdue(services: Services, tenant: TenantId, now: datetime) -> int:
    try:
        policy_set = services.policies.active(tenant).policy_set
    except NotFound:
        return 0
    today = local_date(now, default_jurisdiction(policy_set))
    keys = await services.keyring.row_keys(tenant)
    async with services.data.reading() as connection:
        return len(await list_requests(connection, keys, RequestQuery(states=OPEN, due_before=today, limit=MOST)))


async def _backups(services: Services, tenant: TenantId) -> tuple[datetime | None, datetime | None, bool]:
    """Return when a backup was last made, when one was last tried, and whether the last of either failed."""
    page = await services.audit_log.entries(tenant, Selection(action="backup"), limit=200)
    done = [entry for entry in page.entries if entry.decision == "allowed"]
    made = next((datetime.fromisoformat(entry.at) for entry in done if entry.code is None), None)
    tried = next((datetime.fromisoformat(entry.at) for entry in done if entry.code == "verified"), None)
    return made, tried, bool(page.entries) and page.entries[0].decision == "failed"


def figures(healths: Sequence[TenantHealth], now: datetime) -> dict[str, dict[str, float]]:
    """Return the figures of all tenants together, by metric and label; without those that there are not.

    Tenants are added up, or the worst is taken: a metric names no tenant.
    """

    def ages(moments: Iterable[datetime | None]) -> list[float]:
        return [(now - moment).total_seconds() for moment in moments if moment is not None]

    since = {
        "sweep": ages(health.last_sweep for health in healths),
        "backup": ages(health.last_backup for health in healths),
        "policies": ages(health.policies_since for health in healths),
    }
    until = ages(key.at for health in healths for key in health.keys)
    return {
        "cdv_jobs": {state: sum(health.jobs.get(state, 0) for health in healths) for state in JOB_STATES},
        "cdv_overdue": {
            "requests": sum(health.overdue for health in healths),
            "notices": sum(health.unheard for health in healths),
        },
        "cdv_seconds_since": {what: max(found) for what, found in since.items() if found},
        "cdv_seconds_until": {"api-key": -max(until)} if until else {},
    }
