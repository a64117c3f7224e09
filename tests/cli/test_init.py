"""`cdv init` makes a vault, and only where nothing is."""

from __future__ import annotations

import stat


def test_a_vault_has_keys_databases_settings_and_policies(cdv, tmp_path):
    assert "cdv serve --vault" in cdv.ok("init", "mine")
    folder = tmp_path / "mine"
    assert {"root.key", "cdv.toml", "policies", "data.sqlite", "keys.sqlite"} <= {
        each.name for each in folder.iterdir()
    }
    assert stat.S_IMODE((folder / "root.key").stat().st_mode) == 0o600
    assert (folder / "policies" / "policy.csv").is_file()


def test_scripts_learn_where_it_is(cdv, tmp_path):
    made = cdv.json("init", "mine")
    assert made == {"vault": str(tmp_path / "mine"), "policies": str(tmp_path / "mine" / "policies")}


def test_a_folder_with_something_in_it_is_left_alone(cdv, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    result = cdv("init", "mine")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the folder is not empty\nhint: ")
    assert [each.name for each in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_without_a_vault_commands_say_how_to_get_one(cdv):
    result = cdv("apps", "list")
    assert result.exit_code == 1
    assert "error: there is no vault in this folder" in result.stderr
    assert "hint: make one with `cdv init DIR`, or name one by --vault" in result.stderr


def test_the_vault_is_found_by_option_variable_and_current_folder(cdv, in_vault, vault_folder, monkeypatch):
    cdv.ok("apps", "list", "--vault", vault_folder)
    in_vault.ok("apps", "list")
    monkeypatch.chdir(vault_folder)
    cdv.ok("apps", "list")
