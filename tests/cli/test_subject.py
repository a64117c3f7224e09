"""People are named by id, by the number in another system, or by an e-mail address that is asked for."""

from __future__ import annotations

import json

import pytest

from tests.cli.people import person_in

NUMBER = "100001"
SECRET = "KD-7731-secret"


@pytest.fixture
def subject(vault_folder):
    return person_in(vault_folder, {"erp": NUMBER}, name="Ada", email="ada@example.org")


@pytest.fixture
def other(vault_folder):
    return person_in(vault_folder, {"erp": "100002", "shop": NUMBER}, name="Grace", email="grace@example.org")


def answer(cdv, *command):
    """Return what a command answers, without the entry that each call has."""
    said = cdv.json(*command)
    return {key: value for key, value in said.items() if key != "audit"} if isinstance(said, dict) else said


MARKETING = ("--purpose", "direct-marketing")


def test_number_in_another_system_names_the_person_to_every_command(in_vault, subject, other, tmp_path):
    assert answer(in_vault, "consent", "show", f"erp={NUMBER}") == answer(in_vault, "consent", "show", subject)
    in_vault.ok("consent", "record", f"erp={NUMBER}", *MARKETING, "--decision", "withdrawn")
    assert [event["kind"] for event in in_vault.json("consent", "show", subject)["history"]] == ["withdrawn"]
    assert in_vault.json("consent", "show", other)["history"] == []
    checked = in_vault("consent", "check", f"erp={NUMBER}", f"shop={NUMBER}", *MARKETING, "--json")
    assert [result["subject"] for result in json.loads(checked.stdout)] == [subject, other]
    for command in (
        ("retention", "why", f"erp={NUMBER}", "name"),
        ("erasures", "preview", f"erp={NUMBER}"),
        ("rectify", "list", f"erp={NUMBER}"),
        ("recipients", "list", "--subject", f"erp={NUMBER}"),
    ):
        assert answer(in_vault, *command) == answer(in_vault, *(subject if "=" in word else word for word in command))
    request = in_vault.json("requests", "submit", "access", "--subject", f"erp={NUMBER}")["id"]
    assert [found["id"] for found in in_vault.json("requests", "list", "--subject", f"erp={NUMBER}")] == [request]
    assert in_vault.json("requests", "list", "--subject", f"shop={NUMBER}") == []
    entries = [json.loads(line) for line in in_vault.ok(
        "audit", "tail", "--subject", f"erp={NUMBER}", "--action", "submit-request", "--json"
    ).splitlines()]  # fmt: skip
    assert len(entries) == 1
    file = tmp_path / "people.txt"
    file.write_text(f"erp={NUMBER}\n{other}\n")
    held = in_vault.json(
        "holds", "place", "LG-1", "--owner", "legal", "--review", "2027-03-01", "--subjects-from", file
    )
    assert held["people"] == 2
    assert in_vault.json("holds", "change", held["id"], "--remove", "shop=100001")["people"] == 1


def test_merging_takes_numbers(in_vault, subject, other):
    merged = in_vault.json("subjects", "merge", f"erp={NUMBER}", "erp=100002", "--evidence", "ticket 1", "--yes")
    assert merged["created"] is True
    # Both numbers are the survivor's now.
    for named in (subject, f"erp={NUMBER}", "erp=100002", f"shop={NUMBER}"):
        assert in_vault.json("consent", "show", named)["subject"] == subject


def test_address_is_asked_for_and_is_no_argument(in_vault, subject):
    shown = in_vault("consent", "show", "email", "--json", typed="ADA@example.org\n")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout.splitlines()[-1])["subject"] == subject
    refused = in_vault("consent", "show", "ada@example.org")
    assert refused.exit_code == 2
    assert "`email`, to be asked for the address" in refused.stderr
    assert "ada" not in refused.stderr


@pytest.mark.parametrize("typed", [SECRET, f"Erp system={SECRET}", f"={SECRET}", "erp=", f"erp={SECRET}\n"])
def test_what_names_no_one_is_refused_and_never_repeated(in_vault, subject, typed):
    result = in_vault("consent", "show", typed)
    assert result.exit_code in {1, 2}
    assert result.stderr.startswith("error: ")
    assert SECRET not in result.output


def test_number_of_no_one_is_not_found_and_on_the_log(in_vault, subject):
    for typed in (f"erp={SECRET}", f"crm={NUMBER}"):
        result = in_vault("consent", "show", typed)
        assert result.exit_code == 1
        assert "error: There is no such person" in result.stderr
        assert "hint: check the system and the number" in result.stderr
        assert SECRET not in result.output
    entries = in_vault.ok("audit", "tail", "--action", "search", "--json")
    codes = [json.loads(line).get("code") for line in entries.splitlines()]
    assert codes == ["subject-not-found", "subject-not-found"]
    assert SECRET not in entries


def test_address_of_several_people_names_none_of_them(in_vault, vault_folder, subject):
    person_in(vault_folder, {"erp": "9"}, name="Ada L", email="ada@example.org")
    result = in_vault("consent", "show", "email", typed="ada@example.org\n")
    assert result.exit_code == 1
    assert "error: several people have it\nhint: name one by id" in result.stderr
    assert "ada@example" not in result.stderr.partition("error: ")[2]


def test_line_of_a_file_that_names_no_one_is_told_by_its_number(in_vault, subject, tmp_path):
    file = tmp_path / "people.txt"
    for line in (f"erp={SECRET}", SECRET, "email"):
        file.write_text(f"{subject}\n{line}\n")
        result = in_vault(
            "holds", "place", "LG-1", "--owner", "legal", "--review", "2027-03-01", "--subjects-from", file
        )
        assert result.exit_code == 1
        assert "error: line 2 of the file names no person" in result.stderr
        assert SECRET not in result.output
