"""``cdv consent receipt``: proof of what a person said, to hand to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID  # noqa: TC003 - typer reads the annotations

import typer

from vault.cli.consent import SUBJECT
from vault.cli.consent import app as consent
from vault.cli.options import DEFAULT, HERE, Tenant, VaultFolder, examples
from vault.cli.session import in_tenant
from vault.ids import SubjectId

if TYPE_CHECKING:
    from vault.context import House
    from vault.ids import TenantId


def register(_app: typer.Typer) -> None:
    """Add the command to those about consents."""
    consent.command(
        "receipt",
        epilog=examples(f"cdv consent receipt {SUBJECT} 0199aabb-0000-7000-8000-000000000002 > receipt.json"),
    )(receipt)


def receipt(
    subject: Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")],
    event: Annotated[UUID, typer.Argument(metavar="EVENT", help="Id of the event, as `cdv consent show` lists it.")],
    form: Annotated[
        Literal["dpv", "kantara"], typer.Option("--format", help="ISO/IEC TS 27560 as JSON-LD, or Kantara 1.1.")
    ] = "dpv",
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
) -> None:
    """Print the signed receipt of an event. It holds no value of the person; `cdv verify` checks it anywhere."""

    async def work(house: House, its: TenantId) -> dict[str, Any]:
        from vault.access.operator import at_the_console
        from vault.consent.receipts.issue import read_receipt

        return await read_receipt(house, at_the_console(its), SubjectId(subject), event, form=form)

    typer.echo(json.dumps(in_tenant(vault, tenant, work), ensure_ascii=False, indent=2))
