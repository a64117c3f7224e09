"""requests.toml: who approves, how long things wait, and every mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault.catalogue.company import APPROVAL_RULES, SAFEST, Approve, RequestRules, load_requests
from vault.catalogue.toml_document import Document, Findings

SHIPPED = Path(__file__).parents[2] / "policies" / "requests.toml"


def load(text):
    findings = Findings()
    return load_requests(Document("requests.toml", text, findings)), [
        (each.line, each.code) for each in findings.sorted()
    ]


def test_without_the_file_nothing_is_automatic_and_an_erasure_needs_four_eyes():
    rules = RequestRules()
    assert {rules.approval(rule) for rule in APPROVAL_RULES if rule != "erasure"} == {Approve.REVIEW}
    assert rules.approval("erasure") == Approve.FOUR_EYES
    assert rules.approval("something new") == Approve.FOUR_EYES


def test_an_empty_file_says_the_same():
    rules, found = load("")
    assert found == []
    assert rules.approve == SAFEST
    assert (rules.internal_days, rules.unverified_days, rules.package_days) == (7, 14, 14)


def test_the_shipped_file_approves_by_itself_only_what_changes_nothing_or_only_stops_a_use():
    rules, found = load(SHIPPED.read_text())
    assert found == []
    automatic = {rule for rule in APPROVAL_RULES if rules.approval(rule) == Approve.AUTOMATIC}
    assert automatic == {"access", "portability", "withdrawal", "objection-to-direct-marketing"}
    assert rules.languages == ("en", "de", "fr")


def test_what_is_said_counts_and_the_rest_stays_safe():
    rules, found = load('package_days = 3\ndefault_jurisdiction = "DE-BY"\n[approve]\naccess = "four-eyes"\n')
    assert found == []
    assert (rules.package_days, rules.default_jurisdiction) == (3, "DE-BY")
    assert rules.approval("access") == Approve.FOUR_EYES
    assert rules.approval("erasure") == Approve.FOUR_EYES
    assert rules.approval("portability") == Approve.REVIEW


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("internal_days = 30", "wrong-value"),
        ("internal_days = -1", "wrong-value"),
        ("unverified_days = 0", "wrong-value"),
        ('package_days = "14"', "wrong-value"),
        ('default_jurisdiction = "Bavaria"', "wrong-value"),
        ('default_jurisdiction = "XX"', "wrong-value"),
        ('languages = ["Deutsch"]', "wrong-value"),
        ("packge_days = 3", "unknown-key"),
        ('approve = "automatic"', "wrong-value"),
    ],
)
def test_a_mistake_is_told_with_its_line(text, code):
    rules, found = load(f"# a comment\n{text}\n")
    assert found == [(2, code)]
    assert rules.approve == SAFEST


@pytest.mark.parametrize("text", ['acess = "automatic"', 'access = "always"', "access = true"])
def test_a_wrong_approval_leaves_the_safe_one(text):
    rules, found = load(f"[approve]\n{text}\n")
    assert found == [(2, "wrong-value")]
    assert rules.approval("access") == Approve.REVIEW


@pytest.mark.parametrize(
    ("asked", "answered"), [("de", "de"), ("de-AT", "de"), ("FR", "fr"), ("it", "en"), (None, "en"), ("deu", "en")]
)
def test_people_are_answered_in_their_language_where_it_is_one_of_ours(asked, answered):
    assert RequestRules().language(asked) == answered
