"""Record what a person states about a purpose that rests on consent: given, refused, withdrawn or renewed.

Also the Global Privacy Control (``Sec-GPC: 1``): the person's browser objects to the sale and sharing of data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select

from vault.access.authorization import require_permission
from vault.access.recording import audited, begin_once
from vault.consent.double_opt_in import issue_token
from vault.consent.expiry import birth_date, needs_guardian
from vault.consent.model import NO
from vault.consent.store import EVENT
from vault.consent.transaction import Change, changing, keys_of
from vault.consent.validation import check, ends_at
from vault.consent.views import RecordedConsent, SignalResult
from vault.errors import Conflict, Fault, InvalidInput
from vault.lifecycle.key_fence import current_keys
from vault.moments import SKEW

if TYPE_CHECKING:
    from datetime import datetime

    from vault.access.recording import SaveResponse
    from vault.consent.model import Event, Kind
    from vault.consent.validation import CheckedStatement, ConsentStatement
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId


DOUBLE_OPT_IN = "double-opt-in"


@audited("record-consent")
async def record_consent(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    statement: ConsentStatement,
    *,
    signal: bool = False,
    on_commit: SaveResponse | None = None,
) -> RecordedConsent:
    """Record a statement about consent.

    An agreement by double opt-in stays pending until the person sends back the token.

    Args:
        statement: the decision, how it was indicated, and the version of the notice.
        signal: whether the person's browser sent ``Sec-GPC: 1``; the signal is recorded first.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: the policies do not allow the statement, or the person is a child and no guardian consents.
        NotFound: there is no such subject.
        Conflict: the signal denies what the statement agrees to; the signal is recorded, the statement is not.
    """
    await require_permission(services, caller, "vault:consents", "record", audit_action="record-consent")
    await begin_once(on_commit)
    if signal:  # in a transaction of its own: the signal counts even if the statement is refused
        async with changing(services, caller, "record-consent", subject, silent=True) as change:
            await honour_signal(change)
    checked = check(services.policies.active(caller.tenant).policy_set, statement, services.clock.now())
    if signal and statement.is_yes and checked.purpose.sale_or_share:
        raise Conflict(
            "the person's browser objects to the sale and sharing of data, and the statement agrees",
            code="opted-out-by-signal",
            hint="the signal is recorded; ask the person, and send their answer without `Sec-GPC`",
        )
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "record-consent", subject, keys=keys, purpose=statement.purpose) as change:
        # A denial is always accepted: only an agreement depends on the age.
        if statement.is_yes:
            keys = (await current_keys(services, change.connection, caller.tenant, {subject: keys}))[subject]
            change.keys = keys
            await _require_guardian(change, keys, statement)
        event = _event(change, checked)
        await change.append(event)
        confirmation = await issue_token(change, event) if event.kind == "requested" else None
        state = "pending" if confirmation else change.purpose_state(statement.purpose).state
        recorded = RecordedConsent(id=event.id, state=state, confirmation=confirmation)
        return await change.answer(recorded, on_commit)


async def _require_guardian(change: Change, keys: SubjectKeys, statement: ConsentStatement) -> None:
    """Refuse the agreement of a child; the locked row keeps the date of birth from changing until the commit."""
    if statement.by == "guardian" or not needs_guardian(change, await birth_date(change, keys), statement.jurisdiction):
        return
    detail = "A parent or guardian must consent for a child (Art. 8): set `by` to guardian, with evidence."
    raise InvalidInput(
        "this person is a child", faults=[Fault("/by", "guardian-needed", detail)], code="guardian-needed"
    )


def _event(change: Change, checked: CheckedStatement) -> Event:
    statement, text = checked.statement, checked.text
    at = _moment(change, statement)
    return change.event(
        _kind(change, statement),
        by=statement.by,  # type: ignore[arg-type]
        occurred_at=at,
        purpose=statement.purpose,
        notice=None if text is None else text.id,
        notice_digest=None if text is None else text.digest,
        language=statement.language if text is None else text.language,
        channel=statement.channel,
        method=statement.method,
        words=statement.evidence,
        jurisdiction=statement.jurisdiction,
        valid_until=ends_at(change.policy_set, statement, at),
    )


def _kind(change: Change, statement: ConsentStatement) -> Kind:
    if statement.is_yes and statement.method == DOUBLE_OPT_IN:
        return "requested"
    before = change.purpose_state(statement.purpose)
    if statement.decision == "given" and before.state == "given" and before.notice != statement.notice:
        return "renewed"
    return statement.decision  # type: ignore[return-value]


def _moment(change: Change, statement: ConsentStatement) -> datetime:
    """Return the time of the event."""
    stated = statement.occurred_at
    # A statement without a time is later than all before it. So is a recent denial: if the clock of an app is a little
    # behind, a withdrawal must not look older than the agreement that it withdraws.
    if stated is None or stated > change.now or (statement.decision in NO and stated >= change.now - SKEW):
        return change.next_moment(statement.purpose)
    return stated


@audited("record-consent")
async def record_signal(services: Services, caller: Caller, subject: SubjectId) -> SignalResult:
    """Record the signal: withdraw each purpose that sells or shares data, unless it is denied already.

    Raises:
        NotFound: there is no such subject.
    """
    await require_permission(services, caller, "vault:consents", "record", audit_action="record-consent")
    async with changing(services, caller, "record-consent", subject) as change:
        await honour_signal(change)
        return SignalResult(purposes={name: change.purpose_state(name).state for name in _selling(change)})


async def honour_signal(change: Change) -> None:
    """Withdraw, in an open transaction, the purposes that the signal concerns; a second signal changes nothing."""
    withdrawn = [
        change.event("withdrawn", by="subject", purpose=name, method="signal", occurred_at=change.next_moment(name))
        for name in _selling(change)
        if change.purpose_state(name).state not in NO or await is_asked_again(change, name)
    ]
    if withdrawn:
        await change.append(*withdrawn)


async def is_asked_again(change: Change, purpose: str) -> bool:
    """Return whether a double opt-in was begun after the denial; if so, the signal has to end it."""
    statement = (
        select(EVENT.c.id)
        .where(
            EVENT.c.tenant_id == change.caller.tenant,
            EVENT.c.subject_id == change.subject,
            EVENT.c.id > UUID(bytes=change.purpose_state(purpose).event),
            EVENT.c.purpose == purpose,
            EVENT.c.kind == "requested",
        )
        .limit(1)
    )
    return (await change.connection.execute(statement)).first() is not None


def _selling(change: Change) -> list[str]:
    return [purpose.name for purpose in change.policy_set.purposes.values() if purpose.sale_or_share]
