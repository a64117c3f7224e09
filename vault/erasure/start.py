"""The beginning of an erasure: one row, however many requests and jobs arrive at once; and its scope.

A scope is everything, or named fields, collections and purposes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError

from vault.access.authorization import SUBJECT_NOT_FOUND
from vault.access.callers import system_caller
from vault.catalogue.model import HOME, LegalBasis, Scope, UnknownName, covers
from vault.clock import to_microseconds
from vault.consent.legal_ground import purpose_ground, refusal
from vault.consent.model import ConsentState
from vault.errors import Conflict, Fault, InvalidInput, NotFound, Unavailable
from vault.ids import SubjectId, new_id
from vault.lifecycle.erasures import RETENTION, Erasure, Facts, add_erasure, drop_erasure, erasures_of, find_erasure
from vault.requests.store import find_request, open_requests_of
from vault.requests.transaction import changing_request, no_request
from vault.subjects.changes import locked_subject, merged_into

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Catalogue, Purpose
    from vault.context import Services
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.requests.transaction import RequestChange


SOON: Final = 1.0
"""Seconds until the next attempt of a request that waits for another erasure of the same subject."""
UNDER_WAY: Final = frozenset({"approved", "in_progress"})
"""States in which a request has a job."""


async def begin_erasure(services: Services, tenant: TenantId, request: UUID) -> float | None:
    """Store the erasure that carries a request out, or join one with the same scope that is under way.

    Of two requests that arrive at once, one begins an erasure and the other joins it. A request with a wider scope than
    the erasure under way waits, and then begins its own.

    Returns:
        None once the request has its erasure; else the seconds until the next attempt.

    Raises:
        NotFound: there is no such subject.
        InvalidInput: the scope contains a name that the policies no longer contain.
    """
    try:
        async with changing_request(services, system_caller(tenant), request, action="erase") as change:
            return await _begin(change)
    except IntegrityError:  # another erasure of the same subject began at this moment
        return SOON


async def erasure_of(services: Services, tenant: TenantId, request: UUID) -> Erasure:
    """Return the erasure that carries a request out, in its present state.

    Raises:
        NotFound: there is no such request, or it has no erasure.
        Unavailable: the erasure was given up, and has yet to begin again.
    """
    async with services.data.reading() as connection:
        kept = await find_request(connection, tenant, request)
        if kept is None or kept.request.erasure is None:
            raise no_request()
        erasure = await find_erasure(connection, tenant, kept.request.erasure)
    if erasure is None:
        raise Unavailable("the erasure has not begun yet")
    return erasure


async def _begin(change: RequestChange) -> float | None:
    tenant, connection, request = change.caller.tenant, change.connection, change.request
    if request.erasure is not None and await _is_of_this_run(change):
        return None
    policy_set = change.services.policies.active(tenant).policy_set
    scope = checked_scope(policy_set, request.scope)
    subject = await _current_subject(connection, tenant, request.subject)
    row = await locked_subject(connection, tenant, subject)
    if row is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    earlier = await erasures_of(connection, tenant, subject)
    under_way = next((erasure for erasure in earlier if erasure.finished_at is None), None)
    if under_way is not None and under_way.facts.cause == RETENTION:
        return SOON  # a sweep erases what has ended, and not what was requested
    if under_way is not None and under_way.facts.scope != scope and not under_way.is_whole:
        if under_way.request is None or await _is_carried_out(connection, tenant, subject, under_way):
            return SOON
        await _give_up(connection, tenant, under_way)
        under_way = None
    whole = next((erasure for erasure in earlier if erasure.is_whole), None)
    joined = under_way or (whole if row.state == "erased" else None)
    if joined is None:
        joined = _new(change, subject, scope)
        await add_erasure(connection, tenant, joined)
    change.request = replace(request, erasure=joined.id)
    return None


async def _is_carried_out(connection: AsyncConnection, tenant: TenantId, subject: SubjectId, erasure: Erasure) -> bool:
    """Tell whether a request still carries an erasure out: it may have been returned to staff, or rejected."""
    requests = await open_requests_of(connection, tenant, subject)
    return any(request.erasure == erasure.id and request.state in UNDER_WAY for request in requests)


async def _give_up(connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> None:
    """Drop an erasure in favour of another one of the same subject. Approved again, its request begins its own.

    Raises:
        Conflict: it has deleted data and is not proven yet; its request has to be approved again first.
    """
    if erasure.state != "begun":
        raise Conflict(
            "an earlier erasure of this person is not completed",
            code="request-under-way",
            hint="approve the request of the earlier one again",
        )
    await drop_erasure(connection, tenant, erasure.id)


async def _is_of_this_run(change: RequestChange) -> bool:
    """Tell whether the request's erasure belongs to this run, and not to one before the request was reopened."""
    if change.request.erasure is None:
        return False
    erasure = await find_erasure(change.connection, change.caller.tenant, change.request.erasure)
    if erasure is None or erasure.finished_at is None:
        return erasure is not None
    reopened = [event.at for event in change.history if event.move == "reopen"]
    return not reopened or erasure.started_at >= max(reopened)


def _new(change: RequestChange, subject: SubjectId, scope: Scope) -> Erasure:
    return Erasure(
        id=new_id(),
        request=change.request.id,
        subject=subject,
        state="begun",
        started_at=change.now,
        changed_at=change.now,
        facts=Facts(scope=scope),
    )


async def _current_subject(connection: AsyncConnection, tenant: TenantId, subject: UUID | None) -> SubjectId:
    """Return the subject of a request; the survivor, if it was merged since."""
    if subject is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    return await merged_into(connection, tenant, SubjectId(subject)) or SubjectId(subject)


EVERYTHING = Scope()


def checked_scope(policy_set: PolicySet, scope: Scope) -> Scope:
    """Return a scope with the canonical names of its fields.

    Raises:
        InvalidInput: a field, collection or purpose is unknown. The fault gives its position, and not the name.
    """
    catalogue = policy_set.catalogue
    faults = _unknown("fields", [_canonical(catalogue, name) is not None for name in scope.fields])
    faults += _unknown("collections", [name in catalogue.collections for name in scope.collections])
    faults += _unknown("purposes", [name in policy_set.purposes for name in scope.purposes])
    if faults:
        raise InvalidInput("the scope contains unknown names", faults=faults, code="unknown-scope")
    fields = [name for field in scope.fields if (name := _canonical(catalogue, field)) is not None]
    return Scope(tuple(fields), scope.collections, scope.purposes)


def in_scope(policy_set: PolicySet, scope: Scope, standing: ConsentState, now: datetime) -> Callable[[str], bool]:
    """Return a test whether a field, by its whole name, is in the scope of an erasure.

    If the scope names purposes, a field is in scope if one of them needs it and no other purpose needs it that still
    applies to this subject. Legal obligations do not count here: whether one keeps the field is for the verdict.
    """
    if scope == EVERYTHING:
        return lambda _whole: True
    catalogue = policy_set.catalogue
    names = [name if "." in name else f"{HOME}.{name}" for name in scope.fields]
    names += [f"{collection}.*" for collection in scope.collections]
    given = [policy_set.purposes[name] for name in scope.purposes if name in policy_set.purposes]
    others = [
        purpose
        for name, purpose in policy_set.purposes.items()
        if name not in scope.purposes and _applies(policy_set, purpose, standing, now)
    ]
    left = {field.whole for field in catalogue.fields()} & (_needed(given) - _needed(others))
    return lambda whole: whole in left or any(covers(whole, name) for name in names)


def widened(scope: Scope, fields: Sequence[str]) -> Scope:
    """Return a scope with further fields, given by their whole names."""
    return replace(scope, fields=tuple(dict.fromkeys([*scope.fields, *fields])))


def _applies(policy_set: PolicySet, purpose: Purpose, standing: ConsentState, now: datetime) -> bool:
    """Tell whether a purpose applies to a subject. A restriction suspends its use, and not its need."""
    if not purpose.collects or purpose.legal_basis == LegalBasis.LEGAL_OBLIGATION or not purpose.in_force(now.date()):
        return False
    ground = purpose_ground(policy_set, purpose, now.date())
    return refusal(ground, ConsentState(standing.purposes), to_microseconds(now)) is None


def _needed(purposes: list[Purpose]) -> set[str]:
    return {name.rpartition(".")[0] for purpose in purposes for name in purpose.views}


def _canonical(catalogue: Catalogue, name: str) -> str | None:
    try:
        return catalogue.field(name).whole
    except UnknownName:
        return None


def _unknown(part: str, known: list[bool]) -> list[Fault]:
    return [
        Fault(f"/scope/{part}/{position}", f"unknown-{part[:-1]}", "the policies do not declare this name")
        for position, is_known in enumerate(known)
        if not is_known
    ]
