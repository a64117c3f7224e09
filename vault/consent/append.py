"""Add events to a person's ledger and bring the sum on the person's row up to date, in one transaction.

Write on a person's row what the ledger says, where somebody or something has written another thing there.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry
from vault.access.callers import operator_caller
from vault.clock import to_microseconds
from vault.consent import event as consents
from vault.consent.state import apply, fold, pack, unpack
from vault.errors import NotFound
from vault.subjects.changes import locked_subject, mark_due, set_standing
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.event import Event
    from vault.consent.state import ConsentState
    from vault.context import Services
    from vault.ids import SubjectId, TenantId


A_PAGE = 500


async def append_events(
    services: Services, connection: AsyncConnection, tenant: TenantId, subject: SubjectId, events: Sequence[Event]
) -> ConsentState:
    """Append events of one person, in this order; the person's row is locked until the transaction ends.

    Returns:
        where the person stands now.

    Raises:
        NotFound: there is no such person, or no longer.
        Unavailable: an event says no, and the ledger of tombstones does not answer.
    """
    row = await locked_subject(connection, tenant, subject)
    if row is None or row.state in GONE:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    standing = unpack(row.standing)
    for event in events:
        standing = apply(standing, event)
    await services.consents.add(connection, tenant, events)
    await set_standing(connection, tenant, subject, pack(standing), restricted=stays_restricted(row, standing))
    await note_denials(services, tenant, events)
    await mark_due(connection, tenant, [subject], services.clock.now())
    return standing


def stays_restricted(row: Any, standing: ConsentState) -> bool:
    """Tell whether a person is restricted after new events: by the ledger, or by a row of which no event told why.

    Args:
        row: the person's row before.
        standing: where they stand after the events.
    """
    untold = row.state == "restricted" and unpack(row.standing).restricted_at is None
    return untold or standing.restricted_at is not None


class Difference(NamedTuple):
    """A person whose row says something else than the ledger."""

    subject: SubjectId
    by_ledger: ConsentState
    on_row: ConsentState


class Compared(NamedTuple):
    """How many people a step went through, and those among them whose row is wrong."""

    people: int
    differences: list[Difference]


async def compare(services: Services, tenant: TenantId) -> AsyncIterator[Compared]:
    """Fold the ledger of everybody anew and compare it with what lies on their rows, some people at a time."""
    after: SubjectId | None = None
    while True:
        async with services.data.reading() as connection:
            rows = await services.subjects.standings(connection, tenant, after=after, limit=A_PAGE)
            if not rows:
                return
            events = await services.consents.events_of(connection, tenant, [row.id for row in rows])
        yield Compared(len(rows), [each for row in rows if (each := _difference(row, events.get(row.id, [])))])
        after = rows[-1].id


async def repair(services: Services, connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> None:
    """Write on a person's row what the ledger says."""
    row = await locked_subject(connection, tenant, subject)
    if row is None or row.state in GONE:
        return
    told = fold((await services.consents.events_of(connection, tenant, [subject])).get(subject, []))
    standing = replace(told, holds=unpack(row.standing).holds)
    await set_standing(connection, tenant, subject, pack(standing), restricted=standing.restricted_at is not None)
    await mark_due(connection, tenant, [subject], services.clock.now())


async def count_by_notice(services: Services, tenant: TenantId, purpose: str) -> Counter[str]:
    """Count the people whose consent to a purpose stands, by the version of the text that they agreed to."""
    now = to_microseconds(services.clock.now())
    counted: Counter[str] = Counter()
    async for rows in people_who_said_something(services, tenant):
        for row in rows:
            said = unpack(row.standing).purposes.get(purpose)
            if said is None or said.state != "given" or said.notice is None:
                continue
            if said.valid_until is None or now < said.valid_until:
                counted[said.notice] += 1
    return counted


async def people_who_said_something(services: Services, tenant: TenantId) -> AsyncIterator[list[Any]]:
    """Go through the ids, states and standings of all who ever said anything, some at a time."""
    after: SubjectId | None = None
    while True:
        async with services.data.reading() as connection:
            rows = await services.subjects.standings(connection, tenant, after=after, limit=A_PAGE, said=True)
        if not rows:
            return
        yield rows
        after = rows[-1].id


def _difference(row: Any, events: Sequence[Event]) -> Difference | None:
    if row.state in GONE:
        return None  # what was kept of the ledger is proof, and holds for nothing any more
    by_ledger, on_row = fold(events), replace(unpack(row.standing), holds=())
    restricted = row.state == "restricted"
    if by_ledger == on_row and restricted == (by_ledger.restricted_at is not None):
        return None
    return Difference(row.id, by_ledger, on_row)


async def repair_standing(services: Services, tenant: TenantId, subject: SubjectId) -> None:
    """Sum up a person's events anew; that is on the audit log."""
    async with services.data.transaction() as connection:
        row = await locked_subject(connection, tenant, subject)
        if row is None:
            return
        await repair(services, connection, tenant, subject)
        made = audit_entry(
            services,
            operator_caller(tenant),
            action="record-consent",
            decision="allowed",
            subjects=(row.pseudonym,),
        )
        await services.audit_log.append_in(connection, [made])


DENIALS: Final = frozenset({"refused", "withdrawn", "objected", "objection-upheld", "restricted"})
"""Kinds of events that a restore must not undo. A consent that ends by itself does so again without them."""


async def note_denials(services: Services, tenant: TenantId, events: Iterable[Event]) -> None:
    """Write down the events that are a no, an objection or a restriction; call it in the transaction that adds them.

    Raises:
        Unavailable: the ledger does not answer; then the events must not be added.
    """
    lines = [(each.subject, consents.encode(_bare(each))) for each in events if each.kind in DENIALS]
    await services.restore_ledger.add(tenant, "consent", services.clock.now(), lines)


def read_denial(body: bytes) -> Event:
    """Read a line of a consent ledger's event."""
    return consents.decode(body)


def _bare(event: Event) -> Event:
    """Take away what is sealed under a key that a restored vault may not have, and what need not be known twice."""
    return replace(event, evidence=None, channel=None, language=None, jurisdiction=None)
