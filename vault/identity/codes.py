"""One-time codes: made, sent to a contact that the vault holds, tried, and used once.

A code has eight digits, which people still type without mistakes. It is valid for ten minutes and five attempts; a
person gets at most three in a quarter of an hour and ten a day. An attacker has fifty tries a day for a person: one in
two million; with six digits it would be one in twenty thousand. NIST SP 800-63B §5.1.3.2 asks for six, with such a
limit.

The vault stores an HMAC of a code under the tenant's token key, bound to the code's row, its intent, the request and
the person, and the row has a MAC: a row that the vault did not write is no code, and opens nothing with another one.
The key store has how many attempts were made, so that a row that is put back gives no more of them.

A code is made and sent after the response, when the claimed identity is resolved. Before it, only a digest of the claim
counts codes, so that neither the response nor its time reveals whether there is such a person.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import delete, insert, or_, select, text

from vault.access.authorization import audit_entry
from vault.access.callers import system_caller
from vault.audit.entry import id_before
from vault.catalogue.types import TYPES, ValueProblem, index_text
from vault.contacts.changes import EMAIL, young_contacts
from vault.contacts.shared import ClaimedContact, note_shared
from vault.crypto.row_versions import FIRST, RowVersion
from vault.errors import Fault, InvalidInput, NotFound, TooMany, VaultError
from vault.identity.tables import CODES, IDENTITY_CODE, write_code
from vault.ids import Pseudonym, SubjectId, TenantId, new_id
from vault.letters.send import THERE, LetterContent, find_contact, render_letter, stand_in_contact
from vault.sensitive import Sensitive
from vault.subjects.rows import checked_external_ids
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.crypto.derive import TokenKey
    from vault.crypto.row_mac import RowKeys
    from vault.letters.send import Contact
    from vault.requests.verification import Match


DIGITS: Final = 8
LIFE: Final = timedelta(minutes=10)
MOST_ATTEMPTS: Final = 5
SHORT: Final = (timedelta(minutes=15), 3)
LONG: Final = (timedelta(days=1), 10)
"""Spans, and how many codes one claim or one person gets within each."""
SPACES: Final = " -\u00a0\u2009\u202f"
"""Characters between the digits that a person may type."""
_NOBODY: Final = UUID(int=0)
_LABEL: Final = "identity-code"
_CODE = IDENTITY_CODE.c
_USED: Final = FIRST + MOST_ATTEMPTS + 1
"""The version of a used code: one more than after the last attempt. Each attempt raises it by one."""


class Spent(NamedTuple):
    """A correct code, which is not marked as used yet."""

    tenant: TenantId
    id: UUID
    subject: SubjectId
    request: UUID | None
    contact: str | None
    asked_at: datetime


def code_invalid() -> NotFound:
    """Return the one error for every wrong code: mistyped, used, expired, tried too often, or never made."""
    return NotFound(
        "this code is not valid: it may be mistyped, used already, too old, or tried too often",
        code="code-invalid",
        hint="look at the newest letter, or ask for another code",
    )


async def issue(
    services: Services,
    connection: AsyncConnection,
    tenant: TenantId,
    claim: bytes,
    request: UUID | None = None,
) -> tuple[UUID, datetime]:
    """Store, in the caller's transaction, that a code was requested. It has no digits before it is sent.

    Args:
        claim: a digest of the claimed identity, by which codes are counted.
        request: which request it verifies; None: it opens a session.

    Returns:
        the code's id, and when it expires.

    Raises:
        TooMany: the limit for this claim is reached, whether or not there is such a person.
    """
    now = services.clock.now()
    # Before the count: concurrent calls for one claim would all see the same number.
    await _serialise(services, connection, claim)
    wait = await _wait(connection, tenant, _CODE.claim == claim, now)
    if wait is not None:
        raise TooMany(
            "the limit of codes is reached",
            retry_after=wait,
            first=True,
            hint="Use the newest code, or wait for the time in `Retry-After`.",
        )
    code, expires_at = new_id(), now + LIFE
    row = {
        "tenant_id": tenant,
        "id": code,
        "subject_id": None,
        "request_id": request,
        "intent": _intent(request),
        "claim": claim,
        # No digits yet: until the letter is made, no attempt can be right.
        "digest": secrets.token_bytes(32),
        "created_at": now,
        "expires_at": expires_at,
        "attempts": 0,
        "used_at": None,
        "contact": None,
        "sent_with": None,
    }
    await connection.execute(insert(IDENTITY_CODE), [CODES.seal(await services.keyring.row_keys(tenant), row)])
    return code, expires_at


async def is_live(services: Services, tenants: Sequence[TenantId], code: UUID) -> bool:
    """Return whether a code for a session can still be tried. It may lead to no person: an attempt does not show that.

    Args:
        tenants: in which it may have been made; at least one.
    """
    statement = select(_CODE.id).where(*_live(tenants, code, None, services.clock.now()))
    async with services.data.reading() as connection:
        return (await connection.execute(statement)).one_or_none() is not None


async def spend(
    services: Services,
    tenants: Sequence[TenantId],
    code: UUID,
    typed: str,
    request: UUID | None = None,
) -> Spent | None:
    """Try a code.

    Args:
        tenants: in which it may have been made; at least one.
        request: the request that it must have been made for; None: for a session.

    Returns:
        None if it is wrong, for any reason.
    """
    row = await _count_attempt(services, _live(tenants, code, request, services.clock.now()))
    if row is None:
        return None
    tenant, subject = TenantId(row.tenant_id), row.subject_id
    # Only spaces are forgiven: anything else typed is part of the guess.
    digits = "".join(character for character in typed if character not in SPACES)
    tokens = await services.keyring.token_key(tenant)
    right = hmac.compare_digest(_digest(tokens, code, subject, request, digits), bytes(row.digest))
    if not right or subject is None:
        return None
    return Spent(tenant, code, SubjectId(subject), request, row.contact, row.created_at)


async def _count_attempt(services: Services, live: tuple[Any, ...]) -> Any:
    """Count an attempt, durably and in both databases; return the code's row, or None if it cannot be tried.

    It is counted before the comparison, so that concurrent guesses are counted too.
    """
    keyring = services.keyring
    async with services.data.transaction() as connection:
        row: Any = (await connection.execute(select(*CODES.columns).where(*live).with_for_update())).one_or_none()
        if row is None:
            return None
        tenant = TenantId(row.tenant_id)
        keys = await keyring.row_keys(tenant)
        if not CODES.is_genuine(keys, row):
            return None
        await write_code(connection, keys, row, attempts=row.attempts + 1)
    # Each number of attempts counts once: a row that was put back repeats one. Of two attempts at the same moment this
    # may also refuse the earlier one.
    version = RowVersion(IDENTITY_CODE.name, UUID(bytes=row.id.bytes), FIRST + row.attempts + 1)
    return row if await keyring.raise_version(tenant, version) else None


async def use(services: Services, connection: AsyncConnection, spent: Spent) -> bool:
    """Mark a code as used, and all others of the same request; return False if it was used by another call since.

    Call :func:`settle_used` after the commit.
    """
    keys = await services.keyring.row_keys(spent.tenant)
    related = [_CODE.id == spent.id, _CODE.sent_with == spent.id]
    related += [] if spent.request is None else [_CODE.request_id == spent.request]
    unused = _CODE.tenant_id == spent.tenant, or_(*related), _CODE.used_at.is_(None)
    statement = select(*CODES.columns).where(*unused).order_by(_CODE.id).with_for_update()
    rows = [row for row in (await connection.execute(statement)).all() if CODES.is_genuine(keys, row)]
    if spent.id not in {row.id for row in rows}:
        return False
    for row in rows:
        await write_code(connection, keys, row, used_at=services.clock.now())
    return True


async def settle_used(services: Services, spent: Spent) -> None:
    """Refuse a used code from now on, even if its row is put back."""
    await services.keyring.raise_version(spent.tenant, RowVersion(IDENTITY_CODE.name, spent.id, _USED))


async def forget_codes(services: Services) -> int:
    """Delete codes that no limit counts any more; return how many."""
    before = services.clock.now() - LONG[0]
    async with services.data.transaction() as connection:
        deleted = (await connection.execute(delete(IDENTITY_CODE).where(_CODE.created_at <= before))).rowcount
    await services.keyring.forget_versions(IDENTITY_CODE.name, id_before(before))  # these have expired
    return deleted


async def _wait(connection: AsyncConnection, tenant: TenantId, whose: Any, now: datetime) -> int | None:
    """Return the seconds until another code may be made; None if one may be made now."""
    longest = None
    for span, most in (SHORT, LONG):
        statement = (
            select(_CODE.created_at)
            .where(_CODE.tenant_id == tenant, whose, _CODE.created_at > now - span)
            .order_by(_CODE.created_at.desc())
            .offset(most - 1)
            .limit(1)
        )
        oldest = (await connection.execute(statement)).scalar_one_or_none()
        if oldest is not None:
            longest = max(longest or 1, int((oldest + span - now).total_seconds()) + 1)
    return longest


async def _serialise(services: Services, connection: AsyncConnection, claim: bytes) -> None:
    """Serialise calls for the same claim; concurrent ones would all pass the count."""
    if services.data.dialect == "postgresql":  # SQLite has one writer anyway
        # The lock is a number, and ends with the transaction.
        number = int.from_bytes(claim[:8], "big", signed=True)
        await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def _live(tenants: Sequence[TenantId], code: UUID, request: UUID | None, now: datetime) -> tuple[Any, ...]:
    return (
        _CODE.tenant_id.in_(tenants),
        _CODE.id == code,
        _CODE.intent == _intent(request),
        _CODE.used_at.is_(None),
        _CODE.expires_at > now,
        _CODE.attempts < MOST_ATTEMPTS,
    )


def _intent(request: UUID | None) -> str:
    return "session" if request is None else "request"


def _digest(tokens: TokenKey, code: UUID, subject: UUID | None, request: UUID | None, digits: str) -> bytes:
    """Digest a code with what it is bound to: parts of fixed length, except the intent, which ends with a zero byte."""
    bound = code.bytes + (subject or _NOBODY).bytes + (request or _NOBODY).bytes
    return tokens.digest(_LABEL, _intent(request).encode() + b"\0" + bound + digits.encode("utf-8", "surrogatepass"))


CODE = "code"
"""The letter's name."""
NOT_SENT = "enough-codes"
"""The code in the audit log if the limit for the person is reached."""


class CodeRequest(NamedTuple):
    """A code to make and send."""

    tenant: TenantId
    code: UUID
    language: str | None = None


SEVERAL: Final = "several-people"
"""The code in the audit log if a claim leads to several people."""
MOST_SHARING: Final = 10
"""People for whom one code opens sessions; an address that more of them share tells no one apart."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Who shares the claimed address: the field that has it, by person, and those whose address it is for long."""

    fields: Mapping[SubjectId, str]
    proved: Sequence[SubjectId]


async def send_claimed(services: Services, request: CodeRequest, match: Match) -> None:
    """Make and send a code for those to whom a claim leads; to the claimed address itself if several share it."""
    fields = {person: field for person, field in match.people.items() if field is not None}
    if not fields:
        await send_code_to(services, request, match.subject)
        if match.code is not None:
            await _record_several(services, request, match)
        return
    proved = await _proved(services, request.tenant, fields)
    if len(proved) > MOST_SHARING:
        proved = []
    await send_code_to(services, request, proved[0] if proved else None, Shared(fields, proved))


async def _proved(services: Services, tenant: TenantId, fields: Mapping[SubjectId, str]) -> list[SubjectId]:
    """Return the people whose address it is for long, or all of them if it is no one's; the oldest entry first."""
    people = sorted(fields)
    async with services.data.reading() as connection:
        young = {person: await young_contacts(services, connection, tenant, person) for person in people}
    return [person for person in people if fields[person] not in young[person]] or people


async def send_code_to(
    services: Services, request: CodeRequest, subject: SubjectId | None, shared: Shared | None = None
) -> None:
    """Make a code for a person and send it.

    Without a person, or an address, it does the same work up to the letter, which is not sent: otherwise the load of
    the process would show who is a customer. The result for a person is in the audit log with the pseudonym, so that
    attempts to impersonate a person are visible.

    Args:
        shared: if the letter goes to an address that several people share. The code then opens sessions of all to whom
            the address has belonged for long.
    """
    field = None if shared is None or subject is None else shared.fields[subject]
    found = None if subject is None else await find_contact(services, request.tenant, subject, field=field)
    contact = found or await stand_in_contact(services, request.tenant)
    if contact is None:
        return
    made = await _make_code(services, request, None if found is None else subject, contact, shared)
    code = made.digits
    digits = "0" * DIGITS if code is None else code.reveal()
    values = {"code": f"{digits[:4]} {digits[4:]}", "minutes": int(LIFE.total_seconds() // 60)}
    letter = render_letter(services, request.tenant, contact, LetterContent(CODE, values, request.language))
    failure: str | None = None if code is not None else SEVERAL if found is None else NOT_SENT
    try:
        await (services.mail.pretend if code is None else services.mail.send)(letter)
    except VaultError as error:
        failure = failure or error.code
    if found is None and shared is None:
        await _overwrite(services, request)  # in place of the audit entry
        return
    entry = audit_entry(
        services,
        system_caller(request.tenant),
        action="send-code",
        decision="allowed" if failure is None else "failed",
        code=failure or (None if shared is None else SEVERAL),
        subjects=made.pseudonyms,
        target=request.code,
    )
    await services.audit_log.append(entry)


async def _record_several(services: Services, request: CodeRequest, match: Match) -> None:
    """Record that a claim leads to several people, of ids in other systems, or to too many: no code can be sent."""
    async with services.data.reading() as connection:
        rows = await services.subjects.people(connection, request.tenant, sorted(match.people))
    entry = audit_entry(
        services,
        system_caller(request.tenant),
        action="send-code",
        decision="failed",
        code=match.code,
        subjects=tuple(Pseudonym(row.pseudonym) for row in rows if row.state not in GONE),
        target=request.code,
    )
    await services.audit_log.append(entry)


@dataclass(frozen=True, slots=True)
class _Made:
    """The digits of a code, if it has some now, and the pseudonyms of the people whom the claim leads to."""

    digits: Sensitive[str] | None
    pseudonyms: tuple[Pseudonym, ...]


async def _make_code(
    services: Services, request: CodeRequest, subject: SubjectId | None, contact: Contact, shared: Shared | None
) -> _Made:
    """Give the requested code its digits.

    Returns:
        no digits if the person's limit is reached, or there is no person. No letter is sent then, so the requester
        learns nothing. The statements are the same.
    """
    tokens, keys = await services.keyring.token_key(request.tenant), await services.keyring.row_keys(request.tenant)
    asked = subject or SubjectId(new_id())
    async with services.data.transaction() as connection:
        people = [asked] if shared is None else sorted(shared.fields)
        rows = await services.subjects.locked_many(connection, request.tenant, people)
        row, now = rows.get(asked), services.clock.now()
        code = await _empty_code(connection, keys, request, now)
        wait = await _wait(connection, request.tenant, _CODE.subject_id == asked, now)
        # Made in any case, and of one length: five attempts at eight digits are a chance of one in 20 million.
        digits = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
        request_id = None if code is None else code.request_id
        values: dict[str, Any] = {"digest": _digest(tokens, request.code, asked, request_id, digits)}
        made = code is not None and row is not None and row.state in THERE and wait is None
        if made:
            values |= {"subject_id": subject, "contact": contact.field}
        if code is not None:  # a row without a subject matches no code, even if its digest does
            await write_code(connection, keys, code, **values)
        if shared is not None and code is not None:
            there = {person: shared.fields[person] for person in shared.fields if person in rows}
            await note_shared(connection, keys, ClaimedContact(request.tenant, bytes(code.claim), there, now))
            others = [person for person in shared.proved[1:] if person in rows and rows[person].state in THERE]
            if made and others:
                along = [CODES.seal(keys, _along(code, other, there[other])) for other in others]
                await connection.execute(insert(IDENTITY_CODE), along)
    pseudonyms = tuple(Pseudonym(rows[person].pseudonym) for person in sorted(rows))
    return _Made(Sensitive(digits) if made else None, pseudonyms)


def _along(code: Any, person: SubjectId, field: str) -> dict[str, object]:
    """Return the row of another person whose session a code opens. Its own digest matches no digits."""
    return {
        "tenant_id": code.tenant_id,
        "id": new_id(),
        "subject_id": person,
        "request_id": None,
        "intent": _intent(None),
        "claim": secrets.token_bytes(32),
        "digest": secrets.token_bytes(32),
        "created_at": code.created_at,
        "expires_at": code.expires_at,
        "attempts": 0,
        "used_at": None,
        "contact": field,
        "sent_with": code.id,
    }


async def sent_along(services: Services, connection: AsyncConnection, spent: Spent) -> dict[SubjectId, str]:
    """Return the other people whose sessions a code opens too, with the field of each that had the address."""
    keys = await services.keyring.row_keys(spent.tenant)
    along = _CODE.tenant_id == spent.tenant, _CODE.sent_with == spent.id, _CODE.used_at.is_(None)
    rows = (await connection.execute(select(*CODES.columns).where(*along))).all()
    return {SubjectId(row.subject_id): row.contact for row in rows if CODES.is_genuine(keys, row)}


async def _overwrite(services: Services, request: CodeRequest) -> None:
    """Overwrite the digest of a code without digits by random bytes: a transaction that changes nothing else."""
    keys = await services.keyring.row_keys(request.tenant)
    async with services.data.transaction() as connection:
        code = await _empty_code(connection, keys, request, services.clock.now())
        if code is not None:
            await write_code(connection, keys, code, digest=secrets.token_bytes(32))


async def _empty_code(connection: AsyncConnection, keys: RowKeys, request: CodeRequest, now: datetime) -> Any:
    """Return and lock the row of a code that has no digits yet; None if it has expired, or is not the vault's."""
    this = _CODE.tenant_id == request.tenant, _CODE.id == request.code
    empty = select(*CODES.columns).where(*this, _CODE.subject_id.is_(None), _CODE.expires_at > now)
    row = (await connection.execute(empty.with_for_update())).one_or_none()
    return row if row is not None and CODES.is_genuine(keys, row) else None


EXTERNAL_ID = "external_id"
_encode = msgspec.json.Encoder(order="sorted").encode


def claim_digest(tokens: TokenKey, identity: Mapping[str, Any], elsewhere: str | None = None) -> bytes:
    """Digest a claimed identity in normalised form.

    Args:
        identity: ``{"email": "…"}`` or ``{"external_id": {"shop": "4711"}}``.
        elsewhere: the name of the tenant, if this vault does not have it: its claims count by themselves.

    Raises:
        InvalidInput: it is neither.
    """
    if identity.keys() == {EMAIL}:
        try:
            normalised: Any = index_text(EMAIL, TYPES[EMAIL].normalise(identity[EMAIL], {}))
        except ValueProblem:
            raise _no_identity("/identity/email") from None
    elif identity.keys() == {EXTERNAL_ID} and isinstance(identity[EXTERNAL_ID], dict) and identity[EXTERNAL_ID]:
        normalised = checked_external_ids(identity[EXTERNAL_ID], at="/identity/external_id")
    else:
        raise _no_identity("/identity")
    claim = [sorted(identity), normalised]
    if elsewhere is not None:
        return tokens.digest("identity-claim-elsewhere", _encode([elsewhere, *claim]))
    return tokens.digest("identity-claim", _encode(claim))


def _no_identity(at: str) -> InvalidInput:
    detail = "`email`, or `external_id` with at least one system's id"
    fault = Fault(at, "invalid-identity", detail)
    return InvalidInput("the identity is invalid", faults=[fault], code="invalid-identity")
