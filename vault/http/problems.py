"""Errors as RFC 9457 problems. Never a value that came in: not in the detail, not in a pointer, not in a header."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response

from vault import errors, logs
from vault.http.metrics import count_denied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI
    from starlette.requests import Request

log = logs.get_logger()

STATUSES: Final[tuple[tuple[type[errors.VaultError], HTTPStatus], ...]] = (
    (errors.InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.NotAuthenticated, HTTPStatus.UNAUTHORIZED),
    (errors.Denied, HTTPStatus.FORBIDDEN),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Gone, HTTPStatus.GONE),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.StaleRevision, HTTPStatus.PRECONDITION_FAILED),
    (errors.RevisionRequired, HTTPStatus.PRECONDITION_REQUIRED),
    (errors.TooMany, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)
TITLES: Final = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request does not have its form",
    HTTPStatus.UNAUTHORIZED: "Nobody knows who calls",
    HTTPStatus.FORBIDDEN: "Policy or legal ground forbids it",
    HTTPStatus.NOT_FOUND: "It is not there, or not for you",
    HTTPStatus.GONE: "It is no longer there",
    HTTPStatus.CONFLICT: "It contradicts what is there",
    HTTPStatus.PRECONDITION_FAILED: "It has changed meanwhile",
    HTTPStatus.PRECONDITION_REQUIRED: "Say which revision you start from",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests",
    HTTPStatus.SERVICE_UNAVAILABLE: "The vault cannot answer safely now",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The vault made a mistake",
    HTTPStatus.METHOD_NOT_ALLOWED: "This door does not do that",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large",
}
MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 1


def problem(
    request: Request,
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    hint: str | None = None,
    denied: Any = None,
    faults: Sequence[errors.Fault] = (),
    audit: str | None = None,
    merged_into: object = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Write a problem; ``type`` leads to the page that explains its code."""
    body = {
        "type": f"/problems#{code}",
        "title": TITLES.get(status, status.phrase),
        "status": int(status),
        "code": code,
        "detail": detail,
        "hint": hint,
        "denied": denied,
        "errors": list(faults) or None,
        "audit": audit,
        "merged_into": merged_into,
        "request_id": request_id(request),
    }
    content = msgspec.json.encode({key: value for key, value in body.items() if value is not None})
    request.scope["problem_code"] = code
    return Response(content, int(status), headers, MEDIA_TYPE)


def request_id(request: Request) -> str:
    """Return the id that the porch gave the request."""
    return str(request.scope.get("request_id", ""))


async def from_vault_error(request: Request, error: Exception) -> Response:
    """Write an error of the vault's own."""
    if not isinstance(error, errors.VaultError):  # pragma: no cover - registered for this class alone
        raise error
    status = next((each for kind, each in STATUSES if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request failed", code=error.code, request_id=request_id(request), exc_info=error)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return _mistake(request, error.code, error.audit)
    denied = getattr(error, "denied", None) or None
    if denied is not None:
        count_denied(denied)
    return problem(
        request,
        status,
        error.code,
        error.detail,
        hint=error.hint,
        denied=denied,
        faults=getattr(error, "faults", ()),
        audit=error.audit,
        merged_into=getattr(error, "merged_into", None),
        headers=_headers(error),
    )


async def from_framework(request: Request, error: Exception) -> Response:
    """Write the framework's own refusals: no such path, no such method, a body that it cannot read."""
    if isinstance(error.__cause__, errors.VaultError):
        return await from_vault_error(request, error.__cause__)  # ours, which came up while the body was read
    status = HTTPStatus(getattr(error, "status_code", 500))
    if status is HTTPStatus.BAD_REQUEST:  # not UTF-8, too deep or a number too long: all of that is no JSON to us
        return await from_vault_error(request, _not_json())
    code = status.phrase.lower().replace(" ", "-")
    headers = dict(getattr(error, "headers", None) or {})
    return problem(request, status, code, TITLES.get(status, status.phrase) + ".", headers=headers)


async def from_validation(request: Request, error: Exception) -> Response:
    """Write what is wrong with a body by place and kind; FastAPI's own answer would repeat the input."""
    found: list[Any] = error.errors() if hasattr(error, "errors") else []
    faults = [_fault(each) for each in found[:50]]
    detail = "The request does not have the form that the API describes."
    return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, _code(faults), detail, faults=faults)


async def from_anything(request: Request, error: Exception) -> Response:
    """Write that something went wrong inside; what, is in the log by class and place."""
    log.error("an unexpected error", request_id=request_id(request), exc_info=error)
    return _mistake(request, "internal-error")


_PLACE = re.compile(r" - at `\$((?:\.[a-z_]{1,40}|\[\d{1,6}\])*)`\Z")


def from_decoder(error: Exception) -> errors.InvalidInput:
    """Turn msgspec's words about a body into a fault: its place and no word more, for the words may quote a key."""
    place = _PLACE.search(str(error))
    at = "" if place is None else re.sub(r"\[(\d+)\]", r".\1", place[1]).replace(".", "/")
    malformed = not isinstance(error, msgspec.ValidationError)
    code = "invalid-json" if malformed else "invalid-body"
    detail = "is not valid JSON" if malformed else "does not have the form that the API describes"
    return errors.InvalidInput(
        f"The body {detail}.", faults=[errors.Fault(at, code, f"This part {detail}.")], code=code
    )


def install(app: FastAPI) -> None:
    """Register the writers."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    app.add_exception_handler(errors.VaultError, from_vault_error)
    app.add_exception_handler(HTTPException, from_framework)
    app.add_exception_handler(RequestValidationError, from_validation)
    app.add_exception_handler(Exception, from_anything)


def _not_json() -> errors.InvalidInput:
    fault = errors.Fault("", "invalid-json", "This part is not valid JSON.")
    return errors.InvalidInput("The body is not valid JSON.", faults=[fault], code="invalid-json")


def _headers(error: errors.VaultError) -> dict[str, str] | None:
    if isinstance(error, errors.NotAuthenticated):
        return {"WWW-Authenticate": 'Bearer realm="customer-data-vault"'}
    if isinstance(error, errors.TooMany):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.Unavailable):
        return {"Retry-After": str(RETRY_SECONDS)}
    return None


def _mistake(request: Request, code: str, audit: str | None = None) -> Response:
    detail = "Something went wrong inside; nothing was shown. The log has it under this request id."
    return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, code, detail, audit=audit)


def _code(faults: list[errors.Fault]) -> str:
    return "invalid-json" if any(fault.code == "invalid-json" for fault in faults) else "invalid-body"


def _fault(each: dict[str, Any]) -> errors.Fault:
    kind = str(each.get("type", "invalid"))
    place = list(each.get("loc", ()))[1:]
    if kind == "json_invalid":
        return errors.Fault("", "invalid-json", "The body is not valid JSON.")
    if kind == "extra_forbidden":
        place = place[:-1]  # the last step is a key that the caller made up
        return errors.Fault(_pointer(place), "unknown-key", "There is a key here that the API does not know.")
    code = "missing" if kind == "missing" else "invalid-body"
    said = "is missing" if code == "missing" else "does not have the form that the API describes"
    return errors.Fault(_pointer(place), code, f"This part {said}.")


def _pointer(place: list[Any]) -> str:
    """Write a JSON pointer of what the API itself names: positions, and words of its own schema."""
    return "".join(f"/{step}" for step in place if isinstance(step, int) or re.fullmatch(r"[a-z_]{1,40}", str(step)))
