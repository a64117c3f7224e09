"""What the tests of this folder do again and again: a change that is told, its notices, and their delivery."""

from __future__ import annotations

from uuid import UUID

from vault.ids import SubjectId, TenantId
from vault.recipients.delivery import NOTIFY, pending_notices
from vault.recipients.outbox import EVERYTHING, DataChange, notify_recipients
from vault.recipients.store import NoticeQuery, list_notices

DEFAULT = TenantId("default")


async def tell(node, subject, *, kind="subject.erased", fields=EVERYTHING, request=None, tenant=DEFAULT):
    """Tell whoever read something, in a transaction of its own; returns how many apps that are."""
    pseudonym = await node.pseudonym(subject)
    async with node.services.data.transaction() as connection:
        return await notify_recipients(
            node.services,
            connection,
            tenant,
            DataChange(
                subject=SubjectId(UUID(str(subject))), pseudonym=pseudonym, kind=kind, fields=fields, request=request
            ),
        )


async def notices(node, tenant=DEFAULT, **which):
    async with node.services.data.reading() as connection:
        return await list_notices(connection, tenant, NoticeQuery(**which))


async def told(node, **which):
    """Map the name of each app that was told to the fields it was told of, all notices together."""
    names = {}
    for role, tenant in (key for key in node.place.keys if key[0] == "default"):
        names[(await node.caller(tenant, role)).principal.id] = tenant
    result: dict[str, set[str]] = {}
    for notice in await notices(node, **which):
        result.setdefault(names[notice.principal], set()).update(notice.fields)
    return result


async def work_off(node):
    """Run every job that is due, once; returns for each after how many seconds it wants to be called again."""
    return [
        await node.services.jobs.run_in_foreground(node.services, NOTIFY, tenant, notice)
        for _name, tenant, notice, _run in await pending_notices(node.services)
    ]


async def with_webhook(node, role, receiver, *, tenant="default"):
    """Set an app's webhook; returns its secret."""
    answer = await node.call(role, "PUT", "/v1/webhook", {"url": receiver.url}, tenant=tenant)
    assert answer.status_code == 200, answer.text
    return answer.json()["secret"]


async def one_notice(node, role="support"):
    """Let an app read a name of somebody who is then erased; returns the person and the notice."""
    subject = await node.create()
    assert (await node.read(role, subject, ["name"], "customer-support")).status_code == 200
    assert await tell(node, subject) == 1
    (notice,) = await notices(node, subject=UUID(subject))
    return subject, notice
