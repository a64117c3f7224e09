"""The public surface as text: the OpenAPI document, and the help of every command.

``python -m tests.golden.documents`` writes both files again. Look at the difference before you commit it: it is what
a user of the API or of the command line will see.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import typer

FOLDER = Path(__file__).parent
OPENAPI = FOLDER / "openapi.json"
HELP = FOLDER / "help.txt"
ROOT = FOLDER.parent.parent
FIXED = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
COLOURS = {"FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"}


def openapi():
    """Return the OpenAPI document as JSON text with sorted keys."""
    from vault.api.app import bare_app
    from vault.bootstrap import init_vault, open_vault

    async def document(folder):
        await init_vault(folder)
        async with open_vault(folder) as vault:
            return bare_app(vault).openapi()

    with tempfile.TemporaryDirectory() as folder:
        return (
            json.dumps(asyncio.run(document(Path(folder) / "vault")), indent=1, ensure_ascii=False, sort_keys=True)
            + "\n"
        )


def _commands(command, path=()):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*path, name))


def command_help():
    """Return the help of all commands, one after the other, at a fixed width and without colours.

    The library for terminals reads the environment when it is imported, so this runs in a process of its own.
    """
    environment = {name: value for name, value in os.environ.items() if name not in COLOURS} | FIXED
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.documents", "help"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _print_help():
    from vault.cli import app

    command = typer.main.get_command(app)  # once: a runner of commands would make it again for each
    for path in _commands(command):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            command.main([*path, "--help"], prog_name="cdv", standalone_mode=False)
        print("$", *("cdv", *path), "--help")
        print(*(line.rstrip() for line in text.getvalue().strip().splitlines()), "", sep="\n")


def main():
    """Write both files."""
    OPENAPI.write_text(openapi(), encoding="utf-8")
    HELP.write_text(command_help(), encoding="utf-8")


if __name__ == "__main__":
    _print_help() if "help" in sys.argv else main()
