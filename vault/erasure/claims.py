"""What staff keep from an erasure because legal claims are open (Art. 17(3)(e) GDPR): which fields, until when, why.

It stands in the request's details, sealed under the person's key: the reason is about the person. Which fields and
until when goes on to the certificate.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.model import UnknownName
from vault.consent.validation import words_fault
from vault.erasure.verdict import Claim
from vault.errors import Conflict, Fault, InvalidInput
from vault.requests.model import OPEN, decode
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

CLAIMS: Final = "claims"
"""Where they stand in a request's details."""
MOST: Final = 50
UNDER_WAY: Final = "in_progress"


@audited("move-request")
async def keep_for_claims(
    services: Services, caller: Caller, request: UUID, *, names: Sequence[str], until: date, reason: str
) -> None:
    """Keep fields or whole collections from the erasure that a request asks for.

    Args:
        caller: who decides.
        request: of kind erasure, open, and not being carried out.
        names: fields (``iban``, ``complaint.body``) and collections (``complaint.*``).
        until: the last day on which they are kept.
        reason: which claims; sealed.

    Raises:
        Denied: no role of the caller's may decide requests.
        NotFound: there is no such request.
        InvalidInput: an unknown name, a day that is over, or no reason.
        Conflict: the request is no erasure, or it is too late.
    """
    await require_permission(services, caller, "vault:requests", "decide", audit_action="move-request")
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    claim = _checked(catalogue, names, until, reason, services.clock.now().date())
    async with changing_request(services, caller, request) as change:
        found = change.request
        if found.kind != "erasure" or found.state not in OPEN or found.state == UNDER_WAY or change.keys is None:
            raise Conflict("nothing can be kept from this request", code="wrong-state")
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
    """Read the claims in a request's details; none where there are no details, or nothing opens them any more.

    Raises:
        CannotOpen: the details do not open; then nobody knows what is to be kept.
    """
    if keys is None or details is None:
        return []
    opened = msgspec.json.decode(keys.open(DETAILS, details, request_aad(tenant, subject, request)))
    return [Claim(tuple(each["names"]), date.fromisoformat(each["until"])) for each in opened.get(CLAIMS, ())]


def claims_of(tenant: TenantId, requests: Sequence[Any], erasure: Erasure, keys: SubjectKeys | None) -> list[Claim]:
    """Read the claims in all requests that an erasure carries out; raises what :func:`claims_in` raises."""
    own = [row for row in requests if decode(row.body).erasure in {erasure.id, *erasure.facts.resumes}]
    return [claim for row in own for claim in claims_in(keys, tenant, row.subject_id, row.id, row.details)]


def _checked(catalogue: Catalogue, names: Sequence[str], until: date, reason: str, today: date) -> Claim:
    faults = []
    canonical = []
    for position, name in enumerate(names):
        try:
            canonical.append(catalogue.canonical(name))
        except UnknownName:
            faults.append(Fault(f"/names/{position}", "unknown-field", "the catalogue declares nothing of that name"))
    if not names or "*" in names:
        faults.append(Fault("/names", "missing", "name the fields or collections that the claims are about"))
    if until <= today:
        faults.append(Fault("/until", "invalid-value", "a day that is still to come"))
    words = words_fault(reason, at="/reason", code="invalid-words")
    if words is not None:
        faults.append(words)
    if faults:
        raise InvalidInput("what is to be kept is not said properly", faults=faults, code="invalid-grounds")
    return Claim(tuple(canonical), until)
