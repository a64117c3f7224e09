"""Keeps the policies of every tenant: in the database for all nodes, in memory for the reads.

Where applied policies are kept: every version that ever was in force, so that a past decision can be understood.

The notices among them are kept once more, each text once by its hash: a consent names the very text that was agreed to.

Keeps the texts that people agreed to, each by its hash: a consent is proved by what it was given to (Art. 7(1)).
"""

from __future__ import annotations

import asyncio
import functools
import json
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import LargeBinary, String, Text, bindparam, desc, exists, insert, select, text

from vault.catalogue.notices import load_notice
from vault.catalogue.toml_document import Finding, Findings
from vault.errors import NotFound, PolicyInvalid
from vault.ids import PolicyVersion, TenantId, new_id
from vault.logs import get_logger
from vault.policy.decision import Decisions
from vault.policy.policy_set import PolicySet
from vault.storage.columns import DataTable, Id, Moment, column, table_of
from vault.storage.query import Query

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.notices import Notice
    from vault.clock import Clock
    from vault.storage.database import Database


class PolicyVersionRow(DataTable, table=True):
    """One folder as it was applied for a tenant. The row with the largest id is in force."""

    __tablename__ = "policy_version"

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    version: str = column(String(80))
    files: str = column(Text)
    """JSON: path in the folder to text."""
    applied_at: datetime = column(Moment)
    applied_by: str = column(String(64))


class NoticeText(DataTable, table=True):
    """One notice in one language, as it once was part of a tenant's policies."""

    __tablename__ = "notice_text"

    tenant_id: str = column(String(64), primary_key=True)
    digest: str = column(String(71), primary_key=True)
    """``sha256:`` and the hash over the whole file, in hexadecimal."""
    notice: str = column(String(80))
    """``name@version``."""
    language: str = column(String(10))
    body: bytes = column(LargeBinary)
    """The whole file, front matter included, in UTF-8."""
    recorded_at: datetime = column(Moment)


POLICY_VERSION = table_of(PolicyVersionRow)
NOTICE_TEXT = table_of(NoticeText)


LOCK = 0x63_64_76_70  # PostgreSQL advisory lock: two nodes that apply at once do so one after the other

_VERSION = POLICY_VERSION.c
_LATER = POLICY_VERSION.alias("later").c
NEWEST = Query(
    select(_VERSION.tenant_id, _VERSION.id, _VERSION.version).where(
        ~exists().where(_LATER.tenant_id == _VERSION.tenant_id, _LATER.id > _VERSION.id)
    )
)
FILES = Query(select(_VERSION.files).where(_VERSION.tenant_id == bindparam("tenant"), _VERSION.id == bindparam("id")))
MOST_EARLIER = 16
"""Versions that are no more in force and that are kept loaded."""


@dataclass(frozen=True, slots=True, eq=False)
class ActivePolicy:
    """What is in force for a tenant. ``id`` orders the versions of a tenant in time."""

    id: UUID
    policy_set: PolicySet
    decisions: Decisions

    @property
    def version(self) -> PolicyVersion:
        """Return the hash of the folder."""
        return self.policy_set.version


@dataclass(frozen=True, slots=True)
class Applied:
    """One version as it was applied. ``changed`` is false where it was in force already."""

    id: UUID
    version: PolicyVersion
    previous: PolicyVersion | None
    changed: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a tenant's history."""

    id: UUID
    version: PolicyVersion
    applied_at: datetime
    applied_by: str


class Policies:
    """Applies policy folders, and follows what other nodes apply.

    A stored policy that does not load, or whose text is not that of its hash, never replaces one that works.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._active: dict[str, ActivePolicy] = {}
        self._broken: dict[str, UUID] = {}
        self._earlier: dict[tuple[str, str], PolicySet] = {}

    def active(self, tenant: str) -> ActivePolicy:
        """Return what is in force.

        Raises:
            NotFound: nothing was applied for this tenant, so that nothing can be allowed.
        """
        found = self._active.get(tenant)
        if found is None:
            raise NotFound("no policies are in force", code="no-policies", hint="apply some: cdv policy apply")
        return found

    def all_active(self) -> list[ActivePolicy]:
        """Return what is in force for all tenants, for the metrics."""
        return list(self._active.values())

    async def apply(self, tenant: str, policy_set: PolicySet, by: str) -> bool:
        """Put a folder in force: recorded first, then followed here at once and by other nodes within seconds.

        Returns:
            whether that changed anything; the version that is in force already is not recorded again.
        """
        async with self._database.transaction() as connection:
            applied = await self.record(connection, tenant, policy_set, by)
        self.activate(tenant, applied, policy_set)
        return applied.changed

    async def record(self, connection: AsyncConnection, tenant: str, policy_set: PolicySet, by: str) -> Applied:
        """Write the version down in the caller's transaction; call :meth:`activate` once that has committed.

        Its notices are kept beside it, each text once, so that what people agreed to outlives the folder.

        Raises:
            PolicyInvalid: a notice that is in use has changed.
        """
        if self._database.dialect == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        newest = select(_VERSION.id, _VERSION.version).where(_VERSION.tenant_id == tenant).order_by(desc(_VERSION.id))
        before = (await connection.execute(newest.limit(1))).first()
        # Whatever the version: one that was applied before notices were kept has none of its own there yet.
        await keep(connection, tenant, policy_set, self._clock.now())
        if before is not None and before.version == policy_set.version:
            return Applied(before.id, policy_set.version, PolicyVersion(before.version), changed=False)
        # A node whose clock is behind must not file its version before the one that it replaces.
        number = new_id() if before is None else max(new_id(), UUID(int=before.id.int + 1))
        await connection.execute(
            insert(POLICY_VERSION).values(
                tenant_id=tenant,
                id=number,
                version=policy_set.version,
                files=json.dumps(dict(policy_set.files), ensure_ascii=False),
                applied_at=self._clock.now(),
                applied_by=by,
            )
        )
        previous = PolicyVersion(before.version) if before else None
        return Applied(number, policy_set.version, previous, changed=True)

    def activate(self, tenant: str, applied: Applied, policy_set: PolicySet) -> None:
        """Answer by a version that was recorded, unless a later one is in force already."""
        self._swap(tenant, applied.id, policy_set)

    async def refresh(self) -> tuple[TenantId, ...]:
        """Follow what was applied elsewhere; returns the tenants whose policies changed."""
        changed = []
        for tenant, number, version in await self._database.fetch(NEWEST):
            active = self._active.get(tenant)
            known = active is not None and active.id >= number
            if not known and self._broken.get(tenant) != number and await self._follow(tenant, number, version):
                changed.append(TenantId(tenant))
        return tuple(changed)

    async def is_newest(self, connection: AsyncConnection, tenant: str) -> bool:
        """Tell, within a transaction, whether what is in force here is the last that was applied anywhere."""
        newest = select(_VERSION.version).where(_VERSION.tenant_id == tenant).order_by(desc(_VERSION.id)).limit(1)
        version = (await connection.execute(newest)).scalar_one_or_none()
        return version is None or version == self.active(tenant).version

    async def history(self, tenant: str, *, most: int = 100) -> list[Change]:
        """List what was applied for a tenant, the latest first."""
        columns = (_VERSION.id, _VERSION.version, _VERSION.applied_at, _VERSION.applied_by)
        query = select(*columns).where(_VERSION.tenant_id == tenant).order_by(desc(_VERSION.id)).limit(most)
        async with self._database.reading() as connection:
            return [
                Change(row.id, PolicyVersion(row.version), row.applied_at, row.applied_by)
                for row in await connection.execute(query)
            ]

    async def at(self, tenant: str, version: str | None) -> PolicySet:
        """Return the policies of an earlier version; those in force where there is no such version that still loads.

        Raises:
            NotFound: nothing was ever applied for this tenant.
        """
        current = self.active(tenant).policy_set
        if version is None or version == current.version:
            return current
        found = self._earlier.get((tenant, version))
        if found is None:
            files = select(_VERSION.files).where(_VERSION.tenant_id == tenant, _VERSION.version == version).limit(1)
            async with self._database.reading() as connection:
                stored = (await connection.execute(files)).scalar_one_or_none()
            found = None if stored is None else await asyncio.to_thread(_load, stored)
            if found is None or found.version != version:
                return current
            if len(self._earlier) >= MOST_EARLIER:
                del self._earlier[next(iter(self._earlier))]
            self._earlier[tenant, version] = found
        return found

    async def notice_text(self, tenant: str, digest: str) -> KeptNotice | None:
        """Find a notice that was ever part of a tenant's policies by the hash of its text."""
        async with self._database.reading() as connection:
            return await kept_by_digest(connection, tenant, digest)

    async def notice_texts(self, tenant: str, notice: str) -> list[KeptNotice]:
        """List the texts of a version, ``name@version``, be it in the folder still or not, the latest first."""
        async with self._database.reading() as connection:
            return await kept_by_version(connection, tenant, notice)

    async def _follow(self, tenant: str, number: UUID, version: str) -> bool:
        active = self._active.get(tenant)
        if active is not None and active.version == version:
            return self._swap(tenant, number, active.policy_set)
        rows = await self._database.fetch(FILES, tenant=tenant, id=number)
        policy_set = await asyncio.to_thread(_load, rows[0][0]) if rows else None
        if policy_set is None or policy_set.version != version:
            self._broken[tenant] = number
            get_logger().error(
                "a stored policy does not load; the one before stays in force", tenant=tenant, version=version
            )
            return False
        return self._swap(tenant, number, policy_set)

    def _swap(self, tenant: str, number: UUID, policy_set: PolicySet) -> bool:
        """One assignment: a read sees the old policies or the new ones, whole. Returns whether they differ."""
        active = self._active.get(tenant)
        if active is not None and active.id > number:
            return False
        same = active is not None and active.version == policy_set.version
        decisions = active.decisions if active and same else Decisions(policy_set, tenant, self._clock)
        self._active[tenant] = ActivePolicy(number, decisions.policy_set, decisions)
        self._broken.pop(tenant, None)
        return not same


@functools.lru_cache(maxsize=8)
def _load(stored: str) -> PolicySet | None:
    """Load what was applied; tenants with the same policies share what was loaded, for nothing changes it."""
    try:
        return PolicySet.load(json.loads(stored))
    except (PolicyInvalid, ValueError, TypeError, AttributeError):
        return None


_TEXT = NOTICE_TEXT.c


@dataclass(frozen=True, slots=True)
class KeptNotice:
    """One text that was once part of a tenant's policies: its ``name@version``, and the whole file as ``body``."""

    digest: str
    notice: str
    language: str
    body: bytes
    recorded_at: datetime

    def parsed(self) -> Notice | None:
        """Read the text as it was read when it was applied; ``None`` should nobody be able to any more."""
        return load_notice(f"notices/{self.notice}.md", self.body.decode(), Findings()).notice


async def kept_by_digest(connection: AsyncConnection, tenant: str, digest: str) -> KeptNotice | None:
    """Find the very text that has a hash."""
    found = await _kept(connection, tenant, _TEXT.digest == digest)
    return found[0] if found else None


async def kept_by_version(connection: AsyncConnection, tenant: str, notice: str) -> list[KeptNotice]:
    """List the texts of one ``name@version``, the latest first: one for each language, or more from before its day."""
    return await _kept(connection, tenant, _TEXT.notice == notice)


async def keep(connection: AsyncConnection, tenant: str, policy_set: PolicySet, now: datetime) -> None:
    """Keep the notices of a folder that is about to come into force, each text once.

    Raises:
        PolicyInvalid: a text has changed under a version by which people may have been asked already.
    """
    texts = {each.digest: each for each in policy_set.notices.texts()}
    if not texts:
        return
    there = await _kept(connection, tenant, _TEXT.notice.in_(sorted({each.id for each in texts.values()})))
    digests = {each.digest for each in there}
    new = [each for digest, each in texts.items() if digest not in digests]
    _check_unchanged(new, there, now.date())
    rows = [
        {
            "tenant_id": tenant,
            "digest": each.digest,
            "notice": each.id,
            "language": each.language,
            "body": policy_set.files[each.file].encode(),
            "recorded_at": now,
        }
        for each in new
    ]
    if rows:
        await connection.execute(insert(NOTICE_TEXT), rows)


def _check_unchanged(new: list[Notice], there: list[KeptNotice], day: date) -> None:
    """Refuse another text under the same name: of two people who agreed to it, nobody could say who read what."""
    used = {(each.notice, each.language) for each in there if _was_in_force(each, day)}
    found = tuple(
        Finding(
            each.file,
            1,
            f"{each.id} has been in force with another text, and a version never changes",
            f"put the old text back (`cdv notices show {each.id}`), and write the new one as {each.name}@"
            f"{each.version + 1}; with `material = false` it asks nobody anew",
            "notice-changed",
        )
        for each in new
        if (each.id, each.language) in used
    )
    if found:
        raise PolicyInvalid(
            "a notice that is in use has changed", findings=found, hint="give the new text a version of its own"
        )


def _was_in_force(kept: KeptNotice, day: date) -> bool:
    notice = kept.parsed()
    return notice is None or notice.in_force(day)


async def _kept(connection: AsyncConnection, tenant: str, which: ColumnElement[bool]) -> list[KeptNotice]:
    columns = (_TEXT.digest, _TEXT.notice, _TEXT.language, _TEXT.body, _TEXT.recorded_at)
    query = select(*columns).where(_TEXT.tenant_id == tenant, which).order_by(desc(_TEXT.recorded_at), _TEXT.language)
    return [KeptNotice(*row) for row in await connection.execute(query)]
