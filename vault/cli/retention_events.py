"""``cdv retention event`` and ``cdv retention relationship``: what starts and stops a person's clocks."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from vault.cli.moments import parse_since
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant
from vault.clock import Clock

if TYPE_CHECKING:
    from vault.context import House
    from vault.ids import TenantId
    from vault.retention.events import Answer, Stand
    from vault.retention.retention_events import Recorded

SUBJECT = "0199aabb-0000-7000-8000-000000000001"


class What(StrEnum):
    """What began or ended."""

    contract_began = "contract-began"
    contract_ended = "contract-ended"
    claim_opened = "claim-opened"
    claim_closed = "claim-closed"
    relationship_ended = "relationship-ended"
    relationship_resumed = "relationship-resumed"


Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")]


def register(group: typer.Typer) -> None:
    """Add the commands to ``cdv retention``."""
    group.command(epilog=examples(f"cdv retention event {SUBJECT} contract-ended --on 2026-03-31"))(event)
    group.command(epilog=examples(f"cdv retention relationship {SUBJECT}"))(relationship)


def event(
    subject: Subject,
    what: Annotated[What, typer.Argument(metavar="EVENT", help="What began or ended.")],
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="WHEN", help="The day, in UTC: 2026-03-31, or 3d ago.", show_default="today"),
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Record what starts or stops a clock; of several contracts or claims, the end of the last one."""
    moment = parse_since(on, Clock().now(), option="--on")

    async def work(house: House, its: TenantId) -> Recorded:
        from vault.access.operator import at_the_console
        from vault.ids import SubjectId
        from vault.retention.retention_events import record_event

        day = None if moment is None else moment.date()
        return await record_event(house, at_the_console(its), SubjectId(subject), what.value, day)

    recorded = in_tenant(vault, tenant, work)
    if as_json:
        emit({"event": recorded.event, "on": recorded.on, "moved": recorded.created})
    elif recorded.created:
        note(f"{recorded.event} on {recorded.on}; the next sweep looks at the person.")
    else:
        note(f"Nothing moves: {recorded.event} was recorded for {recorded.on}, and a clock never goes back.")


def relationship(subject: Subject, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Show how a person stands to the company, and the clocks from which periods of retention count."""

    async def work(house: House, its: TenantId) -> Answer:
        from vault.access.operator import at_the_console
        from vault.ids import SubjectId
        from vault.retention.events import relationship_of

        return await relationship_of(house, at_the_console(its), SubjectId(subject))

    found = in_tenant(vault, tenant, work)
    if as_json:
        stand = found.stand._asdict() | {
            clocks: {name: str(day) for name, day in getattr(found.stand, clocks).items()}
            for clocks in ("records", "events")
        }
        emit({"subject": found.subject, **stand, "audit": found.audit})
        return
    note(_sentence(found.stand))
    rows = [("newest record", name, day) for name, day in found.stand.records.items()]
    rows += [("event", name, day) for name, day in found.stand.events.items()]
    show_table(("clock", "of", "day"), rows, empty="no record and no event moves a clock yet")


def _sentence(stand: Stand) -> str:
    parts = [stand.state.value, *(f"{what} running" for what in stand.running)]
    told = {"since": stand.since, "last contact": stand.last_contact, "without more contact until": stand.until}
    return ", ".join([*parts, *(f"{word} {day}" for word, day in told.items() if day is not None)])
