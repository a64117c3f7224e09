"""Why a database cannot be used, for the operator: which one, where it is, and the server's own reason.

Only the command line and the start of a server ask. Callers of the API get the class of the failure alone.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import make_url

from vault.errors import Unavailable
from vault.storage.failures import driver_failures
from vault.storage.urls import is_postgres, place_of

if TYPE_CHECKING:
    from vault.storage.migrate import Which

    Role = Which | Literal["jobs"]

TITLES: Final[dict[Role, str]] = {
    "data": "main database",
    "keys": "key store",
    "ledger": "ledger",
    "jobs": "database of jobs",
}
"""How errors call the databases."""
LONGEST_REASON: Final = 300


async def explained(which: Role, url: str, patience: float, error: Unavailable) -> Unavailable:
    """Return the error of a database with its place, and with the reason that a new connection to it is given."""
    # The job engine makes its tables by itself.
    reason = await _reason(url, patience, "" if which == "jobs" else "SELECT version_num FROM alembic_version")
    hint = None if is_postgres(url) else error.hint
    return _unusable(which, url, reason or error.detail, hint)


async def require_jobs(url: str, patience: float, needs: str) -> None:
    """Require that the database of jobs can be used, or made if it is a file.

    Args:
        needs: a statement for PostgreSQL that fails where the vault's role may not do what it has to.

    Raises:
        Unavailable: it cannot; the error has its place, and the server's own reason.
        Misconfigured: a pooler is in front of it that does not keep sessions.
    """
    if _is_to_be_made(url):
        return
    reason = await _reason(url, patience, needs)
    if reason is not None:
        raise _unusable("jobs", url, reason, "look at its owner and mode")


def _is_to_be_made(url: str) -> bool:
    file = Path(make_url(url).database or "")
    return not is_postgres(url) and not file.exists() and file.parent.is_dir()


def _unusable(which: Role, url: str, reason: str, hint: str | None) -> Unavailable:
    if is_postgres(url):
        hint = f"look at {VARIABLES[which]}, and at the server's log"
        if which == "jobs":
            hint += "; without that setting, jobs are in the main database's PostgreSQL"
    return Unavailable(f"the {TITLES[which]} ({place_of(url)}): {reason}", hint=hint)


async def _reason(url: str, patience: float, statement: str) -> str | None:
    return await _postgres_reason(url, patience, statement) if is_postgres(url) else _sqlite_reason(url)


VARIABLES: Final[dict[Role, str]] = {
    "data": "CDV_DATABASE_URL",
    "keys": "CDV_KEYSTORE_URL",
    "ledger": "CDV_LEDGER_URL",
    "jobs": "CDV_JOBS_DATABASE_URL",
}


async def _postgres_reason(url: str, patience: float, statement: str) -> str | None:
    """Connect, run a statement, and return what the server says against it."""
    from vault.storage.postgres_driver import connect

    libpq = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = await connect(libpq, patience)
        try:
            await connection.execute(statement)
        finally:
            connection.terminate()
    except driver_failures() as error:
        return _printable(str(getattr(error, "strerror", None) or error) or type(error).__name__)
    return None


def _sqlite_reason(url: str) -> str | None:
    file = Path(make_url(url).database or "")
    if not file.exists():
        return "there is no such file"
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.Error as error:
        return _printable(str(error))
    return None


def _printable(text: str) -> str:
    """Return the first line of a server's message, without what a terminal would interpret."""
    line = text.strip().partition("\n")[0]
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:LONGEST_REASON]
