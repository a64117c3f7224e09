"""A matcher of regular expressions that counts the steps which ``re`` would take.

``re`` does its work in C, where nothing counts. This matcher reads the same parsed expression, tries the same
alternatives in the same order, and counts each character that it looks at. A repetition that makes ``re`` go back for
each character, or for each combination of them, does so here too.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from re import _constants as codes
from re import _parser

MOST_STEPS = 500_000
_ONE = {codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY, codes.CATEGORY}
_REPEATS = {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}


class TooManySteps(AssertionError):
    """An expression goes back so often that there is no point in counting on."""


class Matcher:
    """Matches one subject against one expression."""

    def __init__(self, pattern, subject, end=None):
        self._parsed = _parsed(pattern.pattern, pattern.flags)
        self.text = subject.decode("latin-1") if isinstance(subject, bytes) else subject
        self.end = len(self.text) if end is None else min(end, len(self.text))
        self.flags = pattern.flags
        self.ascii = bool(self.flags & re.ASCII) or isinstance(pattern.pattern, bytes)
        self.steps = 0
        self._groups = {}

    def at(self, start, *, whole=False):
        """Return the end of the match at a position; None if there is none."""
        self._groups = {}
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(1_000_000)
        try:
            return self._run(self._parsed, 0, start, self._is_end if whole else _same)
        finally:
            sys.setrecursionlimit(limit)

    def search(self, start):
        """Return start and end of the first match; None if there is none."""
        for begin in range(start, self.end + 1):
            self._step()
            found = self.at(begin)
            if found is not None:
                return begin, found
        return None

    def all(self):
        """Yield start and end of each match, as ``finditer`` does."""
        position = 0
        while position <= self.end:
            found = self.search(position)
            if found is None:
                return
            yield found
            position = found[1] + (found[0] == found[1])

    def _is_end(self, position):
        return position if position == self.end else None

    def _step(self):
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise TooManySteps

    def _run(self, nodes, index, position, then):
        """Match the nodes from an index on at a position, and what comes then."""
        while index < len(nodes):
            code, value = nodes[index]
            index += 1
            if code in _ONE:
                self._step()
                if position >= self.end or not self._fits(code, value, self.text[position]):
                    return None
                position += 1
            elif code is codes.AT:
                if not self._is_at(value, position):
                    return None
            else:
                return self._branch(code, value, position, self._rest(nodes, index, then))
        return then(position)

    def _rest(self, nodes, index, then):
        return lambda position: self._run(nodes, index, position, then)

    def _branch(self, code, value, position, then):
        self._step()
        if code in _REPEATS:
            return self._repeat(code, value, position, then)
        if code is codes.SUBPATTERN:
            return self._group(value, position, then)
        if code is codes.BRANCH:
            return _first(self._run(way, 0, position, then) for way in value[1])
        if code is codes.ATOMIC_GROUP:
            end = self._run(value, 0, position, _same)
            return None if end is None else then(end)
        if code in {codes.ASSERT, codes.ASSERT_NOT}:
            direction, inner = value
            begin = position if direction > 0 else position - inner.getwidth()[0]
            holds = begin >= 0 and self._run(inner, 0, begin, _same) is not None
            return then(position) if holds is (code is codes.ASSERT) else None
        if code is codes.GROUPREF:
            begin, end = self._groups[value]
            self.steps += end - begin
            same = self.text[position : position + end - begin] == self.text[begin:end]
            return then(position + end - begin) if same else None
        raise NotImplementedError(code)

    def _group(self, value, position, then):
        number, add, remove, inner = value
        assert not add
        assert not remove

        def ended(end):
            before = self._groups.get(number)
            self._groups[number] = position, end
            result = then(end)
            if result is None:
                self._groups[number] = before
            return result

        return self._run(inner, 0, position, ended)

    def _repeat(self, code, value, position, then):
        low, high, inner = value
        high = self.end + 1 if high is codes.MAXREPEAT else int(high)
        if len(inner) == 1 and inner[0][0] in _ONE:
            return self._repeat_one(code, (low, high), inner[0], position, then)
        if code is codes.POSSESSIVE_REPEAT:
            end = self._more(inner, 0, (low, high), position, _same)
            return None if end is None else then(end)
        return self._more(inner, 0, (low, high), position, then, greedy=code is codes.MAX_REPEAT)

    def _repeat_one(self, code, bounds, node, position, then):
        low, high = bounds
        if code is codes.MIN_REPEAT:
            return self._more([node], 0, bounds, position, then, greedy=False)
        end = position
        while end - position < high and end < self.end:
            self._step()
            if not self._fits(*node, self.text[end]):
                break
            end += 1
        if end - position < low:
            return None
        if code is codes.POSSESSIVE_REPEAT:
            return then(end)
        for back in range(end, position + low - 1, -1):
            self._step()
            result = then(back)
            if result is not None:
                return result
        return None

    def _more(self, inner, count, bounds, position, then, *, greedy=True):
        low, high = bounds

        def again(end):
            if end == position and count >= low:
                return None
            return self._more(inner, count + 1, bounds, end, then, greedy=greedy)

        def another():
            return self._run(inner, 0, position, again) if count < high else None

        self._step()
        if count < low:
            return another()
        ways = (another, lambda: then(position)) if greedy else (lambda: then(position), another)
        return _first(way() for way in ways)

    def _is_at(self, where, position):
        if where in {codes.AT_BEGINNING, codes.AT_BEGINNING_STRING}:
            many = where is codes.AT_BEGINNING and self.flags & re.MULTILINE
            return position == 0 or bool(many and self.text[position - 1] == "\n")
        if where is codes.AT_END_STRING:
            return position == self.end
        if where is codes.AT_END:
            at_line = self.text[position : position + 1] == "\n"
            return position == self.end or (at_line and bool(self.flags & re.MULTILINE or position + 1 == self.end))
        inside = [
            0 <= at < self.end and self._is_in(codes.CATEGORY_WORD, self.text[at]) for at in (position - 1, position)
        ]
        return (inside[0] != inside[1]) is (where is codes.AT_BOUNDARY)

    def _fits(self, code, value, letter):
        if code is codes.ANY:
            return letter != "\n" or bool(self.flags & re.DOTALL)
        forms = {letter, letter.lower(), letter.upper()} if self.flags & re.IGNORECASE else {letter}
        if code is codes.CATEGORY:
            return self._is_in(value, letter)
        if code in {codes.LITERAL, codes.NOT_LITERAL}:
            alike = any(ord(form) == value for form in forms if len(form) == 1)
            return alike is (code is codes.LITERAL)
        negated = value[0][0] is codes.NEGATE
        members = value[1:] if negated else value
        return (
            any(self._has(kind, item, form) for form in forms if len(form) == 1 for kind, item in members)
            is not negated
        )

    def _has(self, kind, item, letter):
        if kind is codes.LITERAL:
            return ord(letter) == item
        if kind is codes.RANGE:
            return item[0] <= ord(letter) <= item[1]
        return self._is_in(item, letter)

    def _is_in(self, category, letter):
        name = str(category)
        if "DIGIT" in name:
            inside = letter.isdecimal()
        elif "SPACE" in name:
            inside = letter.isspace()
        else:
            inside = letter.isalnum() or letter == "_"
        if self.ascii and not letter.isascii():
            inside = False
        if self.ascii and "SPACE" in name:
            inside = letter in " \t\n\r\f\v"
        return inside is not ("NOT_" in name)


@cache
def _parsed(pattern, flags):
    return _parser.parse(pattern, flags & ~re.DEBUG)


@cache
def _is_one(parsed):
    """Return whether an expression is one character, or a run of one: each character is looked at once then."""
    code, value = parsed[0] if len(parsed) == 1 else (None, None)
    return code in _ONE or (code is codes.MAX_REPEAT and len(value[2]) == 1 and value[2][0][0] in _ONE)


def _same(position):
    return position


def _first(results):
    return next((result for result in results if result is not None), None)


def steps_of(pattern, method, subject, *bounds):
    """Return how many steps a method of a compiled expression takes on a subject."""
    start = min(bounds[0], len(subject)) if bounds else 0
    if _is_one(_parsed(pattern.pattern, pattern.flags)):
        return len(subject) - start
    matcher = Matcher(pattern, subject, *bounds[1:2])
    if method in {"match", "fullmatch"}:
        matcher.at(start, whole=method == "fullmatch")
    elif method == "search":
        matcher.search(start)
    else:
        for _span in matcher.all():
            pass
    return matcher.steps
