"""The lines of the restore ledger, each written within the transaction of what it records.

A line is stored before its transaction commits: if the ledger does not answer, nothing happens. A line contains ids,
names of purposes and fields, days and keyed digests, and no value or word of a person.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import msgspec

from vault.catalogue.model import Scope
from vault.ids import RoleName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vault.context import Services
    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Claim, Erasure


class ErasureLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """An erasure that was executed.

    Attributes:
        erasure: its id, which is on the certificate.
        request: that it carried out; None if there was none.
        scope: what was to be erased; empty: everything.
        started_at: when it began.
        aliases: subjects that had been merged into this one.
        tombstones: hexadecimal digests of the subject's ids and addresses, with the kind of each.
        claims: what staff kept for legal claims: names, and the last day.
        gone: for an erasure in part, the erased fields. They may follow from policies that a backup does not have.
        cause: why it began without a request.
        rests: for an erasure in part with a cause, until when the erased values were collected, by field.
        resumes: the erasures that a hold had stopped, and that it continued.
    """

    erasure: UUID
    request: UUID | None
    scope: Scope
    started_at: datetime
    aliases: tuple[UUID, ...] = ()
    tombstones: dict[str, str] = {}
    claims: tuple[tuple[tuple[str, ...], date], ...] = ()
    gone: tuple[str, ...] = ()
    cause: str | None = None
    rests: dict[str, datetime] = {}
    resumes: tuple[UUID, ...] = ()

    def digests(self) -> dict[bytes, str]:
        """Return the tombstones."""
        return {bytes.fromhex(digest): kind for digest, kind in self.tombstones.items()}


class MergeLine(msgspec.Struct, frozen=True):
    """A merge: lines about the survivor apply to the duplicate too, which is a separate subject in an older backup."""

    duplicate: UUID


class AccessLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """An access that was revoked.

    Attributes:
        entry: the audit entry of the same transaction: a backup that contains it contains the revocation.
        action: what was done.
        target: the key or the principal.
        roles: that were removed.
    """

    entry: UUID
    action: Literal["revoke-key", "disable-principal", "set-roles"]
    target: UUID
    roles: tuple[RoleName, ...] = ()


_encode = msgspec.json.Encoder(order="sorted").encode
_erasures = msgspec.json.Decoder(ErasureLine)
_merges = msgspec.json.Decoder(MergeLine)
_accesses = msgspec.json.Decoder(AccessLine)


async def note_erasure(
    services: Services,
    tenant: TenantId,
    erasure: Erasure,
    *,
    claims: Sequence[Claim],
    aliases: Sequence[UUID] = (),
    tombstones: Mapping[bytes, str] | None = None,
    gone: Sequence[str] = (),
) -> None:
    """Add the line of an erasure; call it in the transaction that erases.

    Raises:
        Unavailable: the ledger does not answer; the transaction must not commit.
    """
    line = ErasureLine(
        erasure=erasure.id,
        request=erasure.request,
        scope=erasure.facts.scope,
        started_at=erasure.started_at,
        aliases=tuple(aliases),
        tombstones={digest.hex(): kind for digest, kind in (tombstones or {}).items()},
        claims=tuple((claim.names, claim.until) for claim in claims),
        gone=tuple(gone),
        cause=erasure.facts.cause,
        rests=erasure.facts.rests,
        resumes=erasure.facts.resumes,
    )
    await services.restore_ledger.add(tenant, "erasure", services.clock.now(), [(erasure.subject, _encode(line))])


async def note_merge(services: Services, tenant: TenantId, *, survivor: SubjectId, duplicate: SubjectId) -> None:
    """Add the line of a merge; call it in the transaction that merges.

    Raises:
        Unavailable: the ledger does not answer; the transaction must not commit.
    """
    await services.restore_ledger.add(
        tenant, "merge", services.clock.now(), [(survivor, _encode(MergeLine(duplicate)))]
    )


async def note_access(services: Services, tenant: TenantId, line: AccessLine) -> None:
    """Add the line of a revoked access; call it in the transaction that revokes it.

    Raises:
        Unavailable: the ledger does not answer; the transaction must not commit.
    """
    await services.restore_ledger.add(tenant, "access", services.clock.now(), [(None, _encode(line))])


def read_erasure(body: bytes) -> ErasureLine:
    """Read a line of an erasure."""
    return _erasures.decode(body)


def read_merge(body: bytes) -> MergeLine:
    """Read a line of a merge."""
    return _merges.decode(body)


def read_access(body: bytes) -> AccessLine:
    """Read a line of a revoked access."""
    return _accesses.decode(body)


class Joined:
    """Merges since a backup; in the backup the subjects are still separate."""

    def __init__(self) -> None:
        self._into: defaultdict[tuple[TenantId, UUID], list[UUID]] = defaultdict(list)

    def add(self, tenant: TenantId, survivor: UUID, duplicate: UUID) -> None:
        """Add a merge."""
        self._into[tenant, survivor].append(duplicate)

    def of(self, tenant: TenantId, subject: UUID) -> list[UUID]:
        """Return a subject and all subjects that were merged into it, directly or through another one."""
        joined = [subject]
        for member in joined:
            joined.extend(other for other in self._into.get((tenant, member), ()) if other not in joined)
        return joined
