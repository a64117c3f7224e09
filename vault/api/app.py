"""The FastAPI application over one open vault."""

from __future__ import annotations

import functools
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from pydantic.json_schema import models_json_schema

from vault.access.sign_in import SignIns
from vault.api.responses import EVERYWHERE, error_responses
from vault.api.routes import (
    consent,
    erasure,
    export,
    governance,
    holds,
    identity,
    me,
    operations,
    policies,
    read,
    recipients,
    rectification,
    requests,
    retention,
    subjects,
    sweep,
)
from vault.api.schemas import subjects as subject_bodies
from vault.consent.double_opt_in import Confirmations
from vault.http import problems
from vault.http.metrics import Sizes
from vault.http.middleware import Deadline, RequestMiddleware
from vault.identity.sessions import People

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from vault.bootstrap import Vault

DESCRIPTION = """\
One encrypted place for customers' personal data. Every read states a purpose, is decided by policy and legal ground,
and is on the audit log before it is answered. Errors are problems (RFC 9457) with a stable `code`.
"""


def create_app(vault: Vault) -> ASGIApp:
    """Make the application: the porch, the one hot route, and behind them everything else."""
    app = bare_app(vault)
    bounded = Deadline(app, seconds=vault.settings.request_deadline)
    hot = read.HotRoute(bounded, vault.services, app.state.sign_ins)
    return RequestMiddleware(hot, largest=vault.settings.largest_body)


def bare_app(vault: Vault) -> FastAPI:
    """Make the framework's part of the application: all routes but the hot one."""
    app = FastAPI(
        title="Customer Data Vault",
        version=version("customer-data-vault"),
        description=DESCRIPTION,
        redoc_url=None,
        docs_url=None,
        redirect_slashes=False,  # a redirect would repeat the path
        routes=_routes(),
    )
    app.state.services = vault.services
    app.state.sign_ins = SignIns(vault.services)
    app.state.confirmations = Confirmations(vault.services)
    app.state.people = People(vault.services)
    app.state.public_url = vault.settings.public_url
    app.state.ready = vault.ready
    app.state.sizes = Sizes({"data-keys": vault.services.keyring.stats, "decisions": lambda: _decisions(vault)})
    problems.install(app)
    # The hot route answers before the framework does; here the framework learns that the address exists, for its 405.
    app.add_api_route(read.PATH, operations.alive, methods=["POST"], include_in_schema=False)
    app.openapi = _with_read(app.openapi)  # type: ignore[method-assign]
    return app


@functools.cache
def _routes() -> list[BaseRoute]:
    """Collect all routes but the hot one, once a process: to analyse them takes longer than to open a vault."""
    router = APIRouter(redirect_slashes=False)
    for each in (
        subjects.router,
        subjects.records_router,
        consent.router,
        consent.objections_router,
        requests.router,
        erasure.router,
        retention.router,
        retention.reviews_router,
        sweep.router,
        holds.router,
        identity.router,
        me.router,
        export.router,
        rectification.router,
        policies.router,
        policies.notices_router,
        recipients.router,
        governance.router,
        governance.audit_router,
        operations.router,
        operations.jobs_router,
    ):
        router.include_router(each, responses={} if each is operations.router else error_responses(*EVERYWHERE))
    return router.routes


def _decisions(vault: Vault) -> dict[str, int]:
    total: dict[str, int] = {}
    for active in vault.services.policies.all_active():
        for what, count in active.decisions.stats().items():
            total[what] = total.get(what, 0) + count
    return total


def _schemas() -> dict[str, Any]:
    """Write the schemas to which the hot route refers."""
    template = "#/components/schemas/{model}"
    both = [(subject_bodies.ReadResult, "serialization"), (subject_bodies.Problem, "serialization")]
    _names, schema = models_json_schema(both, ref_template=template)  # type: ignore[arg-type]
    return dict(schema["$defs"])


def _with_read(write: Any) -> Any:
    """Add the hot route, which FastAPI does not see, to the document that FastAPI writes."""

    def document() -> dict[str, Any]:
        written: dict[str, Any] = write()
        if read.PATH not in written["paths"]:
            written["components"]["schemas"] |= _schemas()
            described = read.described()
            described["responses"] |= {str(status): text for status, text in error_responses(*EVERYWHERE).items()}
            written["paths"] = {read.PATH: {"post": described}, **written["paths"]}
        return written

    return document
