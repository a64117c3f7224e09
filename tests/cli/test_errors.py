"""Errors are told as `error:` and `hint:`, and never with what an exception says of its own accord."""

from __future__ import annotations

import re

import pytest
import typer
from typer.testing import CliRunner

from vault.cli.output import Commands
from vault.errors import Fault, InvalidInput, NotFound

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


def test_an_error_comes_with_its_hint_and_status_1():
    result = run("missing")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "",
        "error: it is not there\nhint: look elsewhere\n",
    )


def test_every_fault_is_told_by_its_place():
    assert "  /name: is no name\n  /roles/0: is none\n" in run("invalid").stderr


def test_an_unexpected_exception_is_told_by_class_and_place_only():
    result = run("unexpected")
    assert result.exit_code == 1
    assert re.match(r"error: internal error \(ValueError at [\w./-]+\.py:\d+\)\n", result.stderr)
    assert "ada@example.org" not in result.output
    assert "Traceback" not in result.output


def test_whoever_debugs_sees_all_of_it():
    result = run("unexpected", CDV_DEBUG="1")
    assert isinstance(result.exception, ValueError)


@pytest.mark.parametrize("args", [("nothing",), ("missing", "--loud"), ("missing", "more")], ids=" ".join)
def test_a_usage_error_has_status_2(args):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "hint: `cdv" in result.stderr
    assert "--help` shows the usage" in result.stderr


def test_ctrl_c_ends_quietly():
    result = run("interrupted")
    assert (result.exit_code, result.output.strip()) == (130, "")


def test_a_question_that_nobody_answers_stops_the_command():
    result = run("asks")
    assert result.exit_code == 1
    assert "error: aborted; nothing was changed" in result.stderr
