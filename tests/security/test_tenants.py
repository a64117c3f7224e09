"""Two tenants in one vault: no route lets one reach, find or guess data of the other."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.policy.folders import shipped
from tests.vaults import OTHER, problem, without_ids
from vault.bootstrap import policy_folder
from vault.governance.tenants import apply_policies
from vault.policy.policy_set import PolicySet

EVENT = "0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d"
NO = {"purpose": "direct-marketing", "decision": "withdrawn", "occurred_at": "2020-01-01T00:00:00Z"}

# For every route: what the other tenant would send, with {id} the person of the first and {mine} one of its own.
# The role is the one that may do most on that route.
ATTEMPTS = {
    ("POST", "/v1/read"): ("dpo", {"subject": "{id}", "fields": ["name"], "purpose": "subject-rights"}),
    ("POST", "/v1/subjects"): (
        "sales",
        {"profile": {"name": "Mine"}, "external_ids": {"shop": "4711"}, "purpose": "order-fulfilment"},
    ),
    ("POST", "/v1/subjects:upsert"): (
        "sales",
        {"profile": {"name": "Mine"}, "external_ids": {"shop": "4711"}, "purpose": "order-fulfilment"},
    ),
    ("POST", "/v1/subjects:search"): (
        "dpo",
        {"match": {"email": "ada@example.org"}, "fields": ["name"], "purpose": "subject-rights"},
    ),
    ("GET", "/v1/subjects/{id}"): ("dpo", None),
    ("PATCH", "/v1/subjects/{id}/profile"): ("dpo", {"name": "Mine", "purpose": "subject-rights"}),
    ("POST", "/v1/subjects/{id}/records/purchase"): (
        "sales",
        {"fields": {"order": "A-1"}, "external_id": "line-1", "purpose": "order-fulfilment"},
    ),
    ("POST", "/v1/subjects/{id}/records/purchase:read"): ("dpo", {"fields": ["order"], "purpose": "subject-rights"}),
    ("POST", "/v1/decisions:explain"): ("dpo", {"subject": "{id}", "fields": ["name"], "purpose": "subject-rights"}),
    ("GET", "/v1/catalogue"): ("dpo", None),
    ("GET", "/v1/purposes"): ("dpo", None),
    ("GET", "/v1/audit/entries"): ("dpo", None),
    ("GET", "/v1/jobs"): ("dpo", None),
    ("GET", "/v1/subjects/{id}/consents/{event}/receipt"): ("dpo", None),
    ("GET", "/v1/subjects/{id}/consents"): ("dpo", None),
    ("POST", "/v1/subjects/{id}/consents"): ("dpo", {"purpose": "direct-marketing", "decision": "withdrawn"}),
    ("POST", "/v1/subjects/{id}/consents:signal"): ("dpo", None),
    ("POST", "/v1/subjects/{id}/objections"): ("dpo", {"purpose": "fraud-prevention"}),
    ("POST", "/v1/subjects/{id}/objections/{event}:decide"): ("dpo", {"decision": "upheld", "reason": "mine"}),
    ("POST", "/v1/subjects/{id}/restriction"): ("dpo", {"ground": "claims"}),
    ("POST", "/v1/subjects/{id}/restriction:announce"): ("dpo", {"told": "by post"}),
    ("POST", "/v1/subjects/{id}/restriction:lift"): ("dpo", {}),
    ("POST", "/v1/subjects/{id}/disputes"): ("dpo", {"fields": ["email"], "statement": "mine"}),
    ("POST", "/v1/subjects/{id}/disputes/{dispute}:resolve"): ("dpo", {"decision": "upheld", "reason": "mine"}),
    ("POST", "/v1/subjects/{id}/fields:verify"): ("dpo", {"fields": ["email"], "purpose": "subject-rights"}),
    ("GET", "/v1/subjects/{id}/rectifications"): ("dpo", None),
    ("POST", "/v1/consents:check"): ("dpo", {"subjects": ["{id}"], "purposes": ["order-fulfilment"]}),
    ("GET", "/v1/consents:confirm"): (None, None),
    ("POST", "/v1/consents:confirm"): (None, {"token": "cdvc_"}),
    ("GET", "/v1/signing-keys"): ("dpo", None),
    ("POST", "/v1/subjects:merge"): ("dpo", {"survivor": "{mine}", "duplicate": "{id}", "evidence": "mine"}),
    ("POST", "/v1/subjects/{id}:duplicates"): ("dpo", None),
    ("GET", "/v1/shared-contacts"): ("dpo", None),
    ("POST", "/v1/shared-contacts/{contact}:settle"): ("dpo", None),
    ("POST", "/v1/consents:import"): (
        "dpo",
        [{**NO, "subject": "{id}"}, {**NO, "system": "shop", "external_id": "4711"}],
    ),
    ("GET", "/v1/notices"): ("dpo", None),
    ("GET", "/v1/notices/{digest}"): ("dpo", None),
    ("GET", "/v1/processing-record"): ("dpo", None),
    ("POST", "/v1/requests"): ("dpo", {"kind": "access", "subject": "{id}"}),
    ("GET", "/v1/requests"): ("dpo", None),
    ("GET", "/v1/requests/{request}"): ("dpo", None),
    ("POST", "/v1/requests/{request}:approve"): ("dpo", {}),
    ("POST", "/v1/requests/{request}:reject"): ("dpo", {"ground": "excessive"}),
    ("POST", "/v1/requests/{request}:extend"): ("dpo", {"reason": "number"}),
    ("POST", "/v1/requests/{request}:cancel"): ("dpo", {}),
    ("POST", "/v1/requests/{request}:complete"): ("dpo", {"outcome": "changed"}),
    ("POST", "/v1/requests/{request}:reopen"): ("dpo", {}),
    ("POST", "/v1/requests/{request}:ask-identity"): ("dpo", {}),
    ("GET", "/v1/subjects/{id}/erasure:preview"): ("dpo", None),
    ("GET", "/v1/subjects/{id}/retention"): ("dpo", None),
    ("POST", "/v1/subjects/{id}/retention-events"): ("dpo", {"event": "contract-ended"}),
    ("GET", "/v1/subjects/{id}/relationship"): ("dpo", None),
    ("GET", "/v1/retention/due"): ("dpo", None),
    ("GET", "/v1/retention/sweeps"): ("dpo", None),
    ("POST", "/v1/retention/sweeps"): ("dpo", None),
    ("GET", "/v1/retention/reviews"): ("dpo", None),
    ("POST", "/v1/retention/reviews/{review}:decide"): ("dpo", {"decision": "erase"}),
    ("POST", "/v1/subjects/{id}/erasure:preview"): ("dpo", {"collections": ["purchase"]}),
    ("POST", "/v1/requests/{request}/grounds"): (
        "dpo",
        {"names": ["phone"], "until": "2030-12-31", "reason": "claim 12"},
    ),
    ("GET", "/v1/requests/{request}/certificate"): ("dpo", None),
    ("GET", "/v1/erasures"): ("dpo", None),
    ("POST", "/v1/holds"): (
        "dpo",
        {"matter": "M-1", "owner": "legal", "review_on": "2030-01-01", "subjects": ["{id}"]},
    ),
    ("GET", "/v1/holds"): ("dpo", None),
    ("GET", "/v1/holds/{hold}"): ("dpo", None),
    ("PATCH", "/v1/holds/{hold}"): ("dpo", {"add_subjects": []}),
    ("DELETE", "/v1/holds/{hold}"): ("dpo", None),
    ("POST", "/v1/holds/{hold}:lift"): ("dpo", {"reason": "settled"}),
    ("GET", "/v1/requests/{request}/package"): ("dpo", None),
    ("POST", "/v1/requests/{request}/package:download"): ("dpo", {"passphrase": "correct horse battery staple"}),
    ("POST", "/v1/requests/{request}/package:send"): ("dpo", {"url": "https://example.org/inbox"}),
    ("PUT", "/v1/webhook"): ("operator", {"url": "https://localhost:1/"}),
    ("GET", "/v1/webhook"): ("operator", None),
    ("DELETE", "/v1/webhook"): ("operator", None),
    ("POST", "/v1/webhook:rotate-secret"): ("operator", None),
    ("POST", "/v1/webhook:test"): ("operator", None),
    ("GET", "/v1/webhooks"): ("operator", None),
    ("GET", "/v1/notices:mine"): ("dpo", None),
    ("GET", "/v1/notices:sent"): ("dpo", None),
    ("POST", "/v1/notices/{notice}:acknowledge"): ("dpo", None),
    ("POST", "/v1/notices/{notice}:chase"): ("dpo", None),
    ("POST", "/v1/requests/{request}:verify"): ("dpo", {"evidence": "mine"}),
    ("POST", "/v1/me/sessions"): (None, {"identity": {"email": "ada@example.org"}, "tenant": OTHER}),
    ("POST", "/v1/me/sessions:verify"): (None, {"session": EVENT, "code": "12345678"}),
    ("DELETE", "/v1/me/session"): (None, None),
    ("GET", "/v1/me/requests"): (None, None),
    ("POST", "/v1/me/requests"): (None, {"kind": "access"}),
    ("GET", "/v1/me/requests/{request}"): (None, None),
    ("POST", "/v1/me/requests/{request}:cancel"): (None, None),
    ("POST", "/v1/me/requests/{request}:verify"): (None, None),
    ("GET", "/v1/me/requests/{request}/package"): (None, None),
    ("POST", "/v1/me/requests/{request}/package:download"): (None, {"passphrase": "correct horse battery staple"}),
}


@pytest.fixture
async def foreign_subject(node):
    """A subject of the first tenant with data of every kind."""
    subject = await node.create(external_ids={"shop": "4711"})
    await node.append("sales", subject, "purchase", {"order": "A-1"}, "order-fulfilment", external_id="line-1")
    return subject


def _put(thing, subject, own_subject):
    if isinstance(thing, str):
        return (
            thing.replace("{id}", str(subject))
            .replace("{event}", EVENT)
            .replace("{dispute}", EVENT)
            .replace("{request}", EVENT)
            .replace("{contact}", EVENT)
            .replace("{mine}", str(own_subject))
        )
    if isinstance(thing, dict):
        return {key: _put(item, subject, own_subject) for key, item in thing.items()}
    if isinstance(thing, list):
        return [_put(item, subject, own_subject) for item in thing]
    return thing


async def _attempt(node, method, path, subject, own_subject=EVENT, **how):
    role, body = ATTEMPTS[method, path]
    headers = {"If-Match": '"1"'} if method == "PATCH" else {"Sec-GPC": "1"} if path.endswith(":signal") else {}
    if path.endswith(":import"):
        how["params"] = {"source": "crm"}
    if path.endswith("{id}/retention"):
        how["params"] = {"field": "email"}
    sent = _put(path, subject, own_subject), _put(body, subject, own_subject)
    return await node.call(role, method, *sent, tenant=OTHER, headers=headers, **how)


async def test_every_documented_route_is_covered(sqlite_node):
    document = (await sqlite_node.http.get("/openapi.json")).json()
    routes = {
        (method.upper(), path.replace("{subject}", "{id}").replace("{collection}", "purchase"))
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith("/v1")
    }
    assert routes == set(ATTEMPTS)


async def test_a_subject_of_another_tenant_is_not_found_on_any_route(node, foreign_subject):
    own_subject = await node.create(tenant=OTHER)  # all that the two have in common is what stands in their fields
    before = await node.read("dpo", foreign_subject, ["name", "external_ids", "purchase.order"], "subject-rights")
    for method, path in ATTEMPTS:
        if "{id}" not in path + str(ATTEMPTS[method, path][1]):
            continue
        somebodys = await _attempt(node, method, path, foreign_subject, own_subject)
        stranger = uuid4()
        nobodys = await _attempt(node, method, path, stranger, own_subject)
        assert without_ids(somebodys, foreign_subject) == without_ids(nobodys, stranger), (method, path)
        assert somebodys.status_code in {200, 404}
        assert "Ada" not in somebodys.text
    after = await node.read("dpo", foreign_subject, ["name", "external_ids", "purchase.order"], "subject-rights")
    assert before.json()["fields"] == after.json()["fields"]
    assert (await node.call("dpo", "GET", f"/v1/subjects/{foreign_subject}/consents")).json()["history"] == []
    named = {whom for entry in await node.entries(OTHER) for whom in entry.subjects}
    assert named == {await node.pseudonym(own_subject)}


async def test_subjects_of_different_tenants_cannot_be_merged(node, foreign_subject):
    own_subject = await node.create(tenant=OTHER)
    answer = await node.post("dpo", f"/v1/subjects/{own_subject}:duplicates", tenant=OTHER)
    assert answer.json()["results"] == []  # the very same fields
    for survivor, duplicate in ((own_subject, foreign_subject), (foreign_subject, own_subject)):
        body = {"survivor": survivor, "duplicate": duplicate, "evidence": "the same person"}
        for tenant in ("default", OTHER):
            problem(await node.post("dpo", "/v1/subjects:merge", body, tenant=tenant), 404, "subject-not-found")
    for subject, tenant in ((foreign_subject, "default"), (own_subject, OTHER)):
        read = await node.read("dpo", subject, ["name"], "subject-rights", tenant=tenant)
        assert read.json()["fields"] == {"name": "Ada Lovelace"}


async def test_an_import_changes_only_subjects_of_its_own_tenant(node, foreign_subject):
    own_subject = await node.create(external_ids={"shop": "4711"}, tenant=OTHER)
    answer = (await _attempt(node, "POST", "/v1/consents:import", foreign_subject)).json()
    assert (answer["written"], answer["refused"]) == (1, 1)
    for subject, tenant, events in ((foreign_subject, "default", 0), (own_subject, OTHER, 1)):
        listed = await node.call("dpo", "GET", f"/v1/subjects/{subject}/consents", tenant=tenant)
        assert len(listed.json()["history"]) == events


async def test_a_notice_of_another_tenant_is_not_found(node):
    text = shipped()["notices/marketing@3.md"].replace("marketing@3", "marketing@4")
    await apply_policies(node.services, "default", PolicySet.load(shipped() | {"notices/marketing@4.md": text}))
    digest = node.services.policies.active("default").policy_set.notices["marketing@4"].digest
    assert (await node.call("dpo", "GET", f"/v1/notices/{digest}")).status_code == 200
    problem(await node.call("dpo", "GET", f"/v1/notices/{digest}", tenant=OTHER), 404, "notice-not-found")
    await apply_policies(node.services, "default", PolicySet.load(shipped()))  # kept for ever, and for its tenant alone
    assert (await node.call("dpo", "GET", f"/v1/notices/{digest}")).status_code == 200
    problem(await node.call("dpo", "GET", f"/v1/notices/{digest}", tenant=OTHER), 404, "notice-not-found")
    assert "marketing@4" not in (await node.call("dpo", "GET", "/v1/notices", tenant=OTHER)).json()["notices"]


async def test_a_record_of_processing_counts_only_reads_of_its_own_tenant(node, foreign_subject, clock):
    await node.read("support", foreign_subject, ["name"], "customer-support")
    clock.advance(seconds=1)
    for tenant, reads in (("default", 1), (OTHER, 0)):
        created = (await node.call("dpo", "GET", "/v1/processing-record", tenant=tenant)).json()
        (support,) = [activity for activity in created["activities"] if activity["purpose"] == "customer-support"]
        assert (created["tenant"], support["use"]["reads"]) == (tenant, reads)
        assert len(support["use"]["readers"]) == reads


async def test_a_search_finds_only_subjects_of_its_own_tenant(node, foreign_subject):
    result = await _attempt(node, "POST", "/v1/subjects:search", foreign_subject)
    assert result.json()["results"] == []
    for path, status in (("/v1/subjects", 201), ("/v1/subjects:upsert", 200)):
        own_subject = await _attempt(node, "POST", path, foreign_subject)  # the same external id is another person here
        assert own_subject.status_code == status
        assert own_subject.json()["id"] != foreign_subject
    batch = {"subjects": [foreign_subject, own_subject.json()["id"]], "fields": ["name"], "purpose": "subject-rights"}
    results = (await node.post("dpo", "/v1/read", batch, tenant=OTHER)).json()["results"]
    assert results[0]["fields"] == {}
    assert results[0]["denied"]["name"]["code"] == "subject-not-found"
    assert results[1]["fields"] == {"name": "Mine"}


async def test_equal_values_have_different_digests_in_each_tenant(node):
    profile = {"name": "Ada Lovelace", "email": "ada@example.org", "phone": "+442079460123"}
    await node.create(profile, external_ids={"shop": "1"})
    await node.create(profile, external_ids={"shop": "1"}, tenant=OTHER)
    for table in ("blind_index", "external_ref"):
        rows = await node.sql(f"SELECT tenant_id, digest FROM {table}")
        by_tenant = {tenant: {bytes(d) for t, d in rows if t == tenant} for tenant in ("default", OTHER)}
        assert len(by_tenant["default"]) == len(by_tenant[OTHER]) > 0
        assert by_tenant["default"].isdisjoint(by_tenant[OTHER])


async def test_the_audit_log_shows_only_entries_of_its_own_tenant(node, foreign_subject):
    own_subject = await node.create(tenant=OTHER)
    await node.read("support", foreign_subject, ["name"], "customer-support")
    theirs_entries = {str(entry.id) for entry in await node.entries("default")}
    for params in (
        {},
        {"subject": foreign_subject},
        {"subject": str(await node.pseudonym(foreign_subject))},
        {"principal": str((await node.caller("support")).principal.id)},
        {"action": "create"},
    ):
        shown = (await node.call("dpo", "GET", "/v1/audit/entries", params=params, tenant=OTHER)).json()["entries"]
        assert theirs_entries.isdisjoint(entry["id"] for entry in shown)
        assert all(entry["tenant"] == OTHER for entry in shown)
    for entry in (*theirs_entries, str(UUID(int=2**128 - 1))):
        refused = await node.call("dpo", "GET", "/v1/audit/entries", params={"before": entry}, tenant=OTHER)
        assert refused.status_code == 422, "an entry of another tenant is one that does not exist"
    shown = (await node.call("dpo", "GET", "/v1/audit/entries", params={"subject": own_subject}, tenant=OTHER)).json()
    assert [entry["action"] for entry in shown["entries"]] == ["create"]


async def test_a_cursor_of_another_tenant_finds_nothing(node, foreign_subject):
    created = await node.append("sales", foreign_subject, "purchase", {"order": "A-2"}, "order-fulfilment")
    own_subject = await node.create(tenant=OTHER)
    body = {"fields": ["order"], "purpose": "subject-rights", "cursor": UUID(created.json()["id"]).hex}
    path = f"/v1/subjects/{own_subject}/records/purchase:read"
    assert (await node.post("dpo", path, body, tenant=OTHER)).json()["results"] == []


async def test_idempotency_keys_are_separate_for_each_principal(node):
    body = {"profile": {"name": "One"}, "purpose": "order-fulfilment"}
    headers = {"Idempotency-Key": "the-same"}
    answers = [
        await node.post(role, "/v1/subjects", body, tenant=tenant, headers=headers)
        for role, tenant in (("sales", "default"), ("sales", OTHER), ("fulfilment", "default"))
    ]
    assert len({answer.json()["id"] for answer in answers}) == 3
    assert all("idempotent-replayed" not in answer.headers for answer in answers)
    digests = {bytes(row[0]) for row in await node.sql("SELECT key_digest FROM idempotency WHERE tenant_id = 'acme'")}
    others = {bytes(row[0]) for row in await node.sql("SELECT key_digest FROM idempotency WHERE tenant_id <> 'acme'")}
    assert digests.isdisjoint(others)


async def test_each_tenant_has_its_own_policies(node, tmp_path):
    one, two = await node.create(), await node.create(tenant=OTHER)
    files = dict(node.services.policies.active(OTHER).policy_set.files)
    files["policy.csv"] += "p, support, acme, email.clear, read, customer-support, allow\n"
    await apply_policies(node.services, OTHER, PolicySet.load(files))
    seen = await node.read("support", two, ["email"], "customer-support", tenant=OTHER)
    assert seen.json()["fields"] == {"email": "ada@example.org"}
    assert (await node.read("support", one, ["email"], "customer-support")).status_code == 403
    versions = {
        tenant: (await node.call("dpo", "GET", "/v1/catalogue", tenant=tenant)).json()["policy_version"]
        for tenant in ("default", OTHER)
    }
    assert versions["default"] != versions[OTHER]
    assert policy_folder(node.vault.settings, OTHER).is_relative_to(node.vault.settings.vault / "tenants")


async def test_a_rule_for_another_tenant_grants_nothing(node):
    one = await node.create()
    files = dict(node.services.policies.active("default").policy_set.files)
    files["policy.csv"] += "p, support, acme, email.clear, read, customer-support, allow\n"
    await apply_policies(node.services, "default", PolicySet.load(files))
    assert (await node.read("support", one, ["email"], "customer-support")).status_code == 403


async def test_rate_limits_are_counted_for_each_tenant(sqlite_place, clock):
    async with sqlite_place.node(clock, reads_per_minute=3) as node:
        one, two = await node.create(), await node.create(tenant=OTHER)
        for _ in range(3):
            assert (await node.read("support", one, ["name"], "customer-support")).status_code == 200
        assert (await node.read("support", one, ["name"], "customer-support")).status_code == 429
        assert (await node.read("support", two, ["name"], "customer-support", tenant=OTHER)).status_code == 200
