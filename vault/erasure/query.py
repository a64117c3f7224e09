"""Erasures queried: a preview before anyone approves one, the list, certificates, and checks for remains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vault.access.authorization import audit_entry, require_permission, subject_not_found
from vault.access.paging import check_page, cut
from vault.access.recording import audited
from vault.erasure import views
from vault.erasure.start import claims_in, erasure_of
from vault.erasure.verdict import EVERYTHING, checked_scope, decide, keeps_any, summarize
from vault.erasure.verify import scan
from vault.errors import Conflict
from vault.lifecycle import erasures as store
from vault.requests.store import find_request
from vault.requests.transaction import no_request
from vault.retention.clocks import clocks_of_one
from vault.retention.ends import SubjectData
from vault.subjects.store import records_of

if TYPE_CHECKING:
    from uuid import UUID

    from vault.catalogue.model import LegalClaim, Scope
    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.lifecycle.erasures import Line
    from vault.policy.policy_set import PolicySet

MAX_PAGE = 200


@audited("preview-erasure")
async def preview_erasure(
    services: Services, caller: Caller, subject: SubjectId, scope: Scope = EVERYTHING, *, request: UUID | None = None
) -> views.ErasurePreview:
    """Preview what an erasure would erase and what it would keep, and why. Nothing changes, and no value is opened.

    Args:
        scope: what is to be erased; by default everything.
        request: use the scope of this request instead, and what staff keep from it for legal claims.

    Raises:
        Denied: the caller may not read requests.
        InvalidInput: the scope contains an unknown name.
        NotFound: there is no such subject, or it is erased, or it has no such request.
    """
    await require_permission(services, caller, "vault:requests", "read", audit_action="preview-erasure")
    policy_set = services.policies.active(caller.tenant).policy_set
    claims: list[LegalClaim] = []
    if request is not None:
        scope, claims = await _scope_of(services, caller, subject, request)
    scope = checked_scope(policy_set, scope)
    async with services.data.reading() as connection:
        row = await services.subjects.person(connection, caller.tenant, subject)
        if row is None or row.state == "erased":
            raise subject_not_found()
        records = await records_of(connection, caller.tenant, subject)
        data = SubjectData(row, records, await clocks_of_one(connection, caller.tenant, subject))
    verdicts = decide(policy_set, data, scope, claims, services.clock.now())
    entry = audit_entry(
        services,
        caller,
        action="preview-erasure",
        decision="allowed",
        subjects=(row.pseudonym,),
        target=request,
        policy=policy_set.version,
    )
    await services.audit_log.append(entry)
    summary = summarize(verdicts)
    return views.ErasurePreview(
        subject=subject,
        becomes=row.state if scope != EVERYTHING else "retained" if keeps_any(verdicts) else "erased",
        erased=[views.ErasedField(field=line.field, records=line.records) for line in summary if line.ground is None],
        kept=[_kept_field(line, policy_set) for line in summary if line.ground is not None],
        audit=entry.id,
    )


def _kept_field(line: Line, policy_set: PolicySet) -> views.KeptField:
    purpose = policy_set.purposes.get(line.purpose or "")
    law = None if purpose is None else purpose.law
    return views.KeptField.model_validate({**msgspec.structs.asdict(line), "law": law})


async def _scope_of(
    services: Services, caller: Caller, subject: SubjectId, request: UUID
) -> tuple[Scope, list[LegalClaim]]:
    """Return what a request asks to erase, and what staff keep from it."""
    async with services.data.reading() as connection:
        stored = await find_request(connection, await services.keyring.row_keys(caller.tenant), request)
    if stored is None or stored.request.subject != subject or not services.request_kinds[stored.request.kind].erases:
        raise no_request()
    keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
    return stored.request.scope, claims_in(keys, caller.tenant, stored)


@audited("read-requests")
async def list_erasures(
    services: Services, caller: Caller, *, before: UUID | None = None, limit: int = 50
) -> views.ErasureList:
    """List erasures, the newest first, and how far each has come.

    Raises:
        Denied: the caller may not read requests.
        InvalidInput: the limit is not between 1 and 200.
    """
    check_page(limit, MAX_PAGE, "erasures")
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    async with services.data.reading() as connection:
        erasures = await store.list_erasures(connection, caller.tenant, before=before, limit=limit + 1)
    await services.audit_log.append(audit_entry(services, caller, action="read-requests", decision="allowed"))
    page, cursor = cut(erasures, limit)
    return views.ErasureList(erasures=[views.ErasureProgress.model_validate(erasure) for erasure in page], next=cursor)


@audited("read-requests")
async def read_certificate(services: Services, caller: Caller, request: UUID) -> views.ErasureCertificate:
    """Return the signed certificate of the erasure that carried a request out.

    Raises:
        Denied: the caller may not read requests.
        NotFound: there is no such request, or it is not a request for erasure.
        Conflict: the erasure is not completed.
    """
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    async with services.data.reading() as connection:
        stored = await find_request(connection, await services.keyring.row_keys(caller.tenant), request)
        if stored is None or not services.request_kinds[stored.request.kind].erases:
            raise no_request()
        erasure_id = stored.request.erasure
        erasure = None if erasure_id is None else await store.find_erasure(connection, caller.tenant, erasure_id)
    if erasure is None or erasure.certificate is None:
        raise Conflict(
            "the erasure is not completed, so there is no certificate yet",
            code="certificate-not-ready",
            hint="see its progress with GET /v1/requests/{id}",
        )
    entry = audit_entry(services, caller, action="read-requests", decision="allowed", target=request)
    await services.audit_log.append(entry)
    return views.ErasureCertificate.model_validate(msgspec.json.decode(erasure.certificate))


@audited("read-requests")
async def check_again(services: Services, caller: Caller, request: UUID) -> views.ErasureCheck:
    """Check the databases as they are now for remains of what a request erased.

    Raises:
        Denied: the caller may not read requests.
        NotFound: there is no such request, or nothing was erased by it.
        Conflict: the erasure is not completed.
    """
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    erasure = await erasure_of(services, caller.tenant, request)
    if erasure.finished_at is None:
        raise Conflict("the erasure is not completed, so there is nothing to check yet", code="certificate-not-ready")
    result = await scan(services, caller.tenant, erasure)
    entry = audit_entry(services, caller, action="read-requests", decision="allowed", target=request)
    await services.audit_log.append(entry)
    return result
