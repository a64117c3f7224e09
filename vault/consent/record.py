"""Record what a person says of a purpose that rests on consent: yes, no, no more, yes again.

The Global Privacy Control: a browser says no to the sale and sharing of data (``Sec-GPC: 1``), and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select

from vault.access.authorization import require_permission
from vault.access.recording import audited
from vault.consent.double_opt_in import ask_to_confirm
from vault.consent.event import NO
from vault.consent.guardians import birth_date, needs_guardian
from vault.consent.ledger import EVENT
from vault.consent.transaction import Change, Recorded, changing
from vault.consent.validation import SKEW, check, ends_at, keys_of, seal_words
from vault.errors import Conflict, Fault, InvalidInput
from vault.lifecycle.key_fence import current_keys

if TYPE_CHECKING:
    from datetime import datetime

    from vault.access.recording import SaveResponse
    from vault.consent.event import Event, Kind
    from vault.consent.validation import Checked, Said
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId


DOUBLE_OPT_IN = "double-opt-in"


@audited("record-consent")
async def record_consent(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    said: Said,
    *,
    signal: bool = False,
    on_commit: SaveResponse | None = None,
) -> Recorded:
    """Record what a person said.

    An agreement by double opt-in is only asked for here: it counts once the person sends back the token.

    Args:
        caller: who records it.
        subject: who said it, or for whom it was said.
        said: what was said, how, and to which text.
        signal: whether the person's browser sent ``Sec-GPC: 1``; that is recorded before anything else.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: the policies do not know it like this, or the person is a child and no guardian consents.
        NotFound: there is no such subject.
        Conflict: the signal says no to what the call says yes to; the signal is recorded, the yes is not.
    """
    await require_permission(services, caller, "vault:consents", "record", audit_action="record-consent")
    if signal:  # in a transaction of its own: it counts whatever becomes of the rest
        async with changing(services, caller, "record-consent", subject, silent=True) as change:
            await honour_signal(change)
    checked = check(services.policies.active(caller.tenant).policy_set, said, services.clock.now())
    if signal and said.is_yes and checked.purpose.sale_or_share:
        raise Conflict(
            "the person's browser says no to the sale and sharing of data, and the call says yes",
            code="opted-out-by-signal",
            hint="the signal counts; ask the person, and send their answer without `Sec-GPC`",
        )
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "record-consent", subject, purpose=said.purpose) as change:
        if said.is_yes:
            keys = (await current_keys(services, change.connection, caller.tenant, {subject: keys}))[subject]
            await _require_guardian(change, keys, said)
        recorded = await _record(change, keys, checked)
        if on_commit is not None:
            await on_commit(change.connection, recorded)
    return recorded


async def _require_guardian(change: Change, keys: SubjectKeys, said: Said) -> None:
    """Refuse the agreement of a child; the row is locked, so that the date of birth cannot change meanwhile."""
    if said.by == "guardian" or not needs_guardian(change, await birth_date(change, keys), said.jurisdiction):
        return
    detail = "A parent or guardian has to consent for a child (Art. 8): `by` is guardian, with evidence of that."
    raise InvalidInput(
        "this person is a child", faults=[Fault("/by", "guardian-needed", detail)], code="guardian-needed"
    )


async def _record(change: Change, keys: SubjectKeys, checked: Checked) -> Recorded:
    event = _event(change, keys, checked)
    await change.append(event)
    if event.kind == "requested":
        return Recorded(event.id, "pending", await ask_to_confirm(change, event))
    return Recorded(event.id, change.said(checked.said.purpose).state)


def _event(change: Change, keys: SubjectKeys, checked: Checked) -> Event:
    said, text, event = checked.said, checked.text, change.new_id()
    at = _moment(change, said)
    policy_set = change.services.policies.active(change.caller.tenant).policy_set
    return change.event(
        _kind(change, said),
        id=event,
        by=said.by,  # type: ignore[arg-type]
        occurred_at=at,
        purpose=said.purpose,
        notice=None if text is None else text.id,
        notice_digest=None if text is None else text.digest,
        language=said.language if text is None else text.language,
        channel=said.channel,
        method=said.method,
        evidence=seal_words(keys, change.caller.tenant, change.subject, event, said.evidence),
        jurisdiction=said.jurisdiction,
        valid_until=ends_at(policy_set, said, at),
    )


def _kind(change: Change, said: Said) -> Kind:
    if said.is_yes and said.method == DOUBLE_OPT_IN:
        return "requested"
    before = change.said(said.purpose)
    if said.decision == "given" and before.state == "given" and before.notice != said.notice:
        return "renewed"
    return said.decision  # type: ignore[return-value]


def _moment(change: Change, said: Said) -> datetime:
    """Return when it was said.

    What is said now comes after all that was said before. So does a no of about now: where the clock of an app is a
    little behind, a withdrawal must not look older than the yes that it takes back.
    """
    stated = said.occurred_at
    if stated is None or stated > change.now or (said.decision in NO and stated >= change.now - SKEW):
        return change.next_moment(said.purpose)
    return stated


@audited("record-consent")
async def record_signal(services: Services, caller: Caller, subject: SubjectId) -> dict[str, str]:
    """Record the signal: a withdrawal of each purpose that sells or shares, where the person has not said no before.

    Returns:
        how each of those purposes stands now.

    Raises:
        NotFound: there is no such subject.
    """
    await require_permission(services, caller, "vault:consents", "record", audit_action="record-consent")
    async with changing(services, caller, "record-consent", subject) as change:
        await honour_signal(change)
        return {name: change.said(name).state for name in _sold(change)}


async def honour_signal(change: Change) -> None:
    """Withdraw, in an open transaction, what the signal is about; sent again it changes nothing."""
    withdrawn = [
        change.event("withdrawn", by="subject", purpose=name, method="signal", occurred_at=change.next_moment(name))
        for name in _sold(change)
        if change.said(name).state not in NO or await is_asked_again(change, name)
    ]
    if withdrawn:
        await change.append(*withdrawn)


async def is_asked_again(change: Change, purpose: str) -> bool:
    """Tell whether a double opt-in was begun after the no: its link must not outlive the signal."""
    statement = (
        select(EVENT.c.id)
        .where(
            EVENT.c.tenant_id == change.caller.tenant,
            EVENT.c.subject_id == change.subject,
            EVENT.c.id > UUID(bytes=change.said(purpose).event),
            EVENT.c.purpose == purpose,
            EVENT.c.kind == "requested",
        )
        .limit(1)
    )
    return (await change.connection.execute(statement)).first() is not None


def _sold(change: Change) -> list[str]:
    purposes = change.services.policies.active(change.caller.tenant).policy_set.purposes
    return [purpose.name for purpose in purposes.values() if purpose.sale_or_share]
