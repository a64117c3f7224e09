"""Build the record of processing activities (Art. 30 GDPR) from the policies in force and the audit log.

:func:`build` is pure: the same facts give the same record.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.model import CLEAR, Article9, LegalBasis
from vault.clock import rfc3339
from vault.errors import Fault, InvalidInput
from vault.governance import views
from vault.governance.record_facts import Count, Facts, Tally, Usage, find, grants_of
from vault.policy.rules import short

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from vault.catalogue.model import Catalogue, Field, Purpose
    from vault.catalogue.retention import Rule
    from vault.context import Caller, Services
    from vault.governance.record_facts import Reading


YEAR = timedelta(days=365)
"""How far back the log is read by default: policies are reviewed once a year."""


@audited("read-processing")
async def processing_record(
    services: Services,
    caller: Caller,
    *,
    since: datetime | None = None,
    watch: Callable[[int, str], None] | None = None,
) -> views.ProcessingRecord:
    """Build the record of the caller's tenant.

    Args:
        since: start of the period of the audit log; 365 days back by default.
        watch: called with the number of entries read so far, and the time of the last of them (RFC 3339).

    Raises:
        Denied: the caller may not read the record.
        InvalidInput: ``since`` is not in the past.
        Unavailable: the log cannot be read.
    """
    until = services.clock.now()
    begin = _checked(since, until)
    await require_permission(services, caller, "vault:processing", "read", audit_action="read-processing")
    active = services.policies.active(caller.tenant)
    tally = Tally()
    async for uses in services.audit_log.uses(caller.tenant, begin, until):
        tally.add(uses)
        if watch is not None:
            watch(tally.uses, uses[-1].at)
        await asyncio.sleep(0)  # a chunk takes some milliseconds; other tasks run in between
    async with services.data.reading() as connection:
        principals = await services.principals.list_principals(connection, caller.tenant)
    facts = Facts(
        tenant=caller.tenant,
        policy_set=active.policy_set,
        grants=await asyncio.to_thread(grants_of, active.policy_set, caller.tenant, until.date()),
        principals={str(principal.id): principal for principal in principals},
        usage=tally.by_purpose(),
        since=begin,
        until=until,
    )
    entry = audit_entry(services, caller, action="read-processing", decision="allowed", policy=active.version)
    record = await asyncio.to_thread(build, facts, entry.id)
    await services.audit_log.append(entry)
    return record


def _checked(since: datetime | None, now: datetime) -> datetime:
    if since is None:
        return now - YEAR
    try:
        begin = since.astimezone(UTC) if since.tzinfo is not None else now
    except OverflowError:  # in the year 1, in a zone ahead of UTC
        begin = now
    if begin < now:
        return begin
    fault = Fault("/since", "invalid-since", "`since` is a time in the past with its time zone (RFC 3339).")
    raise InvalidInput(fault.detail, faults=[fault], code="invalid-since")


SUBJECTS = ("customers",)
"""The categories of data subjects."""
NO_TRANSFERS = "none declared"
"""The text on transfers to third countries (Art. 30(1)(e)) if purposes.toml declares none."""
LETTERS = "abcdefghij"

SECURITY = (
    "Every value is sealed on its own (AES-256-GCM) under a key of the one person it is about.",
    "Keys are stored apart from the data, wrapped by a tenant's key, which the root key wraps.",
    "The audit log names a person by a random pseudonym; it contains names of fields and no values.",
    "Nothing is read without a purpose that needs the field, a rule that grants it to the caller's role, and a ground.",
    "One denial outweighs every grant; withdrawal, objection and restriction count from the next read on.",
    "Roles see no more than their task needs: masked, shortened or aggregated views instead of values.",
    "Every request, also a denied one, is recorded in an append-only audit log before it is answered, or it fails.",
    "Callers authenticate by keys of 256 bits or signed tokens; each has a rate limit.",
    "Searches use keyed digests, not readable values.",
    "This record compares what is declared with what was read, for the regular review of Art. 32(1)(d).",
)
"""Art. 30(1)(g) and Art. 32(1) GDPR: the measures of the vault itself. The operator adds those around it."""


def build(facts: Facts, audit: UUID) -> views.ProcessingRecord:
    """Build the record; ``audit`` is the audit entry of its creation."""
    policy_set = facts.policy_set
    controller = policy_set.controller
    return views.ProcessingRecord(
        tenant=facts.tenant,
        controller=views.ControllerDetails.model_validate(controller) if controller.stated else None,
        generated_at=rfc3339(facts.until),
        policy_version=policy_set.version,
        period=views.RecordPeriod(since=rfc3339(facts.since), until=rfc3339(facts.until)),
        activities=tuple(_activity(facts, purpose) for purpose in policy_set.purposes.values()),
        security=SECURITY,
        findings=find(facts),
        audit=audit,
    )


def _activity(facts: Facts, purpose: Purpose) -> views.ProcessingActivity:
    basis, condition = purpose.legal_basis, purpose.article9
    rule = facts.policy_set.retention.get(purpose.name)
    by_role = facts.grants.get(purpose.name, {})
    return views.ProcessingActivity(
        purpose=purpose.name,
        title=purpose.title,
        description=purpose.description,
        in_force=purpose.in_force(facts.until.date()),
        valid_from=purpose.valid_from,
        valid_until=purpose.valid_until,
        legal_basis=basis.value,
        legal_article=f"Art. 6(1)({LETTERS[list(LegalBasis).index(basis)]}) GDPR",
        law=purpose.law,
        interest=purpose.interest,
        notice=purpose.notice,
        special_condition=None if condition is None else condition.value,
        special_article=None if condition is None else f"Art. 9(2)({LETTERS[list(Article9).index(condition)]}) GDPR",
        owner=purpose.owner,
        data_subjects=SUBJECTS,
        data=_categories(facts.policy_set.catalogue, purpose),
        recipients=purpose.recipients,
        roles=tuple(role for role, grant in by_role.items() if grant.allowed),
        transfers="; ".join(f"{country}: {safeguard}" for country, safeguard in purpose.transfers.items())
        or NO_TRANSFERS,
        retention=None if rule is None else _retention(rule),
        use=_use(facts, purpose, facts.usage.get(purpose.name, Usage())),
    )


def _categories(catalogue: Catalogue, purpose: Purpose) -> tuple[views.DataCategory, ...]:
    names: defaultdict[tuple[str, bool], list[str]] = defaultdict(list)
    for field in catalogue.fields():
        if needed := _needed(field, purpose):
            names[field.category, field.special] += needed
    return tuple(
        views.DataCategory(category=category, special=special, fields=tuple(names[category, special]))
        for category, special in sorted(names)
    )


def _needed(field: Field, purpose: Purpose) -> list[str]:
    """Return the field's name if it is needed in clear, else the names of the views that are needed."""
    if f"{field.whole}.{CLEAR}" in purpose.views:
        return [short(field.whole)]
    return [short(f"{field.whole}.{view}") for view in sorted(field.views) if f"{field.whole}.{view}" in purpose.views]


def _retention(rule: Rule) -> views.RetentionPeriod:
    return views.RetentionPeriod(
        keep=str(rule.keep),
        since=rule.since.value,
        reason=rule.reason,
        fields={short(name): str(period) for name, period in rule.fields.items()},
    )


def _use(facts: Facts, purpose: Purpose, usage: Usage) -> views.PurposeUse:
    total = Count()
    for count in usage.kinds.values():
        total.add(count)
    readers = sorted(usage.readers.items(), key=lambda item: (item[0][1], item[0][0]))
    return views.PurposeUse(
        reads=usage.kinds.get("read", Count()).times,
        searches=usage.kinds.get("search", Count()).times,
        writes=usage.kinds.get("write", Count()).times,
        people=sum(reading.total.people for _principal, reading in readers),
        first=total.first or None,
        last=total.last or None,
        readers=tuple(_reader(facts, purpose, principal, name, reading) for (principal, name), reading in readers),
    )


def _reader(facts: Facts, purpose: Purpose, principal: str, name: str, reading: Reading) -> views.DataReader:
    total = reading.total
    return views.DataReader(
        principal=principal,
        name=name,
        state=facts.state(principal),
        roles=facts.roles(principal),
        named=facts.is_named(purpose, principal, name, reading),
        reads=total.times,
        people=total.people,
        first=total.first,
        last=total.last,
        fields=tuple(
            views.FieldUse(
                field=short(view), reads=count.times, people=count.people, first=count.first, last=count.last
            )
            for view, count in sorted(reading.fields.items())
        ),
    )
