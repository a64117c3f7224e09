"""The commands for backups, for people and for scripts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import cdv, in_vault, made_vault, vault_folder
from vault.backup.views import Backup, VerifiedBackup
from vault.crypto.providers import FileRootKey

__all__ = ["cdv", "in_vault", "made_vault", "vault_folder"]


@pytest.fixture
def backup(in_vault, to):
    """A backup, as `cdv backup make --json` tells of it."""
    return in_vault.json("backup", "make", to)


def test_a_backup_is_made_listed_and_tried(in_vault, backup, to):
    assert Path(backup["folder"]).is_dir()
    assert Path(backup["keys"]).is_file()
    assert backup["tenants"] == ["default"]
    assert in_vault.json("backup", "list", to) == [backup]
    assert Backup.model_validate(backup).as_json() == backup  # the view, whole
    listed = in_vault.ok("backup", "list", to)
    assert Path(backup["folder"]).name in listed
    assert "there" in listed
    seen = in_vault.json("backup", "verify", backup["folder"])
    assert VerifiedBackup.model_validate(seen).as_json() == seen
    assert seen["id"] == backup["id"]
    assert sum(sum(tables.values()) for tables in seen["rows"].values()) == backup["rows"]
    answer = in_vault("backup", "verify", backup["folder"])
    assert answer.exit_code == 0
    assert "tombstone_ledger" in answer.stdout
    assert "The backup can be restored." in answer.stderr


def test_make_prints_the_location_and_what_else_is_needed(in_vault, to, tmp_path):
    answer = in_vault("backup", "make", to, "--keys-to", tmp_path / "k", "--keep-keys", "P7D")
    assert answer.exit_code == 0
    assert Path(answer.stdout.strip()).is_dir()
    assert f"Its key store is {tmp_path / 'k'}" in answer.stderr
    assert "It cannot be opened without the root key" in answer.stderr
    (listed,) = in_vault.json("backup", "list", to, "--keys-to", tmp_path / "k")
    assert listed["keys"].startswith(str(tmp_path / "k"))
    assert in_vault.json("backup", "list", to)[0]["keys"] is None
    assert in_vault("backup", "verify", listed["folder"]).exit_code == 1
    assert in_vault("backup", "verify", listed["folder"], "--keys", listed["keys"]).exit_code == 0


def test_prune_prints_what_it_deleted(in_vault, backup, to):
    assert in_vault.json("backup", "prune", to) == {"backups": [], "keys": [], "leftovers": [], "unknown": []}
    (to / "data" / "20250101T000000Z-0123456789abcdef.part").mkdir()
    (to / "keys" / "20250101T000000Z-0123456789abcdef.cdvb.part").write_bytes(b"half")
    assert "unfinished: deleted" in in_vault.ok("backup", "prune", to)
    assert "nothing to delete" in in_vault("backup", "prune", to).stderr
    refused = in_vault("backup", "prune", to, "--keep-keys", "P1Y")
    assert refused.exit_code == 1
    assert "error: the key store would be kept longer than the data\nhint: " in refused.stderr
    assert in_vault.json("backup", "list", to) == [backup]


@pytest.mark.parametrize("typed", ["", "30", "P0D", "1 month", "P-3D"])
def test_an_invalid_period_is_reported(in_vault, to, typed):
    refused = in_vault("backup", "prune", to, "--keep-data", typed)
    assert refused.exit_code == 2
    assert "write P3Y, P6M, P30D or P1Y6M" in refused.stderr


def test_with_another_root_key_nothing_is_tried_or_listed(in_vault, backup, to, cdv, tmp_path):
    other = shutil.copytree(in_vault.folder, tmp_path / "other")
    (other / "root.key").unlink()
    FileRootKey.create(other / "root.key")
    refused = cdv("backup", "verify", backup["folder"], "--vault", other)
    assert refused.exit_code == 1
    assert "error: the root key is not the one" in refused.stderr
    listed = cdv("backup", "list", to, "--vault", other, "--json")
    assert json.loads(listed.stdout) == []
    assert "not a backup under this root key" in listed.stderr
    (other / "root.key").unlink()
    lost = cdv("backup", "list", to, "--vault", other)
    assert lost.exit_code == 1
    assert "cannot be read" in lost.stderr


def test_a_folder_without_backups_is_reported(in_vault, to):
    assert in_vault.json("backup", "list", to) == []
    assert "there is no backup" in in_vault("backup", "list", to).stderr
    refused = in_vault("backup", "verify", to)
    assert "error: there is no backup in this folder" in refused.stderr
