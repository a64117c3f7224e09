"""The record of processing activities (Art. 30 GDPR), from the policies in force and from what was really read.

Builds the record of processing activities from facts: pure, so that the same facts make the same record.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.model import CLEAR, Article9, LegalBasis
from vault.clock import rfc3339
from vault.errors import Fault, InvalidInput
from vault.governance.record_facts import Facts, grants_of
from vault.governance.record_findings import find
from vault.governance.record_schema import Activity, Category, FieldRead, Made, Period, Reader, Record, Retention, Use
from vault.governance.usage import Count, Tally, Usage
from vault.policy.rules import short

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.catalogue.model import Catalogue, Field, Purpose
    from vault.catalogue.retention import Period as Span
    from vault.catalogue.retention import Rule
    from vault.context import Caller, Services
    from vault.governance.usage import Reading
    from vault.principals.principal import Principal


YEAR = timedelta(days=365)
"""How far back the log is read unless somebody says otherwise: policies are looked through once a year."""


def _nobody_watches(_entries: int, _reached: str) -> None:
    pass


@audited("read-processing")
async def processing_record(
    services: Services,
    caller: Caller,
    *,
    since: datetime | None = None,
    watch: Callable[[int, str], None] = _nobody_watches,
) -> Made:
    """Make the record of the caller's tenant.

    Args:
        caller: who asks; it needs ``read`` on ``vault:processing``.
        since: from when on the audit log is read; 365 days back unless given.
        watch: is told how many entries were read so far, and the time of the last of them (RFC 3339).

    Raises:
        Denied: no role of the caller's has that right.
        InvalidInput: ``since`` is not in the past.
        Unavailable: the log cannot be read.
    """
    until = services.clock.now()
    begin = _checked(since, until)
    await require_permission(services, caller, "vault:processing", "read", audit_action="read-processing")
    active = services.policies.active(caller.tenant)
    tally = await _tally(services, caller, begin, until, watch)
    facts = Facts(
        tenant=caller.tenant,
        policy_set=active.policy_set,
        grants=await asyncio.to_thread(grants_of, active.policy_set, caller.tenant, until.date()),
        principals=await _principals(services, caller),
        usage=tally.by_purpose(),
        since=begin,
        until=until,
    )
    record = await asyncio.to_thread(build, facts)
    made = audit_entry(services, caller, action="read-processing", decision="allowed", policy=active.version)
    await services.audit_log.append(made)
    return Made(record, made.id)


async def _tally(
    services: Services, caller: Caller, since: datetime, until: datetime, watch: Callable[[int, str], None]
) -> Tally:
    tally = Tally()
    async for uses in services.audit_log.uses(caller.tenant, since, until):
        tally.add(uses)
        watch(tally.told, uses[-1].at)
        await asyncio.sleep(0)  # some milliseconds a chunk; others are served in between
    return tally


async def _principals(services: Services, caller: Caller) -> dict[str, Principal]:
    async with services.data.reading() as connection:
        return {str(each.id): each for each in await services.principals.list_principals(connection, caller.tenant)}


def _checked(since: datetime | None, now: datetime) -> datetime:
    if since is None:
        return now - YEAR
    try:
        begin = since.astimezone(UTC) if since.tzinfo is not None else now
    except OverflowError:  # the year 1, in a zone in which UTC was still in the year 0
        begin = now
    if begin < now:
        return begin
    fault = Fault("/since", "invalid-since", "`since` is a moment in the past with its time zone (RFC 3339).")
    raise InvalidInput(fault.detail, faults=[fault], code="invalid-since")


SUBJECTS = ("customers",)
"""The categories of people that the vault is about."""
NO_TRANSFERS = "none declared"
"""What is said of transfers to third countries (Art. 30(1)(e)) where purposes.toml declares none."""
LETTERS = "abcdefghij"

SECURITY = (
    "Every value is sealed on its own (AES-256-GCM) under a key of the one person it is about.",
    "Keys lie in a store apart from the data, wrapped by a tenant's key, which the root key wraps.",
    "A person stands on the audit log as a random pseudonym; the log holds names of fields and no values.",
    "Nothing is read without a purpose that needs the field, a rule that grants it to the caller's role, and a ground.",
    "One denial outweighs every grant; withdrawal, objection and restriction count from the very next read.",
    "Roles see as much as their task takes: masked, shortened or aggregated views instead of values.",
    "Every request, a denied one too, is on an append-only audit log before it is answered; without that, no answer.",
    "Callers prove who they are by keys of 256 bits or signed tokens; what each may ask for in a minute is bounded.",
    "Searches go over keyed digests, without readable values.",
    "This record compares what is declared with what was read, for the regular review of Art. 32(1)(d).",
)
"""Art. 30(1)(g) and Art. 32(1) GDPR: what the vault itself does. Whoever runs it adds what is done around it."""


def build(facts: Facts) -> Record:
    """Make the record."""
    policy_set = facts.policy_set
    return Record(
        tenant=facts.tenant,
        controller=policy_set.controller if policy_set.controller.stated else None,
        generated_at=rfc3339(facts.until),
        policy_version=policy_set.version,
        period=Period(since=rfc3339(facts.since), until=rfc3339(facts.until)),
        activities=tuple(_activity(facts, purpose) for purpose in policy_set.purposes.values()),
        security=SECURITY,
        findings=find(facts),
    )


def _activity(facts: Facts, purpose: Purpose) -> Activity:
    basis, condition = purpose.legal_basis, purpose.article9
    rule = facts.policy_set.retention.get(purpose.name)
    by_role = facts.grants.get(purpose.name, {})
    return Activity(
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
        transfers="; ".join(f"{country}: {told}" for country, told in purpose.transfers.items()) or NO_TRANSFERS,
        retention=None if rule is None else _retention(rule),
        use=_use(facts, purpose, facts.usage.get(purpose.name, Usage())),
    )


def _categories(catalogue: Catalogue, purpose: Purpose) -> tuple[Category, ...]:
    needed = [(field, names) for field in catalogue.fields() if (names := _needed(field, purpose))]
    needed.sort(key=lambda each: (each[0].category, each[0].special))
    return tuple(
        Category(category=category, special=special, fields=tuple(name for _field, names in group for name in names))
        for (category, special), group in groupby(needed, key=lambda each: (each[0].category, each[0].special))
    )


def _needed(field: Field, purpose: Purpose) -> list[str]:
    """Name a field that is needed in clear; of one that is not, the views that are needed."""
    if f"{field.whole}.{CLEAR}" in purpose.views:
        return [short(field.whole)]
    return [short(f"{field.whole}.{view}") for view in sorted(field.views) if f"{field.whole}.{view}" in purpose.views]


def _retention(rule: Rule) -> Retention:
    return Retention(
        keep=_iso(rule.keep),
        since=rule.since.value,
        reason=rule.reason,
        fields={short(name): _iso(span) for name, span in rule.fields.items()},
    )


def _iso(span: Span) -> str:
    """Write a period as ISO 8601 does, in whole years, months and days."""
    years, months = divmod(span.months, 12)
    parts = ((years, "Y"), (months, "M"), (span.days, "D"))
    return "P" + "".join(f"{count}{unit}" for count, unit in parts if count)


def _use(facts: Facts, purpose: Purpose, usage: Usage) -> Use:
    total = Count()
    for count in usage.kinds.values():
        total.add(count)
    readers = sorted(usage.readers.items(), key=lambda each: (each[0][1], each[0][0]))
    return Use(
        reads=usage.kinds.get("read", Count()).times,
        searches=usage.kinds.get("search", Count()).times,
        writes=usage.kinds.get("write", Count()).times,
        people=sum(reading.total.people for _who, reading in readers),
        first=total.first or None,
        last=total.last or None,
        readers=tuple(_reader(facts, purpose, *who, reading) for who, reading in readers),
    )


def _reader(facts: Facts, purpose: Purpose, principal: str, name: str, reading: Reading) -> Reader:
    total = reading.total
    return Reader(
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
            FieldRead(field=short(view), reads=count.times, people=count.people, first=count.first, last=count.last)
            for view, count in sorted(reading.fields.items())
        ),
    )
