"""The clock of a request: both due dates, worked out anew from what is known of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from vault.requests.deadlines import due, earlier_working_day, local_date
from vault.requests.model import Due

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Regime, Request, Suspension
    from vault.requests.transaction import RequestChange

NOWHERE = "XX"
"""Stands where neither a request nor the policies say whose holidays count: then only weekends do."""


def default_jurisdiction(policy_set: PolicySet) -> str:
    """Return whose holidays count where a request does not say."""
    return policy_set.requests.default_jurisdiction or policy_set.controller.country or NOWHERE


def both_dues(
    policy_set: PolicySet,
    regime: Regime,
    received_at: datetime,
    jurisdiction: str,
    *,
    extended: bool = False,
    suspensions: Sequence[Suspension] = (),
) -> tuple[Due, Due]:
    """Work out the legal due date, and the controller's own earlier one."""
    legal = due(regime, received_at, jurisdiction, extended=extended, suspensions=suspensions)
    days = policy_set.requests.internal_days
    day = earlier_working_day(legal.on - timedelta(days=days), jurisdiction)
    day = max(day, local_date(received_at, jurisdiction))
    return legal, Due(day, f"{days} days before the legal deadline, on a working day")


def with_clock(change: RequestChange, **changes: Any) -> Request:
    """Return a request with changes that move its deadlines, and the deadlines moved."""
    request = msgspec.structs.replace(change.request, **changes)
    policy_set = change.house.policies.active(change.caller.tenant).policy_set
    legal, own = both_dues(
        policy_set,
        request.regime,
        request.received_at,
        request.jurisdiction,
        extended=request.extension is not None,
        suspensions=request.suspensions,
    )
    return msgspec.structs.replace(request, due=legal, internal_due=own)
