"""The beginning of an erasure: one row, however many requests and jobs come at once.

What an erasure is about: everything, or the fields, collections or purposes that were named. Pure.
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
from vault.consent.state import ConsentState
from vault.errors import Conflict, Fault, InvalidInput, NotFound, Unavailable
from vault.ids import SubjectId, new_id
from vault.lifecycle.erasures import RETENTION, Erasure, Facts, add_erasure, drop_erasure, erasures_of, find_erasure
from vault.requests.store import find_request, open_requests_of
from vault.requests.transaction import changing_request, no_request
from vault.subjects.changes import locked_subject
from vault.subjects.merged import merged_into

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
"""Seconds until a request looks again that has to wait for another erasure of the same person."""
UNDER_WAY: Final = frozenset({"approved", "in_progress"})
"""States in which a request has a job."""


async def begin_erasure(services: Services, tenant: TenantId, request: UUID) -> float | None:
    """Lay down the erasure that carries a request out, or join one that does the same already.

    Of two requests that come at once one begins, and the other joins. One that asks for more than what is under way
    waits, and then begins its own.

    Returns:
        nothing once the request has its erasure; else after how many seconds to ask again.

    Raises:
        NotFound: there is no such person.
        InvalidInput: the scope names what the policies do not know any more.
    """
    try:
        async with changing_request(services, system_caller(tenant), request, action="erase") as change:
            return await _begin(change)
    except IntegrityError:  # another erasure of the same person began at this moment
        return SOON


async def erasure_of(services: Services, tenant: TenantId, request: UUID) -> Erasure:
    """Return the erasure that carries a request out, as it stands.

    Raises:
        NotFound: there is no such request, or it has none.
    """
    async with services.data.reading() as connection:
        kept = await find_request(connection, tenant, request)
        if kept is None or kept.request.erasure is None:
            raise no_request()
        found = await find_erasure(connection, tenant, kept.request.erasure)
    if found is None:
        raise Unavailable("the erasure is not there yet")
    return found


async def _begin(change: RequestChange) -> float | None:
    tenant, connection, request = change.caller.tenant, change.connection, change.request
    if request.erasure is not None and await _is_of_this_run(change):
        return None
    policy_set = change.services.policies.active(tenant).policy_set
    scope = checked_scope(policy_set, request.scope)
    subject = await _whom(connection, tenant, request.subject)
    row = await locked_subject(connection, tenant, subject)
    if row is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    earlier = await erasures_of(connection, tenant, subject)
    under_way = next((each for each in earlier if each.finished_at is None), None)
    if under_way is not None and under_way.facts.cause == RETENTION:
        return SOON  # a sweep's, which took what it took, and not what is asked for
    if under_way is not None and under_way.facts.scope != scope and not under_way.is_whole:
        if under_way.request is None or await _is_carried_out(connection, tenant, subject, under_way):
            return SOON
        await _give_up(connection, tenant, under_way)
        under_way = None
    joined = under_way or (next((each for each in earlier if each.is_whole), None) if row.state == "erased" else None)
    if joined is None:
        joined = _new(change, subject, scope)
        await add_erasure(connection, tenant, joined)
    change.request = replace(request, erasure=joined.id)
    return None


async def _is_carried_out(connection: AsyncConnection, tenant: TenantId, subject: SubjectId, erasure: Erasure) -> bool:
    """Tell whether a request's erasure goes on: the request may have been handed back to people, or rejected."""
    asked = await open_requests_of(connection, tenant, subject)
    return any(each.erasure == erasure.id and each.state in UNDER_WAY for each in asked)


async def _give_up(connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> None:
    """Make room for another erasure of the same person. Approved again, the request begins one of its own.

    Raises:
        Conflict: it has taken something away, and has yet to prove that; its request is to be approved again first.
    """
    if erasure.state != "begun":
        raise Conflict(
            "an earlier erasure of this person has not come to its end",
            code="request-under-way",
            hint="approve the request of the earlier one again",
        )
    await drop_erasure(connection, tenant, erasure.id)


async def _is_of_this_run(change: RequestChange) -> bool:
    """Tell whether the request's erasure is the one of this run, and not of one before it was reopened."""
    if change.request.erasure is None:
        return False
    found = await find_erasure(change.connection, change.caller.tenant, change.request.erasure)
    if found is None or found.finished_at is None:
        return found is not None
    reopened = [each.at for each in change.history if each.move == "reopen"]
    return not reopened or found.started_at >= max(reopened)


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


async def _whom(connection: AsyncConnection, tenant: TenantId, subject: UUID | None) -> SubjectId:
    """Find whom a request is about: whoever was merged since is the one who stayed."""
    if subject is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    return await merged_into(connection, tenant, SubjectId(subject)) or SubjectId(subject)


EVERYTHING = Scope()


def checked_scope(policy_set: PolicySet, scope: Scope) -> Scope:
    """Write the names of a scope in the form in which they are kept.

    Raises:
        InvalidInput: a field, collection or purpose is unknown; which one is told by its place.
    """
    catalogue = policy_set.catalogue
    faults = _unknown("fields", [_canonical(catalogue, name) is not None for name in scope.fields])
    faults += _unknown("collections", [name in catalogue.collections for name in scope.collections])
    faults += _unknown("purposes", [name in policy_set.purposes for name in scope.purposes])
    if faults:
        raise InvalidInput("the scope names what is not there", faults=faults, code="unknown-scope")
    fields = [name for each in scope.fields if (name := _canonical(catalogue, each)) is not None]
    return Scope(tuple(fields), scope.collections, scope.purposes)


def in_scope(policy_set: PolicySet, scope: Scope, standing: ConsentState, now: datetime) -> Callable[[str], bool]:
    """Return the test whether a field, by its whole name, is to be erased.

    By purposes, a field is in scope if one of them needs it and no other purpose does that still holds for this
    person. A legal obligation is no such other: whether it keeps the field is for the verdict.
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
        if name not in scope.purposes and _still_holds(policy_set, purpose, standing, now)
    ]
    left = {field.whole for field in catalogue.fields()} & (_needed(given) - _needed(others))
    return lambda whole: whole in left or any(covers(whole, name) for name in names)


def also(scope: Scope, fields: Sequence[str]) -> Scope:
    """Widen a scope by fields, named whole."""
    return replace(scope, fields=tuple(dict.fromkeys([*scope.fields, *fields])))


def _still_holds(policy_set: PolicySet, purpose: Purpose, standing: ConsentState, now: datetime) -> bool:
    """Tell whether a purpose holds for a person; a restriction stops its use for a while, and not its need."""
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
        Fault(f"/scope/{part}/{position}", f"unknown-{part[:-1]}", "the policies declare nothing of that name")
        for position, there in enumerate(known)
        if not there
    ]
