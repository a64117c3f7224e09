"""What the job of an access or portability request does: build the package, and tell the person that it is there.

This stands beside the packages and not in them, because it needs letters as well, and whoever sends letters hands out
packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from vault.export.build import build_package, package_of, request_of
from vault.export.store import set_facts
from vault.letters.send import notify_person

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import House
    from vault.ids import TenantId
    from vault.jobs.workflow import Step


async def announce_package(house: House, tenant: TenantId, request: UUID) -> float | None:
    """Tell the person that their package is there, once; where no letter can be sent, it is there all the same."""
    asked = await request_of(house, tenant, request)
    package = await package_of(house, tenant, asked)
    if package is None or package.state != "ready" or package.facts.announced_at is not None:
        return None
    codes: dict[str, Any] = {"kind": asked.kind, "id": asked.id, "until": package.expires_at.date()}
    await notify_person(house, tenant, asked.subject, "package-ready", language=asked.language, **codes)
    facts = msgspec.structs.replace(package.facts, announced_at=house.clock.now())
    async with house.data.transaction() as connection:
        await set_facts(connection, tenant, package.id, facts)
    return None


PACKAGE_STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("build-package", build_package),
    ("announce-package", announce_package),
)
"""The steps of access and portability between starting and completing a request."""
