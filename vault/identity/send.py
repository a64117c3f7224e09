"""Send a code: looked up, made and mailed after whoever asked for it was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import entry
from vault.access.callers import by_itself
from vault.errors import VaultError
from vault.identity.codes import LIFE, fill
from vault.letters.contact import THERE, find_contact
from vault.letters.send import send_letter
from vault.subjects.changes import locked_subject

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import House
    from vault.ids import SubjectId, TenantId
    from vault.letters.contact import Contact
    from vault.sensitive import Sensitive

CODE = "code"
"""The letter's name."""
NOT_SENT = "enough-codes"
"""On the audit log where a person was sent as many codes as they get."""


class Asked(NamedTuple):
    """A code that somebody asked for."""

    tenant: TenantId
    code: UUID
    language: str | None = None


async def send_code_to(house: House, asked: Asked, subject: SubjectId | None) -> None:
    """Make a code for a person and send it; for nobody, do nothing.

    That it went out, or did not, is on the audit log with the person's pseudonym: so it shows who is being tried.
    """
    contact = None if subject is None else await find_contact(house, asked.tenant, subject)
    if subject is None or contact is None:
        return
    code = await _fill(house, asked, subject, contact)
    if code is None:
        await _note(house, asked, contact, NOT_SENT)
        return
    told = code.reveal()
    codes = {"code": f"{told[:4]} {told[4:]}", "minutes": int(LIFE.total_seconds() // 60)}
    try:
        await send_letter(house, asked.tenant, contact, CODE, codes, asked.language)
    except VaultError as error:
        await _note(house, asked, contact, error.code)
        return
    await _note(house, asked, contact, None)


async def _fill(house: House, asked: Asked, subject: SubjectId, contact: Contact) -> Sensitive[str] | None:
    tokens = await house.keyring.token_key(asked.tenant)
    async with house.data.transaction() as connection:
        row = await locked_subject(connection, asked.tenant, subject)
        if row is None or row.state not in THERE:
            return None
        return await fill(house, connection, asked.tenant, tokens, asked.code, subject=subject, contact=contact.field)


async def _note(house: House, asked: Asked, contact: Contact, failed: str | None) -> None:
    made = entry(
        house,
        by_itself(asked.tenant),
        action="send-code",
        decision="allowed" if failed is None else "failed",
        code=failed,
        subjects=(contact.pseudonym,),
        target=asked.code,
    )
    await house.ledger.append(made)
