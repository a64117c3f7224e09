"""Where a person can be written to: an address that the vault holds already, and never one that somebody just named."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.catalogue.types import decode
from vault.clock import to_microseconds
from vault.crypto.seal import record_aad
from vault.lifecycle.key_fence import opened
from vault.retention.filter import over_values
from vault.sensitive import Sensitive
from vault.subjects.record_body import unpack
from vault.subjects.store import PROFILE, Wanted

if TYPE_CHECKING:
    from vault.catalogue.model import Field
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.subjects.record_body import Stored
    from vault.subjects.store import Found

EMAIL = "email"
"""The type of the catalogue's fields to whose values letters go."""
LANGUAGE = "language"
THERE = frozenset({"active", "restricted"})
"""States of a person who can exercise rights; whoever is erased, or kept for the law alone, cannot be reached."""


class Contact(NamedTuple):
    """How a person is reached.

    Attributes:
        field: name of the profile's field that holds the address.
        language: the person's own, as the profile says; none where it does not.
    """

    pseudonym: Pseudonym
    field: str
    address: Sensitive[str]
    language: str | None


async def find_contact(services: Services, tenant: TenantId, subject: SubjectId) -> Contact | None:
    """Open the first of a person's e-mail addresses, in the catalogue's order; for a letter, and for nobody to see.

    Returns:
        none where there is no such person, or no address of theirs that may still be kept.
    """
    (found,) = await services.subjects.find(Wanted(tenant, (subject,), profile=True))
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    if found is None or found.state not in THERE or found.profile is None or keys is None:
        return None
    person, over = found, (await over_values(services, tenant, [found])).get(subject, frozenset())

    def contact(own: SubjectKeys) -> Contact | None:
        return _contact(services, tenant, person, own, over)

    return await opened(services, tenant, subject, keys, contact)


def _contact(
    services: Services, tenant: TenantId, found: Found, keys: SubjectKeys, over: frozenset[str]
) -> Contact | None:
    stored = unpack(found.profile or b"")
    now = to_microseconds(services.clock.now())
    where = record_aad(tenant, found.id, PROFILE, found.id)

    def value(name: str) -> str | None:
        each: Stored | None = stored.get(name)
        if each is None or name in over or (each.expires_at is not None and each.expires_at <= now):
            return None
        opened = decode(keys.open(name, each.sealed, where))
        return opened if isinstance(opened, str) else None

    for field in contact_fields(services, tenant):
        address = value(field.name)
        if address:
            return Contact(found.pseudonym, field.name, Sensitive(address), value(LANGUAGE))
    return None


def contact_fields(services: Services, tenant: TenantId) -> list[Field]:
    """List the profile's fields that hold e-mail addresses."""
    profile = services.policies.active(tenant).policy_set.catalogue.collections.get(PROFILE)
    return [] if profile is None else [each for each in profile.fields.values() if each.type == EMAIL]
