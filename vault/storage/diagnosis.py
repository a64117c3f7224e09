"""Why a database cannot be used, for the operator: which one, where it is, and the server's own reason.

Only the command line and the start of a server ask. Callers of the API get the class of the failure alone.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import make_url

from vault.errors import Unavailable
from vault.storage.failures import driver_failures

if TYPE_CHECKING:
    from vault.storage.migrate import Which

TITLES: Final[dict[Which, str]] = {"data": "main database", "keys": "key store", "ledger": "ledger"}
"""How errors call the databases."""
LONGEST_REASON: Final = 300


async def explained(which: Which, url: str, patience: float, error: Unavailable) -> Unavailable:
    """Return the error of a database with its place, and with the reason that a new connection to it is given."""
    reason = await _postgres_reason(url, patience) if _is_postgres(url) else _sqlite_reason(url)
    said = f"the {TITLES[which]} ({place_of(url)}): {reason or error.detail}"
    hint = f"look at {VARIABLES[which]}, and at the server's log" if _is_postgres(url) else error.hint
    return Unavailable(said, hint=hint)


VARIABLES: Final[dict[Which, str]] = {
    "data": "CDV_DATABASE_URL",
    "keys": "CDV_KEYSTORE_URL",
    "ledger": "CDV_LEDGER_URL",
}


def place_of(url: str) -> str:
    """Return where a database is: its file, or its name, host and port. A user's name and password are left out."""
    parsed = make_url(url)
    if not _is_postgres(url):
        return str(parsed.database)
    host = parsed.host or parsed.query.get("host") or "localhost"
    return f"{parsed.database or 'its default'} at {host}:{parsed.port or parsed.query.get('port') or 5432}"


def _is_postgres(url: str) -> bool:
    return make_url(url).get_backend_name().startswith("postgres")


async def _postgres_reason(url: str, patience: float) -> str | None:
    """Connect, look for the vault's tables, and return what the server says against it."""
    from vault.storage.postgres_driver import connect

    libpq = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = await connect(libpq, patience)
        try:
            await connection.execute("SELECT version_num FROM alembic_version")
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
