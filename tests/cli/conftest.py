"""The command line as a function, and vaults to use it on."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from vault.cli import app


class Cdv:
    """Runs commands in this process; each call returns exit code, stdout and stderr."""

    def __init__(self, folder=None):
        self.folder = folder

    def __call__(self, *args, typed=None):
        env = {"CDV_VAULT": str(self.folder)} if self.folder else {}
        return CliRunner().invoke(app, [str(arg) for arg in args], input=typed, env=env, prog_name="cdv")

    def ok(self, *args, typed=None):
        result = self(*args, typed=typed)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *args):
        return json.loads(self.ok(*args, "--json"))


@pytest.fixture
def cdv(monkeypatch, tmp_path):
    """The command line in an empty folder, without a vault."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CDV_VAULT", raising=False)
    return Cdv()


@pytest.fixture(scope="session")
def made_vault(tmp_path_factory):
    """One vault made by `cdv init`; tests work on copies."""
    folder = tmp_path_factory.mktemp("made") / "vault"
    Cdv().ok("init", folder)
    return folder


@pytest.fixture
def vault_folder(made_vault, tmp_path):
    return shutil.copytree(made_vault, tmp_path / "vault")


@pytest.fixture
def in_vault(cdv, vault_folder):
    """The command line, with a vault that it finds by CDV_VAULT."""
    return Cdv(vault_folder)
