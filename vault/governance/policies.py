"""Show the policies and notices in force to every principal of the tenant; they contain no personal data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vault.access.authorization import audit_entry
from vault.access.recording import audited
from vault.errors import NotFound
from vault.governance.views import NoticeList, NoticeTranslation, NoticeVersion

if TYPE_CHECKING:
    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.policy.store import ActivePolicy


@audited("read-policies")
async def read_policies(services: Services, caller: Caller) -> ActivePolicy:
    """Return the policies in force for the caller's tenant.

    Every principal of the tenant may see them: an app needs to know what it can ask for, and staff why a request was
    denied.
    """
    active = services.policies.active(caller.tenant)
    await _record_read(services, caller, active)
    return active


@dataclass(frozen=True, slots=True)
class NoticeText:
    """The text of a notice: the whole file."""

    digest: str
    notice: str
    language: str
    body: bytes


@audited("read-policies")
async def list_notices(services: Services, caller: Caller) -> NoticeList:
    """List the notices in force for the caller's tenant, and future ones; costs as much as reading one subject.

    Raises:
        TooMany: the caller has used up its rate.
    """
    await services.limits.take(caller.principal, "read", 1)
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
    await services.limits.take(caller.principal, "read", 1)  # an unknown digest costs a query of the database
    active = services.policies.active(caller.tenant)
    text = await _text(services, active, caller.tenant, digest)
    await _record_read(services, caller, active)
    return text


async def _text(services: Services, active: ActivePolicy, tenant: TenantId, digest: str) -> NoticeText:
    policies = active.policy_set
    notice = policies.notices.by_digest(digest)
    if notice is not None:
        return NoticeText(digest, notice.id, notice.language, policies.files[notice.file].encode())
    stored = await services.policies.notice_text(tenant, digest)
    if stored is None:
        raise NotFound("no notice has this hash", code="notice-not-found", hint="GET /v1/notices lists those in force")
    return NoticeText(stored.digest, stored.notice, stored.language, stored.body)


async def _record_read(services: Services, caller: Caller, active: ActivePolicy) -> None:
    entry = audit_entry(services, caller, action="read-policies", decision="allowed", policy=active.version)
    await services.audit_log.append(entry)
