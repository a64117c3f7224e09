"""What a driver's failure becomes: ``Unavailable`` or ``IntegrityError``, and in both without the driver's words.

PostgreSQL tells which value stood in the way (``Key (…)=(…) already exists``), and asyncpg which argument it could not
encode. Such text would travel in an exception, its cause and every traceback printed of them, so it is taken out where
the error comes up: the class and the SQLSTATE stay.
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
    """Say that the database did not answer, and by what kind of failure."""
    original = error.orig if isinstance(error, sa_exc.DBAPIError) else None
    return Unavailable(
        f"the database did not take part in time ({type(original or error).__name__}); nothing was shown or changed",
        hint="try again; if it lasts, look at the database's log and disk space",
    )


def hush(error: BaseException) -> None:
    """Take the words out of a driver's error, in place, so that nobody who holds it already reads them either."""
    state = getattr(error, "sqlstate", None)
    kind = type(error).__name__
    error.args = (kind if state is None else f"{kind} ({state})",)
    for name in _WORDS:
        if getattr(error, name, None) is not None:
            setattr(error, name, None)
    error.__cause__ = error.__context__ = None


def hush_engine(context: ExceptionContext) -> None:
    """Do the same to what SQLAlchemy is about to raise: a listener of its event ``handle_error``."""
    raised, adapted = context.sqlalchemy_exception, context.original_exception
    if raised is not None:
        raised.params = None
    if isinstance(adapted, sa_exc.EmulatedDBAPIException):
        if adapted.orig is not None:
            hush(adapted.orig)
        hush(adapted)
        if isinstance(raised, sa_exc.DBAPIError):
            raised.args = adapted.args
