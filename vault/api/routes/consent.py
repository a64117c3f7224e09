"""Consents: what people say, what holds of it now, and the confirmation of a double opt-in.

Consents that were given elsewhere, many at once.

Objections (Art. 21 GDPR) and restrictions (Art. 18): what stops the use of data without taking it away.

Receipts of what people said, and the public keys that they are checked by.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs, quote
from uuid import UUID

import msgspec
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from vault.access.recording import SaveResponse
from vault.api.confirm_page import PATH, ask_page, done_page, invalid_page
from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import PROBLEM, error_responses, json_response, moment
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas import consent as bodies
from vault.api.schemas import subjects as subject_bodies
from vault.consent.objections import decide_objection, record_objection
from vault.consent.query import check_consents, consent_state
from vault.consent.receipts.issue import Format, read_receipt, signing_keys
from vault.consent.record import record_consent, record_signal
from vault.consent.restrictions import lift_restriction, restrict
from vault.consent.validation import Said
from vault.crypto.signing import as_jwk
from vault.errors import Fault, InvalidInput, NotFound
from vault.http.problems import MEDIA_TYPE, from_decoder, request_id
from vault.ids import SubjectId
from vault.imports.consent_files import import_consents
from vault.imports.consents import MOST, Result
from vault.imports.consents import Told as ImportedConsents
from vault.letters.about_requests import announce_lifting

if TYPE_CHECKING:
    from vault.consent.double_opt_in import Confirmations
    from vault.consent.query import Told as ToldEvent
    from vault.consent.transaction import Recorded
    from vault.letters.about_requests import Announced


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


@router.post(
    "/subjects/{subject}/consents", status_code=201, response_model=bodies.Recorded, responses=error_responses(409)
)
async def record(
    request: Request,
    subject: UUID,
    body: bodies.NewConsent,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    sec_gpc: Signal = None,
) -> Response:
    """Record what a person says: given, refused, withdrawn or renewed. `double-opt-in` waits to be confirmed."""
    said = Said(**body.model_dump())

    async def run(on_commit: SaveResponse | None) -> Recorded:
        return await record_consent(
            services, caller, SubjectId(subject), said, signal=_is_on(sec_gpc), on_commit=on_commit
        )

    def tell(recorded: Recorded) -> StoredResponse:
        return _told(recorded, request.app.state.public_url)

    return await respond_once(services, caller, request, idempotency_key, "record-consent", run, tell)


@router.post("/subjects/{subject}/consents:signal", response_model=bodies.Signalled)
async def signal(subject: UUID, services: ServicesDep, caller: CallerDep, sec_gpc: Signal = None) -> Response:
    """Record that a person's browser sends `Sec-GPC: 1`: a no to the sale and sharing of data, and to nothing else."""
    if not _is_on(sec_gpc):
        raise InvalidInput("there is no signal to record: send `Sec-GPC: 1`", code="no-signal")
    return json_response({"purposes": await record_signal(services, caller, SubjectId(subject))})


@router.get("/subjects/{subject}/consents", response_model=bodies.ConsentState)
async def state(
    subject: UUID,
    services: ServicesDep,
    caller: CallerDep,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Tell how a person stands on each purpose, and the events that led there, newest first."""
    found = await consent_state(services, caller, SubjectId(subject), before=_before(cursor), limit=limit)
    consents = {
        name: {
            **each._asdict(),
            "since": moment(each.since),
            "valid_until": moment(each.valid_until),
            "objected_at": moment(each.objected_at),
        }
        for name, each in found.consents.items()
    }
    return json_response(
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
async def check(body: bodies.ConsentCheck, services: ServicesDep, caller: CallerDep) -> Response:
    """Say for up to 1,000 people whether purposes may go on now, and nothing else about anybody."""
    subjects = [SubjectId(each) for each in body.subjects]
    found = await check_consents(services, caller, subjects=subjects, purposes=body.purposes)
    results = [{"subject": subject, "purposes": purposes} for subject, purposes in found.results]
    return json_response({"results": results, "audit": found.audit})


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
    return json_response({"id": recorded.id, "state": recorded.state})


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


def _told(recorded: Recorded, public_url: str) -> StoredResponse:
    """Tell what was recorded. The token is told once: what is kept for a repeated call does not have it."""
    body: dict[str, Any] = {"id": recorded.id, "state": recorded.state}
    if recorded.confirmation is None:
        return StoredResponse(201, body)
    token, expires = recorded.confirmation.token, moment(recorded.confirmation.expires_at)
    link = f"{public_url.rstrip('/')}{PATH}?token={quote(token)}" if public_url else None
    told = {"token": token, "expires": expires} | ({} if link is None else {"link": link})
    return StoredResponse(201, {**body, "confirmation": told}, kept={**body, "confirmation": {"expires": expires}})


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


NDJSON = "application/x-ndjson"
_array = msgspec.json.Decoder(list[msgspec.Raw])


class Item(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What somebody said elsewhere, as it comes in."""

    purpose: str
    decision: str
    occurred_at: datetime
    subject: UUID | None = None
    system: str | None = None
    external_id: str | None = None
    notice: str | None = None
    language: str | None = None
    channel: str | None = None
    method: str | None = None
    by: str = "subject"
    evidence: str | None = None
    jurisdiction: str | None = None
    valid_until: datetime | None = None


_item = msgspec.json.Decoder(Item)


class ImportedItem(BaseModel):
    """What became of an item: its event, or what is wrong with it."""

    id: UUID | None = None
    state: Annotated[str | None, Field(description="`written`, or `there` where it was imported before.")] = None
    errors: list[subject_bodies.Fault] | None = None


class Imported(BaseModel):
    """What became of each item, in the order in which they came."""

    results: list[ImportedItem]
    written: int
    there: int
    refused: int
    audit: UUID | None


@router.post(
    "/consents:import",
    response_model=Imported,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"type": "array", "maxItems": MOST, "items": {"type": "object"}}},
                NDJSON: {"schema": {"type": "string"}},
            },
        }
    },
)
async def bring_in(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    source: Annotated[str | None, Query(max_length=64, description="The system from which they come.")] = None,
) -> Response:
    """Import up to 1,000 consents, refusals, withdrawals and objections, as an array or as lines (NDJSON).

    A yes never outweighs a no that is there, and what was imported before is not written twice.
    """
    body = await request.body()
    lines = request.headers.get("content-type", "").partition(";")[0].strip() == NDJSON
    items = [_read(each) for each in (body.splitlines() if lines else _elements(body)) if bytes(each).strip()]
    brought = await import_consents(services, caller, items, source=source)
    results = [_told_consents_import(each) for each in brought.results]
    counted = [each.get("state", "refused") for each in results]
    counts = {name: counted.count(name) for name in ("written", "there", "refused")}
    return json_response({"results": results, **counts, "audit": brought.audit})


def _elements(body: bytes) -> list[Any]:
    try:
        return list(_array.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise from_decoder(error) from None


def _read(raw: Any) -> ImportedConsents | Fault:
    try:
        item = _item.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _fault(from_decoder(error))
    if (item.subject is None) == (item.system is None or item.external_id is None):
        return Fault("", "no-external-id", "Say whom it is about: by `subject`, or by `system` and `external_id`.")
    said = Said(**{name: getattr(item, name) for name in Said._fields})
    if item.subject is not None:
        return ImportedConsents(SubjectId(item.subject), None, said)
    return ImportedConsents(None, (item.system or "", item.external_id or ""), said)


def _fault(error: InvalidInput) -> Fault:
    return error.faults[0]


def _told_consents_import(result: Result) -> dict[str, Any]:
    if result.faults:
        return {"errors": list(result.faults)}
    return {"id": result.event, "state": "written" if result.is_new else "there"}


objections_router = APIRouter(prefix="/v1/subjects/{subject}", tags=["objections"])


@objections_router.post("/objections", status_code=201, response_model=bodies.Confirmed, responses=error_responses(409))
async def objections(
    request: Request,
    subject: UUID,
    body: bodies.NewObjection,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Record that a person objects: final at once against direct marketing, otherwise pending, and use stops."""

    async def run(on_commit: SaveResponse | None) -> Recorded:
        return await record_objection(
            services, caller, SubjectId(subject), purpose=body.purpose, reason=body.reason, on_commit=on_commit
        )

    return await respond_once(services, caller, request, idempotency_key, "object", run, _told_objections)


@objections_router.post(
    "/objections/{event}:decide", status_code=201, response_model=bodies.Confirmed, responses=error_responses(409)
)
async def decide(
    request: Request,
    subject: UUID,
    event: UUID,
    body: bodies.ObjectionDecision,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Decide an objection: upheld, the use has ended; overruled, it goes on. The reason is on record, sealed."""

    async def run(on_commit: SaveResponse | None) -> Recorded:
        return await decide_objection(
            services, caller, SubjectId(subject), event, decision=body.decision, reason=body.reason, on_commit=on_commit
        )

    return await respond_once(services, caller, request, idempotency_key, "decide-objection", run, _told_objections)


@objections_router.post(
    "/restriction", status_code=201, response_model=bodies.Confirmed, responses=error_responses(409)
)
async def restriction(
    request: Request,
    subject: UUID,
    body: bodies.NewRestriction,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Restrict a person's data: it is stored, and used only where an exception of Art. 18(2) applies."""

    async def run(on_commit: SaveResponse | None) -> Recorded:
        return await restrict(
            services, caller, SubjectId(subject), ground=body.ground, reason=body.reason, on_commit=on_commit
        )

    return await respond_once(services, caller, request, idempotency_key, "restrict", run, _told_objections)


@objections_router.post(
    "/restriction:announce", status_code=201, response_model=bodies.LiftAnnounced, responses=error_responses(409)
)
async def announce(
    request: Request,
    subject: UUID,
    body: bodies.AnnounceLift,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Tell the person, by letter, that the restriction will be lifted; or note how they were told otherwise."""

    async def run(on_commit: SaveResponse | None) -> Announced:
        return await announce_lifting(services, caller, SubjectId(subject), told=body.told, on_commit=on_commit)

    return await respond_once(services, caller, request, idempotency_key, "lift-restriction", run, _told_when)


@objections_router.post(
    "/restriction:lift", status_code=201, response_model=bodies.Confirmed, responses=error_responses(409)
)
async def lift(
    request: Request,
    subject: UUID,
    body: bodies.Lift,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Lift the restriction, once the person was told and the days of that notice are over (Art. 18(3))."""

    async def run(on_commit: SaveResponse | None) -> Recorded:
        return await lift_restriction(services, caller, SubjectId(subject), reason=body.reason, on_commit=on_commit)

    return await respond_once(services, caller, request, idempotency_key, "lift-restriction", run, _told_objections)


def _told_when(announced: Announced) -> StoredResponse:
    body = {"id": announced.id, "state": "restricted", "lift_from": moment(announced.lift_from)}
    return StoredResponse(201, body)


def _told_objections(recorded: Recorded) -> StoredResponse:
    return StoredResponse(201, {"id": recorded.id, "state": recorded.state})


@router.get("/subjects/{subject}/consents/{event}/receipt", response_model=dict[str, Any])
async def receipt(
    subject: UUID,
    event: UUID,
    services: ServicesDep,
    caller: CallerDep,
    form: Annotated[Format, Query(alias="format")] = "dpv",
) -> Response:
    """Get the signed receipt of an event: ISO/IEC TS 27560 as JSON-LD (`dpv`), or `kantara`; `cdv verify` checks it."""
    return json_response(await read_receipt(services, caller, SubjectId(subject), event, form=form))


@router.get("/signing-keys", response_model=dict[str, Any])
async def keys(services: ServicesDep, caller: CallerDep) -> Response:
    """List the public keys by which the vault signs or ever signed, the current one first, as a JWK set (RFC 7517)."""
    return json_response({"keys": [as_jwk(each) for each in await signing_keys(services, caller)]})
