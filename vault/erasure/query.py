"""What an erasure would do, before anybody approves it: a verdict for every field, and nothing is changed.

See erasures: the list, and the certificate of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.recording import audited
from vault.erasure.claims import claims_in
from vault.erasure.start import EVERYTHING, checked_scope, erasure_of
from vault.erasure.verdict import decided, lines
from vault.erasure.verify import look_for_remains
from vault.errors import Conflict, InvalidInput, NotFound
from vault.lifecycle import erasures as store
from vault.requests.store import find_request
from vault.requests.transaction import no_request
from vault.retention.clocks import NO_CLOCKS, clocks_in
from vault.subjects.changes import person, records_of

if TYPE_CHECKING:
    from uuid import UUID

    from vault.catalogue.model import Scope
    from vault.context import Caller, Services
    from vault.erasure.verdict import Claim, Verdicts
    from vault.erasure.verify import Seen
    from vault.ids import SubjectId
    from vault.lifecycle.erasures import Erasure, Line


class Preview(NamedTuple):
    """What would become of a person and of each field: the state after it, and one line for each verdict."""

    subject: UUID
    scope: Scope
    becomes: str
    lines: tuple[Line, ...]
    audit: UUID


@audited("preview-erasure")
async def preview_erasure(
    services: Services, caller: Caller, subject: SubjectId, scope: Scope = EVERYTHING, *, request: UUID | None = None
) -> Preview:
    """Tell what an erasure would take and what it would keep, and why. No value is opened.

    Args:
        subject: whom it is about.
        scope: what is to be erased; by default everything.
        request: the request whose scope counts instead, with what staff keep for legal claims.

    Raises:
        Denied: no role of the caller's may read requests.
        InvalidInput: the scope names what is not there.
        NotFound: there is no such person, or no longer, or no such request of theirs.
    """
    await require_permission(services, caller, "vault:requests", "read", audit_action="preview-erasure")
    await services.limits.take(caller.principal, "read", 1)
    policy_set = services.policies.active(caller.tenant).policy_set
    claims: list[Claim] = []
    if request is not None:
        scope, claims = await _asked(services, caller, subject, request)
    scope = checked_scope(policy_set, scope)
    async with services.data.reading() as connection:
        row = await person(connection, caller.tenant, subject)
        records = [] if row is None else await records_of(connection, caller.tenant, subject)
        clocks = (await clocks_in(connection, caller.tenant, [subject])).get(subject, NO_CLOCKS)
    if row is None or row.state == "erased":
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    found = decided(policy_set, row, records, scope, claims, services.clock.now(), clocks)
    made = audit_entry(
        services,
        caller,
        action="preview-erasure",
        decision="allowed",
        subjects=(row.pseudonym,),
        target=request,
        policy=policy_set.version,
    )
    await services.audit_log.append(made)
    return Preview(subject, scope, _becomes(row.state, scope, found), lines(found), made.id)


async def _asked(services: Services, caller: Caller, subject: SubjectId, request: UUID) -> tuple[Scope, list[Claim]]:
    """Read what a request asks to erase, and what staff keep from it."""
    async with services.data.reading() as connection:
        kept = await find_request(connection, caller.tenant, request)
    if kept is None or kept.request.subject != subject or kept.request.kind != "erasure":
        raise no_request()
    keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
    return kept.request.scope, claims_in(keys, caller.tenant, subject, request, kept.details)


def _becomes(state: str, scope: Scope, found: Verdicts) -> str:
    if scope != EVERYTHING:
        return state
    keeps = any(verdict for fields in found.values() for verdict in fields.values())
    return "retained" if keeps else "erased"


MOST = 200


class ErasurePage(NamedTuple):
    """Some erasures, the newest first, and where to go on."""

    erasures: list[Erasure]
    next: UUID | None


@audited("read-requests")
async def list_erasures(
    services: Services, caller: Caller, *, before: UUID | None = None, limit: int = 50
) -> ErasurePage:
    """List erasures: how far each has come.

    Raises:
        Denied: no role of the caller's may read requests.
        InvalidInput: the limit is out of 1 to 200.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} erasures", code="invalid-page")
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    async with services.data.reading() as connection:
        found = await store.list_erasures(connection, caller.tenant, before=before, limit=limit + 1)
    await services.audit_log.append(audit_entry(services, caller, action="read-requests", decision="allowed"))
    return ErasurePage(found[:limit], found[limit - 1].id if len(found) > limit else None)


@audited("read-requests")
async def read_certificate(services: Services, caller: Caller, request: UUID) -> dict[str, Any]:
    """Hand out the signed certificate of the erasure that carried a request out.

    Raises:
        Denied: no role of the caller's may read requests.
        NotFound: there is no such request, or it is no erasure.
        Conflict: the erasure has not come to its end.
    """
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    async with services.data.reading() as connection:
        kept = await find_request(connection, caller.tenant, request)
        if kept is None or kept.request.kind != "erasure":
            raise no_request()
        erasure = kept.request.erasure
        found = None if erasure is None else await store.find_erasure(connection, caller.tenant, erasure)
    if found is None or found.certificate is None:
        raise Conflict(
            "the erasure is not done, so there is no certificate yet",
            code="certificate-not-ready",
            hint="GET /v1/requests/{id} tells how far it is",
        )
    made = audit_entry(services, caller, action="read-requests", decision="allowed", target=request)
    await services.audit_log.append(made)
    file: dict[str, Any] = msgspec.json.decode(found.certificate)
    return file


@audited("read-requests")
async def check_again(services: Services, caller: Caller, request: UUID) -> Seen:
    """Look once more whether anything is left of what a request erased, as the databases are now.

    Raises:
        Denied: no role of the caller's may read requests.
        NotFound: there is no such request, or nothing was erased by it.
        Conflict: the erasure has not come to its end.
    """
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    erasure = await erasure_of(services, caller.tenant, request)
    if erasure.finished_at is None:
        raise Conflict("the erasure is not done, so there is nothing to check yet", code="certificate-not-ready")
    seen = await look_for_remains(services, caller.tenant, erasure)
    await services.audit_log.append(
        audit_entry(services, caller, action="read-requests", decision="allowed", target=request)
    )
    return seen
