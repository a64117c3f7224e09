"""Packages of access and portability: download, and transfer to another controller."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.responses import error_responses, file_response
from vault.api.schemas.export import DownloadPackage, SendPackage
from vault.export.download import AGE, ZIP, SentPackage, open_package, send_package

router = APIRouter(prefix="/v1", tags=["requests"])

FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/requests/{request}/package",
    operation_id="downloadPackage",
    response_class=Response,
    responses={200: {"description": "The package", "content": {ZIP: FILE}}, **error_responses(409, 410)},
)
async def download(request: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Download the package that answers a request: a ZIP, which `cdv verify` checks."""
    return file_response(await open_package(services, caller, request))


@router.post(
    "/requests/{request}/package:download",
    operation_id="downloadEncryptedPackage",
    response_class=Response,
    responses={200: {"description": "The package, encrypted", "content": {AGE: FILE}}, **error_responses(409, 410)},
)
async def download_encrypted(
    request: UUID, body: DownloadPackage, services: ServicesDep, caller: CallerDep
) -> Response:
    """Download the package encrypted to a passphrase, as an `age` file (age-encryption.org/v1)."""
    return file_response(await open_package(services, caller, request, passphrase=body.passphrase))


@router.post("/requests/{request}/package:send", operation_id="sendPackage", responses=error_responses(409, 410))
async def send(request: UUID, body: SendPackage, services: ServicesDep, caller: CallerDep) -> SentPackage:
    """Send a portability package to another controller, by one POST of the ZIP (Art. 20(2) GDPR)."""
    return await send_package(services, caller, request, body.url)
