"""Import a batch of consent statements from elsewhere: in one transaction, with one audit entry.

Faults are reported item by item, and the other items are imported. An event that exists (same subject, purpose,
decision, time and source) is not written again, so a file may be imported any number of times.

Statements are checked against the policies. They are history: they may be of any age, and about a notice that no longer
suffices, because each read decides what they are worth at that time. Agreement to an unknown notice is refused.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry
from vault.catalogue.model import Article9
from vault.consent.expiry import birth_date, needs_guardian
from vault.consent.legal_ground import may_object
from vault.consent.model import EXPLICIT, YES, Method, apply, pack
from vault.consent.store import record_denials, stays_restricted
from vault.consent.transaction import Change, seal_words
from vault.consent.validation import CheckedStatement, ends_at, word_faults
from vault.errors import Fault
from vault.ids import Pseudonym
from vault.lifecycle.key_fence import current_keys
from vault.moments import SKEW, moment_fault
from vault.subjects.rows import composed, external_digest, is_external_id
from vault.subjects.store import GONE, mark_due

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Purpose
    from vault.catalogue.notices import Notice
    from vault.consent.model import Event
    from vault.consent.validation import ConsentStatement
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId
    from vault.policy.policy_set import PolicySet


Decision = Literal["given", "renewed", "refused", "withdrawn", "objected"]
IMPORT: Final = "import"
"""The method of statements without one."""


def check_statement(
    policy_set: PolicySet, statement: ConsentStatement, now: datetime
) -> CheckedStatement | list[Fault]:
    """Check a statement against the policies; returns all faults if there are any."""
    purpose = policy_set.purposes.get(statement.purpose)
    if purpose is None:
        return [Fault("/purpose", "unknown-purpose", "There is no such purpose; purposes.toml lists them.")]
    faults = [*_decision_faults(statement, purpose), *word_faults(statement), *_method_faults(statement, purpose)]
    faults += [*_time_faults(statement, now)]
    text = _text(policy_set, statement)
    if statement.is_yes and purpose.rests_on_consent:
        faults += _text_faults(policy_set, statement, text)
    return faults or CheckedStatement(statement, purpose, text)


def _decision_faults(statement: ConsentStatement, purpose: Purpose) -> list[Fault]:
    if statement.decision not in get_args(Decision):
        return [Fault("/decision", "unknown-code", "One of given, renewed, refused, withdrawn and objected.")]
    if statement.decision == "objected":
        if may_object(purpose):
            return []
        detail = "There is no right to object on this legal ground (Art. 21); consent can be withdrawn."
        return [Fault("/purpose", "no-right-to-object", detail)]
    if purpose.rests_on_consent:
        return []
    detail = "This purpose does not rest on consent, so none can be given, refused or withdrawn."
    return [Fault("/purpose", "purpose-without-consent", detail)]


def _method_faults(statement: ConsentStatement, purpose: Purpose) -> list[Fault]:
    if statement.method is not None and (
        statement.method not in get_args(Method) or (statement.is_yes and statement.method == "signal")
    ):
        return [Fault("/method", "unknown-code", "Unknown method for this decision.")]
    explicit = purpose.article9 == Article9.EXPLICIT_CONSENT
    if statement.decision in YES and explicit and statement.method not in EXPLICIT:
        detail = "This purpose needs explicit consent (Art. 9(2)(a)): " + ", ".join(sorted(EXPLICIT)) + "."
        return [Fault("/method", "method-not-explicit", detail)]
    return []


def _time_faults(statement: ConsentStatement, now: datetime) -> list[Fault]:
    occurred, until = statement.occurred_at, statement.valid_until
    faults = [
        fault
        for fault in (
            moment_fault(occurred, at="/occurred_at", latest=now + SKEW),
            moment_fault(until, at="/valid_until"),
        )
        if fault is not None
    ]
    if faults:
        return faults
    if occurred is None:
        return [Fault("/occurred_at", "missing", "Give the time of the statement.")]
    if until is not None and not statement.is_yes:
        return [Fault("/valid_until", "out-of-range", "Only consent can have an end.")]
    if until is not None and until <= occurred:
        return [Fault("/valid_until", "out-of-range", "The end is before the beginning.")]
    return []


def _text(policy_set: PolicySet, statement: ConsentStatement) -> Notice | None:
    """Find the very text. A refusal counts even if its text is unknown."""
    texts = {} if statement.notice is None else policy_set.notices.languages(statement.notice)
    main = next(iter(texts.values()), None)
    return main if statement.language is None or main is None else texts.get(statement.language)


def _text_faults(policy_set: PolicySet, statement: ConsentStatement, text: Notice | None) -> list[Fault]:
    if statement.notice is None:
        return [Fault("/notice", "missing", "Give the version of the notice that the person agreed to.")]
    texts = policy_set.notices.languages(statement.notice)
    if not texts:
        return [Fault("/notice", "unknown-notice", "There is no such version of a notice.")]
    if text is None:
        return [Fault("/language", "unknown-language", "There is no such translation of this notice.")]
    if statement.purpose not in next(iter(texts.values())).purposes:
        return [Fault("/notice", "notice-not-good", "The notice is not about this purpose.")]
    return []


MOST = 1_000
"""Items of one batch."""
FROM_ELSEWHERE = frozenset({"imported", "merged"})
"""Origins of events that an import may have written, including those of an entry that was merged since."""
_EventKey = tuple[str | None, str, "datetime", str | None]
"""Purpose, decision, time and source: equal events of a subject are the same event."""


@dataclass(frozen=True, slots=True)
class ConsentItem:
    """A statement to be imported. The subject is given by id, or by system and external id."""

    subject: SubjectId | None
    external: tuple[str, str] | None
    statement: ConsentStatement


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The result of an item: its event and whether it is new, or its faults."""

    event: UUID | None = None
    is_new: bool = False
    faults: tuple[Fault, ...] = ()


NOT_FOUND: Final = ItemResult(
    faults=(Fault("/subject", SUBJECT_NOT_FOUND.code, "There is no such person in this vault."),)
)
GUARDIAN_NEEDED: Final = ItemResult(
    faults=(
        Fault(
            "/by",
            "guardian-needed",
            "A parent or guardian has to consent for a child (Art. 8): `by` is guardian, with evidence of that.",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of a batch, item by item, and the audit entry, if one was written."""

    results: list[ItemResult]
    audit: UUID | None


@dataclass(frozen=True, slots=True)
class _Item:
    number: int
    checked: CheckedStatement
    moment: datetime


async def import_batch(
    services: Services,
    caller: Caller,
    items: Sequence[ConsentItem | Fault],
    source: str,
    *,
    always_audit: bool = False,
) -> BatchResult:
    """Import a batch of up to :data:`MOST` items. The caller's permission has been checked.

    Args:
        items: statements; a fault stands for an item that could not be read.
        source: the system from which they come. A later statement of the same source replaces an earlier one; an
            agreement from another source does not replace a refusal.
        always_audit: write an audit entry even if nothing is new; if no item is valid, the entry is a failure.

    Raises:
        Unavailable: a database does not answer; nothing of the batch is imported.
    """
    batch = await _prepare(services, caller, items, source)
    async with services.data.transaction() as connection:
        await batch.create_events(connection)
        return BatchResult(batch.results, await batch.write(connection, always_audit=always_audit))


async def check_batch(
    services: Services, caller: Caller, items: Sequence[ConsentItem | Fault], source: str
) -> BatchResult:
    """Return what :func:`import_batch` would do, without writing anything."""
    batch = await _prepare(services, caller, items, source)
    async with services.data.reading() as connection:
        await batch.create_events(connection)
    return BatchResult(batch.results, None)


async def _prepare(services: Services, caller: Caller, items: Sequence[ConsentItem | Fault], source: str) -> _Batch:
    policy_set, now = services.policies.active(caller.tenant).policy_set, services.clock.now()
    results = [ItemResult()] * len(items)
    by_subject: defaultdict[SubjectId, list[_Item]] = defaultdict(list)
    subjects = await _find_subjects(services, caller, items)
    for number, item in enumerate(items):
        if isinstance(item, Fault):
            results[number] = ItemResult(faults=(item,))
            continue
        checked, subject = check_statement(policy_set, item.statement, now), subjects[number]
        if not isinstance(checked, CheckedStatement) or item.statement.occurred_at is None:
            results[number] = ItemResult(faults=tuple(checked) if isinstance(checked, list) else ())
        elif subject is None:
            results[number] = NOT_FOUND
        else:
            by_subject[subject].append(_Item(number, checked, item.statement.occurred_at))
    batch = _Batch(services, caller, source, by_subject, results)
    await batch.fetch_keys()
    return batch


class _Batch:
    """The part of a batch that needs the subjects' rows, locked."""

    def __init__(
        self,
        services: Services,
        caller: Caller,
        source: str,
        by_subject: Mapping[SubjectId, list[_Item]],
        results: list[ItemResult],
    ) -> None:
        self._services = services
        self._caller = caller
        self._source = source
        self._by_subject = by_subject
        self._keys: Mapping[SubjectId, SubjectKeys] = {}
        self._pseudonyms: list[Pseudonym] = []
        self._changes: list[Change] = []
        self._events: list[Event] = []
        self.results = results

    async def fetch_keys(self) -> None:
        """Fetch the subjects' data keys, from the key store's own database: before the transaction."""
        self._keys = await self._services.keyring.subject_keys(self._caller.tenant, list(self._by_subject))

    async def create_events(self, connection: AsyncConnection) -> None:
        """Create the new events of each subject in the order of their time, without writing them."""
        services, tenant, subjects = self._services, self._caller.tenant, list(self._by_subject)
        rows = await services.subjects.locked_many(connection, tenant, subjects)
        self._keys = await current_keys(services, connection, tenant, self._keys)
        existing = await services.consents.events_of(connection, tenant, subjects) if subjects else {}
        for subject, items in self._by_subject.items():
            row = rows.get(subject)
            if row is None or row.state in GONE or subject not in self._keys:
                self._set_result(items, NOT_FOUND)
                continue
            self._pseudonyms.append(Pseudonym(row.pseudonym))
            events = existing.get(subject, [])
            change = Change(services, self._caller, connection, row, events[-1].id if events else None)
            known = {_event_key(event): event.id for event in events if event.origin in FROM_ELSEWHERE}
            await self._add(change, items, known)

    async def write(self, connection: AsyncConnection, *, always_audit: bool) -> UUID | None:
        """Write the events, the consent states that result, and the audit entry."""
        if not self._events and not always_audit:
            return None
        services, tenant = self._services, self._caller.tenant
        code = _failure_code(self.results)
        await services.consents.add(connection, tenant, self._events)
        await record_denials(services, tenant, self._events)
        for change in self._changes:
            consent_state = change.state
            restricted = stays_restricted(change.row, consent_state)
            await services.subjects.set_standing(connection, change.row, pack(consent_state), restricted=restricted)
        await mark_due(connection, tenant, [change.subject for change in self._changes], services.clock.now())
        entry = audit_entry(
            services,
            self._caller,
            action="import-consents",
            decision="allowed" if code is None else "failed",
            code=code,
            subjects=tuple(self._pseudonyms),
            count=max(1, len(self._events)),
            policy=services.policies.active(tenant).version,
        )
        await services.audit_log.append_in(connection, [entry])
        return entry.id

    async def _add(self, change: Change, items: list[_Item], known: dict[_EventKey, UUID]) -> None:
        keys = self._keys[change.subject]
        born = await birth_date(change, keys) if any(item.checked.statement.is_yes for item in items) else None
        added = False
        for item in sorted(items, key=lambda item: item.moment):
            statement = item.checked.statement
            key: _EventKey = (statement.purpose, statement.decision, item.moment, self._source)
            if _needs_guardian(change, born, statement):
                self._set_result([item], GUARDIAN_NEEDED)
            elif key in known:
                self._set_result([item], ItemResult(known[key]))
            else:
                event = self._event(change, keys, item)
                known[key] = event.id
                change.state = apply(change.state, event)
                self._events.append(event)
                self._set_result([item], ItemResult(event.id, is_new=True))
                added = True
        if added:
            self._changes.append(change)

    def _event(self, change: Change, keys: SubjectKeys, item: _Item) -> Event:
        statement, purpose, text = item.checked.statement, item.checked.purpose, item.checked.text
        event = change.new_id()
        policy_set = self._services.policies.active(self._caller.tenant).policy_set
        return change.event(
            statement.decision,  # type: ignore[arg-type]
            id=event,
            by=statement.by,  # type: ignore[arg-type]
            occurred_at=item.moment,
            origin="imported",
            source=self._source,
            purpose=statement.purpose,
            notice=None if text is None else text.id,
            notice_digest=None if text is None else text.digest,
            language=statement.language if text is None else text.language,
            channel=statement.channel,
            method=statement.method or IMPORT,
            evidence=seal_words(keys, self._caller.tenant, change.subject, event, statement.evidence),
            jurisdiction=statement.jurisdiction,
            valid_until=ends_at(policy_set, statement, item.moment),
            final=statement.decision == "objected" and purpose.direct_marketing,
        )

    def _set_result(self, items: Sequence[_Item], result: ItemResult) -> None:
        for item in items:
            self.results[item.number] = result


async def _find_subjects(
    services: Services, caller: Caller, items: Sequence[ConsentItem | Fault]
) -> list[SubjectId | None]:
    index_keys = await services.keyring.index_keys(caller.tenant)
    digests = {
        item.external: external_digest(index_keys, item.external[0], composed(item.external[1]))
        for item in items
        if isinstance(item, ConsentItem) and item.external is not None and is_external_id(item.external[1])
    }
    subjects = await services.subjects.by_external(caller.tenant, list(digests.values())) if digests else {}
    return [
        item.subject or subjects.get(digests.get(item.external or ("", ""), b""))
        if isinstance(item, ConsentItem)
        else None
        for item in items
    ]


def _event_key(event: Event) -> _EventKey:
    return event.purpose, event.kind, event.occurred_at, event.source


def _needs_guardian(change: Change, born: date | None, statement: ConsentStatement) -> bool:
    return (
        statement.decision in YES
        and statement.by != "guardian"
        and needs_guardian(change, born, statement.jurisdiction)
    )


def _failure_code(results: Sequence[ItemResult]) -> str | None:
    """Return the code of the first fault if no item is valid."""
    if any(result.event is not None for result in results):
        return None
    return next((fault.code for result in results for fault in result.faults), None)
