"""Packages of access and portability: fetched by whoever may hand them to the person, or sent to another controller."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.responses import error_responses, file_response, json_response
from vault.api.schemas.subjects import Body
from vault.export.download import AGE, ZIP, open_package
from vault.export.transfer import send_package

router = APIRouter(prefix="/v1", tags=["requests"])

FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


class DownloadAsk(Body):
    """How a package is to come."""

    passphrase: Annotated[
        str,
        Field(
            max_length=2_000,
            description="Encrypts the file, 12 characters or more; `age -d` or `cdv packages open` opens it.",
            examples=["correct horse battery staple"],
        ),
    ]


class SendAsk(Body):
    """Where a portability package goes."""

    url: Annotated[
        str,
        Field(
            max_length=2_000,
            description="The other controller's address for it, https.",
            examples=["https://other.example.org/inbox"],
        ),
    ]


class SentTold(BaseModel):
    """What was sent: its length, its SHA-256 in hexadecimal, and what the other side answered."""

    size: int
    sha256: str
    status: int
    audit: UUID


@router.get(
    "/requests/{request}/package",
    response_class=Response,
    responses={200: {"description": "The package", "content": {ZIP: FILE}}, **error_responses(409, 410)},
)
async def download(request: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Get the package that answers a request: a ZIP, which `cdv verify` checks."""
    return file_response(await open_package(services, caller, request))


@router.post(
    "/requests/{request}/package:download",
    response_class=Response,
    responses={200: {"description": "The package, encrypted", "content": {AGE: FILE}}, **error_responses(409, 410)},
)
async def download_encrypted(request: UUID, body: DownloadAsk, services: ServicesDep, caller: CallerDep) -> Response:
    """Get the package encrypted to a passphrase, as a file of `age` (age-encryption.org/v1)."""
    return file_response(await open_package(services, caller, request, passphrase=body.passphrase))


@router.post("/requests/{request}/package:send", response_model=SentTold, responses=error_responses(409, 410))
async def send(request: UUID, body: SendAsk, services: ServicesDep, caller: CallerDep) -> Response:
    """Send a portability package to another controller, by one POST of the ZIP (Art. 20(2) GDPR)."""
    sent = await send_package(services, caller, request, body.url)
    told = {"size": sent.size, "sha256": sent.digest.hex(), "status": sent.status, "audit": sent.audit}
    return json_response(told)
