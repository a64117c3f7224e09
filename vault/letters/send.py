"""Letters to people about their requests: by the way, never in the way."""

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
    """Write to a person, if that is possible; never an error, for what the letter tells of has happened already.

    Not to be called within a transaction: it asks both databases, and waits for the mail relay. What went out, or was
    refused by the relay, is on the audit log; that there is no relay or no address is told to the caller and the log.

    Args:
        tenant: whose person.
        subject: to whom; nobody: nothing is done.
        letter_name: a letter of ``texts/``: ``request-received`` (kind, id, due), ``request-identity`` (kind, id),
            ``request-extended`` (kind, id, due, reason), ``request-rejected`` (kind, id, ground),
            ``request-completed`` (kind, id), ``package-ready`` (kind, id, until), ``restriction-lifting`` (on).
        language: in which the person asked; else the profile's.
        target: the request, for the audit entry; ``id`` of the codes by default.
        codes: what stands in it: ids, dates and codes, and never a value.

    Raises:
        KeyError: there is no such letter, or a code of it is missing: a mistake of the caller's.

    Returns:
        ``sent`` once the relay has taken it; otherwise why not.
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
        MailNotConfigured: there is no relay, or nobody to write as.
        MailFailed: the relay did not take it.
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
    made = audit_entry(
        services,
        system_caller(tenant),
        action="send-notice",
        decision="allowed" if outcome == "sent" else "failed",
        code=None if outcome == "sent" else outcome,
        subjects=(pseudonym,),
        target=target,
    )
    await services.audit_log.append(made)
