"""The token of a person's session, and the row behind it.

``cdvs_<id>_<secret>``: the session's id in 32 hex digits, and 32 random bytes in base64url without padding. As of every
token with 256 bits of randomness, the vault keeps the SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import and_, delete, insert, select, update

from vault.identity.tables import SUBJECT_SESSION
from vault.ids import Pseudonym, SubjectId, TenantId, new_id
from vault.letters.contact import THERE
from vault.subjects.tables import SUBJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import House

LIFE: Final = timedelta(minutes=30)
FRESH: Final = timedelta(minutes=10)
"""So long after signing in a person may do what cannot be undone, and fetch a package."""
_SHAPE: Final = re.compile(r"cdvs_([0-9a-f]{32})_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_NOBODY: Final = hashlib.sha256(secrets.token_bytes(32)).digest()
"""The digest of a token that nobody has: an unknown one is compared with it, and costs what a known one does."""
_SESSION = SUBJECT_SESSION.c


class Session(NamedTuple):
    """A person who is signed in."""

    tenant: TenantId
    id: UUID
    subject: SubjectId
    pseudonym: Pseudonym
    authenticated_at: datetime
    expires_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        """Tell whether the person signed in within the minutes before."""
        return self.authenticated_at <= now < self.authenticated_at + FRESH


class Opened(NamedTuple):
    """A new session. ``token`` exists here and nowhere else."""

    token: str
    expires_at: datetime
    fresh_until: datetime


async def add_session(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, now: datetime
) -> tuple[UUID, Opened]:
    """Open a session of a person whose row is locked."""
    session = new_id()
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    token = f"cdvs_{session.hex}_{secret}"
    row = {
        "tenant_id": tenant,
        "id": session,
        "subject_id": subject,
        "token_hash": _digest(token),
        "created_at": now,
        "authenticated_at": now,
        "expires_at": now + LIFE,
        "ended_at": None,
    }
    await connection.execute(insert(SUBJECT_SESSION), [row])
    return session, Opened(token, now + LIFE, now + FRESH)


async def find_session(
    connection: AsyncConnection, tenants: Sequence[TenantId], token: str, now: datetime
) -> Session | None:
    """Find the session of a token; none where it is unknown, ended, too old, or of somebody who is no longer there."""
    shaped = _SHAPE.fullmatch(token)
    row: Any = None
    if shaped is not None:
        whose = and_(SUBJECT.c.tenant_id == _SESSION.tenant_id, SUBJECT.c.id == _SESSION.subject_id)
        statement = (
            select(SUBJECT_SESSION, SUBJECT.c.pseudonym, SUBJECT.c.state)
            .join(SUBJECT, whose)
            .where(_SESSION.tenant_id.in_(tenants), _SESSION.id == UUID(hex=shaped[1]))
        )
        row = (await connection.execute(statement)).one_or_none()
    right = hmac.compare_digest(_digest(token), _NOBODY if row is None else bytes(row.token_hash))
    if row is None or not right or row.ended_at is not None or now >= row.expires_at or row.state not in THERE:
        return None
    return Session(
        TenantId(row.tenant_id),
        row.id,
        SubjectId(row.subject_id),
        Pseudonym(row.pseudonym),
        row.authenticated_at,
        row.expires_at,
    )


async def end(connection: AsyncConnection, session: Session, now: datetime) -> None:
    """End a session."""
    this = (_SESSION.tenant_id == session.tenant, _SESSION.id == session.id)
    await connection.execute(update(SUBJECT_SESSION).where(*this, _SESSION.ended_at.is_(None)).values(ended_at=now))


async def forget_sessions(house: House) -> int:
    """Delete sessions that are over; returns how many."""
    async with house.data.transaction() as connection:
        over = delete(SUBJECT_SESSION).where(_SESSION.expires_at <= house.clock.now())
        return (await connection.execute(over)).rowcount


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
