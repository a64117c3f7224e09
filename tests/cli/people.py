"""People in a vault of the command line, for commands to be used on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from vault.access.callers import operator_caller
from vault.bootstrap import open_vault
from vault.clock import Clock
from vault.ids import DEFAULT_TENANT
from vault.records.write import ProfileInput, create_subject


def person_in(folder: Path, external_ids: dict[str, str] | None = None, **profile: str) -> str:
    """Make a customer, as sales would, and give the id."""
    (created,) = people_in(folder, profile, external_ids=external_ids)
    return created


def people_in(
    folder: Path, *profiles: dict[str, str], external_ids: dict[str, str] | None = None, clock: Clock | None = None
) -> list[str]:
    """Make customers, as sales would, and give their ids."""

    async def make() -> list[str]:
        async with open_vault(folder, **({} if clock is None else {"clock": clock})) as vault:
            caller = operator_caller(DEFAULT_TENANT)
            sales = replace(caller, principal=replace(caller.principal, roles=("sales",)))
            inputs = [
                ProfileInput(profile, "order-fulfilment", external_ids=external_ids or {}) for profile in profiles
            ]
            created = [await create_subject(vault.services, sales, profile) for profile in inputs]
            return [str(item.id) for item in created]

    return asyncio.run(make())
