"""``cdv consent restrict``, ``announce`` and ``lift``: a person's data is stored and not used (Art. 18 GDPR)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples
from vault.cli.output import emit, note
from vault.cli.session import in_tenant

if TYPE_CHECKING:
    from vault.consent.recorded import Recorded
    from vault.context import House
    from vault.ids import TenantId
    from vault.letters.about_requests import Announced

SUBJECT = "0199aabb-0000-7000-8000-000000000001"


class Ground(StrEnum):
    """Why data is restricted (Art. 18(1))."""

    accuracy = "accuracy"
    unlawful = "unlawful"
    claims = "claims"
    objection = "objection"


Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, in one line; sealed.")]


def register(group: typer.Typer) -> None:
    """Add the commands to ``cdv consent``."""
    group.command(epilog=examples(f"cdv consent restrict {SUBJECT} --ground accuracy"))(restrict)
    group.command(
        epilog=examples(f"cdv consent announce {SUBJECT}", f"cdv consent announce {SUBJECT} --told 'letter of 3 May'")
    )(announce)
    group.command(epilog=examples(f"cdv consent lift {SUBJECT} --reason 'address corrected'"))(lift)


def restrict(
    subject: Subject,
    ground: Annotated[Ground, typer.Option("--ground", help="Why (Art. 18(1)(a) to (d)).")],
    reason: Reason = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Restrict a person's data (Art. 18): it is stored and, but for the exceptions, not used."""

    async def work(house: House, its: TenantId) -> Recorded:
        from vault.access.operator import at_the_console
        from vault.consent.restrictions import restrict as restrict_now
        from vault.ids import SubjectId

        who = at_the_console(its)
        return await restrict_now(house, who, SubjectId(subject), ground=ground.value, reason=reason)

    _tell(in_tenant(vault, tenant, work), as_json=as_json)


def announce(
    subject: Subject,
    told: Annotated[
        str | None,
        typer.Option("--told", metavar="TEXT", help="How the person was told, if not by a letter from here; sealed."),
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Tell the person, by letter, that a restriction will be lifted; it can be some days later (Art. 18(3))."""

    async def work(house: House, its: TenantId) -> Announced:
        from vault.access.operator import at_the_console
        from vault.ids import SubjectId
        from vault.letters.about_requests import announce_lifting

        return await announce_lifting(house, at_the_console(its), SubjectId(subject), told=told)

    announced = in_tenant(vault, tenant, work)
    if as_json:
        emit({"id": announced.id, "state": "restricted", "lift_from": announced.lift_from})
    else:
        note(
            f"Recorded as {announced.id}: the restriction can be lifted from {announced.lift_from:%Y-%m-%d %H:%M} UTC."
        )


def lift(
    subject: Subject,
    reason: Reason = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Lift a restriction, once the person was told and the days of that notice are over (Art. 18(3))."""

    async def work(house: House, its: TenantId) -> Recorded:
        from vault.access.operator import at_the_console
        from vault.consent.restrictions import lift_restriction
        from vault.ids import SubjectId

        return await lift_restriction(house, at_the_console(its), SubjectId(subject), reason=reason)

    _tell(in_tenant(vault, tenant, work), as_json=as_json)


def _tell(recorded: Recorded, *, as_json: bool) -> None:
    if as_json:
        emit({"id": recorded.id, "state": recorded.state})
    else:
        note(f"Recorded as {recorded.id}: {recorded.state} now.")
