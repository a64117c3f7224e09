"""Import of profiles: new and existing subjects, invalid lines and the audit log, on both databases."""

from __future__ import annotations

import pytest

from tests.imports.files import PEOPLE, Faults, bring_in, counts, people_csv, read, rows_of, subject_of, write_csv
from vault.errors import Denied, InvalidInput


async def test_imported_subjects_can_be_read_and_found(node, tmp_path):
    report = await bring_in(node, people_csv(tmp_path / "a.csv", 25), chunk_lines=10)
    assert counts(report) == (25, 0, 0, 0)
    ada = await subject_of(node, "7")
    assert await read(node, ada, "name", "email", "language", "external_ids") == {
        "name": "Person 7",
        "email": "person.7@example.org",
        "language": "en",
        "external_ids": {"shop": "7"},
    }
    answer = await node.post(
        "support",
        "/v1/subjects:search",
        {"match": {"email": "person.7@example.org"}, "fields": ["name"], "purpose": "customer-support"},
    )
    assert [result["subject"] for result in answer.json()["results"]] == [str(ada)]


async def test_the_same_file_again_changes_nothing(node, tmp_path):
    path = people_csv(tmp_path / "a.csv", 25)
    await bring_in(node, path, chunk_lines=10)
    before, entries = await rows_of(node), await node.count()
    report = await bring_in(node, path, chunk_lines=10)
    assert counts(report) == (0, 0, 25, 0)
    assert await rows_of(node) == before
    assert await node.count() == entries


async def test_changed_values_are_written_and_indexed(node, tmp_path):
    path = people_csv(tmp_path / "a.csv", 5)
    await bring_in(node, path)
    before = await rows_of(node)
    text = path.read_text().replace("person.3@example.org", "new.3@example.org").replace("Person 4", "Zoë Nováková")
    path.write_text(text, encoding="utf-8")
    report = await bring_in(node, path)
    assert counts(report) == (0, 2, 3, 0)
    third, fourth = await subject_of(node, "3"), await subject_of(node, "4")
    assert await read(node, third, "name", "email") == {"name": "Person 3", "email": "new.3@example.org"}
    assert await read(node, fourth, "name") == {"name": "Zoë Nováková"}
    for email, people in (("person.3@example.org", []), ("new.3@example.org", [str(third)])):
        body = {"match": {"email": email}, "fields": ["name"], "purpose": "customer-support"}
        result = (await node.post("support", "/v1/subjects:search", body)).json()["results"]
        assert [item["subject"] for item in result] == people
    after = await rows_of(node)
    assert after["record"] == before["record"]
    assert after["audit_subject"] == before["audit_subject"] + 2 + 3  # two updated; three read above


async def test_an_empty_cell_deletes_nothing(node, tmp_path):
    await bring_in(node, write_csv(tmp_path / "a.csv", "no,name,mail", "1,Ada,ada@example.org"))
    report = await bring_in(node, write_csv(tmp_path / "b.csv", "no,name,mail", "1,,", "2, ,two@example.org"))
    assert counts(report) == (1, 0, 1, 0)
    assert await read(node, await subject_of(node, "1"), "name") == {"name": "Ada"}


async def test_parts_of_an_address_are_merged_as_a_patch_would(node, tmp_path):
    mapping = 'purpose="order-fulfilment"\n[external_ids]\nshop="no"\n[fields.address.object]\nstreet="s"\ncity="c"\n'
    await bring_in(node, write_csv(tmp_path / "a.csv", "no,s,c", "1,Main St 1,Springfield"), mapping)
    report = await bring_in(node, write_csv(tmp_path / "b.csv", "no,s,c", "1,Side St 2,"), mapping)
    assert counts(report) == (0, 1, 0, 0)
    shown = await read(node, await subject_of(node, "1"), "address")
    assert shown == {"address": {"street": "Side St 2", "city": "Springfield"}}


async def test_invalid_lines_are_reported_by_line_code_and_field_and_the_others_are_imported(node, tmp_path):
    path = write_csv(
        tmp_path / "a.csv",
        "no,name,mail",
        "1,Ada,ada@example.org",
        "2,Bob,not-an-address",
        "3,too,many,cells",
        ",Nobody,no@example.org",
        "1,Ada again,again@example.org",
        ["6", "two\nlines", "six@example.org"],
        "7,Gus,gus@example.org",
    )
    watcher = Faults()
    report = await bring_in(node, path, watcher=watcher, chunk_lines=3)
    assert counts(report) == (2, 0, 0, 5)
    assert watcher.told == [
        (3, "bad-format", "email"),
        (4, "not-a-line", None),
        (5, "no-external-id", None),
        (6, "duplicate-in-file", None),
        (7, "bad-character", "name"),
    ]
    assert report.duplicates == 1
    assert report.codes["bad-format"] == 1
    assert await read(node, await subject_of(node, "1"), "name") == {"name": "Ada"}
    assert await read(node, await subject_of(node, "7"), "name") == {"name": "Gus"}


async def test_each_chunk_has_one_audit_entry_with_its_subjects_and_no_value(node, tmp_path):
    async with node.new_entries() as new_entries:
        await bring_in(node, people_csv(tmp_path / "a.csv", 25), chunk_lines=10)
    first, *_others = sorted(new_entries, key=lambda each: -len(each.subjects))
    assert sorted(len(item.subjects) for item in new_entries) == [5, 10, 10]
    assert (first.action, first.decision, first.purpose) == ("import", "allowed", "order-fulfilment")
    assert set(first.fields) == {
        "profile.name.clear", "profile.email.clear", "profile.language.clear", "profile.external_ids.clear",
    }  # fmt: skip
    assert first.policy.startswith("sha256:")
    assert first.principal_name == "command-line"
    pseudonym = await node.pseudonym(await subject_of(node, "0"))
    assert sum(pseudonym in item.subjects for item in new_entries) == 1


async def test_a_dry_run_counts_and_writes_nothing(node, tmp_path):
    path = write_csv(
        tmp_path / "a.csv", "no,name,mail", "1,Ada,ada@example.org", "2,Bob,wrong", "1,Eve,eve@example.org"
    )
    before, entries = await rows_of(node), await node.count()
    report = await bring_in(node, path, dry_run=True)
    assert counts(report) == (1, 0, 0, 2)
    assert report.dry_run
    assert await rows_of(node) == before
    assert await node.count() == entries
    assert await node.sql("SELECT count(*) FROM data_key", keystore=True) == [(0,)]
    assert await node.sql("SELECT count(*) FROM import_run") == [(0,)]


async def test_external_ids_of_two_subjects_on_one_line_are_refused(node, tmp_path):
    mapping = 'purpose="order-fulfilment"\n[external_ids]\nshop="no"\nerp="erp"\n[fields]\nname="name"\n'
    first = write_csv(tmp_path / "a.csv", "no,erp,name", "1,A,Ada", "2,B,Bob", "3,,Cyd")
    assert counts(await bring_in(node, first, mapping)) == (3, 0, 0, 0)
    second = write_csv(tmp_path / "b.csv", "no,erp,name", "1,B,Ada", "2,X,Bob", "3,C,Cyd", ",A,Ada")
    watcher = Faults()
    report = await bring_in(node, second, mapping, watcher=watcher)
    assert watcher.told == [(2, "two-people-match", None), (3, "external-id-differs", None)]
    assert counts(report) == (0, 1, 1, 2)  # Cyd has a second number now
    assert await subject_of(node, "C", "erp") == await subject_of(node, "3")


async def test_an_import_does_not_restore_an_erased_subject(node, tmp_path):
    path = people_csv(tmp_path / "a.csv", 2)
    await bring_in(node, path)
    await node.set_state(await subject_of(node, "1"), "erased")
    watcher = Faults()
    await bring_in(node, path, watcher=watcher)
    assert watcher.told == [(3, "subject-not-found", None)]


async def test_tenants_are_separate(node, tmp_path):
    path = people_csv(tmp_path / "a.csv", 3)
    await bring_in(node, path)
    assert counts(await bring_in(node, path, tenant="acme")) == (3, 0, 0, 0)
    assert await subject_of(node, "1") != await subject_of(node, "1", tenant="acme")


# ---- What the policies say -------------------------------------------------------------------------------------------


async def test_a_purpose_that_does_not_need_a_field_may_not_write_it(sqlite_node, tmp_path):
    mapping = PEOPLE + 'occupation = "name"\n'
    async with sqlite_node.new_entries() as new_entries:
        with pytest.raises(Denied) as denied:
            await bring_in(sqlite_node, people_csv(tmp_path / "a.csv", 2), mapping)
    assert {name: refusal.code for name, refusal in denied.value.denied.items()} == {
        "occupation": "purpose-excludes-field"
    }
    assert [(item.action, item.decision) for item in new_entries] == [("import", "denied")]
    assert new_entries[0].refused == {"profile.occupation.clear": "purpose-excludes-field"}
    assert (await rows_of(sqlite_node))["subject"] == 0


@pytest.mark.parametrize("purpose", ["direct-marketing", "loyalty-programme"])
async def test_a_purpose_that_rests_on_consent_may_not_write_anything(sqlite_node, tmp_path, purpose):
    mapping = (
        'collection="loyalty"\n[subject]\nsystem="shop"\nid="no"\n[record]\nexternal_id="no"\n[fields]\ntier="name"\n'
    )
    mapping = mapping.replace("loyalty", "offer").replace("tier", "title") if purpose == "direct-marketing" else mapping
    with pytest.raises(Denied) as denied:
        await bring_in(sqlite_node, people_csv(tmp_path / "a.csv", 2), mapping, purpose=purpose)
    assert {refusal.code for refusal in denied.value.denied.values()} == {"consent-missing"}


async def test_health_needs_explicit_consent(sqlite_node, tmp_path):
    mapping = 'purpose="health-advice"\n[external_ids]\nshop="no"\n[fields]\nhealth_notes="name"\n'
    with pytest.raises(Denied):
        await bring_in(sqlite_node, people_csv(tmp_path / "a.csv", 2), mapping)


async def test_a_minimised_purpose_may_not_write_anything(sqlite_node, tmp_path):
    with pytest.raises(Denied):
        await bring_in(sqlite_node, people_csv(tmp_path / "a.csv", 2), purpose="service-analytics")


@pytest.mark.parametrize(
    ("mapping", "how", "code"),
    [
        (PEOPLE, {"purpose": "nothing-known"}, "unknown-purpose"),
        (PEOPLE.replace('purpose = "order-fulfilment"', ""), {}, "no-purpose"),
        (PEOPLE + 'emial = "mail"\n', {}, "unknown-field"),
        (PEOPLE + 'external_ids = "no"\n', {}, "unknown-field"),
        (PEOPLE.replace('"mail"', '"e-mail"'), {}, "unknown-column"),
        (PEOPLE, {"source": "x" * 65}, "invalid-source"),
    ],
)
async def test_unknown_names_are_refused_before_anything_is_written(sqlite_node, tmp_path, mapping, how, code):
    with pytest.raises(InvalidInput) as error:
        await bring_in(sqlite_node, people_csv(tmp_path / "a.csv", 2), mapping, **how)
    assert error.value.code == code
    assert (await rows_of(sqlite_node))["subject"] == 0


async def test_without_a_mapping_columns_are_named_like_fields(sqlite_node, tmp_path):
    path = write_csv(
        tmp_path / "a.csv", "external_ids.shop;name;address.city;address.country".replace(";", ","), "1,Ada,London,GB"
    )
    report = await bring_in(sqlite_node, path, None, purpose="order-fulfilment")
    assert counts(report) == (1, 0, 0, 0)
    shown = await read(sqlite_node, await subject_of(sqlite_node, "1"), "name", "address")
    assert shown == {"name": "Ada", "address": {"city": "London", "country": "GB"}}


async def test_an_error_about_a_missing_header_does_not_echo_the_first_line(sqlite_node, tmp_path):
    path = write_csv(tmp_path / "a.csv", "4711,Secretname,secret@example.org", "4712,Bob,bob@example.org")
    with pytest.raises(InvalidInput) as error:
        await bring_in(sqlite_node, path, None, purpose="order-fulfilment")
    answer = str(error.value) + str(error.value.hint) + "".join(fault.detail for fault in error.value.faults)
    assert error.value.code == "mapping-needed"
    assert "ecret" not in answer
