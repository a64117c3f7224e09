"""Reviews: values whose time is up and of which somebody has to say whether they go; list them, and decide."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.consent.transaction import changing
from vault.errors import Fault, InvalidInput, NotFound
from vault.retention import review_store as store
from vault.subjects.changes import mark_due

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from vault.access.recording import SaveResponse
    from vault.context import Caller, Services
    from vault.retention.review_store import Review

Decision = Literal["erase", "keep"]
Reason = Literal["claim", "dispute", "ask-person", "other"]
"""Why a value is kept on: a claim is open or near, somebody disputes it, the person is asked first, or another reason.

A code and no free text: what is said about a person would have to be sealed, and whoever needs more keeps a file.
"""
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
MOST: Final = 200
MOST_DAYS: Final = 3653
"""Ten years: whoever decides for longer has not looked at it again."""


class ReviewPage(NamedTuple):
    """Some reviews, the oldest first, where to go on, and the audit entry."""

    reviews: list[Review]
    next: UUID | None
    audit: UUID


@audited("read-retention")
async def list_reviews(
    services: Services,
    caller: Caller,
    *,
    states: Sequence[store.State] = ("open",),
    after: UUID | None = None,
    limit: int = 50,
) -> ReviewPage:
    """List reviews: whose value, which field, since when it is over, and what was decided. No value is opened.

    Args:
        states: which; those that wait for a decision by default.
        after: the last one of the page before.
        limit: 1 to 200.

    Raises:
        Denied: no role of the caller's may see retention.
        InvalidInput: the limit is out of 1 to 200.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} reviews", code="invalid-page")
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    async with services.data.reading() as connection:
        found = await store.list_reviews(connection, caller.tenant, states=states, after=after, limit=limit + 1)
    made = audit_entry(
        services,
        caller,
        action="read-retention",
        decision="allowed",
        policy=services.policies.active(caller.tenant).version,
    )
    await services.audit_log.append(made)
    return ReviewPage(found[:limit], found[limit - 1].id if len(found) > limit else None, made.id)


@audited("decide-review")
async def decide_review(
    services: Services,
    caller: Caller,
    review: UUID,
    *,
    decision: Decision,
    until: date | None = None,
    reason: Reason | None = None,
    on_commit: SaveResponse | None = None,
) -> Review:
    """Decide what becomes of a value whose time is up; of several decisions on it the last counts.

    A value to be erased goes with the next sweep, unless a law demands it still or a hold covers it. One that is kept
    is looked at again after its day; until then those may see it who have no period of their own (to answer the
    person), and nobody else.

    Args:
        caller: who decides.
        review: which.
        decision: what.
        until: the last day on which it is kept, in UTC.
        reason: why it is kept.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: keeping without a day to come or a reason, or erasing with one.
        Denied: no role of the caller's may decide.
        NotFound: there is no such review, or the person is gone.
    """
    await require_permission(services, caller, "vault:retention", "decide", audit_action="decide-review")
    day = _checked(decision, until, reason, services.clock.now().date())
    async with services.data.reading() as connection:
        found = await store.find_review(connection, caller.tenant, review)
    if found is None:
        raise _no_review()
    async with changing(services, caller, "decide-review", found.subject, silent=True) as change:
        # Sweeps lock the person's row too: the value, and with it the review, may just have gone.
        if await store.find_review(change.connection, caller.tenant, review) is None:
            raise _no_review()
        by = caller.principal.id
        await store.decide_review(change.connection, caller.tenant, review, keep_until=day, now=change.now, by=by)
        await mark_due(change.connection, caller.tenant, [found.subject], change.now)
        made = audit_entry(
            services,
            caller,
            action="decide-review",
            decision="allowed",
            code=decision if reason is None else f"{decision}-{reason}",
            fields=(found.name,),
            subjects=(change.pseudonym,),
            target=review,
            policy=services.policies.active(caller.tenant).version,
        )
        await services.audit_log.append_in(change.connection, [made])
        decided = await store.find_review(change.connection, caller.tenant, review)
        if decided is None:
            raise RuntimeError("the person's row is locked, so the review cannot go")
        if on_commit is not None:
            await on_commit(change.connection, decided)
    return decided


def _checked(decision: Decision, until: date | None, reason: Reason | None, today: date) -> date | None:
    """Return the last day on which a value is kept; none where it goes."""
    faults = []
    if decision == "erase":
        given = {"/until": until, "/reason": reason}
        faults = [Fault(at, "invalid-decision", "only with `keep`") for at, each in given.items() if each is not None]
    else:
        if until is None or not today < until <= today + timedelta(days=MOST_DAYS):
            faults.append(Fault("/until", "invalid-decision", f"a day to come, within {MOST_DAYS:,} days"))
        if reason is None:
            faults.append(Fault("/reason", "invalid-decision", f"one of {', '.join(REASONS)}"))
    if faults:
        raise InvalidInput("the decision is not complete, or says too much", faults=faults, code="invalid-decision")
    return until


def _no_review() -> NotFound:
    return NotFound(
        "there is no such review, or its value is gone",
        code="review-not-found",
        hint="GET /v1/retention/reviews lists them",
    )
