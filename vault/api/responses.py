"""How answers are written: JSON by msgspec, with the vault's raw values in it as they were sealed.

Answer with a file that is made while it is sent.

How the OpenAPI document describes refusals: RFC 9457 problems, by status.
"""

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
        body: a view, or JSON values, in which values of records stand raw, as they were sealed.
        status: the HTTP status.
        headers: more headers.
    """
    encoded = body.model_dump_json().encode() if isinstance(body, View) else _encoder.encode(body)
    return Response(encoded, status, headers, "application/json")


def moment(value: datetime | None) -> str | None:
    """Write a time."""
    return None if value is None else rfc3339(value)


def file_response(download: Download) -> StreamingResponse:
    """Send a package, to be saved and in no way kept on the way there.

    Its length is told first, so that whoever gets less notices.
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
    401: "Nobody knows who calls",
    403: "Denied by policy or legal ground",
    404: "No such person, or not for this caller",
    410: "It was there, and is no more",
    409: "It contradicts what is there, or the same call is under way",
    412: "The record has changed since it was read",
    413: "The body is too large",
    422: "The request does not have its form",
    428: "The change does not say which revision it starts from",
    429: "Too many requests",
    500: "The vault made a mistake, or a value does not open",
    503: "A part that must answer first does not",
}
EVERYWHERE: Final = (401, 403, 404, 413, 422, 429, 500, 503)
"""What any operation may be answered; 404 too, where no policies are in force."""


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the refusals that a route may answer."""
    return {status: {"description": TEXTS[status], "content": {MEDIA_TYPE: {"schema": PROBLEM}}} for status in statuses}
