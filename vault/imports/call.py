"""Bring in what somebody who calls has: many items at once, each with its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.errors import InvalidInput
from vault.imports.consent_files import checked_import_source
from vault.imports.consents import MOST, bring_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.context import Caller, House
    from vault.errors import Fault
    from vault.imports.consents import Brought, Told


@on_record("import-consents")
async def import_consents(
    house: House, caller: Caller, items: Sequence[Told | Fault], *, source: str | None
) -> Brought:
    """Import what people said elsewhere; what is wrong is told item by item, and the rest goes in.

    Args:
        house: the rooms.
        caller: who imports.
        items: 1 to 1,000; those of which nothing could be read are faults already.
        source: the system from which they come, a slug.

    Raises:
        InvalidInput: no items or too many, or no source.
        Denied: no role of the caller's may import consents.
    """
    await require_right(house, caller, "vault:consents", "import", audited_as="import-consents")
    source = checked_import_source(source)
    if not 1 <= len(items) <= MOST:
        raise InvalidInput(f"an import has 1 to {MOST:,} items", code="too-many-items")
    return await bring_in(house, caller, items, source=source, note=True)
