"""The house stands as it was drawn: import contracts, lint, format and types, by the very tools that CI runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

pytestmark = pytest.mark.xdist_group("tools")  # one after the other: each takes a core


def run(tool, *words):
    folder = Path(sys.executable).parent
    program = shutil.which(tool, path=f"{folder}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(
        [program, *words], cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"}
    )
    assert done.returncode == 0, f"{tool} {' '.join(words)}\n{done.stdout}\n{done.stderr}"


def test_imports_point_down_and_rooms_are_blind_to_each_other():
    run("lint-imports", "--no-logo")


def test_the_code_is_linted():
    run("ruff", "check", ".")


def test_the_code_is_formatted():
    run("ruff", "format", "--check", ".")


def test_the_types_are_strict_and_right():
    run("mypy", "--strict")
