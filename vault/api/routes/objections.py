"""Objections (Art. 21 GDPR) and restrictions (Art. 18): what stops the use of data without taking it away."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from fastapi import APIRouter, Request, Response

from vault.access.recording import Keep
from vault.api.answers import moment
from vault.api.dependencies import Told, once
from vault.api.doors import Rooms, SignedIn
from vault.api.responses import refusals
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas import consent as bodies
from vault.consent.objections import decide_objection, record_objection
from vault.consent.restrictions import lift_restriction, restrict
from vault.ids import SubjectId
from vault.letters.about_requests import announce_lifting

if TYPE_CHECKING:
    from vault.consent.recorded import Recorded
    from vault.letters.about_requests import Announced

router = APIRouter(prefix="/v1/subjects/{subject}", tags=["objections"])


@router.post("/objections", status_code=201, response_model=bodies.Confirmed, responses=refusals(409))
async def objections(
    request: Request,
    subject: UUID,
    body: bodies.NewObjection,
    house: Rooms,
    caller: SignedIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Record that a person objects: final at once against direct marketing, otherwise pending, and use stops."""

    async def run(keep: Keep | None) -> Recorded:
        return await record_objection(
            house, caller, SubjectId(subject), purpose=body.purpose, reason=body.reason, keep=keep
        )

    return await once(house, caller, request, idempotency_key, "object", run, _told)


@router.post("/objections/{event}:decide", status_code=201, response_model=bodies.Confirmed, responses=refusals(409))
async def decide(
    request: Request,
    subject: UUID,
    event: UUID,
    body: bodies.ObjectionDecision,
    house: Rooms,
    caller: SignedIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Decide an objection: upheld, the use has ended; overruled, it goes on. The reason is on record, sealed."""

    async def run(keep: Keep | None) -> Recorded:
        return await decide_objection(
            house, caller, SubjectId(subject), event, decision=body.decision, reason=body.reason, keep=keep
        )

    return await once(house, caller, request, idempotency_key, "decide-objection", run, _told)


@router.post("/restriction", status_code=201, response_model=bodies.Confirmed, responses=refusals(409))
async def restriction(
    request: Request,
    subject: UUID,
    body: bodies.NewRestriction,
    house: Rooms,
    caller: SignedIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Restrict a person's data: it is stored, and used only where an exception of Art. 18(2) applies."""

    async def run(keep: Keep | None) -> Recorded:
        return await restrict(house, caller, SubjectId(subject), ground=body.ground, reason=body.reason, keep=keep)

    return await once(house, caller, request, idempotency_key, "restrict", run, _told)


@router.post("/restriction:announce", status_code=201, response_model=bodies.LiftAnnounced, responses=refusals(409))
async def announce(
    request: Request,
    subject: UUID,
    body: bodies.AnnounceLift,
    house: Rooms,
    caller: SignedIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Tell the person, by letter, that the restriction will be lifted; or note how they were told otherwise."""

    async def run(keep: Keep | None) -> Announced:
        return await announce_lifting(house, caller, SubjectId(subject), told=body.told, keep=keep)

    return await once(house, caller, request, idempotency_key, "lift-restriction", run, _told_when)


@router.post("/restriction:lift", status_code=201, response_model=bodies.Confirmed, responses=refusals(409))
async def lift(
    request: Request,
    subject: UUID,
    body: bodies.Lift,
    house: Rooms,
    caller: SignedIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Lift the restriction, once the person was told and the days of that notice are over (Art. 18(3))."""

    async def run(keep: Keep | None) -> Recorded:
        return await lift_restriction(house, caller, SubjectId(subject), reason=body.reason, keep=keep)

    return await once(house, caller, request, idempotency_key, "lift-restriction", run, _told)


def _told_when(announced: Announced) -> Told:
    body = {"id": announced.id, "state": "restricted", "lift_from": moment(announced.lift_from)}
    return Told(201, body)


def _told(recorded: Recorded) -> Told:
    return Told(201, {"id": recorded.id, "state": recorded.state})
