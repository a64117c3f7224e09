"""The schema of a package's data passes the strict checks of validators, by which customers' tools read it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.export.customer import files_of, somebody
from vault.export.contents import schema

CLIENTS = Path(__file__).parents[1] / "api" / "clients"
AJV = CLIENTS / "node_modules" / "ajv-formats"


def _schemas(part):
    if isinstance(part, dict):
        yield part
        for inner in part.values():
            yield from _schemas(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _schemas(inner)


def test_every_required_member_is_declared_beside_it():
    """What ajv calls ``strictRequired``: a typo in a list of required members would otherwise refuse every document."""
    undeclared = [
        (part["required"], name)
        for part in _schemas(json.loads(schema()))
        if isinstance(part.get("required"), list)
        for name in part["required"]
        if name not in part.get("properties", {})
    ]
    assert undeclared == []


@pytest.mark.skipif(
    not AJV.exists() or shutil.which("node") is None, reason="ajv is missing: run tests/api/clients/install"
)
async def test_ajv_takes_the_schema_in_strict_mode_and_a_package_by_it(sqlite_node, tmp_path):
    files = await files_of(sqlite_node, await somebody(sqlite_node))
    (tmp_path / "node_modules").symlink_to(AJV.parent)
    shutil.copy(CLIENTS / "strict.mjs", tmp_path)
    broken = json.loads(files["data.json"])
    del broken["accesses"]
    documents = {"schema": files["data.schema.json"], "data": files["data.json"], "broken": json.dumps(broken).encode()}
    for name, content in documents.items():
        (tmp_path / f"{name}.json").write_bytes(content)
    done = subprocess.run(
        ["node", "strict.mjs", *(f"{name}.json" for name in documents)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    faults = json.loads(done.stdout)
    assert faults[0] == []
    assert {fault["params"].get("missingProperty") for fault in faults[1]} >= {"accesses"}
