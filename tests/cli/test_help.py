"""Every command says what it does, with an example, and at once."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import typer

from vault.cli import COMMANDS, app

HEAVY = {
    "alembic", "asyncpg", "casbin", "cryptography", "faker", "fastapi", "httpx", "phonenumbers", "pydantic", "rich",
    "sqlalchemy", "sqlmodel", "starlette", "structlog", "uvicorn",
}  # fmt: skip
LIGHT = {f"vault.cli.{name}" for name in ("command", "lazy", "options", "output", "session")}
"""Modules of the command line that hold no commands."""


def commands(command=None, path=()):
    command = command or typer.main.get_command(app)
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def choosing(command=None, path=()):
    """Yield the commands that have an option or argument with choices, with their paths."""
    command = command or typer.main.get_command(app)
    if any(getattr(parameter, "type_descriptor", None) for parameter in command.params):
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from choosing(inner, (*path, name))


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_help_with_an_example(cdv, path):
    result = cdv(*path, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "cdv" in result.stdout.split("Example")[1]


@pytest.mark.parametrize("path", [(), ("apps",), ("policy",)], ids=" ".join)
def test_group_without_a_command_shows_its_help(cdv, path):
    assert "Commands" in cdv.ok(*path)


@pytest.mark.parametrize("width", ["80", "100"])
def test_no_choice_of_an_option_is_broken_in_two(cdv, monkeypatch, width):
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", int(width))
    broken = []
    for path, command in choosing():
        lines = cdv.ok(*path, "--help").splitlines()
        for parameter in command.params:
            descriptor = getattr(parameter, "type_descriptor", None)
            for choice in (descriptor.choices if descriptor is not None and descriptor.is_choice else None) or ():
                word = re.compile(rf"(?<![\w-]){re.escape(str(choice))}(?![\w-])")
                # In the part of the parameter: from the line of its name on.
                name = parameter.opts[-1] if parameter.param_type_name == "option" else parameter.metavar
                start = next(at for at, line in enumerate(lines) if name in line and line.startswith("│"))
                if not any(word.search(line) for line in lines[start:]):
                    broken.append((path, name, choice))
    assert broken == []


def test_documented_commands_exist():
    assert {
        ("init",), ("serve",), ("demo",), ("apps", "add"), ("apps", "list"), ("apps", "disable"), ("apps", "roles"),
        ("keys", "issue"), ("keys", "revoke"), ("keys", "list"), ("keys", "signing"), ("consent", "receipt"), ("verify",), ("tenants", "add"), ("tenants", "list"),
        ("policy", "check"), ("policy", "apply"), ("policy", "explain"), ("policy", "history"), ("notices", "list"), ("notices", "show"), ("notices", "diff"), ("audit", "tail"),
        ("db", "upgrade"), ("db", "status"), ("import",), ("processing-record",), ("consent", "record"), ("consent", "show"), ("consent", "check"), ("consent", "verify"),
        ("consent", "object"), ("consent", "decide"), ("consent", "restrict"), ("consent", "announce"), ("consent", "lift"),
        ("packages", "list"), ("packages", "download"), ("packages", "open"), ("packages", "send"), ("packages", "expire"),
        ("rectify", "list"), ("rectify", "dispute"), ("rectify", "resolve"),
    } <= set(commands())  # fmt: skip


def test_version(cdv):
    assert cdv.ok("--version").startswith("cdv 0.")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_short_help_in_the_table_begins_the_help(name):
    command = typer.main.get_command(app).commands[name]
    assert " ".join(command.help.split("\n\n")[0].split()) == COMMANDS[name][1]


def test_start_imports_no_large_library():
    code = "import sys, vault.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_list_of_commands_imports_no_command():
    assert not (HEAVY - {"rich"}) & loaded_by("--help")
    assert not any(name.startswith("vault.cli.") for name in modules_loaded_by("--help") - LIGHT)


def test_command_imports_only_its_own_module():
    loaded = {name for name in modules_loaded_by("keys", "list", "--help") if name.startswith("vault.cli.")}
    assert loaded - LIGHT == {"vault.cli.apps"}


NOT_FOR_A_LIST = {
    "aiosmtplib", "alembic", "asyncpg", "casbin", "dbos", "email_validator", "faker", "fastapi", "holidays", "httpcore",
    "httpx", "jinja2", "joserfc", "phonenumbers", "prometheus_client", "psycopg", "pyarrow", "starlette", "structlog",
    "uvicorn",
}  # fmt: skip


def test_list_of_apps_imports_only_what_it_needs(made_vault):
    loaded = modules_loaded_by("apps", "list", "--vault", str(made_vault))
    assert "sqlalchemy" in loaded, "the command has run"
    assert not NOT_FOR_A_LIST & {name.partition(".")[0] for name in loaded}
    assert not {f"vault.{name}" for name in ("api", "erasure", "export", "requests", "sweep", "workflows")} & loaded


def modules_loaded_by(*arguments):
    code = f"""
import contextlib, io, sys
from vault.cli import COMMANDS, app
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    app({list(arguments)!r}, prog_name="cdv")
print(*sys.modules)
"""
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def loaded_by(*arguments):
    return {name.partition(".")[0] for name in modules_loaded_by(*arguments)}
