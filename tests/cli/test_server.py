"""`cdv init`, `cdv serve` and `cdv db`."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys

import httpx
import pytest

from vault.policy.policy_set import PolicySet
from vault.server import _is_loopback, serve

EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound


def test_init_creates_keys_databases_settings_and_policies(cdv, tmp_path):
    assert "cdv serve --vault" in cdv.ok("init", "mine")
    folder = tmp_path / "mine"
    assert {"root.key", "cdv.toml", "policies", "data.sqlite", "keys.sqlite"} <= {
        item.name for item in folder.iterdir()
    }
    assert stat.S_IMODE((folder / "root.key").stat().st_mode) == 0o600
    assert (folder / "policies" / "policy.csv").is_file()


def test_git_adds_nothing_of_a_vault(cdv, tmp_path):
    cdv.ok("init", "mine")
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    added = subprocess.run(["git", "ls-files"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert added == ""


def test_init_prints_the_folders_as_json(cdv, tmp_path):
    created = cdv.json("init", "mine")
    assert created == {"vault": str(tmp_path / "mine"), "policies": str(tmp_path / "mine" / "policies")}


COMPANY = (
    "--controller", 'Müller "Schuhe" GmbH', "--country", "DE", "--address", "Hauptstraße 1, 10115 Berlin",
    "--email", "datenschutz@mueller.example", "--privacy-policy", "https://mueller.example/datenschutz",
)  # fmt: skip


def test_init_without_a_controller_says_what_is_the_examples(cdv):
    text = cdv.ok("init", "mine")
    assert "name, address, email, phone, url, privacy_policy, dpo.email" in text
    warned = cdv("policy", "check", "mine").stderr
    assert "warning: mine/policies/controller.toml:4: the controller is still the example" in warned


def test_init_writes_the_controller_and_nothing_of_the_example_is_left(cdv, tmp_path):
    text = cdv.ok("init", "mine", *COMPANY)
    assert "the example" not in text
    controller = PolicySet.from_folder(tmp_path / "mine" / "policies").controller
    assert (controller.name, controller.country) == ('Müller "Schuhe" GmbH', "DE")
    assert (controller.address, controller.email) == ("Hauptstraße 1, 10115 Berlin", "datenschutz@mueller.example")
    assert controller.privacy_policy == "https://mueller.example/datenschutz"
    # Of another company, or of another country: nothing signed may name them.
    assert (controller.phone, controller.url, controller.dpo, controller.authority) == ("", "", None, None)
    assert "the example" not in cdv("policy", "check", "mine").stderr
    assert states_of_policies(cdv, "mine") == "ok"
    cdv.ok("policy", "apply", "--vault", "mine")


def states_of_policies(cdv, folder):
    checks = json.loads(cdv("doctor", "--json", "--vault", folder).stdout)["checks"]
    return next(check["state"] for check in checks if check["name"] == "policies")


def test_what_init_is_not_given_is_named_as_the_examples(cdv):
    text = cdv.ok("init", "mine", "--controller", "Acme SE", "--country", "DE")
    assert "address, email, privacy_policy" in text
    assert "name," not in text
    warned = cdv("policy", "check", "mine").stderr
    assert "still the example: address, email, privacy_policy" in warned
    assert states_of_policies(cdv, "mine") == "warning"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--country", "Germoney", "is no country"),
        ("--email", "at-mueller.example", "is no e-mail address"),
        ("--privacy-policy", "mueller.example", "is no web address"),
        ("--controller", " ", "a text"),
        ("--controller", "x" * 201, "a text"),
        ("--controller", "Two\nlines", "a text"),
        ("--address", "x" * 301, "a text"),
    ],
)
def test_controller_that_no_policy_may_have_makes_no_vault(cdv, tmp_path, option, value, said):
    result = cdv("init", "mine", "--controller", "Acme SE", option, value)
    assert result.exit_code == 2
    assert said in result.stderr
    assert value.strip() == "" or value not in result.stderr
    assert not (tmp_path / "mine").exists()


def test_apply_and_serve_warn_of_the_example_controller(in_vault, vault_folder, monkeypatch, capsys):
    class Bound(Exception):
        """The port is about to be opened."""

    def stop(*_given, **_named):
        raise Bound

    def served():
        monkeypatch.setattr("vault.server.bound", stop)
        with pytest.raises(Bound):
            serve(vault_folder, host="127.0.0.1", port=0)
        return capsys.readouterr().err

    assert "warning: controller.toml:4: the controller is still the example" in in_vault("policy", "apply").stderr
    assert "the controller is still the example" in served()
    controller = vault_folder / "policies" / "controller.toml"
    text = controller.read_text()
    # To change the name alone is not enough: the address is on receipts too.
    controller.write_text(text.replace("Example Retail Ltd", "Acme SE"))
    assert "the example: address, email," in in_vault("policy", "apply").stderr
    controller.write_text(renamed(text))
    assert "the example" not in in_vault("policy", "apply").stderr
    assert "the example" not in served()


def renamed(text):
    return (
        text.replace("xample Retail Ltd", "xpert SE")
        .replace("retail.example", "acme.example")
        .replace("1 Example Quay", "2 Dock Road")
        .replace("555 0100", "555 0199")
    )


def test_init_refuses_a_folder_that_is_not_empty(cdv, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    result = cdv("init", "mine")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the folder is not empty\nhint: ")
    assert [item.name for item in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_command_without_a_vault_hints_at_init(cdv):
    result = cdv("apps", "list")
    assert result.exit_code == 1
    assert "error: there is no vault in this folder" in result.stderr
    assert "hint: make one with `cdv init DIR`, or name one by --vault" in result.stderr


def test_vault_is_found_by_option_variable_and_current_folder(cdv, in_vault, vault_folder, monkeypatch):
    cdv.ok("apps", "list", "--vault", vault_folder)
    in_vault.ok("apps", "list")
    monkeypatch.chdir(vault_folder)
    cdv.ok("apps", "list")


def test_serve_runs_until_ctrl_c(in_vault, vault_folder):
    key = in_vault.json("apps", "add", "web-shop", "--role", "sales")["key"]
    command = [sys.executable, "-m", "vault", "serve", "--vault", str(vault_folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as server:
        try:
            output = next(line for line in map(json.loads, server.stderr) if line["event"] == "listening")
            transport = httpx.HTTPTransport(retries=5)  # the port is bound a moment before it is listened at
            with httpx.Client(base_url=f"http://127.0.0.1:{output['port']}", transport=transport, timeout=30) as client:
                assert client.get("/healthz").status_code == 200
                body = {"profile": {"name": "Ada Winter"}, "purpose": "order-fulfilment"}
                created = client.post("/v1/subjects", json=body, headers={"Authorization": f"Bearer {key}"})
                assert created.status_code == 201
        finally:
            server.send_signal(signal.SIGINT)
            _, rest = server.communicate(timeout=60)
    assert server.returncode == 130
    assert "Traceback" not in rest


def test_serve_without_a_vault(cdv):
    result = cdv("serve", "--port", "0")
    assert result.exit_code == 1
    assert "error: there is no vault in this folder" in result.stderr


def test_databases_of_a_new_vault_are_current(in_vault):
    assert in_vault.json("db", "status") == {
        "data": {"dialect": "sqlite", "current": True},
        "keys": {"dialect": "sqlite", "current": True},
        "ledger": {"dialect": "sqlite", "current": True},
    }
    assert "data" in in_vault.ok("db", "status")


def test_upgrade_of_current_databases_changes_nothing(in_vault):
    changed = in_vault.json("db", "upgrade")
    assert all(item["before"] == item["after"] is not None for item in changed.values())


def test_database_of_another_version_is_not_opened(in_vault, vault_folder):
    database = sqlite3.connect(vault_folder / "data.sqlite")
    with database:
        database.execute("DELETE FROM alembic_version")
    database.close()
    result = in_vault("db", "status", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["data"]["current"] is False
    assert "hint: run `cdv db upgrade`" in in_vault("db", "status").stderr
    refused = in_vault("apps", "list")
    assert refused.exit_code == 1
    assert (
        "error: the data database is of another version than this program\nhint: run `cdv db upgrade`" in refused.stderr
    )


def test_db_commands_create_no_vault(cdv, tmp_path):
    assert cdv("db", "upgrade").exit_code == 1
    assert cdv("db", "status").exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_unknown_variable_is_warned_of(in_vault, monkeypatch):
    monkeypatch.setenv("CDV_PROT", "8301")
    assert "warning: CDV_PROT is no setting, and is ignored; did you mean CDV_PORT?" in in_vault("apps", "list").stderr


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), (EVERYWHERE, False), ("::", False), ("10.0.0.1", False), ("vault.example.org", False)],
)  # fmt: skip
def test_addresses_beyond_this_machine_are_known(host, is_loopback):
    assert _is_loopback(host) is is_loopback


def test_server_beyond_this_machine_without_tls_warns(vault_folder, monkeypatch, capsys):
    class Bound(Exception):
        """The port is about to be opened."""

    def stop(*_given, **_named):
        raise Bound

    monkeypatch.setattr("vault.server.bound", stop)
    for host, proxies, warns in ((EVERYWHERE, "", True), ("127.0.0.1", "", False), (EVERYWHERE, "10.0.0.0/8", False)):
        monkeypatch.setenv("CDV_TRUSTED_PROXIES", proxies)
        with pytest.raises(Bound):
            serve(vault_folder, host=host, port=0)
        assert ("without TLS" in capsys.readouterr().err) is warns
