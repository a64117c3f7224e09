"""Logs: JSON lines about the program, which cannot contain personal data.

A list of forbidden keys would miss the first new key, so there is a list of allowed keys. Other keys are dropped (their
names are in ``dropped``), and so are values that do not match the pattern of their key. Exceptions are logged by class
and place, without their message, which may quote input.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from types import CodeType, TracebackType

    Event = MutableMapping[str, Any]

_PLACE: Final = re.compile(r"[A-Za-z0-9_./-]{1,112}:[0-9]{1,7}|unknown")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
_PACKAGE: Final = f"{Path(__file__).parent.as_posix()}/"
_TEMPLATE: Final = re.compile(r"/[A-Za-z0-9_{}:/.-]{0,120}")


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _number(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))  # JSON has no NaN


ALLOWED: Final[dict[str, Callable[[Any], bool]]] = {
    "event": lambda value: isinstance(value, str),  # written in our own source: see the test that reads it
    "level": _matching(_PLAIN),
    "timestamp": _matching(_PLAIN),
    "logger": _matching(_PLAIN),
    "request_id": _matching(_PLAIN),
    "method": _matching(re.compile(r"[A-Z]{3,7}")),
    "route": _matching(_TEMPLATE),  # the template, never the path
    "status": _number,
    "milliseconds": _number,
    "code": _matching(_PLAIN),
    "tenant": _matching(_PLAIN),
    "principal": _matching(_PLAIN),
    "version": _matching(_PLAIN),
    "revision": _matching(_PLAIN),
    "database": _matching(_PLAIN),
    "table": _matching(_PLAIN),
    "index": _matching(_PLAIN),
    "host": _matching(_PLAIN),
    "port": _number,
    "workers": _number,
    "pid": _number,
    "count": _number,
    "error": _matching(_PLAIN),
    "at": _matching(_PLACE),
}
"""The keys of a log line, each with the check of its value; in addition there is ``dropped``, which is made here."""


def allow_listed(_logger: object, _method: str, event: Event) -> Event:
    """Copy the allowed keys and values: the last step before a line is written."""
    error = event.pop("exc_info", None)
    kept = {key: value for key, value in event.items() if key in ALLOWED and ALLOWED[key](value)}
    dropped = sorted(key for key in event if key not in kept and _PLAIN.fullmatch(key))
    if dropped:
        kept["dropped"] = dropped
    return kept | describe_error(error)


def describe_error(error: object) -> dict[str, str]:
    """Describe an exception by its class, and the place in this program where it was raised."""
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if not isinstance(error, BaseException):
        return {}
    name = type(error).__name__
    return {"error": name if _PLAIN.fullmatch(name) else "unknown", "at": _place(error.__traceback__)}


def _place(trace: TracebackType | None) -> str:
    frames = [(_shortened(code.co_filename), line) for code, line in _frames(trace)]
    ours = [frame for frame in frames if frame[0].startswith("vault/")]
    name, line = (ours or frames or [("", 0)])[-1]
    place = f"{name}:{line}"[-120:]
    return place if _PLACE.fullmatch(place) else "unknown"


def _frames(trace: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    while trace is not None:
        yield trace.tb_frame.f_code, trace.tb_lineno or 0
        trace = trace.tb_next


def _shortened(file: str) -> str:
    """Remove the folder of the program on this machine: its path may contain a person's name."""
    path = file.replace("\\", "/")
    if path.startswith(_PACKAGE):
        return "vault/" + path.removeprefix(_PACKAGE)
    known = path.rpartition("/site-packages/")[2].rpartition("/lib/")[2]
    return known.rpartition("/")[2] if known.startswith("/") else known


_LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class _Bridge(logging.Handler):
    """Logs that a library logged something, and at which level. The message is dropped, as it may quote anything."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a library's record without its message."""
        known = [level for level in _LEVELS if level <= record.levelno]  # libraries have levels of their own
        level = logging.getLevelName(max(known, default=logging.DEBUG)).lower()
        getattr(get_logger(), level)("a library reports", logger=record.name, exc_info=record.exc_info)


class _Lines:
    """The stream and level of log lines. There is one for the process, usable from the first import on."""

    def __init__(self) -> None:
        self.stream: TextIO | None = None
        self.level = logging.INFO

    def msg(self, line: str) -> None:
        """Write a line."""
        print(line, file=self.stream or sys.stderr, flush=True)

    debug = info = warning = error = critical = log = exception = msg

    def leveled(self, _logger: object, method: str, event: Event) -> Event:
        """Drop events below the level."""
        if logging.getLevelNamesMapping().get(method.upper(), logging.ERROR) < self.level:
            from structlog import DropEvent

            raise DropEvent
        return event


_LINES: Final = _Lines()


@cache
def _bound_logger() -> Any:
    import structlog  # with the first line: it imports rich, which takes a tenth of a second

    # Passed explicitly, so that global structlog settings cannot change what a line may contain. Its defaults would
    # print local variables with an exception.
    processors: list[Any] = [
        _LINES.leveled,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        allow_listed,
        structlog.processors.JSONRenderer(sort_keys=True),
    ]
    every_level = structlog.make_filtering_bound_logger(logging.DEBUG)  # ``leveled`` checks the level
    return structlog.wrap_logger(_LINES, processors=processors, wrapper_class=every_level)


class _Logger:
    """The logger that modules hold; each call is structlog's own."""

    def __getattr__(self, method: str) -> Any:
        return getattr(_bound_logger(), method)


def configure(level: str = "info", *, stream: TextIO | None = None) -> None:
    """Set logging up for the whole process: one JSON line an event on standard error, libraries' logs included.

    Args:
        level: debug, info, warning or error.
        stream: for tests; by default standard error.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    _LINES.level, _LINES.stream = number, stream
    root = logging.getLogger()
    root.handlers = [_Bridge(level=max(number, logging.WARNING))]
    root.setLevel(max(number, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "casbin", "casbin.enforcer", "sqlalchemy"):
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
    logging.getLogger("casbin").setLevel(logging.CRITICAL)  # it logs every denial with the whole request
    logging.getLogger("uvicorn.access").setLevel(logging.CRITICAL)  # it logs paths, which contain ids


def take_over(library: str) -> None:
    """Prevent a library from adding its own handler to its logger, so that it logs through ours."""
    logger = logging.getLogger(library)
    logger.handlers, logger.propagate = [logging.NullHandler()], True


def get_logger() -> Any:
    """Return the logger; :data:`ALLOWED` lists the keys that it may write."""
    return _Logger()
