"""Show the policies in force: nothing personal is in them, but they are the controller's own business.

Show the notices: the texts that people agree to are public, so every principal of the tenant may read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import audit_entry
from vault.access.recording import audited
from vault.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.notices import Notice
    from vault.context import Caller, Services
    from vault.ids import PolicyVersion, TenantId
    from vault.policy.store import ActivePolicy


@audited("read-policies")
async def read_policies(services: Services, caller: Caller) -> ActivePolicy:
    """Return the policies that are in force for the caller's tenant: every principal of it may see them.

    An app has to know what it can ask for, and a member of staff why a request was denied.
    """
    active = services.policies.active(caller.tenant)
    made = audit_entry(services, caller, action="read-policies", decision="allowed", policy=active.version)
    await services.audit_log.append(made)
    return active


class NoticeVersion(NamedTuple):
    """One version of a notice: its main text, all its texts by language, and what it is worth today.

    ``current`` is true of the newest version in force. ``good_for`` are the purposes for which a consent to this
    version is good; a version can be in force and good for none, because a newer one says something else.
    """

    main: Notice
    languages: Mapping[str, Notice]
    in_force: bool
    current: bool
    good_for: tuple[str, ...]


class NoticeList(NamedTuple):
    """All notices of the policies in force."""

    policy_version: PolicyVersion
    versions: list[NoticeVersion]


class NoticeFound(NamedTuple):
    """One very text: the whole file."""

    digest: str
    notice: str
    language: str
    body: bytes


@audited("read-policies")
async def list_notices(services: Services, caller: Caller) -> NoticeList:
    """List the notices in force for the caller's tenant, and those to come; it costs as much as reading one subject.

    Raises:
        TooMany: the caller has used up its rate.
    """
    await services.limits.take(caller.principal, "read", 1)
    active = services.policies.active(caller.tenant)
    await _note(services, caller, active)
    return versions_of(services, active)


def versions_of(services: Services, active: ActivePolicy) -> NoticeList:
    """List what the policies in force say about notices today."""
    policies, day = active.policy_set, services.clock.now().date()
    good = {purpose.name: policies.notices.accepted(purpose, day) for purpose in policies.purposes.values()}
    listed = [
        NoticeVersion(
            main=notice,
            languages=policies.notices.languages(notice.id),
            in_force=notice.in_force(day),
            current=policies.notices.current(notice.name, day) == notice.id,
            good_for=tuple(name for name, accepted in good.items() if notice.id in accepted),
        )
        for notice in sorted(policies.notices.values(), key=lambda each: (each.name, each.version))
    ]
    return NoticeList(active.version, listed)


@audited("read-policies")
async def read_notice(services: Services, caller: Caller, digest: str) -> NoticeFound:
    """Return the very text that has a hash, be it in force, replaced or taken out of the policies long ago.

    Raises:
        NotFound: no notice of the caller's tenant ever had that text.
        TooMany: the caller has used up its rate.
    """
    await services.limits.take(caller.principal, "read", 1)
    active = services.policies.active(caller.tenant)
    found = await _text(services, active, caller.tenant, digest)
    await _note(services, caller, active)
    return found


async def _text(services: Services, active: ActivePolicy, tenant: TenantId, digest: str) -> NoticeFound:
    policies = active.policy_set
    there = policies.notices.by_digest(digest)
    if there is not None:
        return NoticeFound(digest, there.id, there.language, policies.files[there.file].encode())
    kept = await services.policies.notice_text(tenant, digest)
    if kept is None:
        raise NotFound("no notice has this hash", code="notice-not-found", hint="GET /v1/notices lists those in force")
    return NoticeFound(kept.digest, kept.notice, kept.language, kept.body)


async def _note(services: Services, caller: Caller, active: ActivePolicy) -> None:
    """Write down that a caller looked: notices are policies, and looking at those is on the log."""
    made = audit_entry(services, caller, action="read-policies", decision="allowed", policy=active.version)
    await services.audit_log.append(made)
