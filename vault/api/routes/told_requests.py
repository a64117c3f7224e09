"""How requests are told in answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from vault.api.answers import moment
from vault.requests.query import is_suspended
from vault.requests.remedies import remedies
from vault.requests.verified import approval_of

if TYPE_CHECKING:
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Request
    from vault.requests.query import Shown, Told


def told(policy_set: PolicySet, request: Request, days_left: int | None, *, whole: bool = True) -> dict[str, Any]:
    """Tell a request: whole, or what may be told to an app that brought it in and may see no others."""
    body: dict[str, Any] = {
        "id": request.id,
        "kind": request.kind,
        "state": request.state,
        "regime": request.regime,
        "jurisdiction": request.jurisdiction,
        "received_at": moment(request.received_at),
        "due": request.due.on,
        "due_rule": request.due.rule,
        "internal_due": request.internal_due.on,
        "days_left": days_left,
        "suspended": is_suspended(request),
        "extended": request.extension is not None,
        "language": request.language,
        "channel": request.channel,
        "scope": msgspec.structs.asdict(request.scope),
        "ground": request.ground,
        "outcome": request.outcome,
        "closed_at": moment(request.closed_at),
    }
    if request.state == "rejected":
        body["remedies"] = _remedies(policy_set, request)
    return body | (_inner(policy_set, request) if whole else {})


def told_whole(policy_set: PolicySet, shown: Shown) -> dict[str, Any]:
    """Tell a request with its history and what was written about it, as far as the caller may see that."""
    whole = shown.history is not None
    body = told(policy_set, shown.request, shown.days_left, whole=whole)
    if shown.history is not None:
        body |= {"details": shown.details, "history": [_event(each) for each in shown.history]}
    return body | {"audit": shown.audit}


def _inner(policy_set: PolicySet, request: Request) -> dict[str, Any]:
    checked = request.verification
    return {
        "subject": request.subject,
        "recorder": request.recorder,
        "verification": None if checked is None else {**msgspec.structs.asdict(checked), "at": moment(checked.at)},
        "approvals": [{"at": moment(each.at), "by": each.by} for each in request.approvals],
        "approval": approval_of(policy_set, request),
        "duplicate_of": request.duplicate_of,
        "follows": request.follows,
        "package": request.package,
        "erasure": request.erasure,
        "results": request.results,
    }


def _event(told: Told) -> dict[str, Any]:
    return {**msgspec.structs.asdict(told.event), "at": moment(told.event.at), "note": told.note}


def _remedies(policy_set: PolicySet, request: Request) -> dict[str, Any]:
    found = remedies(policy_set, request.regime)
    return {**found._asdict(), "authority": None if found.authority is None else asdict(found.authority)}
