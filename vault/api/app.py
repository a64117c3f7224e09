"""The ASGI application over one open vault."""

from __future__ import annotations

import functools
import re
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from vault.access.callers import SignIns
from vault.access.idempotency import BEYOND_DEADLINE
from vault.api.routes import consent, governance, me, read, recipients, requests, retention, rights, subjects
from vault.consent.double_opt_in import Confirmations
from vault.http import problems
from vault.http.addresses import Addresses
from vault.http.metrics import Sizes
from vault.http.middleware import Deadline, RequestMiddleware
from vault.identity.sessions import People
from vault.records.views import BatchReadResult, ReadResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaMode
    from starlette.types import ASGIApp

    from vault.bootstrap import Vault

DESCRIPTION = """\
One encrypted place for customers' personal data. Every read states a purpose, is decided by policy and legal ground,
and is in the audit log before it is answered. Errors are problems (RFC 9457) with a stable `code`.
"""


def create_app(vault: Vault) -> ASGIApp:
    """Make the application: the middleware, the hot route, and behind them the FastAPI application."""
    app = bare_app(vault)
    bounded = Deadline(app, seconds=vault.settings.request_deadline)
    hot = read.HotRoute(bounded, vault.services, app.state.sign_ins)
    return RequestMiddleware(hot, largest=vault.settings.largest_body)


def bare_app(vault: Vault) -> FastAPI:
    """Make the FastAPI application: all routes but the hot one."""
    app = FastAPI(
        title="Customer Data Vault",
        version=version("customer-data-vault"),
        description=DESCRIPTION,
        redoc_url=None,
        docs_url=None,
        redirect_slashes=False,  # a redirect would repeat the path
        routes=[route for router in _ROUTERS for route in router.routes],
    )
    app.state.services = vault.services
    app.state.sign_ins = SignIns(vault.services)
    app.state.confirmations = Confirmations(vault.services)
    app.state.people = People(vault.services)
    app.state.strangers = Addresses(
        vault.services.clock, most=vault.settings.strangers_per_minute, proxies=vault.settings.proxies
    )
    app.state.public_url = vault.settings.public_url
    app.state.in_flight_for = timedelta(seconds=vault.settings.request_deadline) + BEYOND_DEADLINE
    app.state.ready = vault.ready
    app.state.methods_of = methods_of
    caches = {"data-keys": vault.services.keyring.stats, "decisions": lambda: _decisions(vault)}
    app.state.sizes = Sizes(caches, vault.periodic.stats, vault.figures)
    problems.install(app)
    # The hot route answers before FastAPI does. FastAPI needs to know its path too, to answer other methods with 405.
    app.add_api_route(read.PATH, governance.alive, methods=["POST"], include_in_schema=False)
    app.openapi = _with_read(app.openapi)  # type: ignore[method-assign]
    return app


def _part_from_actions(routes: list[APIRoute]) -> None:
    """Let no path of an id match what is an action there, such as ``…/{request}:approve``.

    Otherwise another method of the action would be a call for that id: it would ask who calls, and look for the id.
    """
    actions: dict[str, set[str]] = {}
    for route in routes:
        path, colon, action = route.path.rpartition(":")
        if colon and path.endswith("}"):
            actions.setdefault(_without_names(path), set()).add(action)
    for route in routes:
        names = actions.get(_without_names(route.path))
        if names:
            before, segment, end = route.path_regex.pattern.rpartition("[^/]+)$")
            route.path_regex = re.compile(f"{before}(?![^/]*:(?:{'|'.join(sorted(names))})$){segment}{end}")


def _without_names(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


_ROUTERS: Final = (
    subjects.router,
    subjects.records_router,
    consent.router,
    rights.router,
    requests.router,
    requests.erasure_router,
    retention.router,
    retention.holds_router,
    me.router,
    rights.rectification_router,
    governance.policies_router,
    recipients.router,
    governance.record_router,
    governance.audit_router,
    governance.jobs_router,
    governance.operating_router,  # it asks for no caller and needs no policies
)
_part_from_actions([route for router in _ROUTERS for route in router.routes if isinstance(route, APIRoute)])


@functools.cache
def _methods_by_path() -> list[tuple[re.Pattern[str], bool, set[str]]]:
    """Collect the methods of each path, and whether it ends in an action."""
    routes = [route for router in _ROUTERS for route in router.routes]
    table = [
        (route.path_regex, ":" in route.path.rpartition("/")[2], set(route.methods or ()))
        for route in routes
        if isinstance(route, APIRoute)
    ]
    return [(re.compile(read.PATH), False, {"POST"}), *table]


def methods_of(path: str) -> set[str]:
    """Return the methods of a path; the framework knows those of the first route that has it.

    ``…:approve`` is an action, with methods of its own, though it could be the id of another path.
    """
    found = [(is_action, methods) for pattern, is_action, methods in _methods_by_path() if pattern.fullmatch(path)]
    actions = [methods for is_action, methods in found if is_action]
    return set().union(*(actions or [methods for _is_action, methods in found]))


def _decisions(vault: Vault) -> dict[str, int]:
    total: dict[str, int] = {}
    for active in vault.services.policies.all_active():
        for figure, count in active.decisions.stats().items():
            total[figure] = total.get(figure, 0) + count
    return total


def _schemas() -> dict[str, object]:
    """Return the schemas that FastAPI does not collect: those of the hot route and of errors."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (read.ReadRequest, "validation"),
        (read.BatchReadRequest, "validation"),
        (ReadResult, "serialization"),
        (BatchReadResult, "serialization"),
        (problems.Problem, "serialization"),
    ]
    _names, schema = models_json_schema(models, ref_template="#/components/schemas/{model}")
    return dict(schema["$defs"])


def _with_read(openapi: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Add the hot route to the document that FastAPI writes."""

    def document() -> dict[str, Any]:
        written = openapi()  # FastAPI returns the same dictionary each time
        if read.PATH not in written["paths"]:
            written["components"]["schemas"] |= _schemas()
            written["paths"] = {read.PATH: {"post": read.openapi_operation()}, **written["paths"]}
        return written

    return document
