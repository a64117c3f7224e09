"""``cdv consent expire``: complete the ledger with the consents that have ended by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.cli.consent_verify import bar
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder
from vault.cli.output import emit, note
from vault.cli.session import in_tenant

if TYPE_CHECKING:
    from vault.context import House
    from vault.ids import TenantId


def expire(vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Write an event for each consent whose time has run out; reads have heeded its end all along."""
    people, ended = in_tenant(vault, tenant, lambda house, its: _expire(house, its, quiet=as_json))
    if as_json:
        emit({"people": people, "expired": ended})
    else:
        note(f"{people:,} people, {ended:,} consents ended")


async def _expire(house: House, tenant: TenantId, *, quiet: bool) -> tuple[int, int]:
    from vault.access.operator import at_the_console
    from vault.consent.expiry import expire_lapsed

    people = ended = 0
    with bar("looking", quiet=quiet) as advance:
        async for step in expire_lapsed(house, at_the_console(tenant)):
            people += step.people
            ended += step.ended
            advance(step.people)
    return people, ended
