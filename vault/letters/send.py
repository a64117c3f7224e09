"""Send letters to data subjects. A letter that cannot be sent never fails the operation that it reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from vault import logs
from vault.access.authorization import audit_entry
from vault.access.callers import system_caller
from vault.errors import VaultError
from vault.ids import SubjectId
from vault.letters.contact import find_contact
from vault.letters.templates import language_of, require, sender_of, write
from vault.messaging.mail import Letter, MailFailed, MailNotConfigured

if TYPE_CHECKING:
    from vault.context import Services
    from vault.ids import Pseudonym, TenantId
    from vault.letters.contact import Contact

Outcome = Literal["sent", "mail-not-configured", "no-contact", "mail-failed"]

log = logs.get_logger()


async def notify_person(
    services: Services,
    tenant: TenantId,
    subject: UUID | None,
    letter_name: str,
    *,
    language: str | None = None,
    target: UUID | None = None,
    **codes: Any,
) -> Outcome:
    """Send a letter to a person, if possible. A failure is no error: what the letter reports has already happened.

    It must not be called within a transaction: it queries both databases and waits for the mail relay. The audit log
    records letters that were sent or refused by the relay; a missing relay or address is only returned and logged.

    Args:
        subject: the recipient; None sends nothing.
        letter_name: a letter of ``texts/``: ``request-received`` (kind, id, due), ``request-identity`` (kind, id),
            ``request-extended`` (kind, id, due, reason), ``request-rejected`` (kind, id, ground),
            ``request-completed`` (kind, id), ``package-ready`` (kind, id, until), ``restriction-lifting`` (on).
        language: the language of the request; by default that of the profile.
        target: the request, for the audit entry; ``id`` of the codes by default.
        codes: the content: ids, dates and codes, never a value.

    Raises:
        KeyError: the letter does not exist, or a code is missing (a programming error).

    Returns:
        ``sent`` once the relay has accepted it; otherwise the reason.
    """
    require(letter_name, codes)
    if not services.mail.configured:
        return _unsent("mail-not-configured", tenant)
    if target is None and isinstance(codes.get("id"), UUID):
        target = codes["id"]
    try:
        contact = None if subject is None else await find_contact(services, tenant, SubjectId(subject))
        if contact is None:
            return _unsent("no-contact", tenant)
        outcome = await _send(services, tenant, contact, letter_name, language, codes)
        await _note(services, tenant, contact.pseudonym, outcome, target)
    except VaultError as error:
        log.warning("a letter was not sent", code=error.code, tenant=tenant, exc_info=error)
        return "mail-failed"
    return outcome


async def send_letter(
    services: Services,
    tenant: TenantId,
    contact: Contact,
    letter_name: str,
    codes: dict[str, Any],
    language: str | None,
) -> None:
    """Write and send one letter.

    Raises:
        MailNotConfigured: there is no relay, or no sender address.
        MailFailed: the relay did not accept it.
    """
    controller = services.policies.active(tenant).policy_set.controller
    text = write(letter_name, language_of(language, contact.language), controller, codes)
    to = contact.address.reveal()
    await services.mail.send(Letter(to, text.subject, text.body, sender_of(controller), text.language))


def _unsent(why: Outcome, tenant: TenantId) -> Outcome:
    log.info("a letter was not sent", code=why, tenant=tenant)
    return why


async def _send(
    services: Services, tenant: TenantId, contact: Contact, name: str, language: str | None, codes: dict[str, Any]
) -> Outcome:
    try:
        await send_letter(services, tenant, contact, name, codes, language)
    except MailNotConfigured:
        return "mail-not-configured"
    except MailFailed:
        return "mail-failed"
    return "sent"


async def _note(
    services: Services, tenant: TenantId, pseudonym: Pseudonym, outcome: Outcome, target: UUID | None
) -> None:
    entry = audit_entry(
        services,
        system_caller(tenant),
        action="send-notice",
        decision="allowed" if outcome == "sent" else "failed",
        code=None if outcome == "sent" else outcome,
        subjects=(pseudonym,),
        target=target,
    )
    await services.audit_log.append(entry)
