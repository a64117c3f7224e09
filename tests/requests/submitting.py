"""How the tests of requests ask: through the door, as the apps of the shipped roles do."""

from __future__ import annotations

import re
from dataclasses import replace
from uuid import UUID

from vault.bootstrap import apply_folders
from vault.context import Caller
from vault.governance.tenants import add_app
from vault.ids import TenantId
from vault.requests.store import events_of, find_request
from vault.requests.transaction import changing_request
from vault.requests.verification import start_approved, verify
from vault.workflows import REQUEST_WORKFLOWS, pending

DEFAULT = TenantId("default")


async def submit(node, role="support", *, tenant="default", headers=None, **body):
    return await node.post(role, "/v1/requests", body, tenant=tenant, headers=headers)


async def submitted(node, kind, subject, role="support", **body):
    """Submit a request for a person; returns its id."""
    created = await submit(node, role, kind=kind, subject=subject, **body)
    assert created.status_code == 201, created.text
    return created.json()["id"]


async def move(node, request, verb, role="dpo", **body):
    return await node.post(role, f"/v1/requests/{request}:{verb}", body)


async def moved(node, request, verb, role="dpo", **body):
    """Make a move that must be possible; returns the answer."""
    done = await move(node, request, verb, role, **body)
    assert done.status_code == 200, done.text
    return done.json()


async def verified(node, request):
    return await moved(node, request, "verify", evidence="identity card seen at the counter")


async def verify_request(node, caller, request, verification):
    """Verify a request by a proof of identity of the given kind and level; returns the request."""
    async with changing_request(node.services, caller, request, action="verify-identity") as change:
        await verify(change, verification)
    await start_approved(node.services, caller.tenant, change.request)
    return change.request


async def show(node, request, role="dpo"):
    answer = await node.call(role, "GET", f"/v1/requests/{request}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def kept(node, request, tenant=DEFAULT):
    """Return a request as it is stored, and its history."""
    async with node.services.data.reading() as connection:
        row_keys = await node.services.keyring.row_keys(tenant)
        match = await find_request(connection, row_keys, UUID(str(request)))
        return match.request, await events_of(connection, tenant, UUID(str(request)))


async def work_off(node):
    """Carry out what is approved, as a server would; returns what was pending."""
    result = await pending(node.services)
    for item in result:
        await node.services.jobs.run_in_foreground(
            node.services, REQUEST_WORKFLOWS[item.workflow], item.tenant, item.id
        )
    return result


async def apply_rules(node, **approve):
    """Put other rules of approval into force; ``None`` takes the whole file away."""
    path = node.vault.settings.policies / "requests.toml"
    text = path.read_text()
    for kind, rule in approve.items():
        text = re.sub(rf'^{kind} = ".*"$', f'{kind} = "{rule}"', text, flags=re.MULTILINE)
    path.write_text(text)
    assert (await apply_folders(node.vault))["default"]


async def another(node, name, role):
    """Register one more app of a role; returns its headers."""
    _, issued = await add_app(node.services, DEFAULT, name, [role])
    return {"Authorization": f"Bearer {issued.key.reveal()}"}


async def as_staff(node, headers, request, verb, **body):
    return await node.post(None, f"/v1/requests/{request}:{verb}", body, headers=headers)


def as_another(caller: Caller, principal: UUID) -> Caller:
    return replace(caller, principal=replace(caller.principal, id=principal))
