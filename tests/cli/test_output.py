"""Tables are drawn for people at a terminal, and plain for everything else."""

from __future__ import annotations

import os
import subprocess
import sys

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


def test_a_terminal_gets_a_drawn_table_that_shows_brackets_as_they_are():
    said = at_a_terminal(CODE)
    assert "│" in said
    assert "[bold]web-shop[/bold]" in said


def test_a_pipe_gets_plain_columns():
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    assert said == "NAME                   STATE\n[bold]web-shop[/bold]\n"


def test_json_is_one_line_with_ids_and_moments_as_text():
    code = (
        "from datetime import *; from uuid import UUID; from vault.cli.output import emit;"
        "emit({'id': UUID(int=1), 'at': datetime(2026, 3, 5, 12, tzinfo=timezone.utc), 'name': 'Zoë'})"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert (
        said == '{"id": "00000000-0000-0000-0000-000000000001", "at": "2026-03-05T12:00:00.000000Z", "name": "Zoë"}\n'
    )
