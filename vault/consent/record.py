"""Record what a person says of a purpose that rests on consent: yes, no, no more, yes again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.consent.confirmations import ask_to_confirm
from vault.consent.event import NO
from vault.consent.evidence import keys_of, seal_words
from vault.consent.guardians import birth_date, needs_guardian
from vault.consent.recorded import Recorded
from vault.consent.signal import honour_signal
from vault.consent.transaction import changing
from vault.consent.validation import SKEW, check, ends_at
from vault.errors import Conflict, Fault, InvalidInput
from vault.lifecycle.key_fence import current_keys

if TYPE_CHECKING:
    from datetime import datetime

    from vault.access.recording import Keep
    from vault.consent.event import Event, Kind
    from vault.consent.transaction import Change
    from vault.consent.validation import Checked, Said
    from vault.context import Caller, House
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId

DOUBLE_OPT_IN = "double-opt-in"


@on_record("record-consent")
async def record_consent(
    house: House,
    caller: Caller,
    subject: SubjectId,
    said: Said,
    *,
    signal: bool = False,
    keep: Keep | None = None,
) -> Recorded:
    """Record what a person said.

    An agreement by double opt-in is only asked for here: it counts once the person sends back the token.

    Args:
        house: the rooms.
        caller: who records it.
        subject: who said it, or for whom it was said.
        said: what was said, how, and to which text.
        signal: whether the person's browser sent ``Sec-GPC: 1``; that is recorded before anything else.
        keep: keeps the answer under an idempotency key.

    Raises:
        InvalidInput: the policies do not know it like this, or the person is a child and no guardian consents.
        NotFound: there is no such subject.
        Conflict: the signal says no to what the call says yes to; the signal is recorded, the yes is not.
    """
    await require_right(house, caller, "vault:consents", "record", audited_as="record-consent")
    if signal:  # in a transaction of its own: it counts whatever becomes of the rest
        async with changing(house, caller, "record-consent", subject, silent=True) as change:
            await honour_signal(change)
    checked = check(house.policies.active(caller.tenant).policy_set, said, house.clock.now())
    if signal and said.is_yes and checked.purpose.sale_or_share:
        raise Conflict(
            "the person's browser says no to the sale and sharing of data, and the call says yes",
            code="opted-out-by-signal",
            hint="the signal counts; ask the person, and send their answer without `Sec-GPC`",
        )
    keys = await keys_of(house, caller, subject)
    async with changing(house, caller, "record-consent", subject, purpose=said.purpose) as change:
        if said.is_yes:
            keys = (await current_keys(house, change.connection, caller.tenant, {subject: keys}))[subject]
            await _require_guardian(change, keys, said)
        recorded = await _record(change, keys, checked)
        if keep is not None:
            await keep(change.connection, recorded)
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
    policy_set = change.house.policies.active(change.caller.tenant).policy_set
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
