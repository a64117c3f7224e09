"""Log lines contain no personal data: not by key, value, exception, or the message of a library."""

from __future__ import annotations

import ast
import io
import json
import logging
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import vault
from vault import logs
from vault.errors import Unavailable

CANARY = "canary-4711@example.org"
PERSON = "Ada Lovelace"


@pytest.fixture(autouse=True)
def _as_it_was():
    """Put logging back as pytest had it."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    loggers = {
        name: (logger.handlers, logger.propagate, logger.level)
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    yield
    root.handlers, root.level = handlers, level
    for name, (handlers, propagate, level) in loggers.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Sink(io.StringIO):
    @property
    def lines(self):
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def sink():
    stream = Sink()
    logs.configure("debug", stream=stream)
    return stream


def test_a_line_is_json_with_level_and_time(sink):
    logs.get_logger().info("listening", host="127.0.0.1", port=8300, workers=2)
    (line,) = sink.lines
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "listening", "level": "info", "host": "127.0.0.1", "port": 8300, "workers": 2}


def test_a_program_that_configures_nothing_logs_no_value_either(capfd, monkeypatch):
    """Structlog's own default prints the local variables of every frame of an exception."""
    monkeypatch.setattr(logs._LINES, "stream", None)
    structlog.configure(processors=[structlog.dev.ConsoleRenderer()])

    def fail(secret):
        raise LookupError(secret)

    try:
        fail(CANARY)
    except LookupError as error:
        logs.get_logger().error("a request failed", exc_info=error, email=CANARY)
    said = capfd.readouterr().err
    assert "LookupError" in said
    assert CANARY not in said


def test_an_unknown_key_is_dropped_and_its_name_logged(sink):
    logs.get_logger().warning("a request failed", email=CANARY, code="not-found", name=PERSON)
    (line,) = sink.lines
    assert line["dropped"] == ["email", "name"]
    assert line["code"] == "not-found"
    assert CANARY not in sink.getvalue()
    assert PERSON not in sink.getvalue()


def test_the_name_of_a_dropped_key_is_logged_only_if_it_is_plain(sink):
    logs.get_logger().info("a request failed", **{CANARY: 1, PERSON: 2, "line\nbreak": 3})
    assert CANARY not in sink.getvalue()
    assert PERSON not in sink.getvalue()
    assert len(sink.lines) == 1


def test_a_caller_cannot_set_dropped(sink):
    logs.get_logger().info("a request failed", dropped=[CANARY])
    assert CANARY not in sink.getvalue()


@pytest.mark.parametrize("key", sorted(set(logs.ALLOWED) - {"event"}))
@pytest.mark.parametrize(
    "value", [CANARY, PERSON, f"x\n{CANARY}", [CANARY], {"a": CANARY}, CANARY.encode(), object(), ValueError(CANARY)]
)
def test_a_value_of_the_wrong_kind_is_dropped(sink, key, value):
    logs.get_logger().info("a request failed", **{key: value} if key not in {"level", "timestamp"} else {})
    assert "anary-4711" not in sink.getvalue()
    assert PERSON not in sink.getvalue()


@given(st.text())
def test_no_allowed_key_takes_an_address_a_line_break_or_a_text(text):
    for key, allows in logs.ALLOWED.items():
        if key != "event" and allows(text):
            assert "@" not in text, key
            assert " " not in text, key
            assert text.isascii(), key
            assert text.isprintable(), key
            assert len(text) <= 121, key


@given(st.floats() | st.integers() | st.none() | st.binary() | st.lists(st.text()))
def test_every_line_is_valid_json(value):
    stream = Sink()
    logs.configure("debug", stream=stream)
    logs.get_logger().info("a request failed", count=value, milliseconds=value, code=value)
    json.loads(stream.getvalue(), parse_constant=pytest.fail)


def raise_deep(depth=3):
    if depth:
        raise_deep(depth - 1)
    try:
        raise LookupError(CANARY)
    except LookupError as error:
        raise Unavailable(CANARY, hint=CANARY) from error


@pytest.mark.parametrize("as_what", ["instance", "true", "tuple", "exception method"])
def test_an_exception_is_logged_by_class_and_place_without_its_message(sink, as_what):
    log = logs.get_logger()
    try:
        raise_deep()
    except Unavailable as error:
        if as_what == "exception method":
            log.exception("an unexpected error")
        else:
            given = {"instance": error, "true": True, "tuple": (type(error), error, error.__traceback__)}[as_what]
            log.error("an unexpected error", exc_info=given)
    (line,) = sink.lines
    assert line["error"] == "Unavailable"
    assert line["at"].startswith("test_logs.py:")  # not ours: the file alone, for its folder may have somebody's name
    assert "anary" not in sink.getvalue()


def test_the_place_is_the_last_one_in_our_own_code(sink):
    from vault.clock import rfc3339

    try:
        rfc3339(CANARY)
    except AttributeError as error:
        logs.get_logger().error("an unexpected error", exc_info=error)
    (line,) = sink.lines
    assert line["at"].startswith("vault/clock.py:")
    assert str(Path(vault.__file__).parents[1]) not in sink.getvalue()


def test_an_exception_without_a_place_is_logged(sink):
    logs.get_logger().error("an unexpected error", exc_info=ValueError(CANARY))
    logs.get_logger().error("an unexpected error", exc_info=True)
    first, second = sink.lines
    assert (first["error"], first["at"]) == ("ValueError", "unknown")
    assert "error" not in second


def test_the_class_of_an_exception_is_logged_only_if_it_is_plain(sink):
    odd = type(CANARY, (Exception,), {})
    logs.get_logger().error("an unexpected error", exc_info=odd())
    assert "anary" not in sink.getvalue()


LIBRARIES = [
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "sqlalchemy",
    "sqlalchemy.engine.Engine",
    "sqlalchemy.pool",
    "casbin",
    "casbin.enforcer",
    "casbin.rbac.role",
    "alembic.runtime.migration",
    "asyncio",
    "asyncpg.pool",
    "httpx",
    "anything.else",
]


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_message_of_a_library_is_not_logged(sink, name):
    library = logging.getLogger(name)
    for level in (10, 20, 25, 30, 35, 40, 50, 60):  # libraries have levels of their own
        library.log(level, "request of %s: %s", PERSON, CANARY, extra={"email": CANARY})
    try:
        raise ValueError(CANARY)
    except ValueError:
        library.exception("failed for %s", CANARY)
    assert "anary" not in sink.getvalue()
    assert "Ada" not in sink.getvalue()
    for line in sink.lines:
        assert line["event"] == "a library reports"
        assert line["logger"] == name
        assert line["level"] in {"warning", "error", "critical"}
    if "access" not in name and "casbin" not in name:
        assert len(sink.lines) == 6
        assert sink.lines[-1]["error"] == "ValueError"


def test_handlers_of_libraries_are_removed():
    heard = io.StringIO()
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error", "sqlalchemy", "casbin"):
        logging.getLogger(name).addHandler(logging.StreamHandler(heard))
        logging.getLogger(name).propagate = False
    stream = Sink()
    logs.configure("info", stream=stream)
    logging.getLogger("uvicorn.access").info('"GET /v1/subjects/%s"', CANARY)
    logging.getLogger("uvicorn.error").error(CANARY)
    logging.getLogger("casbin.enforcer").warning("Request: %s, deny", CANARY)
    logging.getLogger("sqlalchemy.engine").error(CANARY)
    assert heard.getvalue() == ""
    assert len(stream.lines) == 2
    assert CANARY not in stream.getvalue()


def test_a_library_message_that_does_not_fit_its_arguments_is_harmless(capsys):
    sink = Sink()
    logs.configure("debug", stream=sink)  # here, where pytest has no handler of its own any more
    logging.getLogger("broken").error("%d of %s", CANARY)  # noqa: PLE1206 - wrong on purpose
    assert len(sink.lines) == 1
    assert "anary" not in sink.getvalue() + "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_filters_lines(level, heard):
    stream = Sink()
    logs.configure(level, stream=stream)
    log = logs.get_logger()
    for method in ("debug", "info", "warning", "error"):
        getattr(log, method)("listening")
    assert [line["level"] for line in stream.lines] == heard


def test_values_bound_to_a_request_pass_the_same_list(sink):
    structlog.contextvars.bind_contextvars(request_id="0199-abc", email=CANARY)
    logs.get_logger().bind(name=PERSON, tenant="default").info("a request failed")
    (line,) = sink.lines
    assert (line["request_id"], line["tenant"]) == ("0199-abc", "default")
    assert line["dropped"] == ["email", "name"]
    assert CANARY not in sink.getvalue()


def calls_in(tree):
    """List the calls ``log.<level>(…)`` of a module."""
    names = {"debug", "info", "warning", "error", "critical", "exception", "log"}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in names
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in {"log", "logger"}
        ):
            yield node


SOURCES = sorted(Path(vault.__file__).parent.rglob("*.py"))


def test_our_own_lines_are_literals_with_keys_from_the_list():
    statement = 0
    for path in SOURCES:
        if path.name == "logs.py":
            continue
        for call in calls_in(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.name}:{call.lineno}"
            statement += 1
            assert len(call.args) == 1, f"{where}: an event takes no arguments, they would be written into it"
            (event,) = call.args
            assert isinstance(event, ast.Constant), f"{where}: an event is a literal"
            assert isinstance(event.value, str), f"{where}: an event is a literal"
            keys = {keyword.arg for keyword in call.keywords}
            assert None not in keys, f"{where}: keys are written out"
            assert keys <= set(logs.ALLOWED) - {"event", "level", "timestamp"} | {"exc_info"}, f"{where}: {keys}"
    assert statement > 3


def test_the_source_logs_and_prints_in_no_other_way():
    allowed_to_print = {"cli"}  # the command line speaks to a person, by rich
    for path in SOURCES:
        if path.name == "logs.py" or path.parts[-2:] == ("policy", "enforcer.py"):  # that one silences casbin
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names} | {
            node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        }
        assert not imported & {"logging", "structlog"}, path
        if not set(path.parts) & allowed_to_print:
            printed = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            ]
            assert not printed, path
