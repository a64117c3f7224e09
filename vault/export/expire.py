"""Delete packages whose time has run out: what lies around can be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.export.store import AT_ONCE, expire_some

if TYPE_CHECKING:
    from vault.context import House
    from vault.ids import TenantId


async def expire_packages(house: House, tenant: TenantId | None = None) -> int:
    """Delete the bytes of all packages that are over, some at a time; done twice, it finds none.

    Nobody has to wait for this: a package that is over is handed to nobody, whether or not its bytes are gone.

    Args:
        house: the rooms.
        tenant: only this one's; none: everybody's.

    Returns:
        how many packages.

    Raises:
        Unavailable: the database does not answer; what was deleted stays so.
    """
    gone = 0
    for each in await house.keyring.tenants() if tenant is None else [tenant]:
        while True:
            async with house.data.transaction() as connection:
                some = await expire_some(connection, each, house.clock.now())
            gone += some
            if some < AT_ONCE:
                break
    return gone
