"""How commands fail: with ``error:``, ``hint:`` and an exit status, without a traceback.

Messages in a traceback may contain personal data. ``CDV_DEBUG=1`` shows it nevertheless, for debugging with test data.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from vault.errors import InvalidInput, PolicyInvalid, VaultError

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED = 1
INTERRUPTED = 130
"""128 plus the number of SIGINT, as in shells."""


class Commands(TyperGroup):
    """The root command: reports all errors in one format."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; in standalone mode, exit with its status."""

        def run() -> Any:
            return super(Commands, self).main(
                args, prog_name, complete_var, standalone_mode=False, windows_expand_args=windows_expand_args, **extra
            )

        if not standalone_mode:
            return run()
        try:
            ended = run()
        except Exception as error:
            if os.environ.get("CDV_DEBUG") == "1":
                raise
            sys.exit(complain(error))
        # Commands return nothing: a number is the status of one that ended by `typer.Exit`, as on Ctrl-C.
        sys.exit(ended if isinstance(ended, int) else 0)


def complain(error: Exception) -> int:
    """Print an error on standard error, and return the exit status."""
    if isinstance(error, VaultError):
        _tell(error.detail, error.hint, _particulars(error))
        return FAILED
    if isinstance(error, typer.TyperException):
        path = getattr(getattr(error, "ctx", None), "command_path", "cdv")
        _tell(error.format_message(), f"`{path} --help` shows the usage")
        return error.exit_code
    if isinstance(error, typer.Abort):
        _tell("aborted; nothing was changed", "use --yes to skip the question")
        return FAILED
    from vault.logs import describe_error

    what = describe_error(error)
    _tell(
        f"internal error ({what['error']} at {what['at']})",
        "CDV_DEBUG=1 shows the traceback, personal data included",
    )
    return FAILED


def _particulars(error: VaultError) -> list[str]:
    if isinstance(error, PolicyInvalid):
        return [str(finding) for finding in error.findings]
    if isinstance(error, InvalidInput):
        return [f"{fault.at}: {fault.detail}" for fault in error.faults]
    return []


def _tell(detail: str, hint: str | None, particulars: Sequence[str] = ()) -> None:
    typer.echo(f"error: {detail}", err=True)
    for line in particulars:
        typer.echo(f"  {line}", err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)
