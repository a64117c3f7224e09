"""Opens a vault for one command and closes it again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from vault.bootstrap import Vault
    from vault.context import Services
    from vault.ids import TenantId

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, with the vault's own logging on standard error from warnings up."""
    from vault import logs

    logs.configure("warning")
    return asyncio.run(work)


def in_vault(folder: Path, work: Callable[[Vault], Awaitable[T]]) -> T:
    """Do something in an open vault.

    Raises:
        Misconfigured: there is no vault in the folder, or it does not open.
        Unavailable: a database does not answer.
    """

    async def opened() -> T:
        from vault.bootstrap import open_vault

        async with open_vault(folder) as vault:
            return await work(vault)

    return run(opened())


def in_tenant(folder: Path, tenant: str, work: Callable[[Services, TenantId], Awaitable[T]]) -> T:
    """Do something for one tenant of a vault.

    Raises:
        NotFound: the vault has no such tenant.
        Misconfigured, Unavailable: as with :func:`in_vault`.
    """

    async def there(vault: Vault) -> T:
        return await work(vault.services, await known_tenant(vault.services, tenant))

    return in_vault(folder, there)


async def known_tenant(services: Services, name: str) -> TenantId:
    """Find a tenant by its name.

    Raises:
        NotFound: there is none of that name.
    """
    from vault.errors import NotFound

    for tenant in await services.keyring.tenants():
        if tenant == name:
            return tenant
    raise NotFound("there is no such tenant", hint="`cdv tenants list` names them, `cdv tenants add` makes one")
