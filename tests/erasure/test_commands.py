"""Erasures at the command line: previewed, executed, listed, certified and verified again."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import cdv, in_vault, made_vault, vault_folder
from tests.cli.people import person_in

__all__ = ["cdv", "in_vault", "made_vault", "vault_folder"]


@pytest.fixture
def subject(vault_folder):
    return person_in(vault_folder, {"shop": "4711"}, name="Ada", email="ada@example.org")


def test_an_erasure_from_preview_to_certificate(in_vault, subject, tmp_path):
    before = in_vault.json("erasures", "preview", subject)
    assert before["becomes"] == "erased"
    assert {each["field"]: each["verdict"] for each in before["verdicts"]} == {
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
    assert [each["state"] for each in in_vault.json("erasures", "list")] == ["done"]
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


def test_a_changed_or_malformed_certificate_is_invalid(in_vault, subject, tmp_path):
    request = in_vault.json("requests", "submit", "erasure", "--subject", subject)["id"]
    in_vault.ok("requests", "verify", request, "--evidence", "passport seen")
    in_vault.ok("requests", "approve", request, "--yes")
    file = tmp_path / "certificate.json"
    told = json.loads(in_vault.ok("erasures", "certificate", request))
    for part, change in (("erased", []), ("subject", "somebody else"), ("kept", [{"field": 1}]), ("controller", 5)):
        changed = {**told, "certificate": {**told["certificate"], part: change}}
        file.write_text(json.dumps(changed))
        result = in_vault("verify", file)
        assert result.exit_code == 1
        assert "error:" in result.stderr
