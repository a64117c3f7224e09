"""Translate failures of drivers to ``Unavailable`` or ``IntegrityError``, without the driver's messages.

PostgreSQL quotes the conflicting value (``Key (…)=(…) already exists``), and asyncpg the argument that it could not
encode. Such text would reach logs through the exception, its cause and their tracebacks, so it is removed where the
error occurs: the class and the SQLSTATE stay.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
from sqlalchemy import exc as sa_exc

from vault.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import ExceptionContext

DRIVER_FAILURES: Final[tuple[type[BaseException], ...]] = (
    OSError,
    TimeoutError,
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_INTEGRITY: Final = (sqlite3.IntegrityError, asyncpg.IntegrityConstraintViolationError)
_FAILURES: Final[tuple[type[BaseException], ...]] = (sa_exc.DBAPIError, sa_exc.TimeoutError, *DRIVER_FAILURES)
_TALKATIVE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError)
_WORDS: Final = ("message", "detail", "hint", "query", "context", "internal_query")


@contextmanager
def translated() -> Iterator[None]:
    """Turn a driver's failure into :class:`vault.errors.Unavailable`; integrity errors become SQLAlchemy's own."""
    try:
        yield
    except sa_exc.IntegrityError:
        raise
    except _INTEGRITY as error:
        hush(error)
        raise sa_exc.IntegrityError(None, None, error) from None
    except _FAILURES as error:
        if isinstance(error, _TALKATIVE):
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
