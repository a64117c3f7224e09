"""Consents: what people say, what holds of it now, and the confirmation of a double opt-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs, quote
from uuid import UUID

import msgspec
from fastapi import APIRouter, Header, Query, Request, Response

from vault.access.recording import Keep
from vault.api.answers import answer, moment
from vault.api.confirm_page import PATH, ask_page, done_page, invalid_page
from vault.api.dependencies import Told, once
from vault.api.doors import Rooms, SignedIn
from vault.api.responses import PROBLEM, refusals
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas import consent as bodies
from vault.consent.check import check_consents
from vault.consent.query import consent_state
from vault.consent.record import record_consent
from vault.consent.signal import record_signal
from vault.consent.validation import Said
from vault.errors import Fault, InvalidInput, NotFound
from vault.http.problems import MEDIA_TYPE, from_decoder, request_id
from vault.ids import SubjectId

if TYPE_CHECKING:
    from vault.consent.double_opt_in import Confirmations
    from vault.consent.query import Told as ToldEvent
    from vault.consent.recorded import Recorded

router = APIRouter(prefix="/v1", tags=["consents"])

Signal = Annotated[
    str | None,
    Header(alias="Sec-GPC", max_length=8, description="The browser's Global Privacy Control, passed on: `1`."),
]
FORM = "application/x-www-form-urlencoded"
LONGEST_TOKEN = 200
PAGE = {"schema": {"type": "string"}}
INVALID: dict[int | str, dict[str, Any]] = {
    404: {
        "description": "The token confirms nothing (any more)",
        "content": {MEDIA_TYPE: {"schema": PROBLEM}, "text/html": PAGE},
    }
}


@router.post("/subjects/{subject}/consents", status_code=201, response_model=bodies.Recorded, responses=refusals(409))
async def record(
    request: Request,
    subject: UUID,
    body: bodies.NewConsent,
    house: Rooms,
    caller: SignedIn,
    idempotency_key: IdempotencyKey = None,
    sec_gpc: Signal = None,
) -> Response:
    """Record what a person says: given, refused, withdrawn or renewed. `double-opt-in` waits to be confirmed."""
    said = Said(**body.model_dump())

    async def run(keep: Keep | None) -> Recorded:
        return await record_consent(house, caller, SubjectId(subject), said, signal=_is_on(sec_gpc), keep=keep)

    def tell(recorded: Recorded) -> Told:
        return _told(recorded, request.app.state.public_url)

    return await once(house, caller, request, idempotency_key, "record-consent", run, tell)


@router.post("/subjects/{subject}/consents:signal", response_model=bodies.Signalled)
async def signal(subject: UUID, house: Rooms, caller: SignedIn, sec_gpc: Signal = None) -> Response:
    """Record that a person's browser sends `Sec-GPC: 1`: a no to the sale and sharing of data, and to nothing else."""
    if not _is_on(sec_gpc):
        raise InvalidInput("there is no signal to record: send `Sec-GPC: 1`", code="no-signal")
    return answer({"purposes": await record_signal(house, caller, SubjectId(subject))})


@router.get("/subjects/{subject}/consents", response_model=bodies.ConsentState)
async def state(
    subject: UUID,
    house: Rooms,
    caller: SignedIn,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Tell how a person stands on each purpose, and the events that led there, newest first."""
    found = await consent_state(house, caller, SubjectId(subject), before=_before(cursor), limit=limit)
    consents = {
        name: {
            **each._asdict(),
            "since": moment(each.since),
            "valid_until": moment(each.valid_until),
            "objected_at": moment(each.objected_at),
        }
        for name, each in found.consents.items()
    }
    return answer(
        {
            "subject": found.subject,
            "state": found.state,
            "restricted_at": moment(found.restricted_at),
            "consents": consents,
            "history": [_event(each) for each in found.history],
            "next": None if found.next is None else found.next.hex,
            "audit": found.audit,
        }
    )


@router.post("/consents:check", response_model=bodies.Checked)
async def check(body: bodies.ConsentCheck, house: Rooms, caller: SignedIn) -> Response:
    """Say for up to 1,000 people whether purposes may go on now, and nothing else about anybody."""
    subjects = [SubjectId(each) for each in body.subjects]
    found = await check_consents(house, caller, subjects=subjects, purposes=body.purposes)
    results = [{"subject": subject, "purposes": purposes} for subject, purposes in found.results]
    return answer({"results": results, "audit": found.audit})


@router.post(
    "/consents:confirm",
    response_model=bodies.Confirmed,
    responses={200: {"content": {"text/html": PAGE}}, **INVALID},
    openapi_extra={
        "security": [],
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": bodies.Token.model_json_schema()} for kind in ("application/json", FORM)},
        },
    },
)
async def confirm(request: Request) -> Response:
    """Confirm a double opt-in by its token, which is all that it takes. A form is answered by a page."""
    is_form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM
    token = _token(await request.body(), is_form=is_form)
    confirmations: Confirmations = request.app.state.confirmations
    asked = await confirmations.look_up(token) if is_form else None
    try:
        recorded = await confirmations.confirm(token, request_id(request))
    except NotFound:
        if not is_form:
            raise
        return _invalid(request)
    if is_form:
        return done_page("en" if asked is None else asked.language)
    return answer({"id": recorded.id, "state": recorded.state})


@router.get(
    "/consents:confirm",
    response_class=Response,
    responses={200: {"content": {"text/html": PAGE}}, **INVALID},
    openapi_extra={"security": []},
)
async def confirm_page(request: Request, token: Annotated[str, Query(max_length=LONGEST_TOKEN)]) -> Response:
    """Show the page behind the link: a button that confirms. To look at it uses nothing up."""
    confirmations: Confirmations = request.app.state.confirmations
    asked = await confirmations.look_up(token)
    return _invalid(request) if asked is None else ask_page(asked.language, asked.title, token)


def _invalid(request: Request) -> Response:
    return invalid_page(request.headers.get("accept-language", ""))


def _is_on(sec_gpc: str | None) -> bool:
    return sec_gpc is not None and sec_gpc.strip() == "1"


def _told(recorded: Recorded, public_url: str) -> Told:
    """Tell what was recorded. The token is told once: what is kept for a repeated call does not have it."""
    body: dict[str, Any] = {"id": recorded.id, "state": recorded.state}
    if recorded.confirmation is None:
        return Told(201, body)
    token, expires = recorded.confirmation.token, moment(recorded.confirmation.expires_at)
    link = f"{public_url.rstrip('/')}{PATH}?token={quote(token)}" if public_url else None
    told = {"token": token, "expires": expires} | ({} if link is None else {"link": link})
    return Told(201, {**body, "confirmation": told}, kept={**body, "confirmation": {"expires": expires}})


def _event(told: ToldEvent) -> dict[str, Any]:
    event: dict[str, Any] = msgspec.structs.asdict(told.event)
    del event["subject"]
    return {
        **event,
        "evidence": told.evidence,
        "occurred_at": moment(told.event.occurred_at),
        "recorded_at": moment(told.event.recorded_at),
        "valid_until": moment(told.event.valid_until),
    }


def _token(body: bytes, *, is_form: bool) -> str:
    if is_form:
        fields = parse_qs(body[: 4 * LONGEST_TOKEN].decode("ascii", "replace"))
        return fields.get("token", [""])[0][:LONGEST_TOKEN]
    try:
        return msgspec.json.decode(body, type=_Body).token
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise from_decoder(error) from None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    token: Annotated[str, msgspec.Meta(max_length=LONGEST_TOKEN)]


def _before(cursor: str | None) -> UUID | None:
    try:
        return None if cursor is None else UUID(hex=cursor)
    except ValueError:
        fault = Fault("/cursor", "invalid-cursor", "Take `next` of the page before, unchanged.")
        raise InvalidInput("The cursor is none of ours.", faults=[fault], code="invalid-cursor") from None
