"""`cdv doctor`: what it finds, what it advises, and its exit status."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta

import pytest

from tests.identity.conftest import free_port
from vault.clock import Clock
from vault.doctor import _backups
from vault.health import TenantHealth


def checks(cdv, *args):
    result = cdv("doctor", "--json", *args)
    found = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.exit_code == int(any(check["state"] == "failed" for check in found.values()))
    assert all("remedy" in check for check in found.values() if check["state"] in ("warning", "failed"))
    return found


def states(cdv, *args):
    return {name: check["state"] for name, check in checks(cdv, *args).items()}


def test_new_vault_has_no_failure_and_its_gaps_are_warnings(in_vault):
    assert states(in_vault) == {
        "settings": "warning",
        "root key": "ok",
        "the main database": "ok",
        "the key store": "ok",
        "the ledger": "ok",
        "the database of jobs": "ok",
        "separation": "warning",
        "disk": "ok",
        "policies": "warning",
        "backup": "warning",
        "API keys": "ok",
        "retention": "ok",
        "requests": "ok",
        "jobs": "ok",
        "notices": "ok",
        "mail": "warning",
    }


def test_text_has_a_line_for_each_check_a_remedy_below_and_a_sum(in_vault):
    lines = in_vault.ok("doctor").splitlines()
    assert any(line.startswith("ok       root key: root-") for line in lines)
    (at,) = [number for number, line in enumerate(lines) if line.startswith("WARNING  mail:")]
    assert lines[at + 1].strip().startswith("-> set CDV_SMTP_URL")
    assert lines[-1] == "5 warnings in 16 checks."


def test_no_vault_fails_and_says_what_to_do(cdv, tmp_path):
    found = checks(cdv, "--vault", tmp_path)
    assert found["settings"]["state"] == "failed"
    assert "cdv init" in found["settings"]["remedy"]
    assert found["all else"]["state"] == "skipped"


@pytest.mark.parametrize(
    ("file", "name"),
    [("data.sqlite", "the main database"), ("keys.sqlite", "the key store"), ("ledger.sqlite", "the ledger")],
)
def test_missing_file_is_named_and_not_made(in_vault, vault_folder, file, name):
    (vault_folder / file).unlink()
    found = checks(in_vault)
    assert found[name]["state"] == "failed"
    assert str(vault_folder / file) in found[name]["detail"]
    assert found["vault"]["state"] == "skipped"
    assert not (vault_folder / file).exists()


def test_database_of_another_version_is_to_be_upgraded(in_vault, vault_folder):
    with sqlite3.connect(vault_folder / "ledger.sqlite") as connection:
        (table,) = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%alembic%'").fetchone()
        connection.execute(f"UPDATE {table} SET version_num = 'older'")
    assert "cdv db upgrade" in checks(in_vault)["the ledger"]["remedy"]


def test_root_key_that_others_can_read_fails(in_vault, vault_folder):
    (vault_folder / "root.key").chmod(0o644)
    assert checks(in_vault)["root key"]["state"] == "failed"


def test_settings_with_a_url_that_others_can_read_are_a_warning(in_vault, vault_folder):
    settings = vault_folder / "cdv.toml"
    settings.write_text('public_url = "https://privacy.example.org"\n')
    settings.chmod(0o644)
    found = checks(in_vault)["settings"]
    assert found["state"] == "warning"
    assert found["remedy"].startswith("chmod 600")
    settings.chmod(0o600)
    assert states(in_vault)["settings"] == "ok"


def test_ledger_in_another_folder_is_separate(in_vault, vault_folder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (vault_folder / "ledger.sqlite").rename(tmp_path / "elsewhere" / "ledger.sqlite")
    monkeypatch.setenv("CDV_LEDGER_URL", f"sqlite:///{tmp_path}/elsewhere/ledger.sqlite")
    assert "separation" not in states(in_vault)


def test_folder_that_is_not_in_force_and_one_with_mistakes(in_vault, vault_folder):
    controller = vault_folder / "policies" / "controller.toml"
    text = controller.read_text().replace("Example Retail Ltd", "Acme SE")
    controller.write_text(text)
    in_vault.ok("policy", "apply")
    assert "still the example: address, email," in checks(in_vault)["policies"]["detail"]
    text = text.replace("retail.example", "acme.example").replace("1 Example Quay", "2 Dock Road")
    controller.write_text(text.replace("555 0100", "555 0199"))
    in_vault.ok("policy", "apply")
    assert states(in_vault)["policies"] == "ok"
    controller.write_text(controller.read_text().replace("Acme SE", "Acme AG"))
    assert "policy apply" in checks(in_vault)["policies"]["remedy"]
    controller.write_text("name = 1\n")
    assert checks(in_vault)["policies"]["state"] == "failed"


def test_backup_that_was_never_tried_is_a_warning_until_it_is(in_vault, tmp_path):
    in_vault.ok("backup", "make", tmp_path / "a", "--keys-to", tmp_path / "b", "--ledger-to", tmp_path / "c")
    assert "backup verify" in checks(in_vault)["backup"]["remedy"]
    (backup,) = (tmp_path / "a" / "data").iterdir()
    keys, ledger = (next((tmp_path / name).glob("*.cdvb")) for name in ("b", "c"))
    in_vault.ok("backup", "verify", backup, "--keys", keys, "--ledger", ledger)
    assert states(in_vault)["backup"] == "ok"


def test_key_that_ends_soon_and_app_without_a_key(in_vault):
    in_vault.ok("apps", "add", "shop", "--role", "sales", "--expires", "10d")
    found = checks(in_vault)["API keys"]
    assert found["state"] == "warning"
    assert found["detail"].startswith("the last key of shop ends on ")
    in_vault.ok("keys", "issue", "shop")
    assert states(in_vault)["API keys"] == "ok"
    for key in in_vault.json("keys", "list", "shop"):
        in_vault.ok("keys", "revoke", key["id"], "--yes")
    assert checks(in_vault)["API keys"]["detail"] == "shop has none"


def test_relay_that_does_not_answer_fails(in_vault, monkeypatch):
    monkeypatch.setenv("CDV_SMTP_URL", f"smtp://127.0.0.1:{free_port()}")
    assert states(in_vault)["mail"] == "failed"


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "ok"),
        ({"last_backup": timedelta(days=8)}, "warning"),
        ({"last_trial": timedelta(days=93)}, "warning"),
        ({"last_failed": True}, "warning"),
    ],
    ids=["fresh", "old backup", "old trial", "failure"],
)
def test_ages_of_backups_are_judged_by_the_clock(facts, state):
    now = Clock().now()
    moments = {name: now - value if isinstance(value, timedelta) else value for name, value in facts.items()}
    health = TenantHealth(
        policies_since=now,
        overdue=0,
        jobs={},
        unheard=0,
        to_confirm=False,
        last_sweep=now,
        keys=(),
        **{"last_backup": now, "last_trial": now, "last_failed": False} | moments,
    )
    (check,) = _backups(health, now)
    assert check.state == state
