"""Consents, their import, double opt-in, receipts, and the keys that receipts are signed by."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, get_args
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from fastapi import Header, Query, Request, Response
from pydantic import Field, JsonValue

from vault.api.confirm_page import PATH, ask_page, done_page, invalid_page
from vault.api.dependencies import (
    BY_ADDRESS,
    CallerDep,
    ServicesDep,
    StoredResponse,
    WriteDep,
    cursor_of,
    json_response,
)
from vault.api.schemas import PROBLEM, TEXT, Body, Cursor, Instant, Limit, error_responses, router_of
from vault.consent.model import By, Method
from vault.consent.query import check_consents, consent_state
from vault.consent.receipts.issue import Format, read_receipt, signing_keys
from vault.consent.record import record_consent, record_signal
from vault.consent.validation import ConsentStatement, Decision
from vault.consent.views import (
    ConsentCheckResults,
    ConsentOverview,
    ImportedConsent,
    ImportedConsents,
    ImportFault,
    RecordedConsent,
    RecordedEvent,
    SignalResult,
    SignedReceipt,
    SigningKeys,
)
from vault.errors import Fault, InvalidInput, NotFound
from vault.http.body_faults import from_decoder, require_unique
from vault.http.problems import request_id
from vault.ids import SubjectId
from vault.imports.consent_files import import_consents
from vault.imports.consents import MOST, ConsentItem, ItemResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.consent.double_opt_in import Confirmations


router = router_of("consents", prefix="/v1")

Signal = Annotated[
    str | None,
    Header(alias="Sec-GPC", max_length=8, description="The browser's Global Privacy Control, passed on: `1`."),
]
FORM: Final = "application/x-www-form-urlencoded"
NDJSON: Final = "application/x-ndjson"
LONGEST_TOKEN: Final = 200
INVALID: Final[dict[int | str, dict[str, object]]] = {
    404: {"description": "The token confirms nothing, or no longer", "content": {**PROBLEM, "text/html": TEXT}}
}


def _enum(words: object) -> dict[str, JsonValue]:
    """Describe a closed list of values; the operation checks them, so that it reports all faults at once."""
    return {"enum": list(get_args(words))}


class NewConsent(Body):
    """What a person states about a purpose that rests on consent."""

    purpose: Annotated[str, Field(max_length=64, description="A purpose of purposes.toml.")]
    decision: Annotated[
        str, Field(max_length=64, description="The person's decision.", json_schema_extra=_enum(Decision))
    ]
    notice: Annotated[
        str | None,
        Field(max_length=80, description="The version that was shown; required to agree.", examples=["marketing@3"]),
    ] = None
    language: Annotated[
        str | None, Field(max_length=10, description="Language of the notice; its main one by default.")
    ] = None
    channel: Annotated[str | None, Field(max_length=64, description="Where the person decided.", examples=["web"])] = (
        None
    )
    method: Annotated[
        str | None,
        Field(
            max_length=64,
            description="How the person indicated it; required to agree.",
            examples=list(get_args(Method)),
        ),
    ] = None
    by: Annotated[
        str,
        Field(
            max_length=64,
            description="Who decided: the person, a guardian, or staff or an app on their behalf.",
            json_schema_extra=_enum(By),
        ),
    ] = "subject"
    evidence: Annotated[
        str | None,
        Field(max_length=2000, description="Where the proof is: one line of up to 500 characters; sealed."),
    ] = None
    jurisdiction: Annotated[
        str | None,
        Field(max_length=10, description="The law that applies: ISO 3166.", examples=["IE", "US-CA"]),
    ] = None
    occurred_at: Annotated[Instant | None, Field(description="When the person decided; now by default.")] = None
    valid_until: Annotated[Instant | None, Field(description="When an agreement expires.")] = None


class ConsentCheck(Body):
    """The people and purposes to check."""

    subjects: Annotated[list[UUID], Field(min_length=1, max_length=1000)]
    purposes: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=50)]


class Token(Body):
    """The token of a confirmation."""

    token: Annotated[str, Field(max_length=LONGEST_TOKEN)]


class StatementItem(ConsentStatement, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A statement that a person made elsewhere, as received: its time is required, and it names the person."""

    occurred_at: datetime
    subject: UUID | None = None
    system: str | None = None
    external_id: str | None = None


_items = msgspec.json.Decoder(list[msgspec.Raw])
_item = msgspec.json.Decoder(StatementItem)


@router.post(
    "/subjects/{subject}/consents",
    status_code=201,
    operation_id="recordConsent",
    response_model=RecordedConsent,
    responses=error_responses(409),
)
async def record(subject: UUID, body: NewConsent, write: WriteDep, sec_gpc: Signal = None) -> Response:
    """Record a decision on a purpose: given, refused, withdrawn or renewed. `double-opt-in` waits for confirmation."""
    statement = ConsentStatement(**body.model_dump())
    run = partial(record_consent, write.services, write.caller, SubjectId(subject), statement, signal=_is_on(sec_gpc))

    def respond(recorded: RecordedConsent) -> StoredResponse:
        url = write.request.app.state.public_url
        shown = recorded.with_link(f"{url.rstrip('/')}{PATH}?token=") if url else recorded
        return StoredResponse(201, shown, kept=recorded.without_token())

    return await write.respond(run, respond)


@router.post("/subjects/{subject}/consents:signal", operation_id="recordPrivacySignal")
async def signal(subject: UUID, services: ServicesDep, caller: CallerDep, sec_gpc: Signal = None) -> SignalResult:
    """Record that a person's browser sends `Sec-GPC: 1`: it denies the sale and sharing of data, and nothing else."""
    if not _is_on(sec_gpc):
        raise InvalidInput("there is no signal to record: send `Sec-GPC: 1`", code="no-signal")
    return await record_signal(services, caller, SubjectId(subject))


def _is_on(sec_gpc: str | None) -> bool:
    return sec_gpc is not None and sec_gpc.strip() == "1"


@router.get("/subjects/{subject}/consents", operation_id="readConsents")
async def state(
    subject: UUID, services: ServicesDep, caller: CallerDep, cursor: Cursor = None, limit: Limit = 50
) -> ConsentOverview:
    """Return the state of a person's consents by purpose, and the events that led to it, newest first."""
    return await consent_state(services, caller, SubjectId(subject), before=cursor_of(cursor), limit=limit)


@router.post("/consents:check", operation_id="checkConsents")
async def check(body: ConsentCheck, services: ServicesDep, caller: CallerDep) -> ConsentCheckResults:
    """Check for up to 1,000 people whether purposes may go on now, without the reasons."""
    subjects = [SubjectId(subject) for subject in body.subjects]
    return await check_consents(services, caller, subjects=subjects, purposes=body.purposes)


@router.post(
    "/consents:confirm",
    operation_id="confirmConsent",
    dependencies=BY_ADDRESS,
    response_model=RecordedEvent,
    responses={200: {"content": {"text/html": TEXT}}, **INVALID},
    openapi_extra={
        "security": [],
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": Token.model_json_schema()} for kind in ("application/json", FORM)},
        },
    },
)
async def confirm(request: Request) -> Response:
    """Confirm a double opt-in by its token; no key is needed. A form is answered with a page."""
    is_form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM
    token = _token(await request.body(), is_form=is_form)
    confirmations: Confirmations = request.app.state.confirmations
    shown = await confirmations.look_up(token) if is_form else None
    try:
        recorded = await confirmations.confirm(token, request_id(request))
    except NotFound:
        if not is_form:
            raise
        return _invalid(request)
    if is_form:
        return done_page("en" if shown is None else shown.language)
    return json_response(recorded)


@router.get(
    "/consents:confirm",
    operation_id="showConfirmationPage",
    dependencies=BY_ADDRESS,
    response_class=Response,
    responses={200: {"content": {"text/html": TEXT}}, **INVALID},
    openapi_extra={"security": []},
)
async def confirm_page(request: Request, token: Annotated[str, Query(max_length=LONGEST_TOKEN)]) -> Response:
    """Show the page behind the link, with a button that confirms. Showing it does not use the token."""
    confirmations: Confirmations = request.app.state.confirmations
    shown = await confirmations.look_up(token)
    return _invalid(request) if shown is None else ask_page(shown, token)


def _invalid(request: Request) -> Response:
    return invalid_page(request.headers.get("accept-language", ""))


def _token(body: bytes, *, is_form: bool) -> str:
    if is_form:
        fields = parse_qs(body[: 4 * LONGEST_TOKEN].decode("ascii", "replace"))
        return fields.get("token", [""])[0][:LONGEST_TOKEN]
    try:
        return msgspec.json.decode(body, type=_TokenBody).token
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise from_decoder(error, body, _TokenBody.__struct_fields__) from None


class _TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    token: Annotated[str, msgspec.Meta(max_length=LONGEST_TOKEN)]


@router.post(
    "/consents:import",
    operation_id="importConsents",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"type": "array", "maxItems": MOST, "items": {"type": "object"}}},
                NDJSON: TEXT,
            },
        }
    },
)
async def import_(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    source: Annotated[str | None, Query(max_length=64, description="The system that they come from.")] = None,
) -> ImportedConsents:
    """Import up to 1,000 consents, refusals, withdrawals and objections, as an array or as lines (NDJSON).

    An imported agreement never outweighs a denial, and an item that was imported before is not written again.
    """
    body = await request.body()
    lines = request.headers.get("content-type", "").partition(";")[0].strip() == NDJSON
    items = [_read(raw) for raw in (body.splitlines() if lines else _elements(body)) if bytes(raw).strip()]
    batch = await import_consents(services, caller, items, source=source)
    results = [_imported(result) for result in batch.results]
    states = [result.state or "refused" for result in results]
    return ImportedConsents(
        results=results,
        written=states.count("written"),
        there=states.count("there"),
        refused=states.count("refused"),
        audit=batch.audit,
    )


def _elements(body: bytes) -> Sequence[msgspec.Raw]:
    try:
        return _items.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise from_decoder(error, body) from None


def _read(raw: bytes | msgspec.Raw) -> ConsentItem | Fault:
    try:
        item = _item.decode(raw)
        require_unique(bytes(raw))
    except InvalidInput as error:
        return error.faults[0]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return from_decoder(error, bytes(raw)).faults[0]
    if (item.subject is None) == (item.system is None or item.external_id is None):
        return Fault("", "no-external-id", "Name the person by `subject`, or by `system` and `external_id`.")
    if item.subject is not None:
        return ConsentItem(SubjectId(item.subject), None, item)
    return ConsentItem(None, (item.system or "", item.external_id or ""), item)


def _imported(result: ItemResult) -> ImportedConsent:
    if result.faults:
        return ImportedConsent(errors=[ImportFault.model_validate(fault) for fault in result.faults])
    return ImportedConsent(id=result.event, state="written" if result.is_new else "there")


@router.get("/subjects/{subject}/consents/{event}/receipt", operation_id="readReceipt")
async def receipt(
    subject: UUID,
    event: UUID,
    services: ServicesDep,
    caller: CallerDep,
    form: Annotated[Format, Query(alias="format")] = "dpv",
) -> SignedReceipt:
    """Get the signed receipt of an event: ISO/IEC TS 27560 as JSON-LD (`dpv`), or `kantara`; `cdv verify` checks it."""
    return await read_receipt(services, caller, SubjectId(subject), event, form=form)


@router.get("/signing-keys", operation_id="listSigningKeys")
async def keys(services: ServicesDep, caller: CallerDep) -> SigningKeys:
    """List the public keys that the vault signs or ever signed with, the current one first, as a JWK set (RFC 7517)."""
    return await signing_keys(services, caller)
