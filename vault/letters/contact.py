"""The address for letters to a person: one that the vault already stores, never one from the current call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.catalogue.types import decode
from vault.clock import to_microseconds
from vault.crypto.seal import record_aad
from vault.lifecycle.key_fence import open_fenced
from vault.retention.filter import over_values
from vault.sensitive import Sensitive
from vault.subjects.record_body import unpack
from vault.subjects.store import PROFILE, SubjectQuery

if TYPE_CHECKING:
    from vault.catalogue.model import Field
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.subjects.record_body import Stored
    from vault.subjects.store import StoredSubject

EMAIL = "email"
"""The type of the fields with addresses for letters."""
LANGUAGE = "language"
THERE = frozenset({"active", "restricted"})
"""States of a person who can exercise rights. An erased or retained person cannot be reached."""


class Contact(NamedTuple):
    """How a person is reached.

    Attributes:
        field: name of the profile's field that holds the address.
        language: the language of the profile, or None.
    """

    pseudonym: Pseudonym
    field: str
    address: Sensitive[str]
    language: str | None


async def find_contact(services: Services, tenant: TenantId, subject: SubjectId) -> Contact | None:
    """Return the first e-mail address of a person, in the order of the catalogue. It is never shown.

    Returns:
        None if the person does not exist, or has no address that may still be kept.
    """
    (found,) = await services.subjects.find(SubjectQuery(tenant, (subject,), profile=True))
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    if found is None or found.state not in THERE or found.profile is None or keys is None:
        return None
    row, expired = found, (await over_values(services, tenant, [found])).get(subject, frozenset())

    def contact(current: SubjectKeys) -> Contact | None:
        return _contact(services, tenant, row, current, expired)

    return await open_fenced(services, tenant, subject, keys, contact)


def _contact(
    services: Services, tenant: TenantId, row: StoredSubject, keys: SubjectKeys, expired: frozenset[str]
) -> Contact | None:
    values = unpack(row.profile or b"")
    now = to_microseconds(services.clock.now())
    aad = record_aad(tenant, row.id, PROFILE, row.id)

    def value(name: str) -> str | None:
        stored: Stored | None = values.get(name)
        if stored is None or name in expired or (stored.expires_at is not None and stored.expires_at <= now):
            return None
        text = decode(keys.open(name, stored.sealed, aad))
        return text if isinstance(text, str) else None

    for field in contact_fields(services, tenant):
        address = value(field.name)
        if address:
            return Contact(row.pseudonym, field.name, Sensitive(address), value(LANGUAGE))
    return None


def contact_fields(services: Services, tenant: TenantId) -> list[Field]:
    """List the profile's fields that hold e-mail addresses."""
    profile = services.policies.active(tenant).policy_set.catalogue.collections.get(PROFILE)
    return [] if profile is None else [field for field in profile.fields.values() if field.type == EMAIL]
