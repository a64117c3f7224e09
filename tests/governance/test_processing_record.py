"""The record of processing: the declared use of data, the real use, and the differences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.support import FixedClock
from tests.vaults import ROLES
from vault.audit import log as ledger
from vault.clock import rfc3339
from vault.context import Caller
from vault.errors import Denied, InvalidInput
from vault.governance.processing_record import processing_record
from vault.governance.tenants import add_app, disable_app, set_roles
from vault.ids import DEFAULT_TENANT, new_id
from vault.policy.policy_set import PolicySet


async def make(node, role="dpo", **how):
    return await processing_record(node.services, await node.caller(role), **how)


def activity(record, purpose):
    return next(activity for activity in record.activities if activity.purpose == purpose)


def findings(record, code):
    return {(finding.purpose, finding.principal): finding for finding in record.findings if finding.code == code}


async def apply(node, **changed):
    """Put changed policies into force: for each file a pair of texts, the old one and the new one."""
    files = dict(node.services.policies.active("default").policy_set.files)
    for name, (old, new) in changed.items():
        path = {"purposes": "purposes.toml", "rules": "policy.csv", "retention": "retention.toml"}[name]
        assert old in files[path]
        files[path] = files[path].replace(old, new)
    await node.services.policies.apply("default", PolicySet.load(files), "test")


async def test_every_purpose_has_what_article_30_requires(node):
    record = await make(node)
    policies = node.services.policies.active("default").policy_set
    assert [activity.purpose for activity in record.activities] == list(policies.purposes)
    orders = activity(record, "order-fulfilment")
    assert (orders.title, orders.legal_basis, orders.legal_article, orders.owner) == (
        "Deliver what was ordered",
        "contract",
        "Art. 6(1)(b) GDPR",
        "Fulfilment",
    )
    assert orders.recipients == ("parcel services", "payment services")
    assert orders.roles == ("fulfilment", "sales")
    assert (orders.data_subjects, orders.transfers) == (("customers",), "none declared")
    assert (orders.retention.keep, orders.retention.since) == ("P3Y", "last-contact")
    email = next(category for category in orders.data if "email" in category.fields)
    assert email.category == policies.catalogue.field("email").category
    assert record.policy_version == policies.version
    assert len(record.security) > 5


async def test_special_categories_have_their_condition(node):
    advice = activity(await make(node), "health-advice")
    assert (advice.special_condition, advice.special_article) == ("explicit-consent", "Art. 9(2)(a) GDPR")
    assert {category.special for category in advice.data if "health_notes" in category.fields} == {True}


async def test_a_field_needed_in_some_views_only_is_named_with_them(node):
    names = {name for field in activity(await make(node), "service-analytics").data for name in field.fields}
    assert {"birth_date.year", "birth_date.age_band", "email.domain"} <= names
    assert not names & {"birth_date", "email"}


async def test_fields_with_their_own_period_are_listed(node):
    assert activity(await make(node), "customer-support").retention.fields == {
        "interaction.body": "P1Y",
        "notes": "P1Y",
    }


async def test_readers_are_listed_with_fields_counts_and_times(node, clock):
    ada = await node.create()
    await node.read("fulfilment", ada, ["name", "email"], "order-fulfilment")
    clock.advance(hours=1)
    await node.read("fulfilment", ada, ["name", "birth_date"], "order-fulfilment")
    use = activity(await make(node), "order-fulfilment").use
    assert (use.reads, use.writes, use.people) == (2, 1, 2)
    (reader,) = use.readers
    assert (reader.name, reader.state, reader.roles, reader.named) == ("fulfilment", "active", ("fulfilment",), True)
    assert (reader.first, reader.last) == (rfc3339(clock.now() - timedelta(hours=1)), rfc3339(clock.now()))
    assert {field.field: field.reads for field in reader.fields} == {"email": 1, "name": 2}, (
        "a denied field is not read"
    )


async def test_a_batch_counts_as_one_read_of_many_people(node):
    people = [await node.create(), await node.create({"name": "Grace"}), str(new_id())]
    body = {"subjects": people, "fields": ["name"], "purpose": "order-fulfilment"}
    assert (await node.post("fulfilment", "/v1/read", body)).status_code == 200
    use = activity(await make(node), "order-fulfilment").use
    assert (use.reads, use.people) == (1, 2)


async def test_lists_and_searches_count_as_reads(node):
    ada = await node.create()
    await node.append("sales", ada, "purchase", {"amount": "12.90", "currency": "EUR"}, "order-fulfilment")
    path = f"/v1/subjects/{ada}/records/purchase:read"
    await node.post("fulfilment", path, {"fields": ["amount"], "purpose": "order-fulfilment"})
    search = {"match": {"email": "ada@example.org"}, "fields": ["name"], "purpose": "customer-support"}
    await node.post("support", "/v1/subjects:search", search)
    record = await make(node)
    assert [field.field for field in activity(record, "order-fulfilment").use.readers[0].fields] == ["purchase.amount"]
    result = activity(record, "customer-support").use
    assert (result.reads, result.searches) == (0, 1)
    assert [field.field for field in result.readers[0].fields] == ["name"]


async def test_a_denied_read_is_not_counted(node):
    ada = await node.create()
    assert (await node.read("marketing", ada, ["email"], "order-fulfilment")).status_code == 403
    assert activity(await make(node), "order-fulfilment").use.readers == ()


async def test_reads_before_the_period_are_left_out(place):
    """The clock is set back, because the ids of entries have the real time."""
    clock = FixedClock(datetime.now(UTC) - timedelta(days=20))
    async with place.node(clock) as node:
        ada = await node.create()
        await node.read("fulfilment", ada, ["name"], "order-fulfilment")
        clock.advance(days=20)
        await node.read("fulfilment", ada, ["email"], "order-fulfilment")
        week = await make(node, since=clock.now() - timedelta(days=7))
        month = await make(node, since=clock.now() - timedelta(days=30))
    read = [[field.field for field in activity(it, "order-fulfilment").use.readers[0].fields] for it in (week, month)]
    assert read == [["email"], ["email", "name"]]
    assert week.period.since == rfc3339(clock.now() - timedelta(days=7))


async def test_a_long_log_is_read_in_chunks_each_entry_once(node, monkeypatch):
    monkeypatch.setattr(ledger, "USES_AT_A_TIME", 3)
    ada = await node.create()
    for _ in range(8):
        await node.read("fulfilment", ada, ["name"], "order-fulfilment")
    watched = []
    record = await make(node, watch=lambda entries, reached: watched.append(entries))
    assert activity(record, "order-fulfilment").use.reads == 8
    assert watched == [3, 6, 9]


async def test_reads_of_another_tenant_are_not_counted(node):
    ada = await node.create(tenant="acme")
    await node.read("fulfilment", ada, ["name"], "order-fulfilment", tenant="acme")
    record = await make(node)
    assert record.tenant == "default"
    assert activity(record, "order-fulfilment").use.first is None


# ---- Findings --------------------------------------------------------------------------------------------------------


async def test_unused_purposes_are_found(node):
    await node.create()
    unused = {purpose for purpose, _ in findings(await make(node), "purpose-unused")}
    assert unused == node.services.policies.active("default").policy_set.purposes.keys() - {"order-fulfilment"}


async def test_a_future_purpose_is_not_unused(node, clock):
    await apply(node, purposes=('owner = "Finance"', f'owner = "Finance"\nvalid_from = {clock.now().year + 1}-01-01'))
    record = await make(node)
    assert ("accounting", None) not in findings(record, "purpose-unused")
    assert activity(record, "accounting").in_force is False


async def test_granted_fields_that_were_never_read_are_found(node):
    ada = await node.create()
    await node.read("support", ada, ["name", "email.masked"], "customer-support")
    result = findings(await make(node), "fields-unread")["customer-support", None]
    assert {"phone", "notes", "interaction.body"} <= set(result.fields)
    assert not {"name", "email"} & set(result.fields), "any view of it counts"
    assert "billing_address" not in result.fields, "the purpose does not need it"
    assert f"{len(result.fields)} fields are granted" in result.detail


async def test_a_purpose_with_all_of_its_fields_read_has_no_finding(node):
    ada = await node.create_fully(name="Ada", billing_address={"street": "A 1", "city": "Berlin", "country": "DE"})
    keep = 'needs = ["name", "given_name", "family_name", "billing_address", "iban", "external_ids", "purchase.*"]'
    await apply(node, purposes=(keep, 'needs = ["name", "billing_address", "iban"]'))
    await node.read("finance", ada, ["name", "billing_address"], "accounting")
    assert findings(await make(node), "fields-unread")["accounting", None].fields == ("iban",)
    await node.patch("dpo", ada, {"iban": "DE89370400440532013000"}, "subject-rights", '"2"')
    await node.read("finance", ada, ["iban"], "accounting")
    assert ("accounting", None) not in findings(await make(node), "fields-unread")


async def test_an_app_without_its_role_is_an_unnamed_recipient(node):
    ada = await node.create()
    await node.read("sales", ada, ["name"], "order-fulfilment")
    assert findings(await make(node), "recipient-unnamed") == {}
    await set_roles(node.services, DEFAULT_TENANT, "sales", ["analytics"])
    result = findings(await make(node), "recipient-unnamed")["order-fulfilment", "sales"]
    assert result.fields == ("name",)
    assert "None of its roles" in result.detail
    assert not activity(await make(node), "order-fulfilment").use.readers[0].named


async def test_a_disabled_reader_is_found(node):
    ada = await node.create()
    await node.read("sales", ada, ["name"], "order-fulfilment")
    await disable_app(node.services, DEFAULT_TENANT, "sales")
    result = findings(await make(node), "recipient-unnamed")["order-fulfilment", "sales"]
    assert "It is disabled" in result.detail


async def test_a_named_recipient_needs_no_role(node):
    parcels, _ = await add_app(node.services, DEFAULT_TENANT, "parcel-services", ["fulfilment"])
    ada = await node.create()
    from vault.records.read import read_fields

    await read_fields(
        node.services, Caller(parcels, "test"), subjects=[UUID(ada)], fields=["name"], purpose="order-fulfilment"
    )
    await disable_app(node.services, DEFAULT_TENANT, "parcel-services")
    assert findings(await make(node), "recipient-unnamed") == {}


async def test_a_reader_whose_rules_were_removed_is_found(node):
    ada = await node.create()
    await node.read("support", ada, ["name"], "customer-support")
    await apply(node, rules=("read, customer-support, allow", "read, customer-support, deny"))
    assert ("customer-support", "support") in findings(await make(node), "recipient-unnamed")


async def test_reads_for_an_undeclared_purpose_are_found(node):
    ada = await node.create()
    await node.read("fulfilment", ada, ["name"], "order-fulfilment")
    created = node.services.audit_log.entry(
        tenant="default",
        action="read",
        decision="allowed",
        principal=new_id(),
        principal_name="old-app",
        purpose="long-gone",
        fields=("profile.email.clear",),
        subjects=(await node.pseudonym(ada),),
    )
    await node.services.audit_log.append(created)
    match = findings(await make(node), "purpose-undeclared")
    assert match.keys() == {("long-gone", "old-app")}
    assert match["long-gone", "old-app"].fields == ("email",)


@pytest.mark.parametrize(("field", "is_found"), [("profile.name.clear", False), ("profile.health_notes.clear", True)])
async def test_token_readers_are_named_if_any_role_may_read_the_fields(node, field, is_found):
    """The vault stores no roles of such people, so today's rules decide."""
    from vault.principals.oidc import principal_id

    ada = await node.create()
    created = node.services.audit_log.entry(
        tenant="default",
        action="read",
        decision="allowed",
        principal=principal_id("https://issuer.example", "grace"),
        principal_name="oidc-0123456789ab",
        purpose="customer-support",
        fields=(field,),
        subjects=(await node.pseudonym(ada),),
    )
    await node.services.audit_log.append(created)
    record = await make(node)
    assert activity(record, "customer-support").use.readers[0].state == "issuer"
    assert bool(findings(record, "recipient-unnamed")) is is_found


async def test_every_finding_has_a_remedy(node):
    record = await make(node)
    assert record.findings
    assert all(finding.remedy and finding.detail.endswith(".") for finding in record.findings)


# ---- Permission and bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["dpo", "operator"])
async def test_building_the_record_is_audited(node, role):
    async with node.new_entries() as new_entries:
        done = await processing_record(node.services, await node.caller(role))
    ((entry),) = new_entries
    assert (entry.action, entry.decision, entry.id) == ("read-processing", "allowed", done.audit)


@pytest.mark.parametrize("role", [role for role in ROLES if role not in {"dpo", "operator"}])
async def test_other_roles_are_denied(sqlite_node, role):
    async with sqlite_node.new_entries() as new_entries:
        with pytest.raises(Denied):
            await make(sqlite_node, role)
    assert [(entry.action, entry.decision) for entry in new_entries] == [("read-processing", "denied")]


@pytest.mark.parametrize(
    "since",
    [
        datetime(2026, 3, 5, 12, 0, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1),  # noqa: DTZ001 - without a zone nobody can say which moment it is
        datetime(1, 1, 1, tzinfo=datetime.strptime("+14:00", "%z").tzinfo),
    ],
    ids=["now", "in the future", "without a zone", "before the calendar"],
)
async def test_a_start_that_is_not_in_the_past_is_refused(sqlite_node, since):
    async with sqlite_node.new_entries() as new_entries:
        with pytest.raises(InvalidInput) as refused:
            await make(sqlite_node, since=since)
    assert refused.value.code == "invalid-since"
    assert [(entry.action, entry.decision, entry.code) for entry in new_entries] == [
        ("read-processing", "failed", "invalid-since")
    ]


async def test_the_earliest_time_is_a_valid_start(node):
    await node.create()
    record = await make(node, since=datetime(1, 1, 1, tzinfo=UTC))
    assert activity(record, "order-fulfilment").use.writes == 1
