"""Erasures at the command line: previewed, executed, listed, certified and verified again."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import cdv, in_vault, made_vault, vault_folder
from tests.cli.people import person_in
from vault.erasure.verify import summary_of

__all__ = ["cdv", "in_vault", "made_vault", "vault_folder"]


@pytest.fixture
def subject(vault_folder):
    return person_in(vault_folder, {"shop": "4711"}, name="Ada", email="ada@example.org")


def test_an_erasure_from_preview_to_certificate(in_vault, subject, tmp_path):
    before = in_vault.json("erasures", "preview", subject)
    assert before["becomes"] == "erased"
    assert {verdict["field"]: verdict["verdict"] for verdict in before["verdicts"]} == {
        "profile.name": "erased",
        "profile.email": "erased",
        "profile.external_ids": "erased",
    }
    assert "profile.email" in in_vault.ok("erasures", "preview", subject, "--field", "email")
    request = in_vault.json("requests", "submit", "erasure", "--subject", subject)["id"]
    assert in_vault("erasures", "certificate", request).exit_code == 1
    in_vault.ok("requests", "verify", request, "--evidence", "passport seen")
    done = in_vault("requests", "approve", request, "--yes")
    assert done.exit_code == 0, done.output
    assert "certify …" in done.stderr
    assert [item["state"] for item in in_vault.json("erasures", "list")] == ["done"]
    file = tmp_path / "certificate.json"
    in_vault.ok("erasures", "certificate", request, "--out", file)
    checked = in_vault.json("verify", file)
    assert (checked["kind"], checked["good"]) == ("certificate", True)
    assert "profile.email" in checked["says"]["erased"]
    seen = in_vault.json("erasures", "check", request)
    assert (seen["keys"], seen["wrong"]) == (0, 0)
    assert seen["files"] >= 1
    gone = in_vault("erasures", "preview", subject)
    assert "no such person" in gone.stderr


def test_a_certificate_names_each_kept_field_once_on_a_line_of_its_own():
    kept = [
        {"field": "profile.name", "ground": "legal-obligation", "purpose": "tax", "article": "17(3)(b)", "until": None},
        {"field": "profile.name", "ground": "legal-claims", "article": "17(3)(e)", "until": "2030-01-31"},
        {"field": "profile.email", "ground": "legal-claims", "article": "17(3)(e)", "until": "2029-01-31"},
        {"field": "profile.email", "ground": "legal-obligation", "purpose": "tax", "article": "17(3)(b)", "until": "2032-12-31"},
    ]  # fmt: skip
    document = {
        "subject": "0199aabb-0000-7000-8000-000000000001",
        "controller": {"name": "Shop"},
        "erased_at": "2026-12-01T10:00:00.000000Z",
        "erased": [{"field": "profile.iban"}, {"field": "profile.city"}],
        "kept": kept,
        "keys_destroyed": 2,
        "audit_entry": "0199aabb-0000-7000-8000-000000000002",
    }
    summary = summary_of(document)
    assert summary["erased"] == ["profile.city", "profile.iban"]
    assert summary["kept"] == [
        "profile.email until 2032-12-31, for legal-claims, tax (Art. 17(3)(e), 17(3)(b))",
        "profile.name until a hold on it is lifted, for tax, legal-claims (Art. 17(3)(b), 17(3)(e))",
    ]


def test_a_certificate_is_printed_a_field_a_line(in_vault, subject, tmp_path):
    request = in_vault.json("requests", "submit", "erasure", "--subject", subject)["id"]
    in_vault.ok("requests", "verify", request, "--evidence", "passport seen")
    in_vault.ok("requests", "approve", request, "--yes")
    file = tmp_path / "certificate.json"
    in_vault.ok("erasures", "certificate", request, "--out", file)
    lines = in_vault("verify", file).stdout.splitlines()
    assert "  erased      profile.email" in lines
    assert "              profile.name" in lines


def test_a_changed_or_malformed_certificate_is_invalid(in_vault, subject, tmp_path):
    request = in_vault.json("requests", "submit", "erasure", "--subject", subject)["id"]
    in_vault.ok("requests", "verify", request, "--evidence", "passport seen")
    in_vault.ok("requests", "approve", request, "--yes")
    file = tmp_path / "certificate.json"
    answer = json.loads(in_vault.ok("erasures", "certificate", request))
    for part, change in (("erased", []), ("subject", "somebody else"), ("kept", [{"field": 1}]), ("controller", 5)):
        changed = {**answer, "certificate": {**answer["certificate"], part: change}}
        file.write_text(json.dumps(changed))
        result = in_vault("verify", file)
        assert result.exit_code == 1
        assert "error:" in result.stderr
