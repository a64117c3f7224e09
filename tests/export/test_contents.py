"""The content of packages: everything in Art. 15, or portable data by Art. 20, and nothing about other people."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
import zipfile
from collections import Counter
from datetime import timedelta
from uuid import UUID

import jsonschema
import msgspec
import pytest

from tests.export.customer import PROFILE, RECORDS, buy, content_of, files_of, somebody
from tests.export.made_up import DEFAULT, approved, request_of
from tests.support import FixedClock
from vault import workflows
from vault.access import authorization as decide
from vault.access.callers import THE_PERSON, data_subject_caller
from vault.catalogue.model import Scope
from vault.crypto.seal import record_aad
from vault.errors import NotFound
from vault.export.build import build_package
from vault.export.contents import data_file, package_entries, schema
from vault.export.download import open_package
from vault.export.records import records
from vault.export.schema import OWNED_SECTIONS
from vault.export.verify import check_archive
from vault.ids import RecordId, SubjectId, new_id
from vault.lifecycle.personal_data import ExportContext, RetainedData
from vault.principals.store import PRINCIPAL, PRINCIPALS
from vault.rectification.store import Sealer, add_rectifications
from vault.subjects.rows import Origin, pack, seal_values

OTHERS = ("Byron King", "2015-05-12", "Jane Clerk")


def texts_of(files):
    """Return the text of every file, and of every part of the workbook."""
    with zipfile.ZipFile(io.BytesIO(files["tables.xlsx"])) as book:
        parts = {f"tables.xlsx/{name}": book.read(name) for name in book.namelist()}
    plain = {path: content for path, content in files.items() if path != "tables.xlsx"}
    return {path: content.decode() for path, content in (plain | parts).items()}


def read(files):
    """Read data.json and validate it against the schema in the package."""
    data = json.loads(files["data.json"])
    validator = jsonschema.Draft202012Validator(
        json.loads(files["data.schema.json"]), format_checker=jsonschema.FormatChecker()
    )
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)] == []
    return data


async def consent(node, subject, purpose, notice, decision="given", **more):
    body = {"purpose": purpose, "decision": decision, "notice": notice, "method": "checkbox", "channel": "web", **more}
    done = await node.post("support", f"/v1/subjects/{subject}/consents", body)
    assert done.status_code == 201, done.text
    return done.json()["id"]


def test_the_schema_is_valid_2020_12_and_refuses_unknown_keys():
    answer = json.loads(schema())

    jsonschema.Draft202012Validator.check_schema(answer)
    assert answer["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert list(jsonschema.Draft202012Validator(answer).iter_errors({"format": "cdv-package-1", "more": 1}))


async def test_an_access_package_contains_every_value_with_its_origin(node):
    subject = await somebody(node)
    data = read(await files_of(node, subject))

    (profile,) = data["records"]["profile"]
    assert profile["values"] == {"given_name": "Ada", **PROFILE}
    assert {name: len(rows) for name, rows in data["records"].items()} == {
        "profile": 1,
        "purchase": 3,
        **{name: len(rows) for name, rows in RECORDS.items()},
    }
    assert data["records"]["complaint"][0]["values"] == RECORDS["complaint"][0]
    assert [item["values"]["order"] for item in data["records"]["purchase"]] == ["A-2", "A-1", "A-0"]
    assert data["records"]["purchase"][2]["occurred_at"] == "2026-03-05T12:00:00.000000Z"
    (origin,) = data["records"]["purchase"][0]["origins"]
    assert (origin["source"], origin["purpose"]) == ("shop", "order-fulfilment")
    assert origin["collected_at"] == "2026-03-05T12:00:00.000000Z"
    assert data["counts"]["records"] == sum(len(rows) for rows in data["records"].values())
    assert data["counts"]["values"] == sum(len(row["values"]) for rows in data["records"].values() for row in rows)


async def test_an_access_package_contains_everything_that_art_15_lists(sqlite_node):
    subject = await somebody(sqlite_node)
    await consent(sqlite_node, subject, "profiling", "profiling@1", evidence="form 12")
    await sqlite_node.post(
        "support", f"/v1/subjects/{subject}/objections", {"purpose": "fraud-prevention", "reason": "honest"}
    )
    await sqlite_node.read("support", subject, ["email.masked"], "customer-support")
    data = read(await files_of(sqlite_node, subject))

    purposes = {purpose["name"]: purpose for purpose in data["purposes"]}  # (a)
    assert purposes["accounting"]["article"] == "Art. 6(1)(c) GDPR"
    assert purposes["accounting"]["law"].startswith("Directive 2006/112/EC")
    assert purposes["accounting"]["retention"]["keep"] == "P10Y"
    assert purposes["profiling"]["state"] == "in-use"
    assert purposes["profiling"]["special_article"] == "Art. 9(2)(a) GDPR"
    assert purposes["fraud-prevention"]["state"] == "objected"
    assert purposes["direct-marketing"]["state"] == "consent-missing"
    categories = {category["category"]: category for category in data["categories"]}  # (b)
    assert categories["user.contact.email"] == {
        "category": "user.contact.email", "special": False, "fields": ["profile.email"]
    }  # fmt: skip
    assert categories["user.health_and_medical"]["special"]
    (reader,) = [recipient for recipient in data["recipients"] if recipient["recipient"] == "support"]  # (c)
    assert (reader["kind"], reader["purpose"], reader["times"]) == ("app", "customer-support", 1)
    assert (reader["first"], reader["fields"]) == ("2026-03-05T12:00:00.000000Z", ["profile.email.masked"])
    assert "parcel services" in purposes["order-fulfilment"]["recipients"]
    assert data["records"]["profile"][0]["origins"][0]["keep"]["until"] > "2026-03-05"  # (d)
    assert {right["article"] for right in data["rights"]} >= {"Art. 16 GDPR", "Art. 17 GDPR", "Art. 21 GDPR"}  # (e)
    assert data["controller"]["authority"]["name"] == "Data Protection Commission"  # (f)
    sources = {source["source"]: source for source in data["sources"]}  # (g)
    assert sources["shop"]["values"] == 24
    assert sources["shop"]["fields"][0] == "purchase.order"
    assert purposes["profiling"]["automated_decision"] is False  # (h)
    assert purposes["profiling"]["logic"].startswith("Purchases of the last year")
    assert [item["field"] for item in data["inferred"]] == ["social_post.sentiment"]
    assert all(purpose["transfers"] == {} for purpose in data["purposes"])  # (2)
    assert [(event["kind"], event.get("words")) for event in data["history"]] == [
        ("objected", "honest"),
        ("given", "form 12"),
    ]
    assert data["history"][1]["notice_title"] == "Getting to know you"
    assert [request["kind"] for request in data["requests"]] == ["access"]


async def test_values_about_other_people_are_masked_everywhere(sqlite_node):
    files = await files_of(sqlite_node, await somebody(sqlite_node))
    data = read(files)

    for path, content in texts_of(files).items():
        for word in OTHERS:
            assert word not in content, path
    (member,) = data["records"]["family_member"]
    assert member["values"] == {"name": "B•••••", "relation": "child", "birth_date": 2015}
    assert member["masked"] == {"name": "masked", "birth_date": "year"}


async def test_disclosures_are_listed_and_refused_reads_are_not(node):
    subject = await somebody(node, records={}, purchases=0)
    other = await node.create({"name": "Somebody Else"})
    await node.read("support", subject, ["name"], "customer-support")
    await node.read("marketing", subject, ["email"], "direct-marketing")  # no consent: nothing was shown
    await node.read("support", other, ["name"], "customer-support")
    batch = {"subjects": [str(subject), other], "fields": ["email"], "purpose": "order-fulfilment"}
    assert (await node.post("sales", "/v1/read", batch)).status_code == 200
    answer = await node.post(
        "support",
        "/v1/subjects:search",
        {"match": {"email": "ada@example.org"}, "fields": ["name"], "purpose": "customer-support"},
    )
    assert answer.status_code == 200
    files = await files_of(node, subject)
    data = read(files)

    assert [(access["recipient"], access["action"], access["fields"]) for access in data["accesses"]] == [
        ("support", "read", ["profile.name.clear"]),
        ("sales", "read", ["profile.email.clear"]),
        ("support", "search", ["profile.name.clear"]),
    ]
    assert data["counts"]["accesses"] == 3
    rows = list(csv.reader(io.StringIO(files["accesses.csv"].decode("utf-8-sig"))))
    assert [row[1] for row in rows] == ["recipient", "support", "sales", "support"]
    assert str(subject) not in json.dumps(data["accesses"])


async def test_disclosures_are_listed_in_the_order_of_the_log(node):
    subject = await somebody(node, records={}, purchases=0)
    caller = await node.caller("support")
    ids = sorted(new_id() for _ in range(6))
    fields = [f"profile.field_{number}.clear" for number in range(6)]
    for number in (3, 1, 5, 0, 4, 2):
        created = decide.audit_entry(
            node.services,
            caller,
            id=ids[number],
            action="read",
            decision="allowed",
            subjects=(await node.pseudonym(subject),),
            fields=(fields[number],),
        )
        await node.services.audit_log.append(created)
    data = read(await files_of(node, subject))
    assert [access["fields"] for access in data["accesses"]] == [[field] for field in fields]


async def test_people_at_work_are_listed_as_staff_without_their_name(sqlite_node):
    subject = await somebody(sqlite_node, records={}, purchases=0)
    await sqlite_node.read("support", subject, ["name"], "customer-support")
    await sqlite_node.rewrite(PRINCIPALS, PRINCIPAL.c.name == "support", kind="staff")
    data = read(await files_of(sqlite_node, subject))

    assert [(recipient["recipient"], recipient["kind"]) for recipient in data["recipients"]] == [("staff", "staff")]


async def test_a_download_is_a_disclosure_of_all_fields_of_the_package(sqlite_node):
    """The app is a recipient (Art. 15(1)(c)); a download by the subject is listed as the subject's own."""
    node = sqlite_node
    subject = await somebody(node, records={"family_member": RECORDS["family_member"]}, purchases=1)
    request = await approved(node, subject)
    await build_package(node.services, DEFAULT, request)
    assert (await node.call("dpo", "GET", f"/v1/requests/{request}/package")).status_code == 200
    me = data_subject_caller(DEFAULT, "r-1")
    await open_package(node.services, me, request, person=SubjectId(subject))
    data = read(await files_of(node, subject))

    theirs, own = data["accesses"]
    assert (theirs["recipient"], theirs["action"]) == ("dpo", "download-package")
    assert {"profile.email.clear", "purchase.amount.clear", "family_member.name.masked"} <= set(theirs["fields"])
    assert {field.partition(".")[0] for field in theirs["fields"]} == {"profile", "purchase", "family_member"}
    assert (own["recipient"], own["kind"], own["fields"]) == ("yourself", "vault", theirs["fields"])


async def test_a_package_contains_the_scope_of_the_request_only(node):
    subject = await somebody(node, purchases=1)
    for scope, collections in (
        (Scope(collections=("purchase",)), {"purchase"}),
        (Scope(fields=("profile.email",), collections=("loyalty",)), {"profile", "loyalty"}),
        (Scope(purposes=("health-advice",)), {"profile", "health_note"}),
    ):
        files = await files_of(node, subject, scope=scope)
        data = read(files)
        assert {name for name, records in data["records"].items() if records} == collections == set(data["collections"])
        assert {path for path in files if path.startswith("csv/")} == {f"csv/{name}.csv" for name in collections}
        whole = "".join(texts_of(files).values())
        assert ("A-0" in whole) == ("purchase" in collections)
        assert ("Late again." in whole, "liberal" in whole, "DE89" in whole) == (False, False, False)
        assert {purpose["name"] for purpose in data["purposes"]}  # why it is used, is told all the same
    narrow = read(await files_of(node, subject, "portability", scope=Scope(fields=("profile.email", "profile.iban"))))
    assert set(narrow["fields"]) == {"profile.email"}


async def test_requests_of_a_merged_entry_are_listed(node):
    subject = UUID(await node.create({"name": "Ada Lovelace"}))
    double = await node.create({"name": "A. Lovelace"})
    earlier = await approved(node, double, "objection", state="completed")
    body = {"survivor": str(subject), "duplicate": double, "evidence": "ticket 4711"}
    assert (await node.post("dpo", "/v1/subjects:merge", body)).status_code == 201
    data = read(await files_of(node, subject))

    assert str(earlier) in {request["id"] for request in data["requests"]}


async def test_disclosures_of_a_merged_entry_are_listed(node):
    subject = UUID(await node.create({"name": "Ada Lovelace"}))
    double = await node.create({"name": "A. Lovelace"})
    await node.read("sales", double, ["name"], "order-fulfilment")
    body = {"survivor": str(subject), "duplicate": double, "evidence": "ticket 4711"}
    assert (await node.post("dpo", "/v1/subjects:merge", body)).status_code == 201
    data = read(await files_of(node, subject))

    assert [aliase["id"] for aliase in data["person"]["aliases"]] == [double]
    assert [recipient["recipient"] for recipient in data["recipients"]] == ["sales"]


class Card(msgspec.Struct):
    number: str
    points: int


class LoyaltyData(RetainedData):
    """An owner of personal data that the package does not know."""

    async def export(self, package):
        return {"loyalty-cards": [Card(f"card of {package.subject}", 4711)]}


async def test_what_a_new_owner_exports_is_in_an_access_package(node, monkeypatch):
    monkeypatch.setattr(workflows, "OWNERS", (*workflows.OWNERS, LoyaltyData()))
    subject = await somebody(node)
    files = await files_of(node, subject)

    assert read(files)["more"]["loyalty-cards"] == [{"number": f"card of {subject}", "points": 4711}]
    page = files["index.html"].decode()
    assert "<h3>loyalty cards</h3>" in page
    assert f"number: card of {subject}<br>points: 4711" in page


async def test_every_section_that_an_owner_exports_is_filled_by_it_alone(node):
    subject = await somebody(node)
    keys = (await node.services.keyring.subject_keys(DEFAULT, [subject]))[subject]
    package = ExportContext(node.services, DEFAULT, subject, keys, "en", lambda _field: True, lambda _field: False)
    sections = Counter([name for owner in node.services.personal_data for name in await owner.export(package)])

    assert sections - Counter({"contact_changes": 1}) == Counter(OWNED_SECTIONS)


async def test_corrections_have_details_unless_they_are_about_other_people(node):
    subject = await somebody(node, records={"family_member": RECORDS["family_member"]}, purchases=0)
    keys = (await node.services.keyring.subject_keys(DEFAULT, [subject]))[subject]
    sealer = Sealer(keys=keys, tenant=DEFAULT, subject=subject, at=node.services.clock.now(), by=THE_PERSON)
    created = [
        sealer.correction("profile", subject, "name", "Ada Byron", "Ada Lovelace"),
        sealer.statement("disputed", "I never said so", "income_band"),
        sealer.correction("family_member", new_id(), "name", "Byron Kong", "Byron King"),
    ]
    async with node.services.data.transaction() as connection:
        await add_rectifications(connection, DEFAULT, subject, created)
    files = await files_of(node, subject)
    answer = {correction["field"]: correction for correction in read(files)["corrections"]}

    assert answer["profile.name"]["details"] == {"before": "Ada Byron", "after": "Ada Lovelace"}
    assert answer["profile.income_band"]["details"]["statement"] == "I never said so"
    assert "details" not in answer["family_member.name"]
    page = files["index.html"].decode()
    assert "Ada Byron" in page
    assert "I never said so" in page
    assert "Byron K" not in page


async def test_values_of_fields_that_are_no_longer_declared_are_included(node):
    subject = await somebody(node, records={}, purchases=0)
    record, now = RecordId(new_id()), node.services.clock.now()
    keys = (await node.services.keyring.subject_keys(DEFAULT, [subject]))[subject]
    where = record_aad(DEFAULT, subject, "shoe_size", record)
    body = pack(seal_values(keys, where, {"left": b"42"}, Origin("old-crm", now, "gone")), None)
    row = (DEFAULT, subject, "shoe_size", record, 1, now, now, None, None, None, body)
    async with node.services.data.transaction() as connection:
        await node.services.subjects.add(connection, records=[row])
    files = await files_of(node, subject)
    data = read(files)

    assert data["records"]["shoe_size"][0]["values"] == {"left": 42}
    assert data["fields"]["shoe_size.left"]["type"] == "undeclared"
    assert data["records"]["shoe_size"][0]["origins"][0]["keep"]["until"] == "2026-04-04"  # nothing claims it
    assert "42" in files["csv/shoe_size.csv"].decode()
    assert "shoe_size" not in read(await files_of(node, subject, "portability"))["records"]


async def test_portability_contains_provided_and_observed_data_on_consent_or_contract(sqlite_node):
    subject = await somebody(sqlite_node)
    files = await files_of(sqlite_node, subject, "portability")
    data = read(files)

    assert data["kind"] == "portability"
    assert {"email", "address", "birth_date"} <= data["records"]["profile"][0]["values"].keys()
    without = {"iban", "notes", "health_notes", "preferences", "income_band"}  # a law, ours, and no consent
    assert not without & data["records"]["profile"][0]["values"].keys()
    assert len(data["records"]["purchase"]) == 3
    assert data["records"]["interaction"][0]["values"].keys() == {"channel", "direction"}
    assert not {"offer", "health_note", "political_view", "social_post", "family_member"} & data["records"].keys()
    assert {purpose["name"] for purpose in data["purposes"]} == {"order-fulfilment", "customer-support"}
    assert "accesses.csv" not in files
    for path, content in texts_of(files).items():
        assert "DE89370400440532013000" not in content, path


async def test_portability_follows_consent(sqlite_node):
    subject = await somebody(sqlite_node, records={}, purchases=0)
    await consent(sqlite_node, subject, "profiling", "profiling@1")
    before = read(await files_of(sqlite_node, subject, "portability"))
    sqlite_node.services.clock.advance(minutes=1)
    await consent(sqlite_node, subject, "profiling", "profiling@1", "withdrawn")
    after = read(await files_of(sqlite_node, subject, "portability"))

    assert before["records"]["profile"][0]["values"]["income_band"] == "50-74K"
    assert "income_band" not in after["records"]["profile"][0]["values"]


async def test_a_label_of_an_inferring_source_is_inferred_and_not_portable(sqlite_node):
    subject = await somebody(sqlite_node, records={}, purchases=0)
    await buy(sqlite_node, subject, 1, source="inferred:basket")
    access, portable = await files_of(sqlite_node, subject), await files_of(sqlite_node, subject, "portability")

    assert "purchase.store" in {item["field"] for item in read(access)["inferred"]}
    assert "purchase" not in read(portable)["records"]


async def test_values_that_are_added_later_are_not_in_the_package(node):
    subject = await somebody(node, records={}, purchases=2)
    content = await content_of(node, subject)
    node.services.clock.advance(seconds=1)
    await buy(node, subject, 2)

    assert len([record async for record in records(content, "purchase")]) == 2


async def test_a_package_is_in_the_language_of_the_request(sqlite_node):
    subject = await somebody(sqlite_node)
    german, french, other = [await files_of(sqlite_node, subject, language=item) for item in ("de-AT", "fr", "pt")]

    assert 'lang="de"' in german["index.html"].decode()
    assert "Lieferanschrift" in german["index.html"].decode()
    assert read(german)["language"] == "de"
    assert read(french)["fields"]["profile.birth_date"]["title"] == "Date de naissance"
    assert read(french)["rights"][2]["title"] == "Effacement"
    assert french["README.txt"].decode().startswith("VOS DONNÉES\r\n")
    assert read(other)["language"] == "en"


async def test_a_restriction_is_shown(sqlite_node):
    subject = await somebody(sqlite_node, records={}, purchases=0)
    body = {"ground": "accuracy", "reason": "to be checked"}
    assert (await sqlite_node.post("dpo", f"/v1/subjects/{subject}/restriction", body)).status_code == 201
    files = await files_of(sqlite_node, subject)

    assert read(files)["person"]["restricted_since"].startswith("2026-03-05")
    assert "restricted since 5 March 2026" in files["index.html"].decode()


async def test_the_page_is_the_first_file_and_files_depend_on_the_kind_of_request(sqlite_node):
    subject = await somebody(sqlite_node, records={}, purchases=1)
    content = await content_of(sqlite_node, subject, "portability")
    request = await request_of(sqlite_node, UUID(content.head.request.id))
    results = [path async for path, _bytes in package_entries(sqlite_node.services, DEFAULT, subject, request)]

    assert results == [
        "index.html",
        "README.txt",
        "data.json",
        "data.schema.json",
        "tables.xlsx",
        "csv/profile.csv",
        "csv/purchase.csv",
    ]


@pytest.mark.parametrize("state", ["nobody", "erased", "another tenant's"])
async def test_an_unknown_subject_has_no_package(sqlite_node, state):
    tenant = "acme" if state == "another tenant's" else "default"
    subject = UUID(await sqlite_node.create(tenant=tenant)) if state != "nobody" else new_id()
    if state == "erased":
        await sqlite_node.set_state(subject, "erased")

    with pytest.raises(NotFound) as caught:
        await content_of(sqlite_node, subject)
    assert caught.value.code == "subject-not-found"


async def test_records_are_streamed_and_not_held_in_memory(sqlite_node):
    subject = await somebody(sqlite_node, records={}, purchases=1_000)
    content = await content_of(sqlite_node, subject)
    tracemalloc.start()
    try:
        size = sum([len(piece) async for piece in data_file(content)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert size > 500_000
    assert peak < 5_000_000


async def test_the_end_of_retention_moves_with_the_last_contact(sqlite_place):
    clock = FixedClock()
    async with sqlite_place.node(clock) as node:
        subject = await somebody(node, records={}, purchases=0)
        first = await _keep(node, subject, "email")
        clock.advance(days=100)
        await buy(node, subject, 1)
        later = await _keep(node, subject, "email")

    assert first == {"until": "2029-03-05", "purpose": "order-fulfilment", "moves": True}
    assert later["until"] == (clock.now() + timedelta(days=1096)).date().isoformat()  # three years, one of them 2028


async def test_a_law_keeps_values_only_of_subjects_that_it_applies_to(sqlite_node):
    subject = UUID(await sqlite_node.create({"name": "Ada Lovelace"}))
    without = await _keep(sqlite_node, subject, "name")
    await buy(sqlite_node, subject, 1)
    with_purchase = await _keep(sqlite_node, subject, "name")

    assert without["purpose"] == "order-fulfilment"
    assert with_purchase == {"until": "2036-03-05", "purpose": "accounting", "moves": False}


async def _keep(node, subject, field):
    data = read(await files_of(node, subject))
    (keep,) = [origin["keep"] for origin in data["records"]["profile"][0]["origins"] if field in origin["fields"]]
    return keep


async def test_the_end_of_retention_by_law_is_the_day_until_which_an_erasure_keeps_the_value(sqlite_node, clock):
    subject = await somebody(sqlite_node)
    clock.advance(days=400)
    await buy(sqlite_node, subject, 1)
    preview = (await sqlite_node.call("dpo", "GET", f"/v1/subjects/{subject}/erasure:preview")).json()
    kept = {(line["field"], line["purpose"]): line["until"] for line in preview["kept"]}
    data = read(await files_of(sqlite_node, subject))
    answer = {}
    for collection, item in ((name, record) for name, result in data["records"].items() for record in result):
        for origin in item["origins"]:
            for field in origin["fields"]:
                key = f"{collection}.{field}", origin["keep"]["purpose"]
                answer[key] = max(answer.get(key, ""), origin["keep"]["until"] or "")
    both = kept.keys() & answer.keys()
    assert {("profile.name", "accounting"), ("purchase.amount", "accounting")} <= both
    assert {side: answer[side] for side in both} == {side: kept[side] for side in both}


async def test_a_subject_gets_their_values_in_a_valid_package(node):
    subject = await node.create()
    await node.append("fulfilment", subject, "purchase", {"amount": "9.00"}, "order-fulfilment")
    for kind in ("access", "portability"):
        request = await approved(node, subject, kind)
        assert await build_package(node.services, DEFAULT, request) is None
        download = await open_package(node.services, await node.caller("dpo"), request)
        data = b"".join([piece async for piece in download.stream])
        assert check_archive(io.BytesIO(data)).sound
        opened = zipfile.ZipFile(io.BytesIO(data))
        assert set(opened.namelist()) >= {"index.html", "README.txt", "data.json", "data.schema.json", "manifest.json"}
        assert opened.namelist()[-1] == "manifest.json"
        assert "ada@example.org" in json.dumps(json.loads(opened.read("data.json")))
