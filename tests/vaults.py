"""Whole vaults for the tests of doors, operations, journeys and security.

A vault with two tenants and an app for every shipped role is made once a worker and dialect, and copied for each test:
SQLite's files by ``cp``, PostgreSQL's databases as :mod:`tests.recycling` says.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest
from sqlalchemy import func, select, text, update

from tests.contract import CheckedTransport
from tests.recycling import Recycled
from tests.support import FixedClock
from vault.api.app import bare_app, create_app
from vault.audit.entry import decode
from vault.audit.log import ENTRY
from vault.bootstrap import init_vault, open_vault
from vault.context import Caller, Services
from vault.crypto.row_mac import MacedTable
from vault.governance.tenants import add_app, add_tenant
from vault.ids import TenantId
from vault.policy.policy_set import PolicySet
from vault.subjects.tables import SUBJECT, SUBJECTS

STRANGER = "stranger"
"""An app, and its role, that no rule of the policies names."""
ROLES = ("sales", "support", "fulfilment", "finance", "marketing", "analytics", "dpo", "operator")
OTHER = "acme"
"""The second tenant: the same policies, apps of the same names, nothing else in common."""

ADA = {
    "name": "Ada Lovelace",
    "email": "ada@example.org",
    "phone": "+442079460123",
    "birth_date": "1985-12-10",
    "address": {"street": "12 St James's Square", "postal_code": "SW1Y 4JH", "city": "London", "country": "GB"},
    "language": "en",
}


@dataclass(frozen=True)
class Place:
    """Where a vault lies; any number of nodes can be opened on it."""

    folder: Path
    dialect: str
    urls: dict[str, str]
    keys: dict[tuple[str, str], str]
    """(tenant, app) -> API key; the app of each shipped role has the role's name, ``stranger`` a role nobody knows."""

    @asynccontextmanager
    async def node(self, clock=None, **overrides):
        """Open one node with its HTTP door; it waits for the audit log however busy the machine is.

        All calls of a test come from one address, so the limit of an address is out of the way.
        """
        settings = {**self.urls, "audit_deadline": 20, "strangers_per_minute": 100_000, **overrides}
        async with open_vault(self.folder, clock=clock or FixedClock(), **settings) as vault:
            node = Node(vault, self)
            transport = CheckedTransport(create_app(vault), lambda: bare_app(vault).openapi())
            async with httpx.AsyncClient(transport=transport, base_url="http://vault") as node.http:
                yield node


@dataclass
class Node:
    """One open vault and a client of its door."""

    vault: Any
    place: Place
    http: httpx.AsyncClient = field(init=False)

    @property
    def services(self):
        return self.vault.services

    def bearer(self, role: str, tenant: str = "default") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.place.keys[tenant, role]}"}

    async def call(self, role, method, path, json=None, *, tenant="default", headers=None, **how):
        """Send one request as the app of a role; ``None`` sends no bearer."""
        sent = {**({} if role is None else self.bearer(role, tenant)), **(headers or {})}
        if json is not None:
            how["json"] = json
        return await self.http.request(method, path, headers=sent, **how)

    async def post(self, role, path, json=None, **how):
        return await self.call(role, "POST", path, json, **how)

    async def read(self, role, subject, fields, purpose, **more):
        body = {"subject": str(subject), "fields": fields, "purpose": purpose}
        how = {key: more.pop(key) for key in ("tenant", "headers") if key in more}
        return await self.post(role, "/v1/read", {**body, **more}, **how)

    async def create(self, profile=None, *, role="sales", external_ids=None, tenant="default", purpose=None, **more):
        """Create a customer; returns the id."""
        body = {"profile": profile or dict(ADA), "purpose": purpose or "order-fulfilment", **more}
        if external_ids:
            body["external_ids"] = external_ids
        created = await self.post(role, "/v1/subjects", body, tenant=tenant)
        assert created.status_code == 201, created.text
        return created.json()["id"]

    async def create_fully(self, *, tenant="default", purpose="subject-rights", **profile):
        """Create a customer with any fields: a right of nobody's, so it goes past the door."""
        subject = await self.create({"name": "Somebody"}, tenant=tenant)
        done = await self.patch("dpo", subject, profile, purpose, '"1"', tenant=tenant)
        assert done.status_code == 200, done.text
        return subject

    async def patch(self, role, subject, changes, purpose, if_match=None, **how):
        headers = {**how.pop("headers", {}), **({} if if_match is None else {"If-Match": if_match})}
        params = {"purpose": purpose}
        return await self.call(
            role, "PATCH", f"/v1/subjects/{subject}/profile", changes, headers=headers, params=params, **how
        )

    async def append(self, role, subject, collection, fields, purpose, **more):
        how = {key: more.pop(key) for key in ("tenant", "headers") if key in more}
        return await self.post(
            role, f"/v1/subjects/{subject}/records/{collection}", {"fields": fields, "purpose": purpose, **more}, **how
        )

    async def entries(self, tenant: str | None = None):
        """Return all audit entries, the oldest first, read past all doors."""
        statement = select(ENTRY.c.body).order_by(ENTRY.c.number)
        if tenant is not None:
            statement = statement.where(ENTRY.c.tenant_id == tenant)
        async with self.services.data.reading() as connection:
            return [decode(body) for body in (await connection.execute(statement)).scalars()]

    async def count(self) -> int:
        async with self.services.data.reading() as connection:
            return (await connection.execute(select(func.count()).select_from(ENTRY))).scalar_one()

    @asynccontextmanager
    async def new_entries(self):
        """Collect the audit entries that are made in the block."""
        results: list[Any] = []
        before = await self._entry_ids()
        yield results
        created = sorted(await self._entry_ids() - before)
        async with self.services.data.reading() as connection:
            for entry in created:  # each by itself: a log of many is not read through for the few that are new
                body = select(ENTRY.c.body).where(ENTRY.c.id == entry)
                results.append(decode((await connection.execute(body)).scalar_one()))

    async def _entry_ids(self) -> set[UUID]:
        async with self.services.data.reading() as connection:
            return set((await connection.execute(select(ENTRY.c.id))).scalars())

    async def sql(self, statement: str, *, keystore: bool = False, **values) -> list[Any]:
        """Run SQL past all doors; UUIDs and bytes as they lie."""
        database = self.vault._keys if keystore else self.services.data
        async with database.transaction() as connection:
            done = await connection.execute(text(statement), {k: self.raw(v) for k, v in values.items()})
            return list(done.all()) if done.returns_rows else []

    def raw(self, value):
        if isinstance(value, UUID):
            return value.bytes if self.services.data.dialect == "sqlite" else value
        return value

    async def rewrite(self, table: MacedTable, where, **values) -> None:
        """Change a row as if the vault had written it so."""
        async with self.services.data.transaction() as connection:
            for row in (await connection.execute(select(*table.columns).where(where))).all():
                keys = await self.services.keyring.row_keys(row.tenant_id)
                place = [column == getattr(row, column.name) for column in table.table.primary_key]
                sealed = table.reseal(keys, row, **values)
                await connection.execute(update(table.table).where(*place).values(sealed))

    async def set_state(self, subject, state: str) -> None:
        await self.set_subject(subject, state=state)

    async def set_subject(self, subject, **values) -> None:
        """Change a person's row as if the vault had written it so."""
        await self.rewrite(SUBJECTS, SUBJECT.c.id == UUID(str(subject)), **values)

    async def pseudonym(self, subject) -> UUID:
        ((result,),) = await self.sql("SELECT pseudonym FROM subject WHERE id = :id", id=UUID(str(subject)))
        return UUID(bytes=result) if isinstance(result, bytes) else UUID(str(result))

    async def caller(self, role: str, tenant: str = "default") -> Caller:
        return Caller(await self.services.principals.authenticate(self.place.keys[tenant, role]), "test")


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a proper problem (RFC 9457) and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["code"] == code, body
    assert body["type"] == f"/problems#{code}"
    assert isinstance(body["title"], str)
    assert isinstance(body["detail"], str)
    assert body.keys() <= {
        "type", "title", "status", "code", "detail", "hint", "denied", "errors", "audit", "request_id",
    }  # fmt: skip
    assert response.headers["cache-control"] == "no-store"
    return body


def without_ids(response: httpx.Response, *subjects: Any) -> tuple[int, bytes]:
    """Return an answer's status and bytes with what differs from call to call taken out."""
    content = response.content
    body = response.json()
    # Ids first: a subject may be named by a word, such as "ada", that stands in a hexadecimal id by chance.
    for item in (body.get("audit"), body.get("request_id"), *subjects):
        if item is not None:
            content = content.replace(str(item).encode(), b"-")
    return response.status_code, content


# ---- Fixtures --------------------------------------------------------------------------------------------------------


async def _add_stranger(services: Services, tenant: TenantId) -> str:
    """Register an app whose only role the policies no longer have; returns its key."""
    async with services.data.transaction() as connection:
        principal = await services.principals.add_app(connection, tenant, STRANGER, [STRANGER])
        issued = await services.principals.issue_key(connection, tenant, principal.id)
    return issued.key.reveal()


async def _make(folder: Path, urls: dict[str, str]) -> dict[tuple[str, str], str]:
    await init_vault(folder, **urls)
    keys = {}
    async with open_vault(folder, clock=FixedClock(), **urls) as vault:
        await add_tenant(vault.services, TenantId(OTHER), PolicySet.from_folder(folder / "policies"))
        for tenant in ("default", OTHER):
            for role in ROLES:
                _, issued = await add_app(vault.services, TenantId(tenant), role, [role])
                keys[tenant, role] = issued.key.reveal()
            keys[tenant, STRANGER] = await _add_stranger(vault.services, TenantId(tenant))
    return keys


def _sqlite_urls(folder: Path) -> dict[str, str]:
    return {
        "database_url": f"sqlite:///{folder / 'data.sqlite'}",
        "keystore_url": f"sqlite:///{folder / 'keys.sqlite'}",
    }


def _run_on(uri: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(uri)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


_templates: dict[str, tuple[Path, dict[tuple[str, str], str]]] = {}
# Vaults to copy, by dialect, made when first asked for. Not a fixture: each folder's conftest would have its own.
_recycled: dict[str, Recycled] = {}


@pytest.fixture
def place(dialect, request, tmp_path) -> Place:
    """A fresh vault with two tenants and an app for every role, on both databases in turn."""
    return fresh_place(dialect, request, tmp_path)


@pytest.fixture
def sqlite_place(request, tmp_path) -> Place:
    """The same on SQLite only, for what no database can change."""
    return fresh_place("sqlite", request, tmp_path)


@pytest.fixture
def postgres_place(request, tmp_path) -> Place:
    """The same on PostgreSQL only."""
    return fresh_place("postgresql", request, tmp_path)


@pytest.fixture
async def node(place, clock):
    """One open node on a fresh vault, at a clock that stands still."""
    async with place.node(clock) as node:
        yield node


@pytest.fixture
async def sqlite_node(sqlite_place, clock):
    async with sqlite_place.node(clock) as node:
        yield node


def fresh_place(dialect, request, tmp_path) -> Place:
    folder = tmp_path / "vault"
    if dialect == "sqlite":
        if dialect not in _templates:
            created = request.getfixturevalue("tmp_path_factory").mktemp("template") / "vault"
            _templates[dialect] = created, asyncio.run(_make(created, _sqlite_urls(created)))
        original, keys = _templates[dialect]
        shutil.copytree(original, folder)
        return Place(folder, dialect, _sqlite_urls(folder), keys)
    uri = request.getfixturevalue("postgres_uri")
    if dialect not in _templates:
        created = request.getfixturevalue("tmp_path_factory").mktemp("template") / "vault"
        _run_on(uri, "CREATE DATABASE vault_data", "CREATE DATABASE vault_keys")
        _templates[dialect] = created, asyncio.run(_make(created, _postgres_urls(uri, "vault_data", "vault_keys")))
        _recycled.update({name: Recycled(uri, f"vault_{name}") for name in ("data", "keys")})
    original, keys = _templates[dialect]
    shutil.copytree(original, folder)
    taken = {name: recycled.take() for name, recycled in _recycled.items()}
    for name, database in taken.items():
        request.addfinalizer(partial(_recycled[name].give_back, database))
    return Place(folder, dialect, _postgres_urls(uri, taken["data"], taken["keys"]), keys)


def _postgres_urls(uri: str, data: str, keys: str) -> dict[str, str]:
    return {
        "database_url": uri.replace("/postgres?", f"/{data}?", 1),
        "keystore_url": uri.replace("/postgres?", f"/{keys}?", 1),
    }


def readable(body: bytes) -> Any:
    """Read JSON as the doors write it."""
    return msgspec.json.decode(body)
