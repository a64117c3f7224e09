"""Commands of ``cdv requests`` that decide; what is approved is carried out here and now."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, Yes, examples
from vault.cli.output import emit, note
from vault.cli.session import in_tenant, in_vault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from vault.bootstrap import Vault
    from vault.context import Caller, House
    from vault.ids import TenantId
    from vault.requests.model import Request as Made

    Decide = Callable[[House, Caller], Awaitable[Made]]

REQUEST = "0199aabb-0000-7000-8000-000000000001"


class Reason(StrEnum):
    """Why it takes longer (Art. 12(3))."""

    complexity = "complexity"
    number = "number"


class Outcome(StrEnum):
    """How a review ended."""

    confirmed = "confirmed"
    changed = "changed"


Request = Annotated[UUID, typer.Argument(metavar="REQUEST", help="The request's id.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why, in one line; sealed.")]
Later = Annotated[bool, typer.Option("--later", help="Leave the job to the server, or to `cdv jobs run`.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command(epilog=examples(f"cdv requests verify {REQUEST} --evidence 'identity card seen'"))(verify)
    app.command(epilog=examples(f"cdv requests approve {REQUEST}"))(approve)
    app.command(epilog=examples(f"cdv requests reject {REQUEST} --ground legal-obligation --note 'see § 147 AO'"))(
        reject
    )
    app.command(epilog=examples(f"cdv requests extend {REQUEST} --reason complexity"))(extend)
    app.command("ask-identity", epilog=examples(f"cdv requests ask-identity {REQUEST}"))(ask_identity)
    app.command(epilog=examples(f"cdv requests complete {REQUEST} --outcome changed"))(complete)
    app.command(epilog=examples(f"cdv requests cancel {REQUEST}"))(cancel)
    app.command(epilog=examples(f"cdv requests reopen {REQUEST}"))(reopen)
    app.command(epilog=examples("cdv requests expire"))(expire)


def verify(
    request: Request,
    evidence: Annotated[str, typer.Option("--evidence", metavar="TEXT", help="What was seen, in one line; sealed.")],
    later: Later = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Note that you have made sure that it is the person; what the rules approve by themselves is carried out."""

    async def decided(house: House, caller: Caller) -> Made:
        from vault.identity.verify import note_evidence

        return await note_evidence(house, caller, request, evidence)

    _decide(vault, tenant, decided, later=later, as_json=as_json)


def approve(
    request: Request,
    note: Note = None,
    later: Later = False,
    yes: Yes = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Approve a verified request and carry it out; where four eyes are needed, this is one pair of them."""
    if not yes:
        typer.confirm("Carry the request out? An erasure cannot be taken back.", abort=True, err=True)

    async def decided(house: House, caller: Caller) -> Made:
        from vault.requests.decide import approve_request

        return await approve_request(house, caller, request, note=note)

    _decide(vault, tenant, decided, later=later, as_json=as_json)


def reject(
    request: Request,
    ground: Annotated[str, typer.Option("--ground", metavar="CODE", help="One that the law gives; see the docs.")],
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Refuse a request; the person is told the ground and the remedies."""

    async def decided(house: House, caller: Caller) -> Made:
        from vault.requests.decide import reject_request

        return await reject_request(house, caller, request, ground=ground, note=note)

    _decide(vault, tenant, decided, letter="tell-rejected", as_json=as_json)


def extend(
    request: Request,
    reason: Annotated[Reason, typer.Option("--reason", help="Why it takes longer.")],
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Extend the deadline, once and before it has passed; the person is told."""

    async def decided(house: House, caller: Caller) -> Made:
        from vault.requests.decide import extend_request

        return await extend_request(house, caller, request, reason=reason.value, note=note)

    _decide(vault, tenant, decided, letter="tell-extended", as_json=as_json)


def ask_identity(
    request: Request,
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Ask who it is, where that is in doubt; asked promptly, it stops the clock."""

    async def decided(house: House, caller: Caller) -> Made:
        from vault.requests.decide import ask_identity as ask

        return await ask(house, caller, request, note=note)

    _decide(vault, tenant, decided, letter="tell-identity", as_json=as_json)


def complete(
    request: Request,
    outcome: Annotated[Outcome, typer.Option("--outcome", help="How the review ended.")],
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Complete a review of an automated decision."""

    async def decided(house: House, caller: Caller) -> Made:
        from vault.requests.decide import complete_request

        return await complete_request(house, caller, request, outcome=outcome.value, note=note)

    _decide(vault, tenant, decided, letter="tell-completed", as_json=as_json)


def cancel(
    request: Request,
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Cancel a request that is not under way."""

    async def decided(house: House, caller: Caller) -> Made:
        from vault.requests.decide import cancel_request

        return await cancel_request(house, caller, request, note=note)

    _decide(vault, tenant, decided, as_json=as_json)


def reopen(
    request: Request,
    note: Note = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Reopen a closed request: unverified again, with its history and the deadline of its receipt."""

    async def decided(house: House, caller: Caller) -> Made:
        from vault.requests.decide import reopen_request

        return await reopen_request(house, caller, request, note=note)

    _decide(vault, tenant, decided, as_json=as_json)


def expire(vault: VaultFolder = HERE, as_json: Json = False) -> None:
    """Expire requests that have waited unverified for too long, of all tenants; a server does it by itself."""

    async def work(opened: Vault) -> int:
        from vault.requests.expiry import expire_requests

        return await expire_requests(opened.house)

    expired = in_vault(vault, work)
    if as_json:
        emit({"expired": expired})
    else:
        note(f"{expired:,} requests expired")


def _decide(
    vault: Path, tenant: str, decided: Decide, *, letter: str | None = None, later: bool = False, as_json: bool
) -> None:
    """Decide, carry out what is approved by that, send the letter, and say how things stand."""

    async def work(house: House, its: TenantId) -> tuple[Made, float | None]:
        from vault.access.operator import at_the_console
        from vault.operations_workflows import WORKFLOWS

        made = await decided(house, at_the_console(its))
        job = made.kind if made.state == "approved" and not later else letter
        if job is None:
            return made, None
        waits = await house.jobs.run_here(house, WORKFLOWS[job], its, made.id, watch=_watch(quiet=as_json))
        return await _now(house, its, made), waits

    made, waits = in_tenant(vault, tenant, work)
    if as_json:
        emit({"id": made.id, "state": made.state, "due": str(made.due.on), "waits": waits})
        return
    note(f"The request is {made.state.replace('_', ' ')}; due on {made.due.on}.")
    if waits is not None:
        note("Its job waits for something; the server goes on with it, or `cdv jobs run`.")


async def _now(house: House, tenant: TenantId, made: Made) -> Made:
    from vault.requests.store import find_request

    async with house.data.reading() as connection:
        kept = await find_request(connection, tenant, made.id)
    return made if kept is None else kept.request


def _watch(*, quiet: bool) -> Callable[[str], None] | None:
    def tell(step: str) -> Any:
        note(f"  {step} …")

    return None if quiet else tell
