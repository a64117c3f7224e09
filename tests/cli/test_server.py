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
            output = json.loads(server.stderr.readline())
            assert output["event"] == "listening"
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
