"""Output of commands: tables, JSON, and errors without personal data."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from vault.cli.output import Commands
from vault.errors import Fault, InvalidInput, NotFound

ROW = '("[bold]web-shop[/bold]", None)'
CODE = f'from vault.cli.output import show_table; show_table(("name", "state"), [{ROW}], empty="")'


def at_a_terminal(code):
    import pty

    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=env) as child:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(ours)
    assert child.returncode == 0
    return said.decode()


def test_terminal_shows_a_table_with_literal_brackets():
    said = at_a_terminal(CODE)
    assert "│" in said
    assert "[bold]web-shop[/bold]" in said


def test_pipe_gets_plain_columns():
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    assert said == "NAME                   STATE\n[bold]web-shop[/bold]\n"


def test_json_is_one_line():
    code = (
        "from datetime import *; from uuid import UUID; from vault.cli.output import emit;"
        "emit({'id': UUID(int=1), 'at': datetime(2026, 3, 5, 12, tzinfo=timezone.utc), 'name': 'Zoë'})"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert (
        said == '{"id": "00000000-0000-0000-0000-000000000001", "at": "2026-03-05T12:00:00.000000Z", "name": "Zoë"}\n'
    )


failing = typer.Typer(cls=Commands, pretty_exceptions_enable=False)


@failing.callback()
def start():
    """Hold commands that fail."""


@failing.command()
def unexpected():
    raise ValueError("ada@example.org is no number")


@failing.command()
def missing():
    raise NotFound("it is not there", hint="look elsewhere")


@failing.command()
def invalid():
    raise InvalidInput(
        "two mistakes", faults=[Fault("/name", "bad", "is no name"), Fault("/roles/0", "bad", "is none")]
    )


@failing.command()
def interrupted():
    raise KeyboardInterrupt


@failing.command()
def asks():
    typer.confirm("Sure?", abort=True, err=True)


def run(*args, **env):
    return CliRunner().invoke(failing, args, env=env, prog_name="cdv")


def test_error_has_a_hint_and_status_1():
    result = run("missing")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "",
        "error: it is not there\nhint: look elsewhere\n",
    )


def test_every_fault_is_printed_with_its_path():
    assert "  /name: is no name\n  /roles/0: is none\n" in run("invalid").stderr


def test_unexpected_exception_shows_class_and_location_only():
    result = run("unexpected")
    assert result.exit_code == 1
    assert re.match(r"error: internal error \(ValueError at [\w./-]+\.py:\d+\)\n", result.stderr)
    assert "ada@example.org" not in result.output
    assert "Traceback" not in result.output


def test_debug_variable_shows_the_traceback():
    result = run("unexpected", CDV_DEBUG="1")
    assert isinstance(result.exception, ValueError)


@pytest.mark.parametrize("args", [("nothing",), ("missing", "--loud"), ("missing", "more")], ids=" ".join)
def test_usage_error_has_status_2(args):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "hint: `cdv" in result.stderr
    assert "--help` shows the usage" in result.stderr


def test_ctrl_c_prints_nothing():
    result = run("interrupted")
    assert (result.exit_code, result.output.strip()) == (130, "")


def test_unanswered_question_aborts():
    result = run("asks")
    assert result.exit_code == 1
    assert "error: aborted; nothing was changed" in result.stderr
