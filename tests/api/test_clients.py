"""Clients that public generators make of the OpenAPI document work against a served vault.

``tests/api/clients/install`` installs the generators; without them the tests are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.golden.documents import OPENAPI
from tests.served import Served, issue_keys

CLIENTS = Path(__file__).parent / "clients"
GENERATOR = CLIENTS / ".venv" / "bin" / "openapi-python-client"
MODULES = CLIENTS / "node_modules"
ANSWERS = {
    "revision": 1,
    "read": {"name": "Ada Lovelace", "email.masked": "a•••••@example.org"},
    "batch": [{"name": "Ada Lovelace", "email.masked": "a•••••@example.org"}],
    "found": [True],
    "problem": "unknown-field",
}
STILL_UNSUPPORTED = {
    "Checked-Output",
    "MyRequest",
    "SentPage",
    "Shown",
    "ShownWhole",
    "vault__api__schemas__recipients__SentTold",
    "vault__api__schemas__requests__Verified",
}
"""Schemas of the document that openapi-python-client cannot read. This set only shrinks."""
TYPES = ("--output", "schema.d.ts", "--default-non-nullable=false")
"""Without the option, a key of a body that has a default would be required."""
HINT = "run tests/api/clients/install, which needs a network"


def _run(*command, **how):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, check=False, **how
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


async def _calls(place, *command, **how):
    key = (await issue_keys(place, "sales"))["sales"]["Authorization"].removeprefix("Bearer ")
    with Served(place, 1) as served:
        return json.loads(_run(*command, served.url, key, **how))


@pytest.mark.skipif(not GENERATOR.exists(), reason=f"openapi-python-client is not installed: {HINT}")
async def test_a_generated_python_client_calls_the_api(sqlite_place, tmp_path):
    config = tmp_path / "config.yml"
    config.write_text("package_name_override: vault_client\npost_hooks: []\n", encoding="utf-8")
    package = tmp_path / "vault_client"
    output = _run(
        GENERATOR, "generate", "--path", OPENAPI, "--config", config, "--output-path", package, "--meta", "none"
    )
    assert set(re.findall(r"Unable to \w+ schema /components/schemas/([^:\s]+)", output)) <= STILL_UNSUPPORTED, output
    python = GENERATOR.with_name("python")
    assert await _calls(sqlite_place, python, CLIENTS / "calls.py", env={"PYTHONPATH": str(tmp_path)}) == ANSWERS


@pytest.mark.skipif(not MODULES.exists() or not shutil.which("node"), reason=f"openapi-typescript is missing: {HINT}")
async def test_a_generated_typescript_client_calls_the_api(sqlite_place, tmp_path):
    for name in ("calls.ts", "tsconfig.json", "package.json"):
        shutil.copy(CLIENTS / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(MODULES)
    _run("node", MODULES / "openapi-typescript" / "bin" / "cli.js", OPENAPI, *TYPES, cwd=tmp_path)
    _run("node", MODULES / "typescript" / "bin" / "tsc", "--project", "tsconfig.json", cwd=tmp_path)
    assert await _calls(sqlite_place, "node", tmp_path / "calls.js") == ANSWERS
