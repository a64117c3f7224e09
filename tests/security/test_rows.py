"""An attacker with write access to the main database alone: a row that decides is refused unless the vault wrote it.

Every column of every table is classified in :mod:`tests.security.row_classes`; a new one fails until it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import pkgutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import LargeBinary, String, create_engine, delete, insert, select, update

import vault
from tests.security.row_classes import CLASSES, MACED, UNCOVERED
from tests.vaults import OTHER, problem
from vault.adoption import adopt
from vault.bootstrap import upgrade_databases
from vault.consent.double_opt_in import Confirmations
from vault.consent.store import compare, repair_state
from vault.contacts.shared import ClaimedContact, note_shared, open_shared
from vault.errors import Misconfigured, NotAuthenticated, NotFound, RowTampered
from vault.governance.tenants import apply_policies, disable_app, revoke_key, set_roles
from vault.identity.codes import CodeRequest, _make_code, issue, spend
from vault.identity.sessions import People, add_session
from vault.ids import KeyId, TenantId, new_id
from vault.letters.send import find_contact
from vault.policy.policy_set import PolicySet
from vault.principals.principal import make_key
from vault.recipients.store import list_webhooks
from vault.storage.columns import DataTable, Id, KeyTable, LedgerTable, Moment

for module in pkgutil.walk_packages(vault.__path__, "vault."):
    if not module.name.endswith("__main__"):  # whatever package has tables, they are in the metadata then
        importlib.import_module(module.name)

DEFAULT = TenantId("default")
TABLES = DataTable.metadata.tables


def test_every_column_of_every_table_is_classified():
    for family in (DataTable, KeyTable, LedgerTable):
        for name, table in family.metadata.tables.items():
            columns = sorted(column.name for column in table.columns)
            if name in MACED:
                assert sorted([*MACED[name].covered, *UNCOVERED.get(name, {}), "mac"]) == columns, name
            else:
                assert sorted(column for part in CLASSES[name] for column in part.columns) == columns, name


def test_what_does_not_decide_has_a_reason_and_no_table_is_on_two_lists():
    known = {name for family in (DataTable, KeyTable, LedgerTable) for name in family.metadata.tables}
    assert CLASSES.keys() | MACED.keys() == known
    assert not CLASSES.keys() & MACED.keys()
    assert all(part.why for parts in CLASSES.values() for part in parts if part.kind == "not deciding")
    assert all(why for columns in UNCOVERED.values() for why in columns.values())


# ---- What each row opens ---------------------------------------------------------------------------------------------


class Good(NamedTuple):
    """A row that the vault wrote, and what it opens."""

    table: Any
    row: dict[str, Any]

    @property
    def place(self):
        """Return the condition that finds the row."""
        return [column == self.row[column.name] for column in self.table.primary_key]


async def _key(node, _subject):
    return API_KEY.c.id == UUID(hex=node.place.keys["default", "sales"].split("_")[1])


async def _app(node, _subject):
    return PRINCIPAL.c.id == (await node.caller("sales")).principal.id


async def _version(_node, _subject):
    return VERSION.c.tenant_id == "default"


async def _session(node, subject):
    async with node.services.data.transaction() as connection:
        session, opened = await add_session(node.services, connection, DEFAULT, subject)
    node.token = opened.token
    return SESSION.c.id == session


async def _confirmation(node, subject):
    asked = {"purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "double-opt-in"}
    made = await node.post("support", f"/v1/subjects/{subject}/consents", asked)
    node.token = made.json()["confirmation"]["token"]
    return CONFIRMATION.c.subject_id == subject


async def _webhook(node, _subject):
    set_ = await node.call("support", "PUT", "/v1/webhook", {"url": "https://crm.example.org/vault"})
    assert set_.status_code == 200, set_.text
    return WEBHOOK.c.tenant_id == "default"


async def _is_posted_to(node):
    return (await node.call("support", "GET", "/v1/webhook")).status_code == 200


async def _request(node, subject):
    asked = {"kind": "access", "subject": str(subject)}
    made = await node.post("dpo", "/v1/requests", asked)
    assert made.status_code == 201, made.text
    node.request = made.json()["id"]
    return REQUEST.c.id == UUID(node.request)


async def _is_shown(node):
    return (await node.call("dpo", "GET", f"/v1/requests/{node.request}")).status_code == 200


async def _code(node, subject, request=None):
    """Make a code, and read its digits as the letter has them."""
    claim = new_id().bytes * 2
    async with node.services.data.transaction() as connection:
        node.code, _ = await issue(node.services, connection, DEFAULT, claim, request)
    contact = await find_contact(node.services, DEFAULT, subject)
    made = await _make_code(node.services, CodeRequest(DEFAULT, node.code), subject, contact, None)
    node.digits = made.digits.reveal()
    return CODE.c.id == node.code


async def _shared(node, subject):
    await node.create()
    async with node.services.data.reading() as connection:
        people = (await connection.execute(select(TABLES["subject"].c.id))).scalars()
    keys, fields = await node.services.keyring.row_keys(DEFAULT), dict.fromkeys(people, "email")
    async with node.services.data.transaction() as connection:
        await note_shared(connection, keys, ClaimedContact(DEFAULT, bytes(32), fields, node.services.clock.now()))
    return SHARED_CONTACT.c.subject_id == subject


async def _opens_door(node):
    node.services.principals._cache._entries.clear()  # as after some seconds
    return (await node.call("sales", "GET", "/v1/notices")).status_code == 200


async def _is_in_force(node):
    node.services.policies._active.pop("default", None)  # as in a new process
    node.services.policies._broken.clear()
    await node.services.policies.refresh()
    return "default" in node.services.policies._active


async def _signs_in(node):
    with suppress(NotAuthenticated):
        return (await People(node.services).sign_in(node.token, "test")).tenant == "default"
    return False


async def _person(node, subject):
    await _withdrawn(node, str(subject))
    node.token = str(subject)
    return SUBJECT.c.id == subject


async def _is_read(node):
    return (await node.read("sales", node.token, ["email"], "order-fulfilment")).status_code == 200


async def _confirms(node):
    return await Confirmations(node.services).look_up(node.token) is not None


async def _is_right(node):
    await node.sql("DELETE FROM row_version WHERE table_name = 'identity_code'", keystore=True)  # tries from before
    return await _try(node) is not None


async def _try(node, digits=None):
    return await spend(node.services, [DEFAULT, OTHER], node.code, digits or node.digits)


async def _is_listed(node):
    keys = await node.services.keyring.row_keys(DEFAULT)
    async with node.services.data.reading() as connection:
        found, _ = await open_shared(connection, keys, DEFAULT)
    return [len(contact.people) for contact in found] == [2]


PRINCIPAL, API_KEY, VERSION = (TABLES[name] for name in ("principal", "api_key", "policy_version"))
SESSION, CONFIRMATION, WEBHOOK, REQUEST = (
    TABLES[name] for name in ("subject_session", "consent_confirmation", "webhook", "rights_request")
)
CODE, SHARED_CONTACT = (TABLES[name] for name in ("identity_code", "shared_contact"))
SUBJECT = TABLES["subject"]
DOORS = {
    "principal": (_app, _opens_door),
    "api_key": (_key, _opens_door),
    "policy_version": (_version, _is_in_force),
    "subject_session": (_session, _signs_in),
    "identity_code": (_code, _is_right),
    "shared_contact": (_shared, _is_listed),
    "consent_confirmation": (_confirmation, _confirms),
    "webhook": (_webhook, _is_posted_to),
    "rights_request": (_request, _is_shown),
    "subject": (_person, _is_read),
}


def test_every_table_with_macs_is_attacked_here():
    assert DOORS.keys() == MACED.keys()


@pytest.fixture
async def door(node, table):
    """Return a good row of the table, and whether what it opens is open."""
    make, is_open = DOORS[table]
    where = await make(node, UUID(await node.create()))
    async with node.services.data.reading() as connection:
        (found,) = (await connection.execute(select(TABLES[table]).where(where))).all()
    assert await is_open(node)

    async def is_open_now():
        return await is_open(node)

    return Good(TABLES[table], dict(found._mapping)), is_open_now


async def write(node, *statements):
    """Change the main database past the vault, and past its foreign keys."""
    if node.services.data.dialect == "sqlite":
        engine = create_engine(node.place.urls["database_url"])  # it looks at no foreign keys by itself
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)
        engine.dispose()
        return
    async with node.services.data.transaction() as connection:
        await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)


OF_NOTHING = {String: "~", LargeBinary: b"~", Moment: datetime(2020, 1, 1, tzinfo=UTC), Id: UUID(int=1)}


def other(column, value):
    """Return another value of the column's type."""
    match value:
        case str():
            return value[:-1] + "~"
        case bytes() | memoryview():
            return bytes([bytes(value)[0] ^ 1]) + bytes(value)[1:]
        case datetime():
            return value + timedelta(seconds=1)
        case int():
            return value + 1
        case None:
            return next(another for kind, another in OF_NOTHING.items() if isinstance(column.type, kind))
        case _:
            return UUID(int=UUID(bytes=value.bytes).int ^ 1)


@pytest.mark.parametrize("table", MACED)
async def test_a_row_with_a_changed_column_is_refused(node, door, table):
    good, is_open = door
    for column in MACED[table].covered:
        changed = {**good.row, column: other(good.table.c[column], good.row[column])}
        await write(node, delete(good.table).where(*good.place), insert(good.table).values(changed))
        assert not await is_open(), column
        gone = [column == changed[column.name] for column in good.table.primary_key]
        await write(node, delete(good.table).where(*gone), insert(good.table).values(good.row))
        assert await is_open(), f"the good row opens again, so it was {column} that was refused"


@pytest.mark.parametrize("table", MACED)
@pytest.mark.parametrize(
    "mac", [None, b"", bytes(35), b"\x01\x00\x01" + bytes(32)], ids=["none", "empty", "zeros", "head"]
)
async def test_a_row_without_its_mac_is_refused(node, door, table, mac):
    good, is_open = door
    await write(node, update(good.table).where(*good.place).values(mac=mac))
    assert not await is_open()


@pytest.mark.parametrize("table", MACED)
async def test_a_row_that_is_copied_to_another_tenant_opens_nothing_there(node, door, table):
    good, is_open = door
    copied = {**good.row, "tenant_id": OTHER}
    cleared = [delete(good.table).where(*good.place), delete(good.table).where(good.table.c.tenant_id == OTHER)]
    await write(node, *cleared, insert(good.table).values(copied))
    if table == "policy_version":
        node.services.policies._active.pop(OTHER)
        await node.services.policies.refresh()
        assert OTHER not in node.services.policies._active
    assert not await is_open()


@pytest.mark.parametrize("table", ["principal", "api_key", "policy_version", "subject"])
async def test_a_mac_of_another_row_is_refused(node, door, table):
    good, is_open = door
    await node.create({"name": "Another"})
    async with node.services.data.reading() as connection:
        of_others = select(good.table.c.mac).where(good.table.c.mac != good.row["mac"])
        another = (await connection.execute(of_others)).scalars().first()
    assert another is not None
    await write(node, update(good.table).where(*good.place).values(mac=another))
    assert not await is_open()


# ---- What an attacker makes up: no row of its own opens anything -----------------------------------------------------


def _plain(bearer):
    return hashlib.sha256(bearer.encode()).digest()


async def _forge_app(node, subject):
    del subject
    app, key, now = new_id(), KeyId(new_id()), node.services.clock.now()
    bearer = make_key(key).reveal()
    principal = {
        "tenant_id": "default", "id": app, "name": "forged", "kind": "app", "roles": "dpo", "state": "active",
        "created_at": now,
    }  # fmt: skip
    api_key = {
        "id": key, "tenant_id": "default", "principal_id": app, "digest": _plain(bearer), "created_at": now,
        "expires_at": now + timedelta(days=1), "revoked_at": None,
    }  # fmt: skip
    await write(node, insert(PRINCIPAL).values(principal), insert(API_KEY).values(api_key))
    return (await node.http.get("/v1/notices", headers={"Authorization": f"Bearer {bearer}"})).status_code


async def _forge_key_of_an_app(node, subject):
    del subject
    key, now = KeyId(new_id()), node.services.clock.now()
    bearer = make_key(key).reveal()
    app = (await node.caller("dpo")).principal.id
    forged = {
        "id": key, "tenant_id": "default", "principal_id": app, "digest": _plain(bearer), "created_at": now,
        "expires_at": now + timedelta(days=1), "revoked_at": None,
    }  # fmt: skip
    await write(node, insert(API_KEY).values(forged))
    return (await node.http.get("/v1/notices", headers={"Authorization": f"Bearer {bearer}"})).status_code


async def _forge_session(node, subject):
    session, now = new_id(), node.services.clock.now()
    secret = make_key(KeyId(session)).reveal().split("_", 2)[2]
    token = f"cdvs_{session.hex}_{secret}"
    forged = {
        "tenant_id": "default", "id": session, "subject_id": subject, "token_hash": _plain(token), "created_at": now,
        "authenticated_at": now, "expires_at": now + timedelta(days=1), "ended_at": None,
    }  # fmt: skip
    await write(node, insert(SESSION).values(forged))
    sent = await node.http.post(
        "/v1/me/requests", json={"kind": "access"}, headers={"Authorization": f"Bearer {token}"}
    )
    return sent.status_code


@pytest.mark.parametrize("forge", [_forge_app, _forge_key_of_an_app, _forge_session])
async def test_a_bearer_that_an_attacker_made_up_and_wrote_is_not_accepted(node, forge):
    assert await forge(node, UUID(await node.create())) == 401


async def test_a_policy_that_an_attacker_wrote_is_not_in_force(node):
    subject = await node.create()
    async with node.services.data.reading() as connection:
        (row,) = (await connection.execute(select(VERSION).where(VERSION.c.tenant_id == "default"))).all()
    files = json.loads(row.files)
    files["policy.csv"] += "\np, analytics, *, *, read, subject-rights, allow\n"
    forged = PolicySet.load(files)
    later = {
        **row._mapping, "id": UUID(int=UUID(bytes=row.id.bytes).int + 1), "version": forged.version,
        "files": json.dumps(files), "row_version": 2,
    }  # fmt: skip
    await write(node, insert(VERSION).values(later))
    await node.services.policies.refresh()
    problem(await node.read("analytics", subject, ["email"], "subject-rights"), 403, "denied")
    assert node.services.policies.behind(), "the process says that there is a policy which it does not follow"

    policies = PolicySet.load({**json.loads(row.files), "policy.csv": json.loads(row.files)["policy.csv"] + "\n# 2\n"})
    await apply_policies(node.services, DEFAULT, policies)  # what the operator applies comes after the forged row
    await node.services.policies.refresh()
    assert node.services.policies.active("default").version == policies.version


# ---- What a person said, and what is held ------------------------------------------------------------------------------


OBJECTED = {"purpose": "fraud-prevention", "reason": "a false alarm"}


async def _withdrawn(node, subject):
    said = {"purpose": "direct-marketing", "notice": "marketing@3", "method": "checkbox"}
    assert (await node.post("support", f"/v1/subjects/{subject}/consents", said | {"decision": "given"})).is_success
    given = await _kept(node, "subject", SUBJECT.c.id == UUID(subject))
    assert (
        await node.post(
            "support", f"/v1/subjects/{subject}/consents", {"purpose": "direct-marketing", "decision": "withdrawn"}
        )
    ).is_success
    return {"standing": given[0]["standing"]}


async def _restricted(node, subject):
    assert (await node.post("dpo", f"/v1/subjects/{subject}/restriction", {"ground": "claims"})).is_success
    return {"standing": None, "state": "active"}


async def _held(node, subject):
    hold = {"matter": "LG-2026-0815", "owner": "legal-dept", "review_on": "2099-03-01", "subjects": [subject]}
    placed = await node.post("dpo", "/v1/holds", hold)
    assert placed.is_success, placed.text
    return {"standing": None}


async def _erased(node, subject):
    await node.set_subject(subject, state="erased", standing=None)
    return {"state": "active"}


@pytest.mark.parametrize("said", [_withdrawn, _restricted, _held, _erased])
async def test_what_an_attacker_changes_about_a_person_shows_nothing_and_stops_everything(node, said):
    subject = await node.create()
    forged = await said(node, subject)
    await write(node, update(SUBJECT).where(SUBJECT.c.id == UUID(subject)).values(forged))
    marketing = await node.read("marketing", subject, ["email"], "direct-marketing")
    assert problem(marketing, 403, "denied")["denied"]["email"]["code"] == "consent-missing", "as for nobody"
    for role, purpose in (("sales", "order-fulfilment"), ("dpo", "subject-rights")):
        problem(await node.read(role, subject, ["email"], purpose), 404, "subject-not-found")
    for method, path, body in (
        ("POST", f"/v1/subjects/{subject}/objections", OBJECTED),
        ("GET", f"/v1/subjects/{subject}", None),
        ("POST", f"/v1/subjects/{subject}/restriction", {"ground": "claims"}),
    ):
        assert not (await node.call("dpo", method, path, json=body)).is_success, path


async def test_the_holds_on_a_person_stay_when_the_rows_of_the_hold_are_deleted(node):
    subject = await node.create()
    await _held(node, subject)
    row = await _kept(node, "subject", SUBJECT.c.id == UUID(subject))
    await write(node, delete(TABLES["hold_subject"]), delete(TABLES["hold"]))
    assert await _kept(node, "subject", SUBJECT.c.id == UUID(subject)) == row
    taken = await node.patch("sales", subject, {"name": "Another"}, "order-fulfilment", '"1"')
    problem(taken, 409, "held")


async def test_a_withdrawal_that_is_deleted_from_the_history_counts_still(node):
    subject = await node.create()
    forged = await _withdrawn(node, subject)
    event = TABLES["consent_event"]
    await write(node, delete(event).where(event.c.kind == "withdrawn"))
    problem(await node.read("marketing", subject, ["email"], "direct-marketing"), 403, "denied")
    # And also if the row is changed as well, and the operator repairs it from the events: the restore ledger has it.
    await write(node, update(SUBJECT).where(SUBJECT.c.id == UUID(subject)).values(forged))
    (difference,) = [each async for step in compare(node.services, DEFAULT) for each in step.differences]
    await repair_state(node.services, DEFAULT, difference.subject)
    assert [each async for step in compare(node.services, DEFAULT) for each in step.differences] == []
    assert (await node.read("sales", subject, ["email"], "order-fulfilment")).status_code == 200
    assert not (await node.read("marketing", subject, ["email"], "direct-marketing")).is_success


async def test_a_row_that_was_changed_keeps_back_its_person_alone(node):
    changed, other = await node.create(), await node.create({"name": "Another", "email": "another@example.org"})
    await write(node, update(SUBJECT).where(SUBJECT.c.id == UUID(changed)).values(pseudonym=new_id()))
    body = {"subjects": [changed, other], "fields": ["email"], "purpose": "order-fulfilment"}
    results = (await node.post("sales", "/v1/read", body)).json()["results"]
    assert [result["fields"] for result in results] == [{}, {"email": "another@example.org"}]


# ---- What the vault wrote once, and an attacker kept -----------------------------------------------------------------


async def _kept(node, table, where):
    async with node.services.data.reading() as connection:
        return [dict(row._mapping) for row in await connection.execute(select(TABLES[table]).where(where))]


async def _put_back(node, table, where, rows):
    await write(node, delete(TABLES[table]).where(where), insert(TABLES[table]).values(rows))


async def test_a_revoked_key_cannot_be_put_back(node):
    key = KeyId(UUID(hex=node.place.keys["default", "sales"].split("_")[1]))
    kept = await _kept(node, "api_key", API_KEY.c.id == key)
    await revoke_key(node.services, DEFAULT, key)
    await _put_back(node, "api_key", API_KEY.c.id == key, kept)
    assert not await _opens_door(node)


async def test_a_disabled_app_cannot_be_put_back(node):
    app = (await node.caller("sales")).principal.id
    kept = await _kept(node, "principal", PRINCIPAL.c.id == app)
    await disable_app(node.services, DEFAULT, "sales")
    await _put_back(node, "principal", PRINCIPAL.c.id == app, kept)
    assert not await _opens_door(node)


async def test_roles_that_were_taken_away_cannot_be_put_back(node):
    app = (await node.caller("sales")).principal.id
    kept = await _kept(node, "principal", PRINCIPAL.c.id == app)
    await set_roles(node.services, DEFAULT, "sales", ["analytics"])
    assert await _opens_door(node)
    await _put_back(node, "principal", PRINCIPAL.c.id == app, kept)
    assert not await _opens_door(node)
    with pytest.raises(RowTampered):
        await set_roles(node.services, DEFAULT, "sales", ["analytics"])  # it would carry the rest of the old row on


async def test_an_earlier_policy_cannot_be_put_back(node, place, clock):
    kept = await _kept(node, "policy_version", VERSION.c.tenant_id == "default")
    files = json.loads(kept[0]["files"])
    stricter = PolicySet.load({**files, "policy.csv": files["policy.csv"] + "\np, sales, *, *, read, *, deny\n"})
    await apply_policies(node.services, DEFAULT, stricter)
    await _put_back(node, "policy_version", VERSION.c.tenant_id == "default", kept)
    async with place.node(clock) as another:
        problem(await another.read("sales", new_id(), ["email"], "order-fulfilment"), 404, "no-policies")
        await apply_policies(another.services, DEFAULT, stricter)  # and the operator gets out of it
        assert another.services.policies.active("default").version == stricter.version
    async with place.node(clock) as third:
        assert third.services.policies.active("default").version == stricter.version


async def test_a_change_whose_process_died_before_it_said_so_counts_once_it_was_seen(node):
    app = (await node.caller("sales")).principal.id
    kept = await _kept(node, "principal", PRINCIPAL.c.id == app)
    async with node.services.data.transaction() as connection:  # and nobody settles it
        await node.services.principals.set_roles(connection, DEFAULT, app, ["analytics"])
    assert await _opens_door(node), "nobody is locked out"
    await _put_back(node, "principal", PRINCIPAL.c.id == app, kept)
    assert not await _opens_door(node)


async def test_no_row_that_is_put_back_gives_another_attempt_at_a_code(node):
    await _code(node, UUID(await node.create()))
    rows = await _kept(node, "identity_code", CODE.c.id == node.code)
    wrong = f"{(int(node.digits) + 1) % 10**8:08}"
    for _ in range(3):
        assert await _try(node, wrong) is None
        rows += await _kept(node, "identity_code", CODE.c.id == node.code)
    assert [row["attempts"] for row in rows] == [0, 1, 2, 3]
    for row in rows[:3]:
        await _put_back(node, "identity_code", CODE.c.id == node.code, [row])
        assert await _try(node) is None
    await _put_back(node, "identity_code", CODE.c.id == node.code, rows[3:])
    assert await _try(node) is not None, "the newest row goes on"


async def test_a_used_code_cannot_be_put_back(node):
    await _code(node, UUID(await node.create()))
    await _try(node)
    kept = await _kept(node, "identity_code", CODE.c.id == node.code)
    await People(node.services).enter(node.code, node.digits, "test")
    await _put_back(node, "identity_code", CODE.c.id == node.code, kept)
    with pytest.raises(NotFound):
        await People(node.services).enter(node.code, node.digits, "test")


async def test_attempts_at_the_same_moment_count_once_each(node):
    await _code(node, UUID(await node.create()))
    tries = await asyncio.gather(*(_try(node) for _ in range(8)))
    assert 1 <= len([spent for spent in tries if spent is not None]) <= 5
    assert [row["attempts"] for row in await _kept(node, "identity_code", CODE.c.id == node.code)] == [5]


# ---- A vault from before MACs ----------------------------------------------------------------------------------------


async def _age(node):
    """Bring the rows to the form that they had before MACs; return the policies in force."""
    bearers = {KeyId(UUID(hex=key.split("_")[1])): key for key in node.place.keys.values()}
    unkeyed = [update(API_KEY).where(API_KEY.c.id == key).values(digest=_plain(text)) for key, text in bearers.items()]
    await write(node, *unkeyed, *(update(TABLES[name]).values(mac=None) for name in MACED))
    await node.sql("DELETE FROM row_version", keystore=True)


async def test_a_vault_from_before_macs_opens_after_its_upgrade_and_only_then(node, place, clock):
    subject = UUID(await node.create())
    await _session(node, subject)
    session = node.token
    await _confirmation(node, subject)
    token = node.token
    plain = update(CONFIRMATION).values(token_hash=_plain(token))
    await write(node, plain)
    await _age(node)
    assert not await _opens_door(node)
    assert not await _confirms(node)
    with pytest.raises(Misconfigured) as refused:
        async with place.node(clock):
            pass
    assert refused.value.hint == "run `cdv db upgrade`"

    await upgrade_databases(place.folder, **place.urls)
    async with place.node(clock) as upgraded:
        assert await _opens_door(upgraded)
        assert await _is_in_force(upgraded)
        upgraded.token = token
        assert await _confirms(upgraded)
        upgraded.token = session
        assert not await _signs_in(upgraded), "sessions end: people sign in again"


async def test_a_row_without_a_mac_is_not_adopted_later(node, place):
    await write(node, update(API_KEY).values(mac=None))
    await upgrade_databases(place.folder, **place.urls)
    assert not await _opens_door(node)


async def test_a_vault_with_some_macs_gets_the_others_and_only_those(node, place, clock):
    """A row without a MAC in a table that had them already was made up since."""
    subject = await node.create()
    async with node.services.data.transaction() as connection:
        row = (await connection.execute(select(API_KEY))).first()
        forged = {**row._mapping, "id": new_id(), "digest": bytes(32), "mac": None}
    await write(node, insert(API_KEY).values(forged), update(SUBJECT).values(mac=None))
    await node.sql("UPDATE row_version SET version = 1 WHERE table_name = 'adopted'", keystore=True)
    node.token = subject
    assert not await _is_read(node)
    with pytest.raises(Misconfigured):
        async with place.node(clock):
            pass
    await upgrade_databases(place.folder, **place.urls)
    async with place.node(clock) as upgraded:
        upgraded.token = subject
        assert await _is_read(upgraded)
        assert await _opens_door(upgraded)
        ((mac,),) = await upgraded.sql("SELECT mac FROM api_key WHERE id = :id", id=forged["id"])
        assert mac is None


async def test_more_people_than_a_page_are_adopted(sqlite_node, monkeypatch):
    node = sqlite_node
    monkeypatch.setattr("vault.adoption._PAGE", 2)
    people = [await node.create({"name": f"Person {number}"}) for number in range(5)]
    before = await node.sql("SELECT id, mac FROM subject ORDER BY id")
    await write(node, update(SUBJECT).values(mac=None))
    await node.sql("UPDATE row_version SET version = 1 WHERE table_name = 'adopted'", keystore=True)
    assert (await adopt(node.services.data, node.services.keyring))[DEFAULT] == len(people)
    assert await node.sql("SELECT id, mac FROM subject ORDER BY id") == before


async def test_an_adoption_that_was_killed_goes_on_where_it_was(node, place, clock):
    await _age(node)
    await adopt(node.services.data, node.services.keyring)
    await node.sql("DELETE FROM row_version WHERE tenant_id = 'default'", keystore=True)  # it died before the last step
    await adopt(node.services.data, node.services.keyring)
    async with place.node(clock) as upgraded:
        assert await _opens_door(upgraded)


async def test_a_later_step_adopts_no_row_of_an_earlier_one(node, place, clock):
    await _webhook(node, None)
    await write(node, update(API_KEY).values(mac=None), update(WEBHOOK).values(mac=None))
    await node.sql("UPDATE row_version SET version = 1 WHERE table_name = 'adopted'", keystore=True)
    await upgrade_databases(place.folder, **place.urls)
    async with place.node(clock) as upgraded:
        assert not await _opens_door(upgraded), "keys had their MACs when the first step was done"
        keys = await upgraded.services.keyring.row_keys(DEFAULT)
        async with upgraded.services.data.reading() as connection:
            assert len(await list_webhooks(connection, keys)) == 1
