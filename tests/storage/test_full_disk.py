"""On a full disk writes are refused in time, nothing is half written, and writes succeed once there is room."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_full_disk_refuses_writes_and_audit_entries_and_loses_nothing(tmp_path):
    path = tmp_path / "data.sqlite"
    path.touch(mode=0o600)
    run = subprocess.run(
        [sys.executable, "-m", "tests.storage.full_disk", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert [item["code"] for item in answer["told"]] == ["unavailable", "unavailable", "audit-unavailable"]
    assert all(item["seconds"] < 2 for item in answer["told"])
    assert answer["told"][0]["done"] > 3
    written = sum(item["done"] for item in answer["told"][:2])
    audited = answer["told"][2]["done"]
    assert answer["full"] == [written, audited]
    assert answer["after"] == [written + 2, audited + 1]
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM audit_subject").fetchone() == (1_000 * (audited + 1),)
    connection.close()
