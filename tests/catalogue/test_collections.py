"""Invalid catalogues are refused, with each mistake on its line."""

from __future__ import annotations

import pytest

from tests.policy.folders import at, changed, findings_of, only, shipped
from vault.catalogue.model import Index, Risk, Sensitivity
from vault.policy.policy_set import PolicySet

FILE = "catalogue.toml"
EMAIL = "[field.profile.email]\n"


def test_a_field_is_read_as_declared():
    field = PolicySet.load(shipped()).catalogue.field("birth_date")

    assert field.whole == "profile.birth_date"
    assert field.type == "date"
    assert field.category == "user.demographic.date_of_birth"
    assert field.dpv == "pd:BirthDate"
    assert field.sensitivity is Sensitivity.CONFIDENTIAL
    assert field.views == {"year", "age_band", "over_16", "over_18", "present"}
    assert field.indexes == (Index("exact", 12),)
    assert field.high_risk == (Risk.IDENTITY_THEFT,)
    assert not field.special


def test_the_profile_has_one_record_and_every_other_collection_many():
    collections = PolicySet.load(shipped()).catalogue.collections

    assert {name: collection.many for name, collection in collections.items()} == {
        name: name != "profile" for name in collections
    }


@pytest.mark.parametrize(
    ("old", "new", "passage", "after", "code"),
    [
        ('type = "email"', 'type = "e-mail"', 'type = "e-mail"', "", "unknown-type"),
        ('type = "email"', "type = 7", "type = 7", "", "wrong-value"),
        ('type = "email"\n', "", "[field.profile.email]", "", "missing-key"),
        ('category = "user.contact.email"', 'category = "E-Mail"', 'category = "E-Mail"', "", "wrong-value"),
        ('dpv = "pd:EmailAddress"', 'dpv = "email"', 'dpv = "email"', "", "wrong-value"),
        ('sensitivity = "confidential"', 'sensitivity = "secret"', 'sensitivity = "secret"', "", "wrong-value"),
        ('"domain", "present"]', '"domain", "presence"]', '"presence"', "", "unknown-view"),
        ('"domain", "present"]', '"domain", "over_18"]', '"over_18"', "", "unknown-view"),
        ('"domain", "present"]', '"domain", "clear"]', '"clear"', "", "needless-view"),
        ('"domain", "present"]', '"domain", "domain"]', '"domain", "domain"', "", "duplicate"),
        ('search = ["exact"]', 'search = ["last_4"]', 'search = ["last_4"]', "", "index-not-allowed"),
        ('search = ["exact"]', 'search = ["exakt"]', 'search = ["exakt"]', "", "index-not-allowed"),
        ('search = ["exact"]', 'search = "exact"', 'search = "exact"', "", "wrong-value"),
        ('search = ["exact"]', 'serach = ["exact"]', "serach", "", "unknown-key"),
        ('title = "E-mail address"', 'title = ""', 'title = ""', "", "wrong-value"),
    ],
)
def test_a_mistake_in_a_field_is_refused_on_its_line(old, new, passage, after, code):
    start = shipped()[FILE]
    head, tail = start.split(EMAIL, 1)
    assert old in tail
    files = shipped() | {FILE: head + EMAIL + tail.replace(old, new, 1)}
    # rules that search by e-mail name what is then gone; the first finding is the one in this file
    findings = [finding for finding in findings_of(files) if finding.file == FILE]

    assert [(f"{finding.file}:{finding.line}", finding.code) for finding in findings] == [
        (at(files, FILE, passage, after=after or head), code)
    ]


def test_a_search_index_on_a_boolean_is_refused():
    files = changed(
        FILE,
        '[field.profile.gender]\ntitle = "Gender"\ntype = "enumeration"\n'
        'options = { values = ["female", "male", "non-binary", "other", "undisclosed"] }\n',
        '[field.profile.gender]\ntitle = "Gender"\ntype = "boolean"\nsearch = ["exact"]\n',
    )

    assert only(files) == (at(files, FILE, 'search = ["exact"]', after="[field.profile.gender]"), "index-not-allowed")


def test_a_search_index_on_an_enumeration_is_refused():
    files = changed(
        FILE, '[field.profile.gender]\ntitle = "Gender"', '[field.profile.gender]\nsearch = ["exact"]\ntitle = "Gender"'
    )

    (finding,) = findings_of(files)
    assert finding.line == int(at(files, FILE, 'search = ["exact"]', after="[field.profile.gender]").split(":")[1])
    assert finding.code == "index-not-allowed"
    assert "take it out" in finding.remedy


def test_an_enumeration_without_values_is_refused():
    files = changed(FILE, 'options = { values = ["inbound", "outbound"] }\n', "")

    assert only(files) == (at(files, FILE, "[field.interaction.direction]"), "wrong-option")


def test_an_unknown_option_is_refused():
    files = changed(FILE, "options = { max_length = 40 }", "options = { max_lenght = 40 }")

    assert only(files) == (at(files, FILE, "max_lenght"), "wrong-option")


@pytest.mark.parametrize("bits", ["4", "512", "true", '"12"'])
def test_index_bits_out_of_range_are_refused(bits):
    files = changed(FILE, "search_bits = { exact = 12 }", f"search_bits = {{ exact = {bits} }}")

    assert only(files) == (at(files, FILE, "search_bits = {"), "wrong-value")


def test_bits_for_an_index_that_is_not_there_are_refused():
    files = changed(FILE, "search_bits = { exact = 12 }", "search_bits = { exact = 12, prefix = 12 }")

    assert only(files) == (at(files, FILE, "search_bits = {"), "unknown-key")


def test_a_special_category_that_is_not_marked_is_refused():
    files = changed(FILE, "special = true\n", "")

    assert only(files) == (
        at(files, FILE, 'category = "user.health_and_medical"', after="[field.profile.health_notes]"),
        "special-not-marked",
    )


def test_a_field_that_no_purpose_needs_is_refused():
    text = '\n[field.profile.shoe_size]\ntitle = "Shoe size"\ntype = "integer"\ncategory = "user.demographic"\ndpv = "pd:Size"\nsensitivity = "internal"\n'
    files = shipped()
    files[FILE] += text

    # subject-rights needs profile.*, and justifies nothing
    assert only(files) == (at(files, FILE, "[field.profile.shoe_size]"), "field-unneeded")


def test_a_field_of_an_undeclared_collection_is_refused():
    files = shipped()
    files[FILE] += (
        '\n[field.gift.note]\ntitle = "Note"\ntype = "text"\ncategory = "user.content"\ndpv = "pd:Gift"\nsensitivity = "internal"\n'
    )

    assert only(files) == (at(files, FILE, "[field.gift.note]"), "unknown-collection")


def test_a_collection_without_fields_is_refused():
    files = shipped()
    files[FILE] += '\n[collection.gift]\ntitle = "Gifts"\n'

    assert only(files) == (at(files, FILE, "[collection.gift]"), "empty-collection")


def test_a_profile_field_called_like_a_collection_is_refused():
    files = changed(FILE, "[field.profile.employer]", "[field.profile.purchase]")

    codes = {(f"{finding.file}:{finding.line}", finding.code) for finding in findings_of(files)}
    assert (at(files, FILE, "[field.profile.purchase]"), "ambiguous-name") in codes


@pytest.mark.parametrize("name", ["Employer", "1st", '"em ployer"', '"ém"', '"a.b"', "a-b"])
def test_a_name_that_could_be_misread_is_refused(name):
    files = changed(FILE, "[field.profile.employer]", f"[field.profile.{name}]")
    files["purposes.toml"] = files["purposes.toml"].replace('  "employer",\n', "")

    codes = {(f"{finding.file}:{finding.line}", finding.code) for finding in findings_of(files)}
    assert (at(files, FILE, f"[field.profile.{name}]"), "wrong-name") in codes


@pytest.mark.parametrize(("collection", "many"), [("profile", "true"), ("purchase", "false")])
def test_only_the_profile_has_a_single_record(collection, many):
    text = shipped()[FILE]
    head, tail = text.split(f"[collection.{collection}]", 1)
    other = "false" if many == "true" else "true"
    files = shipped() | {
        FILE: head + f"[collection.{collection}]" + tail.replace(f"many = {other}", f"many = {many}", 1)
    }

    assert only(files) == (at(files, FILE, f"many = {many}", after=f"[collection.{collection}]"), "wrong-value")


def test_a_catalogue_without_a_profile_is_refused():
    files = changed(FILE, "[collection.profile]", "[collection.person]")

    codes = {finding.code for finding in findings_of(files)}
    assert {"missing-key", "unknown-collection", "empty-collection"} <= codes


def test_unknown_tables_are_refused_with_the_nearest_known():
    files = shipped()
    files[FILE] += "\n[fields.profile.x]\n"
    (finding,) = findings_of(files)

    assert (finding.line, finding.code) == (int(at(files, FILE, "[fields.profile.x]").split(":")[1]), "unknown-key")
    assert "did you mean `field`" in finding.remedy


@pytest.mark.parametrize(
    ("text", "line"),
    [("[collection.profile\n", 1), ("a = 1\na = 2\n", 2), ("x = 1\n\ny = \n", 3), ("a = [1,\n", 2), ('s = """\n', 2)],
)
def test_a_file_that_is_no_toml_is_refused_where_it_breaks(text, line):
    assert only(shipped() | {FILE: text}) == (f"{FILE}:{line}", "toml-syntax")


def test_deep_nesting_is_refused():
    (finding,) = findings_of(shipped() | {FILE: "a = " + "[" * 50_000})

    assert finding.code == "toml-syntax"


def test_all_mistakes_are_found_at_once():
    files = changed(FILE, 'type = "email"', 'type = "mail"')
    files["purposes.toml"] = files["purposes.toml"].replace('owner = "Finance"\n', "", 1)
    files["policy.csv"] += "\np, support, *, shoe_size, read, customer-support, allow\n"

    assert [finding.code for finding in findings_of(files)] == ["unknown-type", "unknown-field", "missing-key"]


def test_a_finding_reads_as_place_mistake_and_remedy():
    files = changed(FILE, 'type = "email"', 'type = "emial"')
    place = at(files, FILE, 'type = "emial"')
    (finding,) = findings_of(files)

    assert str(finding) == (
        f"policies/{place}: "
        "[field.profile.email] has the unknown type `emial` — did you mean `email`? Else write one of "
        "text, email, phone, date, country, address, language, integer, decimal, money, currency, boolean, enumeration, "
        "iban, national_id, json"
    )
