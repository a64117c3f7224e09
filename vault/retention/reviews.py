"""Reviews: list values whose retention has ended and that wait for a decision, and decide about them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, Literal, get_args

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.consent.transaction import changing
from vault.errors import Fault, InvalidInput, NotFound
from vault.retention import review_store as store
from vault.retention.views import RetentionReview, RetentionReviewPage
from vault.subjects.changes import mark_due

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from vault.access.recording import SaveResponse
    from vault.context import Caller, Services

Decision = Literal["erase", "keep"]
Reason = Literal["claim", "dispute", "ask-person", "other"]
"""Why a value is kept: a claim is open or near, the value is disputed, the subject is asked first, or another reason.

A code and no free text: a text about a person would have to be sealed.
"""
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
MOST: Final = 200
MOST_DAYS: Final = 3653
"""Ten years; after that it has to be reviewed again."""


@audited("read-retention")
async def list_reviews(
    services: Services,
    caller: Caller,
    *,
    states: Sequence[store.State] = ("open",),
    after: UUID | None = None,
    limit: int = 50,
) -> RetentionReviewPage:
    """List reviews: whose value, which field, when it ended, and what was decided. No value is opened.

    Args:
        states: only reviews in these states.
        after: the last review of the previous page.
        limit: 1 to 200.

    Raises:
        Denied: the caller may not see retention.
        InvalidInput: the limit is not within 1 to 200.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} reviews", code="invalid-page")
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    async with services.data.reading() as connection:
        reviews = await store.list_reviews(connection, caller.tenant, states=states, after=after, limit=limit + 1)
    entry = audit_entry(
        services,
        caller,
        action="read-retention",
        decision="allowed",
        policy=services.policies.active(caller.tenant).version,
    )
    await services.audit_log.append(entry)
    return RetentionReviewPage(
        reviews=[RetentionReview.of(review) for review in reviews[:limit]],
        next=reviews[limit - 1].id if len(reviews) > limit else None,
        audit=entry.id,
    )


@audited("decide-review")
async def decide_review(
    services: Services,
    caller: Caller,
    review_id: UUID,
    *,
    decision: Decision,
    until: date | None = None,
    reason: Reason | None = None,
    on_commit: SaveResponse | None = None,
) -> RetentionReview:
    """Decide about a value whose retention has ended; the last of several decisions counts.

    A value to be erased goes with the next sweep, unless a law still demands it or a hold covers it. A value that is
    kept is reviewed again after its last day. Until then only purposes without a period of their own see it, such as
    answers to the subject.

    Args:
        review_id: the review.
        decision: ``erase`` or ``keep``.
        until: the last day on which it is kept, in UTC.
        reason: why it is kept.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: ``keep`` without a future day or a reason, or ``erase`` with one of them.
        Denied: the caller may not decide.
        NotFound: there is no such review, or the subject is erased.
    """
    await require_permission(services, caller, "vault:retention", "decide", audit_action="decide-review")
    day = _check(decision, until, reason, services.clock.now().date())
    async with services.data.reading() as connection:
        review = await store.find_review(connection, caller.tenant, review_id)
    if review is None:
        raise _review_not_found()
    async with changing(services, caller, "decide-review", review.subject, silent=True) as change:
        # Read it again under the lock on the subject's row: a sweep may have deleted the value and closed the review.
        if await store.find_review(change.connection, caller.tenant, review_id) is None:
            raise _review_not_found()
        by = caller.principal.id
        await store.decide_review(change.connection, caller.tenant, review_id, keep_until=day, now=change.now, by=by)
        await mark_due(change.connection, caller.tenant, [review.subject], change.now)
        entry = audit_entry(
            services,
            caller,
            action="decide-review",
            decision="allowed",
            code=decision if reason is None else f"{decision}-{reason}",
            fields=(review.name,),
            subjects=(change.pseudonym,),
            target=review_id,
            policy=services.policies.active(caller.tenant).version,
        )
        await services.audit_log.append_in(change.connection, [entry])
        decided = await store.find_review(change.connection, caller.tenant, review_id)
        if decided is None:
            raise RuntimeError("the subject's row is locked, so the review cannot be deleted")
        view = RetentionReview.of(decided)
        if on_commit is not None:
            await on_commit(change.connection, view)
    return view


def _check(decision: Decision, until: date | None, reason: Reason | None, today: date) -> date | None:
    """Check a decision, and return the last day on which the value is kept; None to erase it."""
    faults = []
    if decision == "erase":
        keys = {"/until": until, "/reason": reason}
        faults = [Fault(at, "invalid-decision", "only with `keep`") for at, value in keys.items() if value is not None]
    else:
        if until is None or not today < until <= today + timedelta(days=MOST_DAYS):
            faults.append(Fault("/until", "invalid-decision", f"a future day, within {MOST_DAYS:,} days"))
        if reason is None:
            faults.append(Fault("/reason", "invalid-decision", f"one of {', '.join(REASONS)}"))
    if faults:
        raise InvalidInput("the decision is invalid", faults=faults, code="invalid-decision")
    return until


def _review_not_found() -> NotFound:
    return NotFound(
        "there is no such review, or its value is gone",
        code="review-not-found",
        hint="GET /v1/retention/reviews lists them",
    )
