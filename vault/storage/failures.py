"""Translate failures of drivers to ``Unavailable`` or ``IntegrityError``, without the driver's messages.

PostgreSQL quotes the conflicting value (``Key (…)=(…) already exists``), and asyncpg the argument that it could not
encode. Such text would reach logs through the exception, its cause and their tracebacks, so it is removed where the
error occurs: the class and the SQLSTATE stay.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import exc as sa_exc

from vault.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import ExceptionContext

Errors = tuple[type[BaseException], ...]

_WORDS: Final = ("message", "detail", "hint", "query", "context", "internal_query")


class ReadOnly(Unavailable):
    """A database that answers, and takes no write: so that a node stops before each write fails."""

    def __init__(self) -> None:
        super().__init__(
            "the database can only be read",
            hint="connect to the primary server of PostgreSQL; for SQLite, let the vault's user write the file, and "
            "those that end in -wal and -shm",
        )


def driver_failures() -> Errors:
    """Return the classes of errors by which the drivers report a failure of the database."""
    return (OSError, TimeoutError, sqlite3.Error, *_asyncpg("PostgresError", "InterfaceError", "InternalClientError"))


def _all_failures() -> Errors:
    return (sa_exc.DBAPIError, sa_exc.TimeoutError, *driver_failures())


def _integrity_errors() -> Errors:
    return (sqlite3.IntegrityError, *_asyncpg("IntegrityConstraintViolationError"))


def _asyncpg(*names: str) -> Errors:
    # Only a process that uses PostgreSQL imports the driver, which is slow; before that, none of its errors is raised.
    driver = sys.modules.get("asyncpg")
    return tuple(getattr(driver, name) for name in names) if driver is not None else ()


@contextmanager
def translated() -> Iterator[None]:
    """Turn a driver's failure into :class:`vault.errors.Unavailable`; integrity errors become SQLAlchemy's own."""
    try:
        yield
    except sa_exc.IntegrityError:
        raise
    except _integrity_errors() as error:
        hush(error)
        raise sa_exc.IntegrityError(None, None, error) from None
    except _all_failures() as error:
        if isinstance(error, _asyncpg("PostgresError", "InterfaceError")):
            hush(error)
        raise unavailable(error) from error


def unavailable(error: BaseException) -> Unavailable:
    """Return the error for a database that did not answer; it names the class of the failure."""
    original = error.orig if isinstance(error, sa_exc.DBAPIError) else None
    return Unavailable(
        f"the database did not answer in time ({type(original or error).__name__}); nothing was shown or changed",
        hint="try again; if the error persists, check the log and the disk space of the database",
    )


def hush(error: BaseException) -> None:
    """Remove the messages from a driver's error, in place, so that references to it do not show them either."""
    state = getattr(error, "sqlstate", None)
    kind = type(error).__name__
    error.args = (kind if state is None else f"{kind} ({state})",)
    for name in _WORDS:
        if getattr(error, name, None) is not None:
            setattr(error, name, None)
    error.__cause__ = error.__context__ = None


def hush_engine(context: ExceptionContext) -> None:
    """Remove the messages from what SQLAlchemy is about to raise: a listener of its event ``handle_error``."""
    raised, adapted = context.sqlalchemy_exception, context.original_exception
    if raised is not None:
        raised.params = None
    if isinstance(adapted, sa_exc.EmulatedDBAPIException):
        if adapted.orig is not None:
            hush(adapted.orig)
        hush(adapted)
        if isinstance(raised, sa_exc.DBAPIError):
            raised.args = adapted.args
