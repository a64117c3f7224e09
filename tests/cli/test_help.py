"""Every command says what it does, with an example, and at once."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
import typer

from vault.cli import app

HEAVY = {
    "alembic", "asyncpg", "casbin", "cryptography", "faker", "fastapi", "httpx", "phonenumbers", "pydantic", "rich",
    "sqlalchemy", "sqlmodel", "starlette", "structlog", "uvicorn",
}  # fmt: skip


def commands(command=None, path=()):
    command = command or typer.main.get_command(app)
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_help_with_an_example(cdv, path):
    result = cdv(*path, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "cdv" in result.stdout.split("Example")[1]


@pytest.mark.parametrize("path", [(), ("apps",), ("policy",)], ids=" ".join)
def test_a_group_without_a_command_shows_its_help(cdv, path):
    assert "Commands" in cdv.ok(*path)


def test_the_commands_that_are_promised_are_there():
    assert {
        ("init",), ("serve",), ("demo",), ("apps", "add"), ("apps", "list"), ("apps", "disable"), ("apps", "roles"),
        ("keys", "issue"), ("keys", "revoke"), ("keys", "list"), ("keys", "signing"), ("consent", "receipt"), ("verify",), ("tenants", "add"), ("tenants", "list"),
        ("policy", "check"), ("policy", "apply"), ("policy", "explain"), ("policy", "history"), ("notices", "list"), ("notices", "show"), ("notices", "diff"), ("audit", "tail"),
        ("db", "upgrade"), ("db", "status"), ("import",), ("processing-record",), ("consent", "record"), ("consent", "show"), ("consent", "check"), ("consent", "verify"),
        ("consent", "object"), ("consent", "decide"), ("consent", "restrict"), ("consent", "announce"), ("consent", "lift"),
        ("packages", "list"), ("packages", "download"), ("packages", "open"), ("packages", "send"), ("packages", "expire"),
        ("rectify", "list"), ("rectify", "dispute"), ("rectify", "resolve"),
    } <= set(commands())  # fmt: skip


def test_the_version_is_told(cdv):
    assert cdv.ok("--version").startswith("cdv 0.")


def test_starting_loads_nothing_heavy():
    code = "import sys, vault.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_help_takes_less_than_half_a_second():
    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "vault.cli", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5
