"""``cdv restore`` as whoever stands before a lost vault uses it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Cdv, cdv, in_vault, made_vault, vault_folder

__all__ = ["cdv", "in_vault", "made_vault", "vault_folder"]


@pytest.fixture
def backup(in_vault, tmp_path):
    """A backup of a vault, made by the command."""
    return Path(in_vault.ok("backup", "make", tmp_path / "backups").strip())


def test_a_drill_from_the_first_command_to_the_last(in_vault, cdv, vault_folder, backup, tmp_path):
    in_vault.ok("apps", "add", "after-the-backup", "--role", "sales")
    kept = tmp_path / "safe"
    kept.mkdir()
    for name in ("root.key", "ledger.sqlite"):
        shutil.move(vault_folder / name, kept / name)
    shutil.rmtree(vault_folder)
    answer = cdv(
        "restore", backup, "--to", "new", "--root-key", f"file:{kept / 'root.key'}", "--ledger", kept / "ledger.sqlite"
    )
    assert answer.exit_code == 0, answer.stderr
    assert "The vault in new is restored and open." in answer.stderr
    new = Cdv(tmp_path / "new")
    assert new.json("db", "status").keys() == {"data", "keys", "ledger"}
    assert "after-the-backup" not in new.ok("apps", "list")
    again = cdv("restore", "--continue", "--vault", "new")
    assert again.exit_code == 1
    assert "error: there is no restore to be continued" in again.stderr


def test_commands_refuse_before_the_replay(in_vault, cdv, vault_folder, backup, tmp_path):
    (tmp_path / "new").mkdir()
    shutil.copy2(vault_folder / "root.key", tmp_path / "new" / "root.key")
    cdv.ok("restore", backup, "--to", "new", "--ledger", vault_folder / "ledger.sqlite")
    with sqlite3.connect(tmp_path / "new" / "data.sqlite") as database:
        database.execute("UPDATE restore SET replayed_at = NULL")
    database.close()
    new = Cdv(tmp_path / "new")
    for command in (("apps", "list"), ("audit", "tail"), ("backup", "make", "x")):
        refused = new(*command)
        assert refused.exit_code == 1
        assert "and not yet replayed" in refused.stderr
        assert "hint: run `cdv restore --continue`" in refused.stderr
    status = new("db", "status", "--json")
    assert status.exit_code == 1
    assert json.loads(status.stdout)["restored"]["replayed"] is False
    assert "hint: run `cdv restore --continue`" in new("db", "status").stderr
    assert new.json("restore", "--continue").keys() == {
        "vault", "lines", "denials", "erasures", "holds", "accesses", "unknown",
    }  # fmt: skip
    assert new("db", "status").exit_code == 0


def test_interrupted_restore_is_continued_and_other_commands_refuse(in_vault, cdv, vault_folder, backup, tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy2(vault_folder / "root.key", new / "root.key")
    ledger = vault_folder / "ledger.sqlite"
    cdv.ok("restore", backup, "--to", "new", "--ledger", ledger)
    settings = (new / "cdv.toml").read_text()
    for item in (*new.glob("data.sqlite*"), new / "cdv.toml"):
        item.unlink()
    order = {
        "id": "0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1e", "backup": str(backup), "settings": settings, "without_ledger": None,
        "keys": str(next(tmp_path.glob("backups/keys/*.cdvb"))), "ledger": str(next(tmp_path.glob("backups/ledger/*.cdvb"))),
        "restored_at": "2026-03-05T12:00:00Z",
    }  # fmt: skip
    (new / "restoring.json").write_text(json.dumps(order))
    refused = cdv("restore", backup, "--to", "new", "--ledger", ledger)
    assert "error: a restore into this folder has been begun" in refused.stderr
    Cdv(new)("db", "upgrade")
    assert not (new / "data.sqlite").exists()
    assert Cdv(new)("restore", "--continue").exit_code == 0
    assert Cdv(new).ok("db", "status")
    assert not (new / "restoring.json").exists()


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ((), "name the backup's folder"),
        (("b",), "new vault's folder by --to"),
        (("b", "--to", "n", "--without-ledger"), "belong together"),
        (("b", "--to", "n", "--reason", "x"), "belong together"),
        (("b", "--continue"), "with --vault only"),
    ],
)
def test_invalid_options_are_refused(cdv, tmp_path, asked, why):
    refused = cdv("restore", *asked)
    assert refused.exit_code == 2
    assert why in refused.stderr
    assert not (tmp_path / "n").exists()


def test_errors_of_restore_have_a_hint(cdv, vault_folder, backup, tmp_path):
    refused = cdv("restore", backup, "--to", "new")
    assert "error: the root key file" in refused.stderr
    assert "hint:" in refused.stderr
    key = f"file:{vault_folder / 'root.key'}"
    refused = cdv("restore", backup, "--to", "new", "--root-key", key)
    assert "error: the ledger of tombstones cannot be used" in refused.stderr
    assert "--without-ledger" in refused.stderr
    assert not (tmp_path / "new").exists()
    done = cdv(
        "restore", backup, "--to", "new", "--root-key", key, "--without-ledger", "--reason", "its disk has burnt"
    )
    assert done.exit_code == 0, done.stderr
    assert '"without-ledger"' in Cdv(tmp_path / "new").ok("audit", "tail", "--json")
