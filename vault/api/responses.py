"""How the OpenAPI document describes refusals: RFC 9457 problems, by status."""

from __future__ import annotations

from typing import Any, Final

from vault.http.problems import MEDIA_TYPE

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


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the refusals that a route may answer."""
    return {status: {"description": TEXTS[status], "content": {MEDIA_TYPE: {"schema": PROBLEM}}} for status in statuses}
