"""The register of erasures in the database: ids, names, codes and times.

The one value in it is the sealed address of a letter that is still to be sent; it goes before the keys are destroyed.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import Column, Index, Integer, LargeBinary, String, delete, func, insert, not_, select, update

from vault.catalogue.model import Scope
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId

State = Literal["begun", "taken", "destroyed", "scrubbed", "checked", "done"]
AT_ONCE: Final = 1_000
"""Ids in one statement."""
RETENTION: Final = "retention"
"""The cause of an erasure by a sweep, which has no request and no certificate."""


class ErasureRow(DataTable, table=True):
    """An erasure: its state, what it erased and kept, and the certificate at its end.

    ``key_version`` is the version of the data key under which the rest was resealed. A writer with an older one has
    missed the erasure, and must not seal with it. ``addressee`` is to whom the letter about the erasure goes, sealed,
    until it is sent or given up.
    """

    __tablename__ = "erasure"
    __table_args__ = (
        Index("ix_erasure_subject", "tenant_id", "subject_id"),
        Index("ix_erasure_changed", "changed_at"),
        Index(
            # At most one open erasure of a subject: the database refuses a second, whichever process begins it.
            "uq_erasure_open",
            "tenant_id",
            "subject_id",
            unique=True,
            sqlite_where=Column("finished_at").is_(None),
            postgresql_where=Column("finished_at").is_(None),
        ),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    request_id: UUID | None = column(Id, nullable=True)
    subject_id: UUID = column(Id)
    state: str = column(String(16))
    started_at: datetime = column(Moment)
    changed_at: datetime = column(Moment)
    finished_at: datetime | None = column(Moment, nullable=True)
    key_version: int | None = column(Integer, nullable=True)
    body: bytes = column(LargeBinary)
    certificate: bytes | None = column(LargeBinary, nullable=True)
    addressee: bytes | None = column(LargeBinary, nullable=True)


ERASURE = table_of(ErasureRow)
_SWEPT: Final = ERASURE.c.request_id.is_(None) & ERASURE.c.certificate.is_(None) & ERASURE.c.finished_at.is_not(None)


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a field, in how many records.

    Attributes:
        field: its whole name.
        records: in how many records it was.
        ground: why it was kept; None if it was erased.
        article: the exception of Art. 17(3) GDPR.
        purpose: for which it is kept; None for legal claims.
        until: the last day on which any of it is kept; None for as long as a hold stands.
    """

    field: str
    records: int
    ground: str | None = None
    article: str | None = None
    purpose: str | None = None
    until: date | None = None


class CheckResult(msgspec.Struct, frozen=True):
    """What a check scanned without finding anything: files of the key store and their bytes, and rows."""

    at: datetime
    files: int
    bytes: int
    rows: int


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The facts of an erasure that have no column.

    Attributes:
        scope: what was to be erased; empty: everything.
        lines: what became of each field; empty until the data is erased.
        erased_at: when the data was erased.
        aliases: ids of subjects that had been merged into this one; their keys are destroyed too.
        newest: the highest version of the data key that there ever was.
        keys: how many data keys are destroyed.
        entry: the audit entry.
        told: how many recipients are notified.
        looks: how many checks have found something so far.
        look: the check that found nothing.
        cause: why it began without a request: ``hold``, a hold that had stopped an erasure was lifted;
            :data:`RETENTION`, a retention period has ended.
        rests: for an erasure in part after a hold, until when the erased values were collected, by whole field name.
        resumes: the erasures that the hold had stopped.
        letter: how the letter to the person ended: ``sent``, or why none could be sent; None: not yet, or none is due.
        tries: how often the relay has not taken it.
    """

    scope: Scope = Scope()
    lines: tuple[Line, ...] = ()
    erased_at: datetime | None = None
    aliases: tuple[UUID, ...] = ()
    newest: int = 0
    keys: int = 0
    entry: UUID | None = None
    told: int = 0
    looks: int = 0
    look: CheckResult | None = None
    cause: str | None = None
    rests: dict[str, datetime] = {}
    resumes: tuple[UUID, ...] = ()
    letter: str | None = None
    tries: int = 0


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure.

    Attributes:
        request: the first one that asked for it; None if there was none.
        key_version: of the data key that stays; None if nothing stayed, or nothing is erased yet.
        addressee: to whom the letter about it is still to be sent, sealed.
    """

    id: UUID
    request: UUID | None
    subject: UUID
    state: State
    started_at: datetime
    changed_at: datetime
    finished_at: datetime | None = None
    key_version: int | None = None
    facts: Facts = Facts()
    certificate: bytes | None = None
    addressee: bytes | None = None

    @property
    def letter(self) -> str | None:
        """Return how the letter to the person ended."""
        return self.facts.letter

    @property
    def is_whole(self) -> bool:
        """Tell whether everything was to be erased, and not a part."""
        return self.facts.scope == Scope() and self.facts.cause != RETENTION


_encode = msgspec.json.Encoder(order="sorted").encode
_facts = msgspec.json.Decoder(Facts)


async def add_erasure(connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> None:
    """Insert an erasure; a subject has at most one that is not finished.

    Raises:
        sqlalchemy.exc.IntegrityError: there is one under way.
    """
    await connection.execute(insert(ERASURE), [{"tenant_id": tenant, "id": erasure.id, **_columns(erasure)}])


async def add_sweep_erasures(connection: AsyncConnection, tenant: TenantId, erasures: Sequence[Erasure]) -> None:
    """Insert erasures by a sweep. They replace earlier ones of the same subjects: the newest has the key that stays.

    Raises:
        sqlalchemy.exc.IntegrityError: for one of the people there is another under way.
    """
    subjects = [erasure.subject for erasure in erasures]
    await connection.execute(
        delete(ERASURE).where(ERASURE.c.tenant_id == tenant, ERASURE.c.subject_id.in_(subjects), _SWEPT)
    )
    rows = [{"tenant_id": tenant, "id": erasure.id, **_columns(erasure)} for erasure in erasures]
    if rows:
        await connection.execute(insert(ERASURE), rows)


async def end_sweep_erasures(
    connection: AsyncConnection, tenant: TenantId, erasures: Sequence[UUID], now: datetime
) -> None:
    """Finish erasures by a sweep: their keys are destroyed."""
    taken = (ERASURE.c.tenant_id == tenant, ERASURE.c.id.in_(erasures), ERASURE.c.state == "taken")
    await connection.execute(update(ERASURE).where(*taken).values(state="done", finished_at=now, changed_at=now))


async def unfinished_sweep_erasures(connection: AsyncConnection, tenant: TenantId, limit: int) -> list[Erasure]:
    """List erasures by a sweep that was killed before it destroyed the keys."""
    statement = select(ERASURE).where(
        ERASURE.c.tenant_id == tenant,
        ERASURE.c.finished_at.is_(None),
        ERASURE.c.request_id.is_(None),
        ERASURE.c.state == "taken",
    )
    erasures = [_read(row) for row in (await connection.execute(statement.limit(limit))).all()]
    return [erasure for erasure in erasures if erasure.facts.cause == RETENTION]


async def being_erased(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]) -> frozenset[UUID]:
    """Select the subjects with an unfinished erasure."""
    statement = select(ERASURE.c.subject_id).where(
        ERASURE.c.tenant_id == tenant, ERASURE.c.subject_id.in_(subjects), ERASURE.c.finished_at.is_(None)
    )
    return frozenset((await connection.execute(statement)).scalars())


async def save_erasure(connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> None:
    """Write an erasure that is locked."""
    await connection.execute(
        update(ERASURE).where(ERASURE.c.tenant_id == tenant, ERASURE.c.id == erasure.id).values(**_columns(erasure))
    )


async def drop_erasure(connection: AsyncConnection, tenant: TenantId, erasure: UUID) -> None:
    """Delete an erasure that has not erased anything yet."""
    begun = (ERASURE.c.tenant_id == tenant, ERASURE.c.id == erasure, ERASURE.c.state == "begun")
    await connection.execute(delete(ERASURE).where(*begun))


async def find_erasure(
    connection: AsyncConnection, tenant: TenantId, erasure: UUID, *, lock: bool = False
) -> Erasure | None:
    """Return an erasure, or None if there is none."""
    statement = select(ERASURE).where(ERASURE.c.tenant_id == tenant, ERASURE.c.id == erasure)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return None if row is None else _read(row)


async def erasures_of(connection: AsyncConnection, tenant: TenantId, subject: UUID) -> list[Erasure]:
    """List a person's erasures, the newest first."""
    statement = select(ERASURE).where(ERASURE.c.tenant_id == tenant, ERASURE.c.subject_id == subject)
    return [_read(row) for row in (await connection.execute(statement.order_by(ERASURE.c.id.desc()))).all()]


async def list_erasures(
    connection: AsyncConnection, tenant: TenantId, *, before: UUID | None = None, limit: int = 50
) -> list[Erasure]:
    """List a tenant's erasures, the newest first; those by sweeps are only in the audit log."""
    statement = select(ERASURE).where(ERASURE.c.tenant_id == tenant, not_(_SWEPT))
    if before is not None:
        statement = statement.where(ERASURE.c.id < before)
    return [
        _read(row) for row in (await connection.execute(statement.order_by(ERASURE.c.id.desc()).limit(limit))).all()
    ]


async def changed_since(
    connection: AsyncConnection, moment: datetime
) -> list[tuple[str, UUID, datetime, Facts | None]]:
    """List the erasures of all tenants that changed since a moment: tenant, subject, time and facts.

    The facts are None where this version of the program cannot read them, so that one row hides no other. Finished
    erasures by sweeps are left out: no node waits for them, and cached keys expire within half a minute.
    """
    statement = select(ERASURE.c.tenant_id, ERASURE.c.subject_id, ERASURE.c.changed_at, ERASURE.c.body).where(
        # Not only later ones: two changes may have the same microsecond, and to see one twice does no harm.
        ERASURE.c.changed_at >= moment,
        not_(_SWEPT),
    )
    return [(row[0], row[1], row[2], _readable(row[3])) for row in (await connection.execute(statement)).all()]


def _readable(body: bytes) -> Facts | None:
    try:
        return _facts.decode(body)
    except msgspec.MsgspecError:
        return None


async def key_versions(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]) -> dict[UUID, int]:
    """Return the version of the data key since a subject's last erasure; most subjects never had one."""
    versions: dict[UUID, int] = {}
    for start in range(0, len(subjects), AT_ONCE):
        statement = (
            select(ERASURE.c.subject_id, func.max(ERASURE.c.key_version))
            .where(
                ERASURE.c.tenant_id == tenant,
                ERASURE.c.subject_id.in_(subjects[start : start + AT_ONCE]),
                ERASURE.c.key_version.is_not(None),
            )
            .group_by(ERASURE.c.subject_id)
        )
        versions.update({UUID(bytes=row[0].bytes): row[1] for row in (await connection.execute(statement)).all()})
    return versions


def _columns(erasure: Erasure) -> dict[str, Any]:
    return {
        "request_id": erasure.request,
        "subject_id": erasure.subject,
        "state": erasure.state,
        "started_at": erasure.started_at,
        "changed_at": erasure.changed_at,
        "finished_at": erasure.finished_at,
        "key_version": erasure.key_version,
        "body": _encode(erasure.facts),
        "certificate": erasure.certificate,
        "addressee": erasure.addressee,
    }


def _read(row: Any) -> Erasure:
    return Erasure(
        id=row.id,
        request=row.request_id,
        subject=row.subject_id,
        state=row.state,
        started_at=row.started_at,
        changed_at=row.changed_at,
        finished_at=row.finished_at,
        key_version=row.key_version,
        facts=_facts.decode(row.body),
        certificate=row.certificate,
        addressee=row.addressee,
    )
