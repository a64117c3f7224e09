"""Free words beside an event, such as where the proof of a consent lies: sealed under the person's own key."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from vault.catalogue.types import decode, encode
from vault.consent.transaction import missing
from vault.crypto.seal import place
from vault.errors import Fault

if TYPE_CHECKING:
    from uuid import UUID

    from vault.consent.event import Event
    from vault.context import Caller, House
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId

COLLECTION = "consent"
FIELD = "evidence"
LONGEST = 500
_REFUSED = frozenset({"Cc", "Cs"})
"""Control characters, line breaks among them, and halves of characters."""


def words_fault(words: str | None, *, at: str, code: str) -> Fault | None:
    """Say what is wrong with free words; nothing where there are none."""
    if words is None:
        return None
    proper = words.strip() and len(words) <= LONGEST
    if proper and not any(unicodedata.category(each) in _REFUSED for each in words):
        return None
    return Fault(at, code, f"1 to {LONGEST} characters in one line, without control characters")


async def keys_of(house: House, caller: Caller, subject: SubjectId) -> SubjectKeys:
    """Return a person's keys.

    Raises:
        NotFound: there are none, so that there is no such person, or no longer.
    """
    keys = (await house.keyring.subject_keys(caller.tenant, [subject])).get(subject)
    if keys is None:
        async with house.data.reading() as connection:
            raise await missing(house, caller, connection, subject)
    return keys


def seal_words(keys: SubjectKeys, tenant: TenantId, subject: SubjectId, event: UUID, words: str | None) -> bytes | None:
    """Seal the words beside an event; nothing where there are none."""
    if words is None:
        return None
    return keys.seal(FIELD, encode(words), place(tenant, subject, COLLECTION, event))


def open_words(keys: SubjectKeys, tenant: TenantId, event: Event) -> str | None:
    """Open the words beside an event; nothing where there are none.

    Raises:
        CannotOpen: they do not open at their place.
    """
    if event.evidence is None:
        return None
    return str(decode(keys.open(FIELD, event.evidence, place(tenant, event.subject, COLLECTION, event.id))))
