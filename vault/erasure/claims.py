"""What staff keep from an erasure because of open legal claims (Art. 17(3)(e) GDPR): which fields, until when, and why.

It is stored in the request's details, sealed under the subject's key, for the reason is about the subject. The fields
and the day are in the certificate too.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import msgspec

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.model import UnknownName
from vault.consent.validation import words_fault
from vault.errors import Conflict, Fault, InvalidInput
from vault.lifecycle.erasures import Claim
from vault.requests.kind import kind_of
from vault.requests.model import OPEN
from vault.requests.transaction import DETAILS, changing_request, request_aad

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from vault.audit.entry import Entry
    from vault.catalogue.model import Catalogue
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.requests.store import StoredRequest

CLAIMS: Final = "claims"
"""The key in a request's details."""
MOST: Final = 50
UNDER_WAY: Final = "in_progress"


@audited("move-request")
async def keep_for_claims(
    services: Services, caller: Caller, request: UUID, *, names: Sequence[str], until: date, reason: str
) -> None:
    """Keep fields or whole collections from the erasure that a request asks for.

    Args:
        request: for erasure, open, and not being carried out.
        names: fields (``iban``, ``complaint.body``) and collections (``complaint.*``).
        until: the last day on which they are kept.
        reason: which claims; sealed.

    Raises:
        Denied: the caller may not decide requests.
        NotFound: there is no such request.
        InvalidInput: a name is unknown, the day is over, or the reason is missing.
        Conflict: the request is not for erasure, or it is too late.
    """
    await require_permission(services, caller, "vault:requests", "decide", audit_action="move-request")
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    claim = _checked(catalogue, names, until, reason, services.clock.now().date())
    async with changing_request(services, caller, request) as change:
        kept_from = change.request
        is_open = kept_from.state in OPEN and kept_from.state != UNDER_WAY
        if not kind_of(change).erases or not is_open or change.keys is None:
            raise Conflict("this request is not an erasure from which fields can still be kept", code="wrong-state")
        details = change.opened_details()
        claims = [*details.get(CLAIMS, []), {"names": claim.names, "until": claim.until, "reason": reason}]
        if len(claims) > MOST:
            raise Conflict(f"a request has at most {MOST} grounds of this kind", code="too-many-grounds")
        change.set_details({**details, CLAIMS: claims})
        await services.audit_log.append_in(change.connection, [_entry(services, caller, request, change.pseudonym)])


def _entry(services: Services, caller: Caller, request: UUID, pseudonym: UUID | None) -> Entry:
    return audit_entry(
        services,
        caller,
        action="move-request",
        decision="allowed",
        code="keep",
        subjects=() if pseudonym is None else (pseudonym,),
        target=request,
        policy=services.policies.active(caller.tenant).version,
    )


def claims_in(
    keys: SubjectKeys | None, tenant: TenantId, subject: UUID, request: UUID, details: bytes | None
) -> list[Claim]:
    """Read the claims in a request's details; there are none without details, or without keys to open them.

    Raises:
        CannotOpen: the details do not open, so that it is unknown what is to be kept.
    """
    if keys is None or details is None:
        return []
    opened = msgspec.json.decode(keys.open(DETAILS, details, request_aad(tenant, subject, request)))
    return [Claim(tuple(claim["names"]), date.fromisoformat(claim["until"])) for claim in opened.get(CLAIMS, ())]


def claims_of(
    tenant: TenantId, requests: Sequence[StoredRequest], erasure: Erasure, keys: SubjectKeys | None
) -> list[Claim]:
    """Read the claims in all requests that an erasure carries out; raises what :func:`claims_in` raises."""
    erasures = {erasure.id, *erasure.facts.resumes}
    return [
        claim
        for stored in requests
        if stored.request.erasure in erasures and stored.request.subject is not None
        for claim in claims_in(keys, tenant, stored.request.subject, stored.request.id, stored.details)
    ]


def _checked(catalogue: Catalogue, names: Sequence[str], until: date, reason: str, today: date) -> Claim:
    faults = []
    canonical = []
    for position, name in enumerate(names):
        try:
            canonical.append(catalogue.canonical(name))
        except UnknownName:
            faults.append(Fault(f"/names/{position}", "unknown-field", "the catalogue does not declare this name"))
    if not names or "*" in names:
        faults.append(Fault("/names", "missing", "name the fields or collections that the claims concern"))
    if until <= today:
        faults.append(Fault("/until", "invalid-value", "use a day in the future"))
    words = words_fault(reason, at="/reason", code="invalid-words")
    if words is not None:
        faults.append(words)
    if faults:
        raise InvalidInput("the legal-claims ground is invalid", faults=faults, code="invalid-grounds")
    return Claim(tuple(canonical), until)
