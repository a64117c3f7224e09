"""What is written on the ledger of tombstones, line by line, within the transaction that does what it tells of.

A line is there before its transaction commits: where the ledger does not answer, nothing happens. There is no value of
a person in a line, and no word of theirs: ids, names of purposes and fields, days, keyed digests.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal, Protocol
from uuid import UUID

import msgspec

from vault.catalogue.model import Scope
from vault.ids import RoleName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vault.context import Services
    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure


class ErasureLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """An erasure that was carried out.

    Attributes:
        erasure: its id, which is on the certificate.
        request: by which it was asked for.
        scope: what was to be erased; empty: everything.
        started_at: when it was laid down.
        aliases: people who had been merged into this one.
        tombstones: digests in hexadecimal of the person's ids and addresses, with the kind of each.
        claims: what staff kept for legal claims: names, and the last day.
        gone: of a part: the fields that went. Which they are may follow from policies that a backup does not have.
        cause: why it was begun where nobody asked for it.
        rests: of one with a cause and of a part: what was collected until then went.
        resumes: the erasures from which that was kept back.
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
    """A merge: what is told of the one who stayed goes for the other too, who is somebody of their own again."""

    duplicate: UUID


class AccessLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """An access that was taken away from an app.

    Attributes:
        entry: the audit entry that the same transaction made: where it is there, all of this has happened there.
        action: what was done.
        target: the key, or the principal.
        roles: those that were taken away.
    """

    entry: UUID
    action: Literal["revoke-key", "disable-principal", "set-roles"]
    target: UUID
    roles: tuple[RoleName, ...] = ()


class Claimed(Protocol):
    """What staff keep for legal claims: names, and the last day."""

    @property
    def names(self) -> tuple[str, ...]:
        """Canonical names of fields and collections."""

    @property
    def until(self) -> date:
        """The last day."""


_encode = msgspec.json.Encoder(order="sorted").encode
_erasures = msgspec.json.Decoder(ErasureLine)
_merges = msgspec.json.Decoder(MergeLine)
_accesses = msgspec.json.Decoder(AccessLine)


async def note_erasure(
    services: Services,
    tenant: TenantId,
    erasure: Erasure,
    *,
    claims: Sequence[Claimed],
    aliases: Sequence[UUID] = (),
    tombstones: Mapping[bytes, str] | None = None,
    gone: Sequence[str] = (),
) -> None:
    """Write an erasure down; call it in the transaction that takes away.

    Raises:
        Unavailable: the ledger does not answer; then nothing must be taken away.
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
    """Write a merge down; call it in the transaction that merges.

    Raises:
        Unavailable: the ledger does not answer; then the two must not be merged.
    """
    await services.restore_ledger.add(
        tenant, "merge", services.clock.now(), [(survivor, _encode(MergeLine(duplicate)))]
    )


async def note_access(services: Services, tenant: TenantId, line: AccessLine) -> None:
    """Write down that an access was taken away; call it in the transaction that does so.

    Raises:
        Unavailable: the ledger does not answer; then nothing must be taken away.
    """
    await services.restore_ledger.add(tenant, "access", services.clock.now(), [(None, _encode(line))])


def read_erasure(body: bytes) -> ErasureLine:
    """Read a line of an erasure."""
    return _erasures.decode(body)


def read_merge(body: bytes) -> MergeLine:
    """Read a line of a merge."""
    return _merges.decode(body)


def read_access(body: bytes) -> AccessLine:
    """Read a line of an access that was taken away."""
    return _accesses.decode(body)


class Joined:
    """Who was merged into whom since a backup: in the backup they are people of their own."""

    def __init__(self) -> None:
        self._into: defaultdict[tuple[TenantId, UUID], list[UUID]] = defaultdict(list)

    def add(self, tenant: TenantId, survivor: UUID, duplicate: UUID) -> None:
        """Add a merge."""
        self._into[tenant, survivor].append(duplicate)

    def of(self, tenant: TenantId, subject: UUID) -> list[UUID]:
        """Return a person and all who were merged into them, directly or by way of another."""
        found = [subject]
        for each in found:
            found.extend(other for other in self._into.get((tenant, each), ()) if other not in found)
        return found
