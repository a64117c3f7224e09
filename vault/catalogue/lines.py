"""On which line of a TOML file does a key stand? The standard parser does not say, and a finding needs it.

The scan leans on :mod:`tomllib` having accepted the text: it tells where strings, arrays and inline tables begin and
end, and checks nothing. It is made only when there is a finding to place, so a sound folder never pays for it.
"""

from __future__ import annotations

import re
from typing import TypeAlias

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
        self._at = 0
        self._found: dict[Path, int] = {(): 1}
        self._tables: dict[Path, int] = {}
        self._here: Path = ()
        self._line = 1
        self._counted = 0
        self._scan()

    def of(self, path: Path) -> int:
        """Return the line of a path, or of the nearest thing around it that stands in the text."""
        while path not in self._found:
            path = path[:-1]
        return self._found[path]

    def _scan(self) -> None:
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                self._header()
            else:
                self._pair(self._here)
            self._skip(_BLANK)

    def _header(self) -> None:
        line, many = self._now(), self._text.startswith("[[", self._at)
        self._at += 2 if many else 1
        path = self._inside(self._keys())
        if many:
            number = self._tables[path] = self._tables.get(path, -1) + 1
            self._note(path, line)
            path = (*path, number)
        self._here = path
        for length in range(1, len(path) + 1):
            self._note(path[:length], line)
        self._at += 2 if many else 1

    def _inside(self, keys: Path) -> Path:
        """A header that passes through an array of tables means its latest table."""
        path: Path = ()
        for i, key in enumerate(keys):
            path = (*path, key)
            if i < len(keys) - 1 and path in self._tables:
                path = (*path, self._tables[path])
        return path

    def _pair(self, around: Path) -> None:
        line = self._now()
        path = (*around, *self._keys())
        for length in range(len(around) + 1, len(path) + 1):
            self._note(path[:length], line)
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
            self._note((*path, number), self._now())
            self._value((*path, number))
            number += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while not self._closed("}"):
            self._pair(path)

    def _closed(self, end: str) -> bool:
        """Step over what separates elements, and over the closing bracket if that is what comes next."""
        self._skip(_BLANK)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_BLANK)
        if self._at >= len(self._text) or self._text.startswith(end, self._at):
            self._at += 1
            return True
        return False

    def _skip(self, what: re.Pattern[str]) -> str:
        found = what.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _now(self) -> int:
        """Count on from where the last count ended: the scan only moves forward."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _note(self, path: Path, line: int) -> None:
        self._found.setdefault(path, line)
