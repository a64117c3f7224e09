"""Read the audit log, and the policies and notices in force. Each reading is recorded in the audit log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from vault.access.authorization import audit_entry, require_permission
from vault.access.paging import check_page
from vault.access.recording import audited
from vault.audit.log import EVERYTHING, Selection
from vault.errors import InvalidInput, NotFound
from vault.governance.views import NoticeList, NoticeTranslation, NoticeVersion
from vault.ids import Pseudonym
from vault.subjects.store import SubjectQuery

if TYPE_CHECKING:
    from vault.audit.log import Page
    from vault.context import Caller, Services
    from vault.ids import EntryId, SubjectId, TenantId
    from vault.policy.store import ActivePolicy

PAGE_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which entries to list: those before or after an entry, by its id, and 1 to 500 of them.

    Attributes:
        subject: the person whom they concern.
        others: what else selects them.
    """

    subject: SubjectId | None = None
    others: Selection = EVERYTHING
    before: EntryId | None = None
    after: EntryId | None = None
    limit: int = 50


async def selected(services: Services, tenant: TenantId, query: AuditQuery) -> Selection:
    """Return what a query selects, with the person's pseudonym in place of the id."""
    if query.subject is None:
        return query.others
    (row,) = await services.subjects.find(SubjectQuery(tenant, (query.subject,), profile=False))
    # An unknown id matches no entry.
    return replace(query.others, subject=Pseudonym(query.subject) if row is None else row.pseudonym)


@audited("read-audit")
async def read_audit(services: Services, caller: Caller, query: AuditQuery) -> Page:
    """List audit entries of the caller's tenant, without the entry of this reading.

    They are the newest first, and those after an entry the oldest first.

    Raises:
        Denied: the caller may not read the log.
        InvalidInput: the limit is out of 1 to 500, ``before`` or ``after`` is no entry, or both are given.
    """
    check_page(query.limit, PAGE_LIMIT, "entries")
    if query.before is not None and query.after is not None:
        raise InvalidInput("a page is before an entry or after one, not both", code="invalid-page")
    await require_permission(services, caller, "vault:audit", "read", audit_action="read-audit")
    selection = await selected(services, caller.tenant, query)
    pseudonym = selection.subject
    page = await services.audit_log.entries(
        caller.tenant, selection, before=query.before, after=query.after, limit=query.limit
    )
    entry = audit_entry(
        services,
        caller,
        action="read-audit",
        decision="allowed",
        subjects=() if pseudonym is None or pseudonym == query.subject else (pseudonym,),
    )
    await services.audit_log.append(entry)
    return page


@audited("read-policies")
async def read_policies(services: Services, caller: Caller) -> ActivePolicy:
    """Return the policies in force for the caller's tenant."""
    # Every principal may see them: an app needs to know what it can ask for, and staff why a request was denied. They
    # contain no personal data.
    active = services.policies.active(caller.tenant)
    await _record_read(services, caller, active)
    return active


@dataclass(frozen=True, slots=True)
class NoticeText:
    """The text of a notice: the whole file."""

    digest: str
    language: str
    body: bytes


@audited("read-policies")
async def list_notices(services: Services, caller: Caller) -> NoticeList:
    """List the notices in force for the caller's tenant, and future ones; costs as much as reading one subject.

    Raises:
        TooMany: the caller has used up its rate.
    """
    active = services.policies.active(caller.tenant)
    await _record_read(services, caller, active)
    return notice_list(services, active)


def notice_list(services: Services, active: ActivePolicy) -> NoticeList:
    """List the notices of policies, with their state of today."""
    policies, day = active.policy_set, services.clock.now().date()
    good = {purpose.name: policies.notices.accepted(purpose, day) for purpose in policies.purposes.values()}
    versions = {
        notice.id: NoticeVersion(
            title=notice.title,
            purposes=notice.purposes,
            material=notice.material,
            valid_from=notice.valid_from,
            in_force=notice.in_force(day),
            current=policies.notices.current(notice.name, day) == notice.id,
            good_for=tuple(name for name, accepted in good.items() if notice.id in accepted),
            language=notice.language,
            languages={
                language: NoticeTranslation(title=text.title, digest=text.digest)
                for language, text in policies.notices.languages(notice.id).items()
            },
        )
        for notice in sorted(policies.notices.values(), key=lambda notice: (notice.name, notice.version))
    }
    return NoticeList(policy_version=active.version, notices=versions)


@audited("read-policies")
async def read_notice(services: Services, caller: Caller, digest: str) -> NoticeText:
    """Return the text that has a digest, in force or not, even if it is no longer in the policies.

    Raises:
        NotFound: no notice of the caller's tenant ever had that digest.
        TooMany: the caller has used up its rate.
    """
    active = services.policies.active(caller.tenant)
    policies = active.policy_set
    notice = policies.notices.by_digest(digest)
    if notice is not None:
        text = NoticeText(digest, notice.language, policies.files[notice.file].encode())
    elif (stored := await services.policies.notice_text(caller.tenant, digest)) is not None:
        text = NoticeText(digest, stored.language, stored.body)
    else:
        raise NotFound("no notice has this hash", code="notice-not-found", hint="GET /v1/notices lists those in force")
    await _record_read(services, caller, active)
    return text


async def _record_read(services: Services, caller: Caller, active: ActivePolicy) -> None:
    entry = audit_entry(services, caller, action="read-policies", decision="allowed", policy=active.version)
    await services.audit_log.append(entry)
