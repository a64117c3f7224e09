"""Letters to data subjects: their texts in all supported languages, the address, and sending.

A letter goes to an address that the vault already stores, never to one from the current call. A letter that cannot be
sent never fails the operation that it reports.
"""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from vault import logs
from vault.access.authorization import audit_entry
from vault.access.callers import system_caller
from vault.catalogue.company import Controller
from vault.catalogue.types import decode
from vault.clock import to_microseconds
from vault.contacts.changes import COLLECTION as CONTACT
from vault.contacts.changes import FORMER, contact_fields, quarantine, young_contacts
from vault.crypto.seal import record_aad
from vault.errors import VaultError
from vault.ids import SubjectId
from vault.lifecycle.key_fence import open_fenced
from vault.messaging.mail import Letter, MailFailed, MailNotConfigured
from vault.retention.filter import over_values
from vault.sensitive import Sensitive
from vault.subjects.rows import unpack
from vault.subjects.stand_in import stand_in
from vault.subjects.store import PROFILE, SubjectQuery

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from vault.contacts.changes import ContactChange
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import Pseudonym, TenantId
    from vault.subjects.store import StoredSubject


LANGUAGES: Final = ("en", "de", "fr")
MAIN: Final = "en"
_FOLDER: Final = Path(__file__).parent / "texts"
_UNNAMED: Final = "Customer Data Vault"
SENDER_SHOWN: Final = 60
"""Characters of the controller's name in a subject."""


class Text(NamedTuple):
    """The text of a letter."""

    language: str
    subject: str
    body: str


def language_of(*preferred: str | None) -> str:
    """Return the first supported language (``de-AT`` counts as ``de``), or English."""
    for language in preferred:
        main = (language or "").partition("-")[0].lower()
        if main in LANGUAGES:
            return main
    return MAIN


def require(name: str, codes: Mapping[str, object]) -> None:
    """Check that a letter can be written.

    Raises:
        KeyError: the letter does not exist, or a code is missing.
    """
    write(name, MAIN, Controller(), codes)


def write(name: str, language: str, controller: Controller, codes: Mapping[str, object]) -> Text:
    """Write a letter.

    Args:
        name: the name of the letter.
        language: one of ``LANGUAGES``.
        controller: the sender.
        codes: the content: ids, dates, and codes that are written in words (``kind``, ``reason``).

    Raises:
        KeyError: the letter does not exist, or a code is missing.
    """
    texts = _texts(language)
    letter = texts["letters"][name]
    words = {key: _in_words(texts, key, value) for key, value in codes.items()}
    fixed = {
        "controller": controller.name or _UNNAMED,
        "contact": _office(controller) or controller.url or "-",
        "place": controller.url or controller.name or _UNNAMED,
    }
    body = f"{letter['body']}\n\n{texts['end']}".strip("\n") + "\n"
    # Whose letter it is has to be seen in a list of letters. The name is no text of ours, so it is not filled in.
    subject = f"{controller.name[:SENDER_SHOWN]}: {letter['subject']}" if controller.name else letter["subject"]
    return Text(language, subject, body.format_map({**words, **fixed}))


def sender_of(controller: Controller) -> str:
    """Return the default sender: the data protection officer, otherwise the controller."""
    return _office(controller)


def _office(controller: Controller) -> str:
    return controller.email if controller.dpo is None else controller.dpo.email


def phrases(language: str, table: str) -> Mapping[str, str]:
    """Return a table of texts that are parts of letters."""
    phrases: Mapping[str, str] = _texts(language)[table]
    return phrases


def in_words(language: str, key: str, value: object) -> str:
    """Write a code in words, as :func:`write` does."""
    return _in_words(_texts(language), key, value)


def _in_words(texts: dict[str, Any], key: str, value: object) -> str:
    if isinstance(value, datetime):
        value = value.date()
    if isinstance(value, date):
        day = texts["first"] if value.day == 1 else value.day
        return str(texts["date"]).format(day=day, month=texts["months"][value.month - 1], year=value.year)
    return str(texts.get(f"{key}s", {}).get(str(value), value))


@cache
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


LANGUAGE = "language"
THERE = frozenset({"active", "restricted"})
"""States of a person who can exercise rights. An erased or retained person cannot be reached."""


class Contact(NamedTuple):
    """How a person is reached.

    Attributes:
        field: name of the profile's field that holds the address.
        language: the language of the profile, or None.
        is_young: whether the address has changed within ``contact_days``.
    """

    pseudonym: Pseudonym
    field: str
    address: Sensitive[str]
    language: str | None
    is_young: bool = False


async def find_contact(
    services: Services, tenant: TenantId, subject: SubjectId, *, field: str | None = None
) -> Contact | None:
    """Return the first e-mail address of a person, in the order of the catalogue. It is never shown.

    An address that has changed within ``contact_days`` is taken only if there is no other.

    Args:
        field: take the address of this field, and no other.

    Returns:
        None if the person does not exist, or has no address that may still be kept.
    """
    person = await _find_person(services, tenant, subject)
    return None if person is None else await _contact_of(services, tenant, *person, only=field)


async def find_former_contact(services: Services, tenant: TenantId, change: ContactChange) -> Contact | None:
    """Return the address at which a person learns of a changed address: the former one or, if there was none, another.

    Returns:
        None if the person does not exist, or has no address that was there before the change.
    """
    person = await _find_person(services, tenant, change.subject)
    if person is None:
        return None
    contact = await _contact_of(services, tenant, *person)
    if change.former is None:
        is_there = contact is not None and not contact.is_young and contact.field != change.field
        return contact if is_there else None
    row, keys, _young = person
    sealed, aad = change.former, record_aad(tenant, change.subject, CONTACT, change.id)
    address = await open_fenced(
        services, tenant, change.subject, keys, lambda current: decode(current.open(FORMER, sealed, aad))
    )
    return Contact(row.pseudonym, change.field, Sensitive(str(address)), None if contact is None else contact.language)


_Person = tuple["StoredSubject", "SubjectKeys", "frozenset[str]"]


async def _find_person(services: Services, tenant: TenantId, subject: SubjectId) -> _Person | None:
    """Return a person who can be reached, with the keys, and the fields whose addresses have changed lately."""
    async with services.data.reading() as connection:
        young = await young_contacts(services, connection, tenant, subject)
    (row,) = await services.subjects.find(SubjectQuery(tenant, (subject,), profile=True))
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    return None if row is None or row.state not in THERE or keys is None else (row, keys, young)


async def stand_in_contact(services: Services, tenant: TenantId) -> Contact | None:
    """Return a made-up contact by the same work as :func:`find_contact`. No letter may be sent to it.

    Returns:
        None if the catalogue has no field for an address, and so no person can be reached.
    """
    addresses = _address_fields(services, tenant)
    if not addresses:
        return None
    no_one = stand_in(tenant, addresses[0], LANGUAGE)
    await _find_person(services, tenant, no_one.subject.id)
    return await _contact_of(services, tenant, no_one.subject, no_one.keys, frozenset())


def _address_fields(services: Services, tenant: TenantId) -> list[str]:
    profile = services.policies.active(tenant).policy_set.catalogue.collections.get(PROFILE)
    return [] if profile is None else contact_fields(profile.fields)


async def _contact_of(
    services: Services,
    tenant: TenantId,
    row: StoredSubject,
    keys: SubjectKeys,
    young: frozenset[str],
    *,
    only: str | None = None,
) -> Contact | None:
    if row.profile is None:
        return None
    subject = row.id
    expired = (await over_values(services, tenant, [row])).get(subject, frozenset())
    values, pseudonym = unpack(row.profile), row.pseudonym
    now, aad = to_microseconds(services.clock.now()), record_aad(tenant, row.id, PROFILE, row.id)
    addresses = sorted(_address_fields(services, tenant), key=young.__contains__) if only is None else [only]

    def value(current: SubjectKeys, name: str) -> str | None:
        stored = values.get(name)
        if stored is None or name in expired or (stored.expires_at is not None and stored.expires_at <= now):
            return None
        text = decode(current.open(name, stored.sealed, aad))
        return text if isinstance(text, str) else None

    def contact(current: SubjectKeys) -> Contact | None:
        for name in addresses:
            address = value(current, name)
            if address:
                return Contact(pseudonym, name, Sensitive(address), value(current, LANGUAGE), name in young)
        return None

    return await open_fenced(services, tenant, subject, keys, contact)


class LetterContent(NamedTuple):
    """What a letter says.

    Attributes:
        name: a letter of ``texts/``: ``request-received`` (kind, id, due), ``request-identity`` (kind, id),
            ``request-extended`` (kind, id, due, reason), ``request-rejected`` (kind, id, ground),
            ``request-completed`` (kind, id), ``package-ready`` (kind, id, until), ``restriction-lifting`` (on),
            ``contact-changed`` (id, on, change, until), ``erasure-completed`` (kind, id, erased, kept).
        codes: ids, dates and codes, never a value.
        language: of the request; by default that of the profile.
    """

    name: str
    codes: Mapping[str, object]
    language: str | None = None


Outcome = Literal["sent", "mail-not-configured", "no-contact", "mail-failed", "too-many-letters"]

log = logs.get_logger()


async def notify_person(services: Services, tenant: TenantId, subject: UUID | None, content: LetterContent) -> Outcome:
    """Send a letter to a person, if possible. A failure is no error: what the letter reports has already happened.

    It must not be called within a transaction: it queries both databases and waits for the mail relay. The audit log
    records letters that were sent, refused by the relay, or left out because the person had had the letters of a day; a
    missing relay or address is only returned and logged.

    Args:
        subject: the recipient; None sends nothing.
        content: its ``id``, if it has one, is the target of the audit entry.

    Raises:
        KeyError: the letter does not exist, or a code is missing (a programming error).

    Returns:
        ``sent`` once the relay has accepted it; otherwise the reason.
    """
    require(content.name, content.codes)
    if not services.mail.configured:
        return _unsent("mail-not-configured", tenant)
    try:
        contact = None if subject is None else await find_contact(services, tenant, SubjectId(subject))
        return await deliver(services, tenant, contact, content)
    except VaultError as error:
        return _not_written(tenant, error)


async def notify_formerly(services: Services, tenant: TenantId, change: ContactChange) -> Outcome:
    """Tell a person of a changed address, where they were reached before; the new address is not in the letter.

    The limits, the audit entry and the outcomes are those of :func:`notify_person`.
    """
    until = change.changed_at + quarantine(services, tenant)
    content = LetterContent(
        "contact-changed", {"id": change.id, "on": change.changed_at, "change": change.kind, "until": until}
    )
    if not services.mail.configured:
        return _unsent("mail-not-configured", tenant)
    try:
        return await deliver(services, tenant, await find_former_contact(services, tenant, change), content)
    except VaultError as error:
        return _not_written(tenant, error)


async def deliver(services: Services, tenant: TenantId, contact: Contact | None, content: LetterContent) -> Outcome:
    """Send a letter to a known contact, within the limits of letters a day, and record it.

    Raises:
        VaultError: a database does not answer.
    """
    if contact is None:
        return _unsent("no-contact", tenant)
    outcome: Outcome = "sent"
    try:
        # Counted here and not where letters are ordered: many requests for one person are many letters.
        if await services.limits.take_letter(tenant, contact.pseudonym):
            await send_letter(services, tenant, contact, content)
        else:
            outcome = "too-many-letters"
    except MailNotConfigured:
        outcome = "mail-not-configured"
    except MailFailed:
        outcome = "mail-failed"
    entry = audit_entry(
        services,
        system_caller(tenant),
        action="send-notice",
        decision="allowed" if outcome == "sent" else "failed",
        code=None if outcome == "sent" else outcome,
        subjects=(contact.pseudonym,),
        target=content.codes.get("id"),
    )
    await services.audit_log.append(entry)
    return outcome


def _not_written(tenant: TenantId, error: VaultError) -> Outcome:
    log.warning("a letter was not sent", code=error.code, tenant=tenant, exc_info=error)
    return "mail-failed"


def _unsent(why: Outcome, tenant: TenantId) -> Outcome:
    log.info("a letter was not sent", code=why, tenant=tenant)
    return why


async def send_letter(services: Services, tenant: TenantId, contact: Contact, content: LetterContent) -> None:
    """Write and send one letter.

    Raises:
        MailNotConfigured: there is no relay, or no sender address.
        MailFailed: the relay did not accept it.
    """
    await services.mail.send(render_letter(services, tenant, contact, content))


def render_letter(services: Services, tenant: TenantId, contact: Contact, content: LetterContent) -> Letter:
    """Write one letter, without sending it."""
    controller = services.policies.active(tenant).policy_set.controller
    text = write(content.name, language_of(content.language, contact.language), controller, content.codes)
    return Letter(contact.address.reveal(), text.subject, text.body, sender_of(controller), text.language)
