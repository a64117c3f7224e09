"""Answers about requests."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Self
from uuid import UUID

import msgspec
from pydantic import Field

from vault.catalogue.company import Approve, KindName
from vault.governance.views import SupervisoryAuthority
from vault.requests.deadlines import days_left, is_suspended
from vault.requests.model import How, Level, Move, Regime, Request, State
from vault.views import Moment, OmitIfNone, View

if TYPE_CHECKING:
    from vault.context import Services
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Event


class SubmittedRequest(View):
    """A request that was submitted; it looks the same whether or not the claimed identity matches a person."""

    id: UUID
    state: State
    due: Annotated[date, Field(description="The legal deadline.")]
    due_rule: str
    internal_due: Annotated[date, Field(description="The controller's own, earlier deadline.")]
    duplicate_of: Annotated[
        OmitIfNone[UUID],
        Field(
            description="An open request of the same asker about the same person for the same thing. Only if the "
            "person was named by id: to others it would reveal that the person is known.",
        ),
    ] = None

    @classmethod
    def of(cls, request: Request, *, duplicate_of: UUID | None) -> SubmittedRequest:
        """Return the answer to a submission."""
        return cls(
            id=request.id,
            state=request.state,
            due=request.due.on,
            due_rule=request.due.rule,
            internal_due=request.internal_due.on,
            duplicate_of=duplicate_of,
        )


class Remedies(View):
    """What a person can do whose request was refused or is late (Art. 12(4) GDPR)."""

    complaint: str
    authority: SupervisoryAuthority | None
    court: str


class IdentityVerification(View):
    """How the requester proved to be the person."""

    how: How
    level: Level
    at: Moment
    by: UUID | None = None
    contact: Annotated[str | None, Field(description="The field to whose value a code was sent.")] = None
    young_contact: Annotated[
        bool,
        Field(description="An e-mail address had changed within `contact_days`: look at the change before approving."),
    ] = False


class RequestApproval(View):
    """One approval; an approval by rule has no principal."""

    at: Moment
    by: UUID | None


class RequestEvent(View):
    """One event of a request's history."""

    number: int
    at: Moment
    move: Move
    before: State | None
    after: State
    by: UUID | None
    by_name: str | None
    code: str | None
    note: str | None

    @classmethod
    def of(cls, event: Event, note: str | None) -> RequestEvent:
        """Show an event with its opened note."""
        return cls(**{**msgspec.structs.asdict(event), "note": note})


class RequestStatus(View):
    """The state of a request, without the person and what staff know about it."""

    id: UUID
    kind: KindName
    state: State
    regime: Regime
    jurisdiction: str
    received_at: Moment
    due: Annotated[date, Field(description="The legal deadline.")]
    due_rule: str
    internal_due: Annotated[date, Field(description="The controller's own, earlier deadline.")]
    days_left: Annotated[int | None, Field(description="Until `due`; null if the request is closed or suspended.")]
    suspended: Annotated[bool, Field(description="Whether the deadline is suspended until identity is verified.")]
    extended: bool
    language: str
    channel: str | None
    scope: dict[str, list[str]]
    ground: Annotated[str | None, Field(description="Of a rejection.")]
    outcome: str | None
    closed_at: Moment | None
    remedies: Annotated[OmitIfNone[Remedies], Field(description="Of a rejected request.")] = None

    @classmethod
    def of(cls, services: Services, tenant: TenantId, request: Request, **more: object) -> Self:
        """Show a request; ``more`` are the fields that a subclass adds."""
        policy_set = services.policies.active(tenant).policy_set
        # A view shows the attributes of the request that it declares, and no others.
        declared = {name: getattr(request, name) for name in request.__struct_fields__ if name in cls.model_fields}
        computed = {
            "due": request.due.on,
            "due_rule": request.due.rule,
            "internal_due": request.internal_due.on,
            "days_left": days_left(request, services.clock.now()),
            "suspended": is_suspended(request),
            "extended": request.extension is not None,
            "scope": msgspec.structs.asdict(request.scope),
            "remedies": remedies_of(policy_set, request.regime) if request.state == "rejected" else None,
        }
        return cls.model_validate(declared | computed | more)


class SubmittersRequest(RequestStatus):
    """A request as shown to the app that submitted it and may not see others."""

    audit: UUID


class DataSubjectRequest(RequestStatus):
    """A request."""

    subject: UUID | None
    recorder: Annotated[UUID | None, Field(description="The principal that submitted it.")]
    verified: Annotated[bool, Field(description="Whether the requester's identity is verified.")]
    verification: IdentityVerification | None
    approvals: list[RequestApproval]
    approval: Annotated[Approve, Field(description="Who approves it, by the rules in force.")]
    duplicate_of: UUID | None
    follows: UUID | None
    package: UUID | None
    erasure: UUID | None
    results: Annotated[list[UUID], Field(description="What it changed: consent events, rectifications.")]
    run: Annotated[int, Field(description="How often it was reopened or handed back.")]

    @classmethod
    def of(cls, services: Services, tenant: TenantId, request: Request, **more: object) -> Self:
        """Show a request; ``more`` are the fields that a subclass adds."""
        policy_set = services.policies.active(tenant).policy_set
        approval = services.request_kinds[request.kind].approval(policy_set, request.scope)
        verified = request.verification is not None
        return super().of(services, tenant, request, verified=verified, approval=approval, **more)


class RequestDetails(DataSubjectRequest):
    """A request with its history and what was written about it."""

    details: dict[str, Any] | None
    history: list[RequestEvent]
    audit: UUID


class DecidedRequest(View):
    """A request after a decision of staff, and after its job, as far as that has come."""

    id: UUID
    state: State
    due: date
    waits: Annotated[float | None, Field(description="Seconds until its job can be continued.")]


class ExpiredRequests(View):
    """How many requests expired because they were not verified in time."""

    expired: int


class RequestPage(View):
    """Some requests, the most urgent first."""

    requests: list[DataSubjectRequest]
    next: Annotated[str | None, Field(description="The `cursor` of the next page.")]
    audit: UUID


def remedies_of(policy_set: PolicySet, regime: Regime) -> Remedies:
    """Return the remedies under a law; the authority is the one that controller.toml names."""
    if regime == "ccpa":
        complaint = "Cal. Civ. Code § 1798.199.45: California Privacy Protection Agency"
        return Remedies(complaint=complaint, authority=None, court="none of its own")
    authority = policy_set.controller.authority
    return Remedies.model_validate({"complaint": "Art. 77 GDPR", "authority": authority, "court": "Art. 79 GDPR"})
