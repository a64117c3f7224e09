"""Keeps the texts that people agreed to, each by its hash: a consent is proved by what it was given to (Art. 7(1))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import desc, insert, select

from vault.catalogue.findings import Finding, Findings
from vault.catalogue.notices import load_notice
from vault.errors import PolicyInvalid
from vault.policy.tables import NOTICE_TEXT

if TYPE_CHECKING:
    from datetime import date, datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.notices import Notice
    from vault.policy.policy_set import PolicySet

_IT = NOTICE_TEXT.c


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
    found = await _kept(connection, tenant, _IT.digest == digest)
    return found[0] if found else None


async def kept_by_version(connection: AsyncConnection, tenant: str, notice: str) -> list[KeptNotice]:
    """List the texts of one ``name@version``, the latest first: one for each language, or more from before its day."""
    return await _kept(connection, tenant, _IT.notice == notice)


async def keep(connection: AsyncConnection, tenant: str, policy_set: PolicySet, now: datetime) -> None:
    """Keep the notices of a folder that is about to come into force, each text once.

    Raises:
        PolicyInvalid: a text has changed under a version by which people may have been asked already.
    """
    texts = {each.digest: each for each in policy_set.notices.texts()}
    if not texts:
        return
    there = await _kept(connection, tenant, _IT.notice.in_(sorted({each.id for each in texts.values()})))
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
    columns = (_IT.digest, _IT.notice, _IT.language, _IT.body, _IT.recorded_at)
    query = select(*columns).where(_IT.tenant_id == tenant, which).order_by(desc(_IT.recorded_at), _IT.language)
    return [KeptNotice(*row) for row in await connection.execute(query)]
