"""Consents as personal data: what an erasure leaves of them, and what a merge carries to the survivor.

After the erasure of a whole subject it stays on record that consents were given or withdrawn, for which purpose, by
which text and when: proof (Art. 7(1) GDPR) without a value of the subject's.

A merge only narrows what may be done with the data:

- A refusal, a standing objection and a restriction always move, and count.
- A consent moves if the survivor has never said anything about its purpose, or if it changes nothing: as proof of
  what was agreed to at the time. A restricted survivor gets no further consent that counts.
- A pending double opt-in does not move: its link was made for the duplicate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import bindparam, delete, select, update

from vault.clock import rfc3339
from vault.consent.expiry import expire_childs_consents
from vault.consent.model import NOTHING, OBJECTION, UNSAID, YES, Event, apply, bare, decode, encode, fold, unpack
from vault.consent.store import CONFIRMATION, EVENT
from vault.consent.transaction import COLLECTION, FIELD, Change, open_words, seal_words
from vault.crypto.seal import version_of
from vault.ids import SubjectId, new_id
from vault.lifecycle.personal_data import count_rows, is_stale, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.model import ConsentState, PurposeState
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, ExportContext, MergeContext, Sections

EVENTS_AT_A_TIME: Final = 200
DENIED = frozenset({"refused", "withdrawn"})


class HistoryEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A consent, objection or restriction, or a change to one."""

    id: str
    at: str
    recorded_at: str
    kind: str
    by: str
    purpose: str | None = None
    notice: str | None = None
    notice_title: str | None = None
    language: str | None = None
    method: str | None = None
    channel: str | None = None
    source: str | None = None
    valid_until: str | None = None
    ground: str | None = None
    words: str | None = None


class ConsentData:
    """Consent events, and double opt-ins that are not confirmed yet."""

    tables: tuple[Table, ...] = (EVENT, CONFIRMATION)
    retained: tuple[Table, ...] = (EVENT,)

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Strip the events to the bare proof, and delete pending double opt-ins."""
        connection, tenant = erasing.connection, erasing.tenant
        await connection.execute(delete(CONFIRMATION).where(*rows_of(CONFIRMATION, tenant, subjects)))
        events = [(subject, event, bare(event)) for subject, event in await _events(connection, tenant, subjects)]
        changed = [(subject, after) for subject, before, after in events if after != before]
        await _rewrite(connection, tenant, changed)

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Seal the evidence of the events again."""
        resealed = []
        for subject, event in await _events(erasing.connection, erasing.tenant, subjects):
            if event.evidence is not None:
                evidence = erasing.resealers[subject].reseal(COLLECTION, event.id, FIELD, event.evidence)
                resealed.append((subject, replace(event, evidence=evidence)))
        await _rewrite(erasing.connection, erasing.tenant, resealed)

    async def move(self, merge: MergeContext) -> None:
        """Append the events that move to the survivor's, and delete the duplicate's."""
        services, connection, tenant = merge.services, merge.connection, merge.tenant
        events = (await services.consents.events_of(connection, tenant, [merge.duplicate])).get(merge.duplicate, [])
        moving = moving_events(unpack(merge.survivor_row.standing), events)
        restriction_only = merge.duplicate_row.state == "restricted"
        if restriction_only and unpack(merge.duplicate_row.standing).restricted_at is None:
            moving.append(_restriction(merge))
        change = await Change.lock(services, merge.caller, connection, merge.survivor)
        if change is not None and moving:
            copies = [_copy(merge, change, event) for event in moving]
            await change.append(*copies)
            merge.events = {event.id: copy.id for event, copy in zip(moving, copies, strict=True)}
        await expire_childs_consents(services, merge.caller, connection, merge.survivor, merge.birth_date)
        for table in (EVENT, CONFIRMATION):
            await connection.execute(delete(table).where(*rows_of(table, tenant, [merge.duplicate])))

    async def export(self, package: ExportContext) -> Sections:
        """List every consent, objection and restriction, newest first, with the subject's own words opened."""
        notices = package.services.policies.active(package.tenant).policy_set.notices
        events: list[HistoryEvent] = []
        before, is_last = None, False
        while not is_last:
            page = await package.services.consents.history(
                package.tenant, package.subject, before=before, limit=EVENTS_AT_A_TIME
            )
            for event in page.events:
                version = event.notice or ""
                text = notices.languages(version).get(package.language) or notices.get(version)
                words = open_words(package.keys, package.tenant, event)
                events.append(_history_event(event, None if text is None else text.title, words))
            before, is_last = page.next, page.next is None
        return {"history": events}

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count pending double opt-ins, and events that say more than the bare proof."""
        events = await _events(connection, tenant, [SubjectId(erasure.subject)])
        wrong = sum(_is_left(event, erasure) for _subject, event in events)
        return wrong + await count_rows(connection, tenant, erasure, CONFIRMATION)


def _history_event(event: Event, notice_title: str | None, words: str | None) -> HistoryEvent:
    return HistoryEvent(
        id=str(event.id),
        at=rfc3339(event.occurred_at),
        recorded_at=rfc3339(event.recorded_at),
        kind=event.kind,
        by=event.by,
        purpose=event.purpose,
        notice=event.notice,
        notice_title=notice_title,
        language=event.language,
        method=event.method,
        channel=event.channel,
        source=event.source,
        valid_until=None if event.valid_until is None else rfc3339(event.valid_until),
        ground=event.ground,
        words=words,
    )


def moving_events(own: ConsentState, events: Sequence[Event]) -> list[Event]:
    """Choose which of the duplicate's events move.

    Args:
        own: the survivor's consents.
        events: all events of the duplicate, in their order.

    Returns:
        copies with the origin ``merged``, in the order in which they are to be appended; their ids, subject and
        evidence are still those of the originals.
    """
    duplicate = fold(events)
    chosen = [moving for purpose, said in duplicate.purposes.items() for moving in _about(purpose, said, events)]
    if duplicate.restricted_at is not None:
        restrictions = _standing(events, frozenset({"restricted"}), lambda state: state.restricted_at is not None)
        chosen += [_Moving(event, narrows=True) for event in restrictions]
    state, copies = own, []
    for event, narrows in chosen:
        copy = replace(event, origin="merged", answers=event.id)
        after = apply(state, copy)
        said = own.purposes.get(event.purpose or "", UNSAID)
        is_silent = said.state == "none" and said.objection == "none"
        if narrows or after == state or (own.restricted_at is None and is_silent):
            state = after
            copies.append(copy)
    return copies


class _Moving(NamedTuple):
    event: Event
    narrows: bool


def _about(purpose: str, said: PurposeState, events: Sequence[Event]) -> Iterator[_Moving]:
    """List what was said of one purpose and still matters: consents by their time, the last word, the objections."""
    about = [event for event in events if event.purpose == purpose]
    last = next((event for event in about if event.id.bytes == said.event), None)
    if last is not None and said.state not in {"none", "pending"}:
        earlier = [event for event in about if event.kind in YES and event.occurred_at < last.occurred_at]
        for event in sorted(earlier, key=lambda event: event.occurred_at):
            yield _Moving(event, narrows=False)
        yield _Moving(last, narrows=said.state in DENIED)
    # The events of an objection that was overruled or withdrawn before do not count.
    objections = _standing(
        about, OBJECTION, lambda state: state.purposes.get(purpose, UNSAID).objection in {"pending", "upheld"}
    )
    for event in objections:
        if event is not last:
            yield _Moving(event, narrows=True)


def _standing(
    events: Sequence[Event], kinds: frozenset[str], is_standing: Callable[[ConsentState], bool]
) -> list[Event]:
    """List the events of these kinds since the state was last one in which they do not count."""
    standing: list[Event] = []
    state = NOTHING
    for event in events:
        state = apply(state, event)
        if not is_standing(state):
            standing = []
        elif event.kind in kinds:
            standing.append(event)
    return standing


def _copy(merge: MergeContext, change: Change, event: Event) -> Event:
    copy, source, target = change.new_id(), merge.resealer.source, merge.resealer.target
    words = open_words(source.keys, merge.tenant, event)
    return replace(
        event,
        id=copy,
        subject=target.id,
        recorder=change.caller.principal.id,
        recorded_at=change.now,
        evidence=seal_words(target.keys, merge.tenant, target.id, copy, words),
    )


def _restriction(merge: MergeContext) -> Event:
    """Make the event for a restriction that only the duplicate's row records."""
    return Event(
        id=new_id(),
        subject=merge.duplicate,
        kind="restricted",
        by="staff",
        occurred_at=merge.now,
        recorded_at=merge.now,
        origin="merged",
    )


def _is_left(event: Event, erasure: Erasure) -> bool:
    """Tell whether an erasure left more of an event than the bare proof."""
    if event.evidence is not None and is_stale(version_of(event.evidence), erasure):
        return True
    is_older = erasure.facts.erased_at is not None and event.recorded_at < erasure.facts.erased_at
    return event != bare(event) and (erasure.key_version is None or is_older)


async def _events(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> list[tuple[SubjectId, Event]]:
    statement = select(EVENT.c.subject_id, EVENT.c.body).where(*rows_of(EVENT, tenant, subjects))
    return [(row[0], decode(row[1])) for row in (await connection.execute(statement)).all()]


async def _rewrite(connection: AsyncConnection, tenant: TenantId, events: Iterable[tuple[SubjectId, Event]]) -> None:
    rows = [{"of": subject, "event": event.id, "changed": encode(event)} for subject, event in events]
    if rows:
        this = EVENT.c.subject_id == bindparam("of"), EVENT.c.id == bindparam("event")
        statement = update(EVENT).where(EVENT.c.tenant_id == tenant, *this).values(body=bindparam("changed"))
        await connection.execute(statement, rows)
