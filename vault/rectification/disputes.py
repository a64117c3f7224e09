"""Disputes about the accuracy of values (Arts. 16 and 18(1)(a) GDPR): note and decide them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.consent.restrictions import require_words, restrict_in
from vault.consent.transaction import changing
from vault.consent.validation import keys_of
from vault.errors import Conflict, InvalidInput, NotFound
from vault.lifecycle.key_fence import current_keys
from vault.rectification.details import disputed_fields
from vault.rectification.store import (
    Sealer,
    add_rectifications,
    change_rectification,
    locked_rectification,
    open_details,
    seal_details,
)
from vault.rectification.views import DecidedDispute, Disputes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from vault.access.recording import SaveResponse
    from vault.audit.entry import Entry
    from vault.consent.transaction import Change
    from vault.context import Caller, Services
    from vault.ids import SubjectId

Verdict = Literal["upheld", "refused"]


@audited("dispute")
async def dispute(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    *,
    fields: Sequence[str],
    statement: str,
    restrict: bool = False,
    on_commit: SaveResponse | None = None,
) -> Disputes:
    """Note that a person disputes the accuracy of values, as they said to staff.

    Args:
        fields: names of fields of the profile.
        statement: what the person says, in one line; sealed.
        restrict: whether the data is restricted until the dispute is decided (Art. 18(1)(a)).
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: an unknown field, or an invalid statement.
        NotFound: there is no such subject.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="dispute")
    require_words(statement, at="/statement", code="invalid-words")
    names = disputed_fields(services.policies.active(caller.tenant).policy_set.catalogue, fields)
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "restrict", subject, silent=True) as change:
        keys = (await current_keys(services, change.connection, caller.tenant, {subject: keys}))[subject]
        sealer = Sealer(keys, caller.tenant, subject, at=change.now, by=caller.principal.id)
        rows = [sealer.said("disputed", statement, name) for name in names]
        await add_rectifications(change.connection, caller.tenant, subject, rows)
        if restrict:
            await restrict_in(change, keys, "accuracy", None)
        await services.audit_log.append_in(change.connection, [_entry(change, names, rows[0].id)])
        disputed = Disputes(
            disputes={row.field: row.id for row in rows},
            state="active" if change.state.restricted_at is None else "restricted",
        )
        if on_commit is not None:
            await on_commit(change.connection, disputed)
    return disputed


@audited("dispute")
async def resolve_dispute(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    id: UUID,  # noqa: A002 - the dispute's own id
    *,
    verdict: Verdict,
    reason: str,
    on_commit: SaveResponse | None = None,
) -> DecidedDispute:
    """Decide a dispute: it is upheld if the value is wrong and must be corrected, and refused if the value is right.

    A restriction of the dispute stays until it is lifted, which is announced to the person (Art. 18(3)).

    Raises:
        InvalidInput: the verdict or the reason is invalid.
        NotFound: there is no such subject, or no such dispute of theirs.
        Conflict: the dispute is decided already.
    """
    await require_permission(services, caller, "vault:restrictions", "manage", audit_action="dispute")
    if verdict not in {"upheld", "refused"}:
        raise InvalidInput("a dispute is upheld or refused")
    require_words(reason)
    keys = await keys_of(services, caller, subject)
    async with changing(services, caller, "dispute", subject, silent=True) as change:
        keys = (await current_keys(services, change.connection, caller.tenant, {subject: keys}))[subject]
        row = await locked_rectification(change.connection, caller.tenant, subject, id)
        if row is None or row.state in {"corrected", "stated"}:
            raise NotFound("this person has no such dispute", code="dispute-not-found")
        if row.state != "disputed":
            raise Conflict("this dispute is decided already", code="dispute-decided")
        details = {**open_details(keys, caller.tenant, subject, row), "reason": reason}
        sealed = seal_details(keys, caller.tenant, subject, id, details)
        decided = row._replace(state=verdict, closed_at=change.now, by=caller.principal.id, details=sealed)
        await change_rectification(change.connection, caller.tenant, subject, decided)
        await services.audit_log.append_in(change.connection, [_entry(change, [row.field], id, code=verdict)])
        resolved = DecidedDispute(id=id, state=verdict)
        if on_commit is not None:
            await on_commit(change.connection, resolved)
    return resolved


def _entry(change: Change, names: Sequence[str], target: UUID, *, code: str | None = None) -> Entry:
    return audit_entry(
        change.services,
        change.caller,
        action="dispute",
        decision="allowed",
        code=code,
        fields=tuple(f"profile.{name}.clear" for name in names),
        subjects=(change.pseudonym,),
        target=target,
        policy=change.services.policies.active(change.caller.tenant).version,
    )
