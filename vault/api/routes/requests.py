"""Requests of data subjects: submit, verify, list, show, decide; their erasures, certificates and packages."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, Field

from vault.api.dependencies import CallerDep, ServicesDep, WriteDep, file_response, json_response
from vault.api.schemas import FILE, Body, Instant, Limit, PageId, error_responses, router_of
from vault.catalogue.company import KindName
from vault.catalogue.model import LegalClaim
from vault.catalogue.model import Scope as CatalogueScope
from vault.erasure.query import list_erasures, preview_erasure, read_certificate
from vault.erasure.start import keep_for_claims
from vault.erasure.views import ErasureCertificate, ErasureList, ErasurePreview, KeptForClaims
from vault.errors import Fault, InvalidInput
from vault.export.download import AGE, ZIP, SentPackage, open_package, send_package
from vault.identity.verify import SentCode, VerifiedRequest, note_evidence, send_code, verify_by_code
from vault.identity.verify import vouch as vouch_for
from vault.ids import SubjectId
from vault.requests import decide
from vault.requests.decide import Outcome
from vault.requests.decide import Reason as ExtensionReason
from vault.requests.model import Level, Regime, State
from vault.requests.query import Urgency, list_of_requests, show_request
from vault.requests.store import RequestQuery
from vault.requests.submit import Submission, submit_request
from vault.requests.views import (
    DataSubjectRequest,
    RequestDetails,
    RequestPage,
    RequestStatus,
    SubmittedRequest,
    SubmittersRequest,
)

router = router_of("requests", prefix="/v1/requests")
erasure_router = router_of("erasure", prefix="/v1")

Code = Annotated[str, Field(max_length=40, description="As written in the letter.", examples=["1234 5678"])]
Evidence = Annotated[
    str, Field(max_length=2000, description="One line of up to 500 characters; sealed under the person's own key.")
]
LegalRegime = Annotated[Regime, Field(description="The law that applies.")]
Jurisdiction = Annotated[
    str | None, Field(max_length=10, description="Whose public holidays count: ISO 3166.", examples=["DE-BY"])
]
Name = Annotated[str, Field(max_length=200)]
Names = Annotated[list[Name], Field(max_length=100)]
ErasedNames = Annotated[tuple[Name, ...], Field(max_length=200)]


class Scope(Body):
    """What a request is about; if empty, everything."""

    fields: Names = Field([], examples=[["profile.phone"]])
    collections: Names = Field([])
    purposes: Names = Field([])

    def of_catalogue(self) -> CatalogueScope:
        """Return the selection of the catalogue that it names."""
        return CatalogueScope(tuple(self.fields), tuple(self.collections), tuple(self.purposes))


class Identity(Body):
    """A claimed identity: an e-mail address that the vault may hold, or ids in other systems."""

    email: Annotated[str | None, Field(max_length=320, examples=["ada@example.org"])] = None
    external_id: Annotated[dict[str, object] | None, Field(max_length=20, examples=[{"shop": "4711"}])] = None


class NewRequest(Body):
    """A request of a data subject."""

    kind: KindName
    subject: Annotated[UUID | None, Field(description="The person's id; or else `identity`.")] = None
    identity: Annotated[
        Identity | None, Field(description="The answer is the same whether or not there is such a person.")
    ] = None
    regime: LegalRegime = "gdpr"
    jurisdiction: Jurisdiction = None
    language: Annotated[str | None, Field(max_length=10, description="Language of the answer.")] = None
    channel: Annotated[str | None, Field(max_length=64, description="How it was received.", examples=["web"])] = None
    scope: Scope = Scope()
    details: dict[str, object] = Field({}, description="What the person says; sealed under their own key.")
    received_at: Annotated[
        Instant | None, Field(description="When it reached you, within the last 60 days; now by default.")
    ] = None
    follows: Annotated[UUID | None, Field(description="An earlier request of the person that this one continues.")] = (
        None
    )


class RequestFilter(BaseModel):
    """Which requests to list."""

    subject: Annotated[UUID | None, Field(description="Only this person's.")] = None
    state: Annotated[list[State], Field(description="Only these states; may be repeated.")] = []
    kind: Annotated[list[KindName], Field(description="Only these kinds; may be repeated.")] = []
    due: Annotated[Urgency | None, Field(description="Open ones that are overdue, or due within a week.")] = None
    cursor: Annotated[str | None, Field(max_length=64, description="`next` of the previous page.")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class Vouch(Body):
    """An app vouches for a person who is signed in there."""

    level: Annotated[Level, Field(description="`fresh`: the person signed in there within the minutes before.")]
    evidence: Evidence | None = None


class Verify(Body):
    """One way of verifying a request: `send_code`; `code_id` with `code`; `vouch`; or `evidence`."""

    send_code: Annotated[
        Literal[True] | None, Field(description="Send a code to a contact that the vault holds already.")
    ] = None
    code_id: UUID | None = None
    code: Code | None = None
    vouch: Vouch | None = None
    evidence: Annotated[Evidence | None, Field(description="What a member of staff has checked; sealed.")] = None


class Decision(Body):
    """A decision, with a note if there is one."""

    note: Annotated[
        str | None, Field(max_length=2000, description="Why: one line of up to 500 characters; it is sealed.")
    ] = None


class Rejection(Decision):
    """A rejection."""

    ground: Annotated[str, Field(max_length=64, description="A legal ground.", examples=["legal-obligation"])]


class DeadlineExtension(Decision):
    """An extension of the deadline."""

    reason: ExtensionReason


class ReviewCompletion(Decision):
    """The end of the review of an automated decision."""

    outcome: Outcome


class PreviewErasure(Body):
    """The scope of an erasure; if nothing is named, everything."""

    fields: ErasedNames = ()
    collections: ErasedNames = ()
    purposes: ErasedNames = ()
    request: Annotated[
        UUID | None, Field(description="Use the scope of this request, and what staff keep from it, instead.")
    ] = None


class KeepForClaims(Body):
    """What is kept from an erasure because of open legal claims (Art. 17(3)(e) GDPR)."""

    names: Annotated[list[Name], Field(max_length=200, examples=[["complaint.*"]])]
    until: date
    reason: Annotated[str, Field(max_length=500, description="Which claims. It is stored sealed.")]


class DownloadPackage(Body):
    """How to encrypt a package."""

    passphrase: Annotated[
        str,
        Field(
            max_length=2_000,
            description="Encrypts the file, 12 characters or more; `age -d` or `cdv packages open` opens it.",
            examples=["correct horse battery staple"],
        ),
    ]


class SendPackage(Body):
    """Where to send a portability package."""

    url: Annotated[
        str,
        Field(
            max_length=2_000,
            description="The other controller's address for it, https.",
            examples=["https://other.example.org/inbox"],
        ),
    ]


@router.post(
    "",
    status_code=201,
    response_model=SubmittedRequest,
    responses=error_responses(409),
    operation_id="submitRequest",
)
async def submit(body: NewRequest, write: WriteDep) -> Response:
    """Submit a request. It has no effect before it is verified; the answer does not reveal whether a person exists."""
    submission = Submission(
        kind=body.kind,
        subject=None if body.subject is None else SubjectId(body.subject),
        identity=None if body.identity is None else body.identity.model_dump(exclude_none=True),
        regime=body.regime,
        jurisdiction=body.jurisdiction,
        language=body.language,
        channel=body.channel,
        scope=body.scope.of_catalogue(),
        details=body.details,
        received_at=body.received_at,
        follows=body.follows,
    )
    return await write.once(submit_request, submission)


@router.get("", operation_id="listRequests")
async def list_all(query: Annotated[RequestFilter, Query()], services: ServicesDep, caller: CallerDep) -> RequestPage:
    """List requests, the most urgent first."""
    person = None if query.subject is None else SubjectId(query.subject)
    stored = RequestQuery(subject=person, states=query.state, kinds=query.kind, limit=query.limit)
    return await list_of_requests(services, caller, stored, urgency=query.due, cursor=query.cursor)


@router.get("/{request}", operation_id="getRequest")
async def show(request: UUID, services: ServicesDep, caller: CallerDep) -> RequestDetails | SubmittersRequest:
    """Show a request with its history; to an app that may not see requests, the state of one that it submitted."""
    return await show_request(services, caller, request)


@router.post(
    "/{request}:verify",
    response_model=VerifiedRequest,
    responses={202: {"description": "A code was requested", "model": SentCode}, **error_responses(409)},
    operation_id="verifyRequest",
)
async def verify(request: UUID, body: Verify, services: ServicesDep, caller: CallerDep) -> VerifiedRequest | Response:
    """Verify a request, in one of four ways; it has no effect before.

    The answer to `send_code` is 202, and does not reveal whether there is such a person.
    """
    given = body.model_dump(exclude_none=True)
    if given.keys() == {"send_code"}:
        return json_response(await send_code(services, caller, request), 202)
    if body.code_id is not None and body.code is not None and len(given) == 2:
        verified = await verify_by_code(services, caller, request, body.code_id, body.code)
    elif body.vouch is not None and len(given) == 1:
        verified = await vouch_for(services, caller, request, body.vouch.level, body.vouch.evidence)
    elif body.evidence is not None and len(given) == 1:
        verified = await note_evidence(services, caller, request, body.evidence)
    else:
        fault = Fault("", "invalid-verification", "One of: send_code; code_id with code; vouch; evidence.")
        raise InvalidInput("a request is verified in one way at a time", faults=[fault], code=fault.code)
    return VerifiedRequest.of(verified)


@router.post("/{request}:approve", responses=error_responses(409), operation_id="approveRequest")
async def approve(request: UUID, body: Decision, services: ServicesDep, caller: CallerDep) -> DataSubjectRequest:
    """Approve a verified request and start its job. With dual approval, the first approval only signs it."""
    approved = await decide.approve_request(services, caller, request, note=body.note)
    return DataSubjectRequest.of(services, caller.tenant, approved)


@router.post("/{request}:reject", responses=error_responses(409), operation_id="rejectRequest")
async def reject(request: UUID, body: Rejection, services: ServicesDep, caller: CallerDep) -> DataSubjectRequest:
    """Reject a request on a legal ground. The person is informed; the answer contains the remedies."""
    rejected = await decide.reject_request(services, caller, request, ground=body.ground, note=body.note)
    return DataSubjectRequest.of(services, caller.tenant, rejected)


@router.post("/{request}:extend", responses=error_responses(409), operation_id="extendRequest")
async def extend(
    request: UUID, body: DeadlineExtension, services: ServicesDep, caller: CallerDep
) -> DataSubjectRequest:
    """Extend the deadline, once and before it has passed. The person is informed."""
    extended = await decide.extend_request(services, caller, request, reason=body.reason, note=body.note)
    return DataSubjectRequest.of(services, caller.tenant, extended)


@router.post("/{request}:cancel", responses=error_responses(409), operation_id="cancelRequest")
async def cancel(request: UUID, body: Decision, services: ServicesDep, caller: CallerDep) -> RequestStatus:
    """Cancel a request that is not in progress: staff any, an app one that it submitted."""
    cancelled = await decide.cancel_request(services, caller, request, note=body.note)
    return RequestStatus.of(services, caller.tenant, cancelled)


@router.post("/{request}:complete", responses=error_responses(409), operation_id="completeRequest")
async def complete(
    request: UUID, body: ReviewCompletion, services: ServicesDep, caller: CallerDep
) -> DataSubjectRequest:
    """Complete the review of an automated decision, which a person carries out."""
    completed = await decide.complete_request(services, caller, request, outcome=body.outcome, note=body.note)
    return DataSubjectRequest.of(services, caller.tenant, completed)


@router.post("/{request}:reopen", responses=error_responses(409), operation_id="reopenRequest")
async def reopen(request: UUID, body: Decision, services: ServicesDep, caller: CallerDep) -> DataSubjectRequest:
    """Reopen a closed request. It is unverified again; its history and deadline stay."""
    reopened = await decide.reopen_request(services, caller, request, note=body.note)
    return DataSubjectRequest.of(services, caller.tenant, reopened)


@router.post("/{request}:ask-identity", responses=error_responses(409), operation_id="requestProofOfIdentity")
async def ask_identity(request: UUID, body: Decision, services: ServicesDep, caller: CallerDep) -> DataSubjectRequest:
    """Request proof of identity. If asked in time, the deadline is suspended."""
    asked = await decide.ask_identity(services, caller, request, note=body.note)
    return DataSubjectRequest.of(services, caller.tenant, asked)


@router.get(
    "/{request}/package",
    operation_id="downloadPackage",
    response_class=Response,
    responses={200: {"description": "The package", "content": {ZIP: FILE}}, **error_responses(409, 410)},
)
async def download(request: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Download the package that answers a request: a ZIP, which `cdv verify` checks."""
    return file_response(await open_package(services, caller, request))


@router.post(
    "/{request}/package:download",
    operation_id="downloadEncryptedPackage",
    response_class=Response,
    responses={200: {"description": "The package, encrypted", "content": {AGE: FILE}}, **error_responses(409, 410)},
)
async def download_encrypted(
    request: UUID, body: DownloadPackage, services: ServicesDep, caller: CallerDep
) -> Response:
    """Download the package encrypted to a passphrase, as an `age` file (age-encryption.org/v1)."""
    return file_response(await open_package(services, caller, request, passphrase=body.passphrase))


@router.post("/{request}/package:send", operation_id="sendPackage", responses=error_responses(409, 410))
async def send(request: UUID, body: SendPackage, services: ServicesDep, caller: CallerDep) -> SentPackage:
    """Send a portability package to another controller, by one POST of the ZIP (Art. 20(2) GDPR)."""
    return await send_package(services, caller, request, body.url)


@erasure_router.get("/subjects/{subject}/erasure:preview", operation_id="previewErasure")
async def preview(subject: UUID, services: ServicesDep, caller: CallerDep) -> ErasurePreview:
    """Preview the erasure of a person: what it would erase, and what it would keep, on which ground and until when."""
    return await preview_erasure(services, caller, SubjectId(subject))


@erasure_router.post("/subjects/{subject}/erasure:preview", operation_id="previewPartialErasure")
async def preview_part(subject: UUID, body: PreviewErasure, services: ServicesDep, caller: CallerDep) -> ErasurePreview:
    """Preview the erasure of fields, collections or purposes, or of what a request asks for."""
    scope = CatalogueScope(body.fields, body.collections, body.purposes)
    return await preview_erasure(services, caller, SubjectId(subject), scope, request=body.request)


@erasure_router.post(
    "/requests/{request}/grounds",
    status_code=201,
    responses=error_responses(409),
    operation_id="keepForLegalClaims",
)
async def keep(request: UUID, body: KeepForClaims, services: ServicesDep, caller: CallerDep) -> KeptForClaims:
    """Keep fields or collections from the erasure that a request asks for, because of open legal claims."""
    claim = LegalClaim(tuple(body.names), body.until)
    await keep_for_claims(services, caller, request, claim, body.reason)
    return KeptForClaims(request=request)


@erasure_router.get(
    "/requests/{request}/certificate", responses=error_responses(409), operation_id="readErasureCertificate"
)
async def certificate(request: UUID, services: ServicesDep, caller: CallerDep) -> ErasureCertificate:
    """Return the signed certificate of the erasure that carried a request out."""
    return await read_certificate(services, caller, request)


@erasure_router.get("/erasures", operation_id="listErasures")
async def list_some(services: ServicesDep, caller: CallerDep, before: PageId = None, limit: Limit = 50) -> ErasureList:
    """List erasures, the newest first."""
    return await list_erasures(services, caller, before=before, limit=limit)
