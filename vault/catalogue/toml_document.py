"""Reads a TOML file of the policy folder key by key, and collects all mistakes with their lines and remedies.

:mod:`tomllib` does not report on which line a key is, so :class:`Lines` scans the text for it. The scan relies on
:mod:`tomllib` having accepted the text: it finds where strings, arrays and inline tables begin and end, and checks
nothing. It runs only if there is a finding, so a valid folder does not pay for it.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, datetime
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


Choice = TypeVar("Choice", bound=StrEnum)
_SYNTAX = re.compile(r"^(?P<what>.*) \(at line (?P<line>\d+), column \d+\)$", re.DOTALL)


MOST_PARTS = 32
"""Parts of a dotted key, or of the name of a table."""
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*"""
_DEEP = re.compile(rf"(?:^|[{{,])[ \t]*(?:\[{{1,2}}[ \t]*)?{_PART}(?:\.[ \t]*{_PART}){{{MOST_PARTS}}}", re.MULTILINE)


def load_toml(text: str) -> dict[str, object]:
    """Parse TOML in time that grows with its length only; that of :mod:`tomllib` grows with the square of a key's.

    Raises:
        TOMLDecodeError: it is no TOML, has a key of more than :data:`MOST_PARTS` parts, or is nested too deeply.
    """
    if deep := _DEEP.search(text):
        line = text.count("\n", 0, deep.end()) + 1
        raise tomllib.TOMLDecodeError(f"a key has more than {MOST_PARTS} parts (at line {line}, column 1)")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise tomllib.TOMLDecodeError("nested too deeply (at line 1, column 1)") from None


class Document:
    """A parsed file and its findings.

    ``first`` is the line of the file on which the text starts. ``sound`` is false if the text is not valid TOML.
    """

    def __init__(self, file: str, text: str, findings: Findings, *, first: int = 1) -> None:
        self.file = file
        self.text = text
        self.findings = findings
        self.first = first
        self.sound = True
        self.data: dict[str, object] = self._parse()

    def _parse(self) -> dict[str, object]:
        try:
            return load_toml(self.text)
        except tomllib.TOMLDecodeError as error:
            match = _SYNTAX.match(str(error))
            line = int(match["line"]) if match else self.text.count("\n") + 1
            reason = match["what"] if match else "it ends too early"
            self.note(
                self.first + line - 1, "toml-syntax", f"not valid TOML: {reason}", "mend the syntax: https://toml.io"
            )
        self.sound = False
        return {}

    @cached_property
    def _lines(self) -> Lines:
        return Lines(self.text)

    def note(self, line: int, code: str, message: str, remedy: str) -> None:
        """Add a mistake on a line."""
        self.findings.add(self.file, line, code, message, remedy)

    def fault(self, path: Path, code: str, message: str, remedy: str) -> None:
        """Add a mistake at a path, or at the nearest table around it."""
        self.note(self.first + self._lines.of(path) - 1, code, message, remedy)

    def root(self) -> Table:
        """Return the table of the whole file."""
        return Table(self, (), self.data)


@dataclass(frozen=True, slots=True)
class Form:
    """The form that a text must have.

    Attributes:
        fits: returns something true for a text of that form.
        complaint: what is wrong with any other text, after its name: "is no e-mail address".
        remedy: what to write instead.
    """

    fits: Callable[[str], object]
    complaint: str
    remedy: str


class Table:
    """One table. Each method reads a key, and :meth:`finish` reports the keys that were not read.

    A value of the wrong type is reported and read as missing. No message repeats such a value.
    """

    def __init__(self, document: Document, path: Path, data: dict[str, object]) -> None:
        self.document = document
        self.path = path
        self.data = data
        self._known: set[str] = set()

    @property
    def where(self) -> str:
        """Return the table's name for messages."""
        return "[" + ".".join(map(str, self.path)) + "]" if self.path else "the file"

    def fault(self, at: str | Path, code: str, message: str, remedy: str) -> None:
        """Add a mistake at a key or a path below the table; the empty path is the table itself."""
        below = (at,) if isinstance(at, str) else at
        self.document.fault((*self.path, *below), code, message, remedy)

    def wrong(self, key: str, complaint: str, remedy: str) -> None:
        """Add the mistake that the value of a key is wrong."""
        self.fault(key, "wrong-value", f"`{key[:80]}` of {self.where} {complaint}", remedy)

    def missing(self, key: str, remedy: str) -> None:
        """Add the mistake that a key is missing."""
        self.fault((), "missing-key", f"{self.where} has no `{key}`", remedy)

    def take(self, key: str) -> object:
        """Return the value of a key, or ``None``."""
        self._known.add(key)
        return self.data.get(key)

    def text(self, key: str, *, most: int = 1000, form: Form | None = None) -> str:
        """Return a required text; the empty text if it is missing."""
        if key not in self.data:
            self._known.add(key)
            self.missing(key, f'add `{key} = "…"`')
        return self.optional(key, most=most, form=form) or ""

    def optional(self, key: str, *, most: int = 1000, form: Form | None = None) -> str | None:
        """Return an optional text of at most some characters; one of another form is reported and returned."""
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip() or len(value) > most:
            self.wrong(key, "is not such a text", f"write a text in quotes, 1 to {most} characters")
            return None
        if form is not None and not form.fits(value):
            self.wrong(key, form.complaint, form.remedy)
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a boolean."""
        value = self.take(key)
        if isinstance(value, bool):
            return value
        if value is not None:
            self.wrong(key, "is not a boolean", "write true or false")
        return default

    def number(self, key: str, *, least: int, most: int) -> int | None:
        """Return an optional whole number."""
        value = self.take(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
            return value
        self.wrong(key, "is out of range", f"write a whole number from {least} to {most}")
        return None

    def day(self, key: str) -> date | None:
        """Return an optional day."""
        value = self.take(key)
        if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
            return value
        self.wrong(key, "is not a day", "write it without quotes: 2026-03-05")
        return None

    def texts(self, key: str) -> dict[str, int]:
        """Return a list of texts, each with its index. Duplicates and values that are no text are left out."""
        values = self.take(key)
        if not isinstance(values, list):
            if values is not None:
                self.wrong(key, "is not a list", 'write `["…", "…"]`')
            return {}
        texts: dict[str, int] = {}
        for index, text in enumerate(values):
            if not isinstance(text, str) or not text:
                message = f"`{key}` of {self.where} lists no text"
                self.fault((key, index), "wrong-value", message, "write it in quotes")
            elif text in texts:
                self.fault((key, index), "duplicate", f"`{key}` of {self.where} lists `{text}` twice", "keep one")
            else:
                texts[text] = index
        return texts

    def choice(self, key: str, enum: type[Choice], *, required: bool = True) -> Choice | None:
        """Return a member of an enumeration."""
        value = self.text(key) if required else self.optional(key)
        return self._member(value, key, (key,), enum) if value else None

    def choices(self, key: str, enum: type[Choice]) -> tuple[Choice, ...]:
        """Return several members of an enumeration."""
        members = (self._member(value, key, (key, index), enum) for value, index in self.texts(key).items())
        return tuple(member for member in members if member is not None)

    def _member(self, value: str, key: str, at: Path, enum: type[Choice]) -> Choice | None:
        try:
            return enum(value)
        except ValueError:
            remedy = did_you_mean(value, enum, "write one of " + ", ".join(enum))
            self.fault(at, "wrong-value", f"`{key}` of {self.where} cannot be `{value[:80]}`", remedy)
            return None

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Yield the tables inside this one; any other value in it is a mistake."""
        for key, value in self.data.items():
            self._known.add(key)
            if isinstance(value, dict):
                yield key, Table(self.document, (*self.path, key), value)
            else:
                self.fault(key, "wrong-value", f"`{key}` in {self.where} is not a table", f"write `[{key}]`")

    def table(self, key: str) -> Table:
        """Return an optional table."""
        value = self.take(key)
        if value is not None and not isinstance(value, dict):
            self.wrong(key, "is not a table", "write `{ … = … }`")
        return Table(self.document, (*self.path, key), value if isinstance(value, dict) else {})

    def finish(self) -> None:
        """Report unknown keys: a mistyped key must not be ignored."""
        for key in self.data.keys() - self._known:
            remedy = did_you_mean(key, self._known, "take it out; known are " + ", ".join(sorted(self._known)))
            self.fault(key, "unknown-key", f"{self.where} has an unknown key `{key[:80]}`", remedy)


Path: TypeAlias = tuple[str | int, ...]
"""Keys from the root; array elements and arrays of tables by their number from 0."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' + r"|'''.*?'{3,5}" + r'|"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}\n#]*")


class Lines:
    """Where each key, table and array element of a TOML text starts, by line from 1."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._at = 0
        self._starts: dict[Path, int] = {(): 0}
        self._tables: dict[Path, int] = {}
        self._here: Path = ()
        self._skip(_BLANK)
        while self._at < len(text):
            if text[self._at] == "[":
                self._header()
            else:
                self._pair(self._here)
            self._skip(_BLANK)

    def of(self, path: Path) -> int:
        """Return the line of a path, or of the nearest table around it."""
        while path not in self._starts:
            path = path[:-1]
        return bisect_right(self._ends, self._starts[path] - 1) + 1

    def _header(self) -> None:
        start, many = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if many else 1
        keys = self._keys()
        self._at += 2 if many else 1
        path: Path = ()
        for key in keys[:-1]:
            path = (*path, key)
            if path in self._tables:  # a header that passes through an array of tables means its latest table
                path = (*path, self._tables[path])
        path = (*path, keys[-1])
        if many:
            self._tables[path] = self._tables.get(path, -1) + 1
            path = (*path, self._tables[path])
        self._here = path
        self._note(path, start)

    def _pair(self, table: Path) -> None:
        start = self._at
        path = (*table, *self._keys())
        self._note(path, start)
        self._at += 1  # the sign "="
        self._skip(_SPACE)
        self._value(path)

    def _keys(self) -> Path:
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            key = self._skip(_KEY)
            keys.append(key[1:-1] if key[:1] in {'"', "'"} else key)
            self._skip(_SPACE)
            if self._text[self._at : self._at + 1] != ".":
                return tuple(keys)
            self._at += 1

    def _value(self, path: Path) -> None:
        match self._text[self._at : self._at + 1]:
            case "[":
                self._array(path)
            case "{":
                self._inline(path)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_PLAIN)

    def _array(self, path: Path) -> None:
        self._at += 1
        number = 0
        while not self._closed("]"):
            self._note((*path, number), self._at)
            self._value((*path, number))
            number += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while not self._closed("}"):
            self._pair(path)

    def _closed(self, end: str) -> bool:
        """Skip the separator between elements; return True after the closing bracket, which is skipped too."""
        self._skip(_BLANK)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_BLANK)
        if self._at >= len(self._text) or self._text.startswith(end, self._at):
            self._at += 1
            return True
        return False

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _note(self, path: Path, start: int) -> None:
        """Note where a path starts, and the tables around it that have no start yet."""
        for length in range(1, len(path) + 1):
            self._starts.setdefault(path[:length], start)


FOLDER = "policies"
MOST_ALIKE: Final = 3
"""The number of findings with the same words that are told one by one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake. ``file`` is relative to the policy folder, ``line`` counts from 1, ``code`` stays the same."""

    file: str
    line: int
    message: str
    remedy: str
    code: str

    def __str__(self) -> str:
        return f"{FOLDER}/{self.file}:{self.line}: {self.message} — {self.remedy}"


class Findings:
    """Collects mistakes, so that one run reports them all."""

    def __init__(self) -> None:
        self._items: list[Finding] = []

    def add(self, file: str, line: int, code: str, message: str, remedy: str) -> None:
        """Add a mistake."""
        self._items.append(Finding(file, line, message, remedy, code))

    def sorted(self) -> tuple[Finding, ...]:
        """Return the findings by file and line, each once, and one that many lines of a file have once as a whole."""
        alike: defaultdict[tuple[str, ...], set[Finding]] = defaultdict(set)
        for item in self._items:
            alike[item.file, item.code, item.message, item.remedy].add(item)
        found = [finding for group in alike.values() for finding in _merged(group)]
        return tuple(sorted(found, key=lambda finding: (finding.file, finding.line, finding.code, finding.message)))

    def about(self, *files: str) -> bool:
        """Return whether some files have findings."""
        return any(finding.file in files for finding in self._items)

    def __len__(self) -> int:
        return len(self._items)


def _merged(alike: set[Finding]) -> Iterable[Finding]:
    """Return findings that differ in their lines alone, or one for all if they are too many to read."""
    if len(alike) <= MOST_ALIKE:
        return alike
    first, *rest = sorted(alike, key=lambda finding: finding.line)
    lines = ", ".join(str(finding.line) for finding in rest[:MOST_ALIKE])
    more = ", …" if len(rest) > MOST_ALIKE else ""
    return [replace(first, message=f"{first.message}; so on {len(rest)} more lines ({lines}{more})")]


MOST_NAMES = 300
"""Known names among which the nearest is looked for: each look compares with all of them."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return a remedy that suggests the nearest known name, or ``otherwise``; also if very many are known."""
    names = [candidate[:80] for candidate in islice(known, MOST_NAMES + 1)]
    near = get_close_matches(name[:80], names, n=1, cutoff=0.6) if len(names) <= MOST_NAMES else []
    return f"did you mean `{near[0]}`? Else {otherwise}" if near else otherwise
