"""The server under measurement: the vault's own application, and beside it in the same process two yardsticks.

``POST /empty`` is a FastAPI route with a body model that does nothing. ``POST /naive`` reads as one would write it
first: casbin asked for every field, an ORM session, every audit entry a commit of its own.
"""

from __future__ import annotations

import json
from uuid import UUID

import casbin
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from vault.access.authorization import audit_entry
from vault.api.dependencies import CallerDep, ServicesDep
from vault.audit.entry import encode, leaf_hash
from vault.audit.log import AuditEntry, AuditSubject
from vault.bootstrap import default_folder
from vault.catalogue.model import covers
from vault.catalogue.types import decode
from vault.context import Caller
from vault.crypto.seal import record_aad
from vault.ids import new_id
from vault.server import _Served
from vault.subjects.rows import unpack
from vault.subjects.tables import RecordRow, SubjectRow


class Ask(BaseModel):
    subject: UUID
    fields: list[str]
    purpose: str
    reason: str | None = None


def add_yardsticks(app):
    """Add both routes to the vault's FastAPI application."""

    @app.post("/empty")
    async def empty(ask: Ask):
        return {}

    @app.post("/naive")
    async def naive(ask: Ask, services: ServicesDep, caller: CallerDep):
        return await naive_read(services, caller, ask)


_enforcers: dict[int, casbin.Enforcer] = {}


def _enforcer(services, tenant):
    active = services.policies.active(tenant)
    result = _enforcers.get(id(active.policy_set))
    if result is None:
        result = casbin.Enforcer(casbin.Enforcer.new_model(text=active.policy_set.files["model.conf"]))
        result.add_function("covers", covers)
        rules = active.policy_set.rules
        result.model["p"]["p"].policy = [rule.cells for rule in rules.rules]
        result.model["g"]["g"].policy = [[role, base] for role, bases in rules.bases.items() for base in bases]
        result.build_role_links()
        _enforcers[id(active.policy_set)] = result
    return result


async def naive_read(services, caller: Caller, ask: Ask):
    tenant = caller.tenant
    active = services.policies.active(tenant)
    enforcer = _enforcer(services, tenant)
    engine = services.data._engine
    shown = {}
    async with AsyncSession(engine, expire_on_commit=False) as session:
        subject = (
            await session.execute(
                select(SubjectRow).where(SubjectRow.tenant_id == tenant, SubjectRow.id == ask.subject)
            )
        ).scalar_one()
        record = (
            await session.execute(
                select(RecordRow).where(
                    RecordRow.tenant_id == tenant,
                    RecordRow.subject_id == ask.subject,
                    RecordRow.collection == "profile",
                )
            )
        ).scalar_one()
        keys = (await services.keyring.subject_keys(tenant, [ask.subject]))[ask.subject]
        body = unpack(record.body)
        where = record_aad(tenant, ask.subject, "profile", ask.subject)
        for asked in ask.fields:
            view = active.policy_set.catalogue.view(asked)
            role = caller.principal.roles[0]
            if enforcer.enforce(role, tenant, view.name, "read", ask.purpose):
                shown[asked] = decode(keys.open(view.field.name, body[view.field.name].sealed, where))
        if len(shown) != len(ask.fields):
            raise RuntimeError("the yardstick was refused what the vault grants")
        created = audit_entry(
            services, caller, id=new_id(), action="read", decision="allowed", purpose=ask.purpose,
            fields=tuple(active.policy_set.catalogue.view(asked).name for asked in shown),
            subjects=(subject.pseudonym,), policy=active.version,
        )  # fmt: skip
        text = encode(created)
        session.add(
            AuditEntry(
                tenant_id=tenant,
                id=created.id,
                at=services.clock.now(),
                principal_id=created.principal,
                action="read",
                decision="allowed",
                purpose=ask.purpose,
                body=text,
                leaf=leaf_hash(text),
            )
        )
        session.add(AuditSubject(tenant_id=tenant, pseudonym=subject.pseudonym, entry_id=created.id))
        await session.commit()
    return json.loads(
        json.dumps({"subject": str(ask.subject), "fields": shown, "denied": {}, "audit": str(created.id)})
    )


class _WithYardsticks(_Served):
    async def _live(self, receive, send):
        import vault.api.app as api

        bare = api.bare_app

        def with_yardsticks(vault):
            app = bare(vault)
            add_yardsticks(app)
            return app

        api.bare_app = with_yardsticks
        await super()._live(receive, send)


def served():
    return _WithYardsticks(default_folder())
