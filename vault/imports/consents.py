"""One batch of what was said elsewhere: one transaction, one audit entry; what is wrong is told, and the rest goes in.

An event that is there already is not written twice: the same person, purpose, decision, moment and source. So a file
may be imported as often as one likes, and one that was cut off is simply imported again.

What was said elsewhere, checked against the policies. Pure; all faults at once, and no value in them.

It may be as old as it likes, and may be about a text that no longer suffices: it is history, and a read looks at what
it is worth today. But nobody can have agreed to a text that the policies do not know.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry
from vault.catalogue.model import Article9
from vault.clock import to_microseconds
from vault.consent.append import record_denials, stays_restricted
from vault.consent.event import EXPLICIT, YES, Method
from vault.consent.guardians import birth_date, needs_guardian
from vault.consent.legal_ground import may_object
from vault.consent.state import apply, pack
from vault.consent.transaction import Change
from vault.consent.validation import ends_at, seal_words, word_faults
from vault.errors import Fault
from vault.ids import Pseudonym
from vault.lifecycle.key_fence import current_keys
from vault.subjects.changes import mark_due, set_standing
from vault.subjects.merged import locked_subjects
from vault.subjects.rows import composed, external_digest, is_external_id
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Purpose
    from vault.catalogue.notices import Notice
    from vault.consent.event import Event
    from vault.consent.validation import ConsentStatement
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId
    from vault.policy.policy_set import PolicySet


Decision = Literal["given", "renewed", "refused", "withdrawn", "objected"]
IMPORT: Final = "import"
"""The method of what came without one."""


class Checked(NamedTuple):
    """What was said, and what the policies make of it; ``text`` is the very text that the person saw, if known."""

    said: ConsentStatement
    purpose: Purpose
    text: Notice | None


def check(policy_set: PolicySet, said: ConsentStatement, now: datetime) -> Checked | list[Fault]:
    """Check what was said elsewhere; returns what is wrong with it, if anything is."""
    purpose = policy_set.purposes.get(said.purpose)
    if purpose is None:
        return [Fault("/purpose", "unknown-purpose", "There is no such purpose; purposes.toml lists them.")]
    faults = [*_decision_faults(said, purpose), *word_faults(said), *_method_faults(said, purpose)]
    faults += [*_time_faults(said, now)]
    text = _text(policy_set, said)
    if said.is_yes and purpose.rests_on_consent:
        faults += _text_faults(policy_set, said, text)
    return faults or Checked(said, purpose, text)


def _decision_faults(said: ConsentStatement, purpose: Purpose) -> list[Fault]:
    if said.decision not in get_args(Decision):
        return [Fault("/decision", "unknown-code", "One of given, renewed, refused, withdrawn and objected.")]
    if said.decision == "objected":
        if may_object(purpose):
            return []
        detail = "There is no right to object to what rests on this ground (Art. 21); a consent can be withdrawn."
        return [Fault("/purpose", "no-right-to-object", detail)]
    if purpose.rests_on_consent:
        return []
    detail = "This purpose does not rest on consent, so there is none to give, to refuse or to take back."
    return [Fault("/purpose", "purpose-without-consent", detail)]


def _method_faults(said: ConsentStatement, purpose: Purpose) -> list[Fault]:
    if said.method is not None and (said.method not in get_args(Method) or (said.is_yes and said.method == "signal")):
        return [Fault("/method", "unknown-code", "It is none of the methods by which a person says this.")]
    explicit = purpose.article9 == Article9.EXPLICIT_CONSENT
    if said.decision in YES and explicit and said.method not in EXPLICIT:
        detail = "This purpose needs explicit consent (Art. 9(2)(a)): " + ", ".join(sorted(EXPLICIT)) + "."
        return [Fault("/method", "method-not-explicit", detail)]
    return []


def _time_faults(said: ConsentStatement, now: datetime) -> list[Fault]:
    occurred, until = said.occurred_at, said.valid_until
    faults = [
        Fault(at, "out-of-range", "a time zone, and the years 1 to 9999 in UTC")
        for at, moment in (("/occurred_at", occurred), ("/valid_until", until))
        if moment is not None and not _is_kept(moment)
    ]
    if faults:
        return faults
    if occurred is None:
        return [Fault("/occurred_at", "missing", "Say when the person said it.")]
    if occurred > now:
        return [Fault("/occurred_at", "event-in-future", "What was said was said already.")]
    if until is not None and not said.is_yes:
        return [Fault("/valid_until", "out-of-range", "Only an agreement ends by itself.")]
    if until is not None and until <= occurred:
        return [Fault("/valid_until", "out-of-range", "It would have ended before it began.")]
    return []


def _text(policy_set: PolicySet, said: ConsentStatement) -> Notice | None:
    """Find the very text; of a no whose text nobody knows, the no is what counts."""
    texts = {} if said.notice is None else policy_set.notices.languages(said.notice)
    main = next(iter(texts.values()), None)
    return main if said.language is None or main is None else texts.get(said.language)


def _text_faults(policy_set: PolicySet, said: ConsentStatement, text: Notice | None) -> list[Fault]:
    if said.notice is None:
        return [Fault("/notice", "missing", "Say which version of the notice the person agreed to.")]
    texts = policy_set.notices.languages(said.notice)
    if not texts:
        return [Fault("/notice", "unknown-notice", "There is no such version of a notice.")]
    if text is None:
        return [Fault("/language", "unknown-language", "There is no such translation of this notice.")]
    if said.purpose not in next(iter(texts.values())).purposes:
        return [Fault("/notice", "notice-not-good", "The notice is not about this purpose.")]
    return []


def _is_kept(moment: datetime) -> bool:
    try:
        to_microseconds(moment)
    except ValueError:
        return False
    return True


MOST = 1_000
"""Items of one batch."""
FROM_ELSEWHERE = frozenset({"imported", "merged"})
"""Origins of events that an import may have brought, be it to an entry that was merged since."""
_Same = tuple[str | None, str, "datetime", str | None]


class Told(NamedTuple):
    """Something that somebody said elsewhere: about whom, by id or by a number in another system, and what."""

    subject: SubjectId | None
    external: tuple[str, str] | None
    said: ConsentStatement


class Result(NamedTuple):
    """What became of an item: its event, whether that is new, or what is wrong."""

    event: UUID | None = None
    is_new: bool = False
    faults: tuple[Fault, ...] = ()


class Brought(NamedTuple):
    """What became of a batch, item by item, and the audit entry, if there is one."""

    results: list[Result]
    audit: UUID | None


class _Item(NamedTuple):
    number: int
    checked: Checked
    moment: datetime


async def bring_in(
    services: Services,
    caller: Caller,
    items: Sequence[Told | Fault],
    *,
    source: str,
    dry_run: bool = False,
    note: bool = False,
) -> Brought:
    """Bring a batch of up to :data:`MOST` items in, for a caller whose right to it is settled.

    Args:
        caller: who imports.
        items: what was said; a fault where nothing could be read of it.
        source: the system from which it comes: a later word of the same source counts, a yes of another does not.
        dry_run: only say what would become of it.
        note: write an audit entry where nothing is new, too; where nothing at all is right, it says so.

    Raises:
        Unavailable: a database does not answer; nothing of the batch is in.
    """
    policy_set, now = services.policies.active(caller.tenant).policy_set, services.clock.now()
    results = [Result()] * len(items)
    by_subject: defaultdict[SubjectId, list[_Item]] = defaultdict(list)
    whom = await _whom(services, caller, items)
    for number, told in enumerate(items):
        if isinstance(told, Fault):
            results[number] = Result(faults=(told,))
            continue
        checked, subject = check(policy_set, told.said, now), whom[number]
        if not isinstance(checked, Checked) or told.said.occurred_at is None:
            results[number] = Result(faults=tuple(checked) if isinstance(checked, list) else ())
        elif subject is None:
            results[number] = _not_found()
        else:
            by_subject[subject].append(_Item(number, checked, told.said.occurred_at))
    keys = await services.keyring.subject_keys(caller.tenant, list(by_subject))
    batch = _Batch(services, caller, source, keys, results)
    if dry_run:
        async with services.data.reading() as connection:
            await batch.work(connection, by_subject)
        return Brought(results, None)
    async with services.data.transaction() as connection:
        await batch.work(connection, by_subject)
        return Brought(results, await batch.write(connection, note=note))


class _Batch:
    """The part of a batch that needs the people's rows, locked."""

    def __init__(
        self,
        services: Services,
        caller: Caller,
        source: str,
        keys: Mapping[SubjectId, SubjectKeys],
        results: list[Result],
    ) -> None:
        self._services = services
        self._caller = caller
        self._source = source
        self._keys = keys
        self._results = results
        self._whom: list[Pseudonym] = []
        self._changes: list[Change] = []
        self._events: list[Event] = []

    async def work(self, connection: AsyncConnection, by_subject: Mapping[SubjectId, list[_Item]]) -> None:
        """Make the events, each person's in the order in which they were said, and change nothing yet."""
        services, tenant, subjects = self._services, self._caller.tenant, list(by_subject)
        rows = await locked_subjects(connection, tenant, subjects)
        self._keys = await current_keys(services, connection, tenant, self._keys)
        there = await services.consents.events_of(connection, tenant, subjects) if subjects else {}
        for subject, items in by_subject.items():
            row = rows.get(subject)
            if row is None or row.state in GONE or subject not in self._keys:
                self._results_of(items, _not_found())
                continue
            self._whom.append(Pseudonym(row.pseudonym))
            events = there.get(subject, [])
            change = Change(services, self._caller, connection, row, events[-1].id if events else None)
            await self._add(change, items, {_same(each): each.id for each in events if each.origin in FROM_ELSEWHERE})

    async def write(self, connection: AsyncConnection, *, note: bool) -> UUID | None:
        """Write the events, what they sum up to, and the audit entry."""
        if not self._events and not note:
            return None
        services, tenant = self._services, self._caller.tenant
        code = _code_where_all_is_wrong(self._results)
        await services.consents.add(connection, tenant, self._events)
        await record_denials(services, tenant, self._events)
        for change in self._changes:
            standing = change.state
            restricted = stays_restricted(change.row, standing)
            await set_standing(connection, tenant, change.subject, pack(standing), restricted=restricted)
        await mark_due(connection, tenant, [change.subject for change in self._changes], services.clock.now())
        made = audit_entry(
            services,
            self._caller,
            action="import-consents",
            decision="allowed" if code is None else "failed",
            code=code,
            subjects=tuple(self._whom),
            count=max(1, len(self._events)),
            policy=services.policies.active(tenant).version,
        )
        await services.audit_log.append_in(connection, [made])
        return made.id

    async def _add(self, change: Change, items: list[_Item], there: dict[_Same, UUID]) -> None:
        keys = self._keys[change.subject]
        born = await birth_date(change, keys) if any(item.checked.said.is_yes for item in items) else None
        added = False
        for item in sorted(items, key=lambda item: item.moment):
            said = item.checked.said
            same: _Same = (said.purpose, said.decision, item.moment, self._source)
            if _needs_guardian(change, born, said):
                self._results_of([item], _guardian_needed())
            elif same in there:
                self._results_of([item], Result(there[same]))
            else:
                event = self._event(change, keys, item)
                there[same] = event.id
                change.state = apply(change.state, event)
                self._events.append(event)
                self._results_of([item], Result(event.id, is_new=True))
                added = True
        if added:
            self._changes.append(change)

    def _event(self, change: Change, keys: SubjectKeys, item: _Item) -> Event:
        (said, purpose, text), event = item.checked, change.new_id()
        policy_set = self._services.policies.active(self._caller.tenant).policy_set
        return change.event(
            said.decision,  # type: ignore[arg-type]
            id=event,
            by=said.by,  # type: ignore[arg-type]
            occurred_at=item.moment,
            origin="imported",
            source=self._source,
            purpose=said.purpose,
            notice=None if text is None else text.id,
            notice_digest=None if text is None else text.digest,
            language=said.language if text is None else text.language,
            channel=said.channel,
            method=said.method or IMPORT,
            evidence=seal_words(keys, self._caller.tenant, change.subject, event, said.evidence),
            jurisdiction=said.jurisdiction,
            valid_until=ends_at(policy_set, said, item.moment),
            final=said.decision == "objected" and purpose.direct_marketing,
        )

    def _results_of(self, items: Sequence[_Item], result: Result) -> None:
        for item in items:
            self._results[item.number] = result


async def _whom(services: Services, caller: Caller, items: Sequence[Told | Fault]) -> list[SubjectId | None]:
    """Find whom each item is about."""
    index_keys = await services.keyring.index_keys(caller.tenant)
    digests = {
        told.external: external_digest(index_keys, told.external[0], composed(told.external[1]))
        for told in items
        if isinstance(told, Told) and told.external is not None and is_external_id(told.external[1])
    }
    found = await services.subjects.by_external(caller.tenant, list(digests.values())) if digests else {}
    return [
        told.subject or found.get(digests.get(told.external or ("", ""), b"")) if isinstance(told, Told) else None
        for told in items
    ]


def _same(event: Event) -> _Same:
    return event.purpose, event.kind, event.occurred_at, event.source


def _needs_guardian(change: Change, born: date | None, said: ConsentStatement) -> bool:
    return said.decision in YES and said.by != "guardian" and needs_guardian(change, born, said.jurisdiction)


def _code_where_all_is_wrong(results: Sequence[Result]) -> str | None:
    """Return the code of the first mistake where no item was right; none where one was."""
    if any(each.event is not None for each in results):
        return None
    return next((fault.code for each in results for fault in each.faults), None)


def _not_found() -> Result:
    return Result(faults=(Fault("/subject", SUBJECT_NOT_FOUND.code, "There is no such person in this vault."),))


def _guardian_needed() -> Result:
    detail = "A parent or guardian has to consent for a child (Art. 8): `by` is guardian, with evidence of that."
    return Result(faults=(Fault("/by", "guardian-needed", detail),))
