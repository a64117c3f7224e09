"""``cdv doctor``: look at everything that the vault needs, and say what to do about what is not right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vault.cli.command import HERE, TOP_LEVEL, Json, VaultFolder, command, run
from vault.cli.output import FAILED, emit
from vault.doctor import Examination, examine
from vault.wording import counted

if TYPE_CHECKING:
    from vault.doctor import Check

MARKS = {"ok": "ok", "warning": "WARNING", "failed": "FAILED", "skipped": "skipped"}
COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "failed": typer.colors.RED}


@command(
    TOP_LEVEL,
    "cdv doctor --vault my-vault",
    "cdv doctor --json",
    "cdv doctor --send-test me@example.org",
    name="doctor",
)
def doctor(
    vault: VaultFolder = HERE,
    send_test: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Also send a letter to this address.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Check settings, keys, databases, policies, mail, backups and waiting work, and say what to do about each.

    Exit status 1 if something failed; warnings alone are no failure.
    """
    examination = run(examine(vault, send_test=send_test))
    if as_json:
        emit(examination)
    else:
        for check in examination.checks:
            _show(check)
        _sum_up(examination)
    if examination.failed:
        raise typer.Exit(FAILED)


def _show(check: Check) -> None:
    mark = typer.style(f"{MARKS[check.state]:8}", fg=COLOURS.get(check.state))
    typer.echo(f"{mark} {check.name}: {check.detail}")
    if check.remedy is not None:
        typer.echo(f"{'':8} -> {check.remedy}")


def _sum_up(examination: Examination) -> None:
    states = [check.state for check in examination.checks]
    numbers = {"failure": states.count("failed"), "warning": states.count("warning")}
    found = " and ".join(counted(number, word) for word, number in numbers.items() if number)
    typer.echo(f"\n{found} in {len(states)} checks." if found else "\nEverything is as it should be.")
