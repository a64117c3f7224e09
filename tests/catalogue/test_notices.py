"""Reading notices: file, front matter and purposes must agree."""

from __future__ import annotations

import hashlib

import pytest

from tests.policy.folders import at, changed, findings_of, only, shipped
from vault.policy.policy_set import PolicySet

FILE = "notices/marketing@3.md"
GERMAN = "notices/marketing@3.de.md"


def test_a_notice_is_read_with_the_hash_of_its_text():
    notice = PolicySet.load(shipped()).notices["marketing@3"]

    assert (notice.name, notice.version, notice.language) == ("marketing", 3, "en")
    assert notice.purposes == ("direct-marketing",)
    assert notice.body.startswith("# News and offers by e-mail")
    assert notice.digest == "sha256:" + hashlib.sha256(shipped()[FILE].encode()).hexdigest()


@pytest.mark.parametrize(
    ("old", "new", "passage", "code"),
    [
        ('notice = "marketing@3"', 'notice = "marketing@4"', "notice =", "wrong-name"),
        ('notice = "marketing@3"\n', "", "+++", "missing-key"),
        ('title = "News and offers by e-mail"', "title = 3", "title = 3", "wrong-value"),
        ('language = "en"', 'language = "English"', 'language = "English"', "wrong-value"),
        ('language = "en"', 'langage = "en"\nlanguage = "en"', "langage", "unknown-key"),
        ('language = "en"', 'language = "en"\nmaterial = "no"', "material", "wrong-value"),
        ("valid_from = 2026-01-01", 'valid_from = "soon"', "valid_from", "wrong-value"),
        ("valid_from = 2026-01-01", "valid_from = 2026-13-01", "valid_from", "toml-syntax"),
    ],
)
def test_a_mistake_in_the_front_matter_is_refused_on_its_line(old, new, passage, code):
    files = changed(FILE, old, new)
    findings = [
        (f"{finding.file}:{finding.line}", finding.code) for finding in findings_of(files) if finding.file == FILE
    ]
    line = 2 if passage == "+++" else int(at(files, FILE, passage).rpartition(":")[2])

    assert findings[0] == (f"{FILE}:{line}", code)


def test_a_notice_without_front_matter_is_refused():
    files = shipped() | {FILE: "May we write to you?\n"}

    assert (f"{FILE}:1", "no-front-matter") in [
        (f"{finding.file}:{finding.line}", finding.code) for finding in findings_of(files)
    ]


def test_a_notice_without_a_text_is_refused():
    files = shipped()
    files[FILE] = files[FILE][: files[FILE].rindex("+++") + 4]

    assert only(files) == (f"{FILE}:7", "empty-notice")


def test_a_notice_for_an_unknown_purpose_is_refused():
    loyalty = "notices/loyalty@1.md"
    files = changed(loyalty, '["loyalty-programme"]', '["loyalty-programme", "loyaltyprogramme"]')

    assert only(files) == (f"{loyalty}:1", "unknown-purpose")


def test_consent_to_a_missing_notice_is_refused():
    files = changed("purposes.toml", '"marketing@3"', '"marketing@4"')

    assert only(files) == (at(files, "purposes.toml", 'notice = "marketing@4"'), "consent-without-notice")


def test_consent_to_a_notice_about_another_purpose_is_refused():
    files = changed("purposes.toml", '"marketing@3"', '"loyalty@1"')

    assert only(files) == (at(files, "purposes.toml", 'notice = "loyalty@1"'), "notice-of-another")


@pytest.mark.parametrize(
    "notice", ["marketing", "marketing@0", "marketing@x", "Marketing@3", "../marketing@3", "marketing@03"]
)
def test_consent_to_a_notice_without_a_version_is_refused(notice):
    files = changed("purposes.toml", '"marketing@3"', f'"{notice}"')

    assert only(files) == (at(files, "purposes.toml", f'notice = "{notice}"'), "wrong-value")


def test_an_older_version_may_stay_in_the_folder():
    files = shipped()
    files["notices/marketing@2.md"] = files[FILE].replace("marketing@3", "marketing@2")

    assert set(PolicySet.load(files).notices) >= {"marketing@2", "marketing@3"}


def test_a_version_is_material_unless_it_says_otherwise():
    assert PolicySet.load(shipped()).notices["marketing@3"].material is True
    files = shipped()
    del files[GERMAN]
    files[FILE] = files[FILE].replace('language = "en"', 'language = "en"\nmaterial = false')

    assert PolicySet.load(files).notices["marketing@3"].material is False


def test_a_translation_is_the_same_version_in_another_language():
    notices = PolicySet.load(shipped()).notices

    assert notices["marketing@3"].language == "en"
    german = notices.languages("marketing@3")["de"]
    assert (german.id, german.title) == ("marketing@3", "Neuigkeiten und Angebote per E-Mail")
    assert german.digest == "sha256:" + hashlib.sha256(shipped()[GERMAN].encode()).hexdigest()


@pytest.mark.parametrize(
    ("old", "new", "passage"),
    [
        ('["direct-marketing"]', '["direct-marketing", "profiling"]', "purposes"),
        ('language = "de"', 'language = "de"\nmaterial = false', "material"),
        ("valid_from = 2026-01-01", "valid_from = 2026-02-01", "valid_from"),
        ("valid_from = 2026-01-01\n", "", "+++"),
    ],
)
def test_languages_of_one_version_that_disagree_are_refused_on_the_line(old, new, passage):
    files = changed(GERMAN, old, new)
    line = 2 if passage == "+++" else int(at(files, GERMAN, passage).rpartition(":")[2])

    assert only(files) == (f"{GERMAN}:{line}", "languages-differ")


def test_a_translation_is_named_by_its_language():
    files = changed(GERMAN, 'language = "de"', 'language = "fr"')

    assert only(files) == (at(files, GERMAN, "language"), "wrong-name")


def test_a_duplicate_language_is_refused():
    files = shipped()
    files["notices/marketing@3.en.md"] = files[FILE]

    assert only(files) == ("notices/marketing@3.en.md:5", "duplicate")


def test_translation_without_a_main_language_is_refused():
    files = shipped()
    files["notices/marketing@2.de.md"] = files[GERMAN].replace("marketing@3", "marketing@2")

    assert only(files) == ("notices/marketing@2.de.md:1", "no-main-language")


def test_a_newer_version_that_leaves_the_purpose_out_is_refused():
    files = shipped()
    files["notices/marketing@4.md"] = (
        files[FILE].replace("marketing@3", "marketing@4").replace("direct-marketing", "profiling")
    )

    assert only(files) == (at(files, "purposes.toml", 'notice = "marketing@3"'), "notice-of-another")


@pytest.mark.parametrize(
    "name", ["marketing", "marketing@x", "marketing@3.de.at", "marketing@3.", "@3", "marketing@03"]
)
def test_a_file_whose_name_is_no_version_is_refused(name):
    files = shipped() | {f"notices/{name}.md": shipped()[FILE]}

    assert "wrong-name" in {finding.code for finding in findings_of(files) if finding.file == f"notices/{name}.md"}
