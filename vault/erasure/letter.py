"""The letter that tells a person of their erasure (Art. 12(3) GDPR): what is gone, what is kept and until when.

An erasure takes the address away too. So it is read before, and the transaction that deletes it leaves it with the
erasure, sealed under the key that is destroyed next. The step ``tell`` sends the letter and deletes the address; only
then are the keys destroyed and the files cleaned, so that no copy of the address opens.

A process that dies before the transaction ends has changed nothing; one that dies after it leaves the address, and the
next one sends the letter. One that dies between the sending and the deletion of the address has it sent twice.

A relay that does not take the letter is tried again for about an hour. Then the erasure goes on without a letter, and
says so: copies of what was erased must not stay readable for as long as a relay is down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from vault import logs
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Unavailable, VaultError
from vault.ids import Pseudonym, SubjectId
from vault.letters.erased import gist
from vault.letters.send import Contact, LetterContent, deliver, find_contact, language_of
from vault.lifecycle.erasures import find_erasure, save_erasure
from vault.requests.store import find_request
from vault.sensitive import Sensitive

if TYPE_CHECKING:
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure

RETRIES: Final = (60.0, 600.0, 3_000.0)
"""Seconds between the tries, if the relay does not take the letter."""
COLLECTION: Final = "erasure"
ADDRESSEE: Final = "addressee"
FAILED: Final = "mail-failed"

log = logs.get_logger()


class _Sealed(msgspec.Struct, frozen=True):
    """What is sealed of a contact."""

    pseudonym: UUID
    field: str
    address: str
    language: str


@dataclass(frozen=True, slots=True)
class Addressee:
    """To whom the letter goes; ``outcome`` is why there is none to be sent, if one was due."""

    contact: Contact | None = None
    outcome: str | None = None

    def seal(self, tenant: TenantId, erasure: Erasure, keys: SubjectKeys | None) -> bytes | None:
        """Seal it under the person's key; None if no letter is to be sent."""
        if self.contact is None or keys is None:
            return None
        contact = self.contact
        plain = _Sealed(contact.pseudonym, contact.field, contact.address.reveal(), language_of(contact.language))
        return keys.seal(ADDRESSEE, msgspec.json.encode(plain), _aad(tenant, erasure))


async def find_addressee(services: Services, tenant: TenantId, erasure: Erasure) -> Addressee:
    """Find the address before it is erased, and the language of the request. Without a request no letter is due.

    Raises:
        Unavailable: a database does not answer.
    """
    if erasure.request is None:
        return Addressee()
    if not services.mail.configured:
        return Addressee(outcome="mail-not-configured")
    keys = await services.keyring.row_keys(tenant)
    async with services.data.reading() as connection:
        stored = await find_request(connection, keys, erasure.request)
    try:
        contact = await find_contact(services, tenant, SubjectId(erasure.subject))
    except Unavailable:
        raise
    except VaultError as error:
        # An address that does not open does not stop the erasure.
        log.warning("an erasure goes without a letter", code=error.code, tenant=tenant)
        contact = None
    if contact is None:
        return Addressee(outcome="no-contact")
    language = None if stored is None else stored.request.language
    return Addressee(contact._replace(language=language_of(language, contact.language)))


async def tell_person(services: Services, tenant: TenantId, erasure: Erasure) -> float | None:
    """Send the letter, if one is due, and delete the address.

    Returns:
        None when the erasure goes on; else the seconds until the next try.
    """
    if erasure.addressee is None:
        return None
    outcome = await _send(services, tenant, erasure)
    async with services.data.transaction() as connection:
        current = await find_erasure(connection, tenant, erasure.id, lock=True)
        if current is None or current.addressee is None:
            return None
        tries = current.facts.tries
        if outcome == FAILED and tries < len(RETRIES):
            again = replace(current, facts=replace(current.facts, tries=tries + 1))
            await save_erasure(connection, tenant, again)
            return RETRIES[tries]
        ended = replace(current, addressee=None, facts=replace(current.facts, letter=outcome))
        await save_erasure(connection, tenant, ended)
    return None


async def _send(services: Services, tenant: TenantId, erasure: Erasure) -> str:
    try:
        contact = await _opened(services, tenant, erasure)
        if contact is None:
            return "no-contact"
        language = language_of(contact.language)
        codes = {
            "kind": "erasure",
            "id": erasure.request,
            **gist(services.policies.active(tenant).policy_set, language, erasure),
        }
        return await deliver(services, tenant, contact, LetterContent("erasure-completed", codes, language))
    except VaultError as error:
        log.warning("a letter was not sent", code=error.code, tenant=tenant, exc_info=error)
        return FAILED


async def _opened(services: Services, tenant: TenantId, erasure: Erasure) -> Contact | None:
    subject = SubjectId(erasure.subject)
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    if keys is None or erasure.addressee is None:
        return None
    try:
        plain = keys.open(ADDRESSEE, erasure.addressee, _aad(tenant, erasure))
    except CannotOpen:
        return None
    known = msgspec.json.decode(plain, type=_Sealed)
    return Contact(Pseudonym(known.pseudonym), known.field, Sensitive(known.address), known.language)


def _aad(tenant: TenantId, erasure: Erasure) -> bytes:
    return record_aad(tenant, erasure.subject, COLLECTION, erasure.id)
