"""Responses: JSON with raw values, files, and how the OpenAPI document describes errors (RFC 9457)."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response, StreamingResponse

from vault.clock import rfc3339
from vault.http.problems import MEDIA_TYPE
from vault.views import View

if TYPE_CHECKING:
    from datetime import datetime

    from vault.export.download import Download


_encoder = msgspec.json.Encoder()


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Write a response.

    Args:
        body: a view, a msgspec struct or JSON values; values of records in it are raw JSON, as they were sealed.
        status: the HTTP status.
        headers: more headers.
    """
    encoded = body.model_dump_json().encode() if isinstance(body, View) else _encoder.encode(body)
    return Response(encoded, status, headers, "application/json")


def moment(value: datetime | None) -> str | None:
    """Return a time as RFC 3339, or None."""
    return None if value is None else rfc3339(value)


def file_response(download: Download) -> StreamingResponse:
    """Send a package as a file to save, which no cache may keep.

    ``Content-Length`` is known before the first byte, so that a client notices a file that was cut off.
    """
    headers = {
        "Content-Length": str(download.size),
        "Content-Disposition": f'attachment; filename="{download.name}"',
        "Cache-Control": "no-store",
    }
    if download.digest is not None:
        headers["Content-Digest"] = f"sha-256=:{b64encode(download.digest).decode()}:"  # RFC 9530
    return StreamingResponse(download.stream, headers=headers, media_type=download.media_type)


PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
TEXTS: Final = {
    401: "The caller is not authenticated",
    403: "Denied by policy or legal ground",
    404: "It does not exist, or the caller may not know that it does",
    410: "It existed and was removed",
    409: "It contradicts what is stored, or the same call is in progress",
    412: "The record has changed since it was read",
    413: "The body is too large",
    422: "The request is invalid",
    428: "The change does not state the revision on which it is based",
    429: "Too many requests",
    500: "Internal error, or a sealed value does not open",
    503: "The audit log, a database or the key store does not answer",
}
EVERYWHERE: Final = (401, 403, 404, 413, 422, 429, 500, 503)
"""Errors of every operation; 404 is one of them if no policies are in force."""


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route."""
    return {status: {"description": TEXTS[status], "content": {MEDIA_TYPE: {"schema": PROBLEM}}} for status in statuses}
