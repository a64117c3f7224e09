"""Definitions carried out of vault.lifecycle.restore_lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from vault.consent import event as consents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.consent.event import Event
    from vault.context import House
    from vault.ids import TenantId


DENIALS: Final = frozenset({"refused", "withdrawn", "objected", "objection-upheld", "restricted"})
"""Kinds of events that a restore must not undo. A consent that ends by itself does so again without them."""


async def note_denials(house: House, tenant: TenantId, events: Iterable[Event]) -> None:
    """Write down the events that are a no, an objection or a restriction; call it in the transaction that adds them.

    Raises:
        Unavailable: the ledger does not answer; then the events must not be added.
    """
    lines = [(each.subject, consents.encode(_bare(each))) for each in events if each.kind in DENIALS]
    await house.tombstones.add(tenant, "consent", house.clock.now(), lines)


def read_denial(body: bytes) -> Event:
    """Read a line of a consent ledger's event."""
    return consents.decode(body)


def _bare(event: Event) -> Event:
    """Take away what is sealed under a key that a restored vault may not have, and what need not be known twice."""
    return replace(event, evidence=None, channel=None, language=None, jurisdiction=None)
