"""Holds at the command line: placed, listed, changed, lifted, and the erasure that goes on."""

from __future__ import annotations

from tests.cli.conftest import cdv, in_vault, made_vault, vault_folder
from tests.erasure.test_commands import subject

__all__ = ["cdv", "in_vault", "made_vault", "subject", "vault_folder"]


def test_hold_commands_from_placing_to_the_waiting_erasure(in_vault, subject, tmp_path):
    people = tmp_path / "ids.txt"
    people.write_text(f"\n{subject}\n")
    asked = ("holds", "place", "LG-1", "--owner", "legal", "--review", "2999-01-01", "--subjects-from", str(people))
    hold = in_vault.json(*asked, "--field", "email")
    assert (hold["people"], hold["fields"], hold["purpose"]) == (1, ["profile.email"], "legal-claims")
    assert "LG-1" in in_vault.ok("holds", "list")
    assert "no hold is due" in in_vault("holds", "list", "--due").output
    changed = in_vault.json("holds", "change", hold["id"], "--owner", "counsel-7", "--also-for", "accounting")
    assert (changed["owner"], changed["also_for"]) == ("counsel-7", ["accounting"])
    assert subject in in_vault.ok("holds", "show", hold["id"])
    kept = {
        verdict["field"]: verdict["verdict"] for verdict in in_vault.json("erasures", "preview", subject)["verdicts"]
    }
    assert kept["profile.email"] == "kept: hold"
    assert "settled" in str(in_vault.json("holds", "lift", hold["id"], "--reason", "settled"))
    assert in_vault.json("holds", "list") == []
    assert [item["state"] for item in in_vault.json("holds", "list", "--all")] == ["lifted"]


def test_file_of_subjects_with_an_invalid_line_is_refused(in_vault, subject, tmp_path):
    people = tmp_path / "ids.txt"
    people.write_bytes(subject.encode() + b"\nM\xfcller\n")
    asked = ("holds", "place", "LG-1", "--owner", "legal", "--review", "2999-01-01", "--subjects-from", str(people))
    done = in_vault(*asked)
    assert done.exit_code != 0
    assert "line 2" in done.output
    assert "ller" not in done.output
    assert in_vault.json("holds", "list") == []
