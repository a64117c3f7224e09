"""Stores the policies of every tenant: in the database for all nodes, in memory for reads.

Every version that was ever in force is stored, so that past decisions can be explained. Notices are stored again by the
hash of their text: a consent names the text that was agreed to, which proves it (Art. 7(1) GDPR).
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import BigInteger, LargeBinary, String, Text, bindparam, desc, exists, insert, select, text

from vault.catalogue.notices import load_notice
from vault.catalogue.toml_document import Finding, Findings
from vault.crypto.row_mac import MacedTable, report_older
from vault.crypto.row_versions import THE_ONE, RowVersion
from vault.errors import NotFound, PolicyInvalid
from vault.ids import PolicyVersion, TenantId, new_id
from vault.logs import get_logger
from vault.policy.decision import Decisions
from vault.policy.policy_set import PolicySet
from vault.storage.columns import DataTable, Id, Moment, column, table_of
from vault.storage.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.notices import Notice
    from vault.clock import Clock
    from vault.crypto.keyring import Keyring
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
    row_version: int = column(BigInteger, server_default="1")
    """Counts the versions of the tenant: 1, 2, 3 …"""
    mac: bytes | None = column(LargeBinary, nullable=True)


class NoticeText(DataTable, table=True):
    """A notice in one language that is or was part of a tenant's policies."""

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
VERSIONS = MacedTable(POLICY_VERSION, "tenant_id", "id", "version", "files", "applied_at", "applied_by", "row_version")


LOCK = 0x63_64_76_70  # PostgreSQL advisory lock: two nodes that apply at once do so one after the other

_VERSION = POLICY_VERSION.c
_LATER = POLICY_VERSION.alias("later").c
NEWEST = Query(
    select(_VERSION.tenant_id, _VERSION.id, _VERSION.version).where(
        ~exists().where(_LATER.tenant_id == _VERSION.tenant_id, _LATER.id > _VERSION.id)
    )
)
ROW = Query(select(*VERSIONS.columns).where(_VERSION.tenant_id == bindparam("tenant"), _VERSION.id == bindparam("id")))
_FILES, _NUMBER = VERSIONS.covered.index("files"), VERSIONS.covered.index("row_version")
MOST_EARLIER = 16
"""Versions no longer in force that are kept in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class ActivePolicy:
    """The policies in force for a tenant. ``id`` orders the versions of a tenant in time."""

    id: UUID
    policy_set: PolicySet
    decisions: Decisions

    @property
    def version(self) -> PolicyVersion:
        """Return the hash of the folder."""
        return self.policy_set.version


@dataclass(frozen=True, slots=True)
class Applied:
    """An applied version. ``changed`` is false if it was in force already. ``number`` counts those of the tenant.

    ``before`` is the version that it replaces; None if there was none, or it does not load.
    """

    id: UUID
    changed: bool
    number: int
    before: PolicySet | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a tenant's history."""

    id: UUID
    version: PolicyVersion
    applied_at: datetime
    applied_by: str


class Policies:
    """Applies policy folders, and follows what other nodes apply.

    A stored policy that does not load, does not match its hash, was not written by the vault, or is older than one that
    was in force since, never replaces a working one.
    """

    def __init__(self, database: Database, keyring: Keyring, clock: Clock) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._active: dict[str, ActivePolicy] = {}
        self._broken: dict[str, UUID] = {}
        self._earlier: dict[tuple[str, str], PolicySet] = {}

    def active(self, tenant: str) -> ActivePolicy:
        """Return the policies in force.

        Raises:
            NotFound: no policies were applied for this tenant, so nothing is allowed.
        """
        policy = self._active.get(tenant)
        if policy is None:
            raise NotFound("no policies are in force", code="no-policies", hint="apply some: cdv policy apply")
        return policy

    def all_active(self) -> list[ActivePolicy]:
        """Return the policies in force for all tenants, for the metrics."""
        return list(self._active.values())

    async def apply(self, tenant: TenantId, policy_set: PolicySet, by: str) -> bool:
        """Put a folder in force: here at once, on other nodes within seconds.

        Returns:
            whether the version changed; one that is in force already is not recorded again.
        """
        async with self._database.transaction() as connection:
            applied = await self.record(connection, tenant, policy_set, by)
        await self.put_in_force(tenant, applied, policy_set)
        return applied.changed

    async def put_in_force(self, tenant: TenantId, applied: Applied, policy_set: PolicySet) -> None:
        """Put a recorded version in force, after the commit: no earlier one can be put back from then on."""
        await self._keyring.raise_version(tenant, RowVersion(POLICY_VERSION.name, THE_ONE, applied.number))
        self.activate(tenant, applied.id, policy_set)

    async def record(self, connection: AsyncConnection, tenant: TenantId, policy_set: PolicySet, by: str) -> Applied:
        """Store the version in the caller's transaction; call :meth:`put_in_force` after its commit.

        Its notices are stored too, each text once, so that texts that people agreed to outlive the folder.

        Raises:
            PolicyInvalid: a notice that is in use has changed.
        """
        if self._database.dialect == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        newest = select(*VERSIONS.columns).where(_VERSION.tenant_id == tenant).order_by(desc(_VERSION.id)).limit(1)
        before: Any = (await connection.execute(newest)).first()
        keys, least = await self._keyring.row_keys(tenant), await self._least(tenant)
        # Even for the version in force: it may have been applied by a program that did not store notices.
        await _keep(connection, tenant, policy_set, self._clock.now())
        is_genuine = before is not None and VERSIONS.is_genuine(keys, before) and before.row_version >= least
        if is_genuine and before.version == policy_set.version:
            return Applied(before.id, changed=False, number=before.row_version)
        row: dict[str, Any] = {
            "tenant_id": tenant,
            # A node whose clock is behind must not file its version before the one that it replaces.
            "id": new_id() if before is None else max(new_id(), UUID(int=before.id.int + 1)),
            "version": policy_set.version,
            "files": json.dumps(dict(policy_set.files), ensure_ascii=False),
            "applied_at": self._clock.now(),
            "applied_by": by,
            "row_version": max(least, before.row_version if is_genuine else 0) + 1,
        }
        await connection.execute(insert(POLICY_VERSION).values(VERSIONS.seal(keys, row)))
        replaced = (await asyncio.to_thread(_load, before.files))[0] if is_genuine else None
        return Applied(row["id"], changed=True, number=row["row_version"], before=replaced)

    async def check_notices(self, tenant: str, policy_set: PolicySet) -> None:
        """Check a folder that is not applied, as :meth:`record` does.

        Raises:
            PolicyInvalid: a notice that is in use has changed.
        """
        async with self._database.reading() as connection:
            await _new_texts(connection, tenant, policy_set, self._clock.now().date())

    async def _least(self, tenant: TenantId) -> int:
        """Return the least number of a version that may be in force; 0 if none was."""
        least = await self._keyring.least_versions(tenant, [THE_ONE])
        return least.get((POLICY_VERSION.name, THE_ONE), 0)

    async def refresh(self) -> tuple[TenantId, ...]:
        """Load what other nodes applied; returns the tenants whose policies changed."""
        changed = []
        for tenant, number, version in await self._database.fetch(NEWEST):
            active = self._active.get(tenant)
            known = active is not None and active.id >= number
            if known:
                self._broken.pop(tenant, None)  # the row that did not load is gone
            if not known and self._broken.get(tenant) != number and await self._follow(tenant, number, version):
                changed.append(TenantId(tenant))
        return tuple(changed)

    def behind(self) -> list[str]:
        """Return what is not followed: a tenant's newest policies do not load, so an earlier version is in force."""
        return ["a stored policy does not load"] if self._broken else []

    async def is_newest(self, connection: AsyncConnection, tenant: str) -> bool:
        """Return, within a transaction, whether the version in force here is the last one that any node applied."""
        newest = await _newest(connection, tenant)
        return newest is None or newest.version == self.active(tenant).version

    async def history(self, tenant: str, *, most: int = 100) -> list[Change]:
        """List the versions that were applied for a tenant, the latest first."""
        columns = (_VERSION.id, _VERSION.version, _VERSION.applied_at, _VERSION.applied_by)
        query = select(*columns).where(_VERSION.tenant_id == tenant).order_by(desc(_VERSION.id)).limit(most)
        async with self._database.reading() as connection:
            return [
                Change(row.id, PolicyVersion(row.version), row.applied_at, row.applied_by)
                for row in await connection.execute(query)
            ]

    async def at(self, tenant: str, version: str | None) -> PolicySet:
        """Return the policies of an earlier version, or those in force if it does not exist or does not load.

        Raises:
            NotFound: no policies were applied for this tenant.
        """
        current = self.active(tenant).policy_set
        if version is None or version == current.version:
            return current
        policy_set = self._earlier.get((tenant, version))
        if policy_set is None:
            rows = select(*VERSIONS.columns).where(_VERSION.tenant_id == tenant, _VERSION.version == version)
            async with self._database.reading() as connection:
                found = (await connection.execute(rows.order_by(desc(_VERSION.id)))).all()
            keys = await self._keyring.row_keys(TenantId(tenant))
            stored: str | None = next((row.files for row in found if VERSIONS.is_genuine(keys, row)), None)
            policy_set = None if stored is None else (await asyncio.to_thread(_load, stored))[0]
            if policy_set is None or policy_set.version != version:
                return current
            if len(self._earlier) >= MOST_EARLIER:
                del self._earlier[next(iter(self._earlier))]
            self._earlier[tenant, version] = policy_set
        return policy_set

    async def notice_text(self, tenant: str, digest: str) -> KeptNotice | None:
        """Return a notice of any version of a tenant's policies, by the hash of its text."""
        async with self._database.reading() as connection:
            notices = await _genuine(connection, tenant, _TEXT.digest == digest)
        return notices[0] if notices else None

    async def notice_texts(self, tenant: str, notice: str) -> list[KeptNotice]:
        """List the texts of a ``name@version``, even if it is no longer in the folder, the latest first.

        There is one for each language, or more if a text changed before the version came into force.
        """
        async with self._database.reading() as connection:
            return await _genuine(connection, tenant, _TEXT.notice == notice)

    async def _follow(self, tenant: str, number: UUID, version: str) -> bool:
        active = self._active.get(tenant)
        rows = await self._database.fetch(ROW, tenant=tenant, id=number)
        if not rows or not await self._may_follow(TenantId(tenant), rows[0]):
            self._broken[tenant] = number
            return False
        if active is not None and active.version == version:
            return self.activate(tenant, number, active.policy_set)
        policy_set, mistake = await asyncio.to_thread(_load, rows[0][_FILES])
        if policy_set is None or policy_set.version != version:
            self._broken[tenant] = number
            where = {} if mistake is None else {"code": mistake.code, "at": f"{mistake.file}:{mistake.line}"}
            get_logger().error(
                "a stored policy does not load; the one before stays in force: `cdv policy check` lists the mistakes "
                "of a folder, and `cdv policy apply` replaces the policy",
                tenant=tenant,
                version=version,
                **where,
            )
            return False
        return self.activate(tenant, number, policy_set)

    async def _may_follow(self, tenant: TenantId, row: Sequence[Any]) -> bool:
        """Return whether the vault wrote a version, and wrote it last; otherwise the reason is in the log."""
        try:
            keys = await self._keyring.row_keys(tenant)
        except NotFound:
            return False  # a row of a tenant that there is not
        if not VERSIONS.is_genuine(keys, row):
            return False
        number: int = row[_NUMBER]
        least = await self._least(tenant)
        if number < least:
            report_older(POLICY_VERSION.name, tenant)
        elif number > least:  # the process that wrote it ended before it could say so
            await self._keyring.raise_version(tenant, RowVersion(POLICY_VERSION.name, THE_ONE, number))
        return number >= least

    def activate(self, tenant: str, number: UUID, policy_set: PolicySet) -> bool:
        """Put a recorded version in force, unless a later one is in force already. Returns whether anything changed."""
        active = self._active.get(tenant)
        if active is not None and active.id > number:
            return False
        same = active is not None and active.version == policy_set.version
        decisions = active.decisions if active and same else Decisions(policy_set, tenant, self._clock)
        # One assignment: a read sees either all old policies or all new ones.
        self._active[tenant] = ActivePolicy(number, decisions.policy_set, decisions)
        self._broken.pop(tenant, None)
        return not same


async def _newest(connection: AsyncConnection, tenant: str) -> Row[UUID, str] | None:
    """Return the id and the version of the last policies that any node applied."""
    query = select(_VERSION.id, _VERSION.version).where(_VERSION.tenant_id == tenant).order_by(desc(_VERSION.id))
    return (await connection.execute(query.limit(1))).first()


@functools.lru_cache(maxsize=8)
def _load(stored: str) -> tuple[PolicySet | None, Finding | None]:
    """Load stored policies, or return their first mistake, if it is known.

    Policies are immutable, so tenants with the same ones share them.
    """
    try:
        return PolicySet.load(json.loads(stored)), None
    except PolicyInvalid as error:
        return None, next((each for each in error.findings if isinstance(each, Finding)), None)
    except Exception:  # noqa: BLE001 - stored text may fail in any way, as by nesting too deep; the caller reports it
        return None, None


_TEXT = NOTICE_TEXT.c


@dataclass(frozen=True, slots=True)
class KeptNotice:
    """A stored text of a notice. ``notice`` is its ``name@version``, ``body`` the whole file."""

    digest: str
    notice: str
    language: str
    body: bytes
    recorded_at: datetime

    def parsed(self) -> Notice | None:
        """Parse the text; ``None`` if this program cannot."""
        return load_notice(f"notices/{self.notice}.md", self.body.decode(), Findings()).notice


async def _keep(connection: AsyncConnection, tenant: str, policy_set: PolicySet, now: datetime) -> None:
    """Store the notices of a folder that is about to come into force, each text once.

    Raises:
        PolicyInvalid: the text of a version has changed that people may have agreed to already.
    """
    new = await _new_texts(connection, tenant, policy_set, now.date())
    rows = [
        {
            "tenant_id": tenant,
            "digest": notice.digest,
            "notice": notice.id,
            "language": notice.language,
            "body": policy_set.files[notice.file].encode(),
            "recorded_at": now,
        }
        for notice in new
    ]
    if rows:
        await connection.execute(insert(NOTICE_TEXT), rows)


async def _new_texts(connection: AsyncConnection, tenant: str, policy_set: PolicySet, day: date) -> list[Notice]:
    """Return the texts of a folder that are not stored yet; raises PolicyInvalid for a changed one that is in use."""
    texts = {notice.digest: notice for notice in policy_set.notices.texts()}
    if not texts:
        return []
    existing = await _kept(connection, tenant, _TEXT.notice.in_(sorted({notice.id for notice in texts.values()})))
    digests = {notice.digest for notice in existing}
    new = [notice for digest, notice in texts.items() if digest not in digests]
    _check_unchanged(new, existing, day)
    return new


def _check_unchanged(new: list[Notice], existing: list[KeptNotice], day: date) -> None:
    """Refuse another text for a version in force: it would be unclear which of the two a person agreed to."""
    used = {(notice.notice, notice.language) for notice in existing if _was_in_force(notice, day)}
    findings = tuple(
        Finding(
            notice.file,
            1,
            f"{notice.id} has been in force with another text, and a version never changes",
            f"put the old text back (`cdv notices show {notice.id}`), and write the new one as {notice.name}@"
            f"{notice.version + 1}; with `material = false` no one is asked again",
            "notice-changed",
        )
        for notice in new
        if (notice.id, notice.language) in used
    )
    if findings:
        raise PolicyInvalid(
            "a notice that is in use has changed", findings=findings, hint="give the new text a version of its own"
        )


def _was_in_force(kept: KeptNotice, day: date) -> bool:
    notice = kept.parsed()
    return notice is None or notice.in_force(day)


async def _kept(connection: AsyncConnection, tenant: str, which: ColumnElement[bool]) -> list[KeptNotice]:
    columns = (_TEXT.digest, _TEXT.notice, _TEXT.language, _TEXT.body, _TEXT.recorded_at)
    query = select(*columns).where(_TEXT.tenant_id == tenant, which).order_by(desc(_TEXT.recorded_at), _TEXT.language)
    return [KeptNotice(*row) for row in await connection.execute(query)]


async def _genuine(connection: AsyncConnection, tenant: str, which: ColumnElement[bool]) -> list[KeptNotice]:
    """Return the stored texts that have their hash: no one agreed to another."""
    notices = await _kept(connection, tenant, which)
    genuine = [notice for notice in notices if notice.digest == f"sha256:{hashlib.sha256(notice.body).hexdigest()}"]
    if len(genuine) < len(notices):
        get_logger().error(
            "a stored notice does not have its hash, and is not shown: someone changed it in the database",
            table=NOTICE_TEXT.name,
            tenant=tenant,
        )
    return genuine
