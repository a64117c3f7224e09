"""Restrictions (Art. 18 GDPR): a person's data is stored and, but for the exceptions of Art. 18(2), not used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vault.errors import Conflict, InvalidInput
from vault.operations.consents.change import changing
from vault.operations.consents.evidence import keys_of, seal_words, words_fault
from vault.operations.consents.recorded import Recorded
from vault.operations.on_record import on_record
from vault.operations.rights import require_right

if TYPE_CHECKING:
    from vault.consent.event import Kind
    from vault.ids import SubjectId
    from vault.operations.house import Caller, House
    from vault.operations.write import Keep

Ground = Literal["accuracy", "unlawful", "claims", "objection"]
"""Why data is restricted, Art. 18(1)(a) to (d): its accuracy is contested, its use is unlawful and the person wants
it kept, the person needs it for legal claims, or an objection is pending."""


@on_record("restrict")
async def restrict(
    house: House,
    caller: Caller,
    subject: SubjectId,
    *,
    ground: Ground,
    reason: str | None = None,
    keep: Keep | None = None,
) -> Recorded:
    """Restrict a person's data; who is restricted already stays so, and the further ground is on record.

    Raises:
        InvalidInput: the reason does not have its form.
        NotFound: there is no such subject.
    """
    await require_right(house, caller, "vault:restrictions", "manage", audited_as="restrict")
    return await _record(house, caller, subject, "restricted", ground, reason, keep)


@on_record("lift-restriction")
async def lift_restriction(
    house: House, caller: Caller, subject: SubjectId, *, reason: str | None = None, keep: Keep | None = None
) -> Recorded:
    """Lift the restriction; the person is to be told before (Art. 18(3)).

    Raises:
        InvalidInput: the reason does not have its form.
        NotFound: there is no such subject.
        Conflict: the person's data is not restricted.
    """
    await require_right(house, caller, "vault:restrictions", "manage", audited_as="lift-restriction")
    return await _record(house, caller, subject, "restriction-lifted", None, reason, keep)


async def _record(
    house: House,
    caller: Caller,
    subject: SubjectId,
    kind: Kind,
    ground: Ground | None,
    reason: str | None,
    keep: Keep | None,
) -> Recorded:
    fault = words_fault(reason, at="/reason", code="invalid-reason")
    if fault is not None:
        raise InvalidInput("the reason does not have its form", faults=[fault], code="invalid-reason")
    keys = await keys_of(house, caller, subject)
    action: Literal["restrict", "lift-restriction"] = "restrict" if kind == "restricted" else "lift-restriction"
    async with changing(house, caller, action, subject) as change:
        if kind == "restriction-lifted" and change.standing.restricted_at is None:
            raise Conflict("this person's data is not restricted", code="not-restricted")
        event = change.new_id()
        sealed = seal_words(keys, caller.tenant, subject, event, reason)
        await change.append(change.event(kind, id=event, by="staff", evidence=sealed, ground=ground))
        recorded = Recorded(event, "active" if change.standing.restricted_at is None else "restricted")
        if keep is not None:
            await keep(change.connection, recorded)
    return recorded
