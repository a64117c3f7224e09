"""Requests on their way: submitted by staff, verified, approved, carried out by their job."""

from __future__ import annotations

from uuid import UUID

from tests.requests.submitting import verify_request
from vault.catalogue.model import Scope
from vault.ids import DEFAULT_TENANT, SubjectId
from vault.requests.decide import approve_request
from vault.requests.model import Verification
from vault.requests.store import events_of, find_request
from vault.requests.submit import Submission, submit_request
from vault.workflows import REQUEST_WORKFLOWS


async def ask(node, subject, kind, *, purposes=(), **details):
    """Submit a request as support does; returns its id."""
    person, scope = SubjectId(UUID(str(subject))), Scope(purposes=tuple(purposes))
    submission = Submission(kind, person, scope=scope, details=details or None, channel="phone")
    return (await submit_request(node.services, await node.caller("support"), submission)).id


async def verify(node, request, level="fresh"):
    """Let the person show who they are; returns the request."""
    shown = Verification("staff", level, node.services.clock.now())
    return await verify_request(node, await node.caller("dpo"), request, shown)


async def approve(node, request):
    """Approve it and let its job run; returns the request."""
    await approve_request(node.services, await node.caller("dpo"), request)
    return await run(node, request)


async def run(node, request):
    """Run the job of a request to its end; returns the request."""
    kind = (await state(node, request)).kind
    assert (
        await node.services.jobs.run_in_foreground(node.services, REQUEST_WORKFLOWS[kind], DEFAULT_TENANT, request)
        is None
    )
    return await state(node, request)


async def carry_out(node, subject, kind, **how):
    """Take a request from its receipt to its end; returns it."""
    request = await ask(node, subject, kind, **how)
    if (await verify(node, request)).state == "in_review":
        return await approve(node, request)
    return await run(node, request)


async def state(node, request):
    async with node.services.data.reading() as connection:
        return (await find_request(connection, await node.services.keyring.row_keys(DEFAULT_TENANT), request)).request


async def moves(node, request):
    async with node.services.data.reading() as connection:
        return [(item.move, item.code) for item in await events_of(connection, DEFAULT_TENANT, request)]


async def notices(node, request):
    """Return what was told to apps because of a request: kind, and names of fields."""
    from vault.recipients.store import NoticeQuery, list_notices

    async with node.services.data.reading() as connection:
        result = await list_notices(connection, DEFAULT_TENANT, NoticeQuery(request=request))
    return {(item.kind, item.fields) for item in result}


async def shown(node, subject, *fields, role="dpo", purpose="subject-rights"):
    answer = await node.read(role, subject, list(fields), purpose)
    assert answer.status_code == 200, answer.text
    return answer.json()["fields"]


async def listed(node, subject):
    answer = await node.call("support", "GET", f"/v1/subjects/{subject}/rectifications")
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


async def consents(node, subject):
    answer = await node.call("support", "GET", f"/v1/subjects/{subject}/consents")
    assert answer.status_code == 200, answer.text
    return answer.json()
