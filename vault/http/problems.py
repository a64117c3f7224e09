"""Errors as RFC 9457 problems. They never repeat a value of the request: not in the detail, a pointer or a header."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from pydantic import Field
from starlette.responses import Response

from vault import errors, logs
from vault.errors import Fault, Refusal
from vault.http.body_faults import faults_of, from_decoder
from vault.http.metrics import count_denied
from vault.views import View

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    HTTPStatus.BAD_REQUEST: "The request is malformed",
    HTTPStatus.REQUEST_TIMEOUT: "The request came too slowly",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The head is too large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request is invalid",
    HTTPStatus.UNAUTHORIZED: "The caller is not authenticated",
    HTTPStatus.FORBIDDEN: "Denied by policy or legal ground",
    HTTPStatus.NOT_FOUND: "Not found, or not visible to the caller",
    HTTPStatus.GONE: "It was removed",
    HTTPStatus.CONFLICT: "It contradicts what is stored",
    HTTPStatus.PRECONDITION_FAILED: "It has changed since",
    HTTPStatus.PRECONDITION_REQUIRED: "A revision is required",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests",
    HTTPStatus.SERVICE_UNAVAILABLE: "The vault cannot answer safely now",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Internal error",
    HTTPStatus.METHOD_NOT_ALLOWED: "Method not allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large",
}
MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 1
MOST_FAULTS: Final = 50


class Problem(View):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = None
    denied: dict[str, Refusal] | None = None
    errors: list[Fault] | None = None
    audit: Annotated[UUID | None, Field(description="The id of the audit entry.")] = None
    merged_into: Annotated[UUID | None, Field(description="The id of the subject into which this one was merged.")] = (
        None
    )
    request_id: str | None = None


def _response(
    request: Request,
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> Response:
    """Return the response of an error; ``type`` is the address of the page that explains its code.

    Args:
        members: more members of the :class:`Problem`.
    """
    common = {"type": f"/problems#{code}", "title": TITLES.get(status, status.phrase), "status": int(status)}
    body = Problem.model_validate(
        {**common, "code": code, "detail": detail, "request_id": request_id(request), **members}
    )
    request.scope["problem_code"] = code
    return Response(body.model_dump_json(exclude_none=True), int(status), headers, MEDIA_TYPE)


def request_id(request: Request) -> str:
    """Return the id that the middleware gave the request."""
    return str(request.scope.get("request_id", ""))


async def from_vault_error(request: Request, error: Exception) -> Response:
    """Answer an error of the vault."""
    if not isinstance(error, errors.VaultError):  # pragma: no cover - registered for this class alone
        raise error
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request failed", code=error.code, request_id=request_id(request), exc_info=error)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return _internal_error(request, error.code, error.audit)
    denied: Mapping[str, Refusal] | None = getattr(error, "denied", None) or None
    if denied is not None:
        count_denied(denied)
    return _response(
        request,
        status,
        error.code,
        error.detail,
        headers=_headers(error),
        hint=error.hint,
        denied=denied,
        errors=getattr(error, "faults", None) or None,
        audit=error.audit,
        merged_into=getattr(error, "merged_into", None),
    )


async def from_framework(request: Request, error: Exception) -> Response:
    """Answer errors of the framework: an unknown path or method, or a body that it cannot read."""
    if isinstance(error.__cause__, errors.VaultError):
        return await from_vault_error(request, error.__cause__)  # it was raised while the body was read
    status = HTTPStatus(getattr(error, "status_code", 500))
    if status is HTTPStatus.BAD_REQUEST:  # not UTF-8, nested too deep, or a number too long
        return await from_vault_error(request, from_decoder(error))
    code = status.phrase.lower().replace(" ", "-")
    headers = getattr(error, "headers", None)
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        return _other_method(request)
    return _response(request, status, code, TITLES.get(status, status.phrase) + ".", headers=headers)


def _other_method(request: Request) -> Response:
    """Answer a method that a path does not have, with all that it has (RFC 9110 section 15.5.6)."""
    status = HTTPStatus.METHOD_NOT_ALLOWED
    allow = ", ".join(sorted(request.app.state.methods_of(request.scope["path"])))
    return _response(request, status, "method-not-allowed", TITLES[status] + ".", headers={"Allow": allow})


async def from_validation(request: Request, error: Exception) -> Response:
    """Answer an invalid body by the place and kind of each fault; FastAPI's own answer would repeat the input."""
    details: Sequence[Mapping[str, Any]] = error.errors() if hasattr(error, "errors") else []
    methods = request.app.state.methods_of(request.scope["path"])
    if methods and request.method not in methods:  # an action, which was taken for an id of another route
        return _other_method(request)
    params: Sequence[Any] = getattr(getattr(request.scope.get("route"), "dependant", None), "body_params", ())
    model = params[0].field_info.annotation if len(params) == 1 else None
    faults = faults_of(details[:MOST_FAULTS], getattr(error, "body", None), model)
    code = "invalid-json" if any(fault.code == "invalid-json" for fault in faults) else "invalid-body"
    message = "The request does not have the form that the API describes."
    return _response(request, HTTPStatus.UNPROCESSABLE_ENTITY, code, message, errors=faults or None)


async def from_anything(request: Request, error: Exception) -> Response:
    """Answer an unexpected error; the log has its class and place."""
    log.error("an unexpected error", request_id=request_id(request), exc_info=error)
    return _internal_error(request, "internal-error")


def install(app: FastAPI) -> None:
    """Register the handlers."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    app.add_exception_handler(errors.VaultError, from_vault_error)
    app.add_exception_handler(HTTPException, from_framework)
    app.add_exception_handler(RequestValidationError, from_validation)
    app.add_exception_handler(Exception, from_anything)


def _headers(error: errors.VaultError) -> dict[str, str] | None:
    if isinstance(error, errors.NotAuthenticated):
        return {"WWW-Authenticate": 'Bearer realm="customer-data-vault"'}
    if isinstance(error, errors.TooMany):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.Unavailable):
        return {"Retry-After": str(RETRY_SECONDS)}
    return None


def _internal_error(request: Request, code: str, audit: str | None = None) -> Response:
    detail = "An internal error occurred, and nothing was shown. The log has it under this request id."
    return _response(request, HTTPStatus.INTERNAL_SERVER_ERROR, code, detail, audit=audit)
