"""Counts what code does, so that a test can hold that twice the input is at most about twice the work.

The live functions of a package get code that is compiled from their own source, with a count at each place where work
is done: each pass of a loop, each call, each slice, concatenation and ``in``. What is written in C is counted by the
sizes of what goes in and comes out, with three exceptions that are more than linear: a regular expression by the
steps of :mod:`tests.linear.matcher`, normalisation by the square of the longest run of marks, and digits that become a
number by the square of their number. Functions of other packages count as one for each call within them.

Not counted: what a database does with a statement, and what C does beyond the three exceptions if that is more than
linear. No clock is read.
"""

from __future__ import annotations

import ast
import builtins
import gc
import importlib
import math
import pkgutil
import re
import sys
import types
import unicodedata
from collections import deque
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.linear.matcher import steps_of

_SIZED = {str, bytes, bytearray, list, tuple, dict, set, frozenset, deque}
_COPIED = {str, bytes, bytearray, list, tuple}
_BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
)
_CONSTANT = {
    "len", "isinstance", "issubclass", "id", "type", "callable", "hasattr", "getattr", "setattr", "delattr", "iter",
    "next", "hash", "append", "get", "setdefault", "add", "discard", "items", "keys", "values", "popitem", "appendleft",
    "popleft", "__new__", "__init__", "__setattr__", "__getattribute__", "cast", "set_result", "call_soon", "send",
    "setitem", "group", "span", "start", "end", "groups", "write", "category", "combining", "decimal",
    "bisect_right", "bisect_left",
}  # fmt: skip
"""Built-in functions and methods whose work does not depend on a size."""
_CONTAINERS = {str, bytes, bytearray, list, tuple, dict, set, frozenset, deque}
_PATTERN = type(re.compile(""))
_LEAVE = {"super", "locals", "vars", "globals", "dir", "eval", "exec"}


class Count:
    """The work that was done so far."""

    def __init__(self):
        self.work = 0

    def step(self):
        """Count one."""
        self.work += 1

    def one(self, value):
        """Count one, and return a value."""
        self.work += 1
        return value

    def made(self, value):
        """Count what is copied to make a text, a list or bytes, and return it."""
        self.work += 1 + (len(value) if type(value) in _COPIED else 0)
        return value

    def contains(self, item, container):
        """Count a look for an item."""
        self.work += 1 + (len(container) if type(container) in {str, bytes, list, tuple} else 0)
        return item in container

    def call(self, function, /, *args, **kwargs):
        """Call a function; what is done in C is counted here, and what is done in Python there."""
        self.work += 1
        kind = type(function)
        if kind in _BUILT_IN:
            return self._built_in(function, function.__name__, args, kwargs)
        if kind is type and function in _CONTAINERS | {int}:
            self.work += _into_number(function, args) + sum(map(_size, args))
        elif kind is partial and type(function.func) in _BUILT_IN:
            self.work += sum(map(_size, (*function.args, *args)))
        return function(*args, **kwargs)

    def _built_in(self, function, name, args, kwargs):
        owner = getattr(function, "__self__", None)
        if type(owner) is _PATTERN:
            self.work += self._expression(owner, name, args, kwargs)
        result = function(*args, **kwargs)
        if name not in _CONSTANT and type(owner) is not _PATTERN:
            self.work += _cost(owner, name, args, kwargs, result)
        return result

    def _expression(self, pattern, name, args, kwargs):
        profile = sys.getprofile()
        sys.setprofile(None)
        try:
            values = [*args, *kwargs.values()]
            subject = next((value for value in values[name in {"sub", "subn"} :] if isinstance(value, str | bytes)), "")
            bounds = args[1:] if name in {"match", "fullmatch", "search", "finditer", "findall"} else ()
            return steps_of(pattern, name, subject, *bounds)
        finally:
            sys.setprofile(profile)

    def profile(self, _frame, event, _arg):
        """Count the calls of functions that are not counted otherwise."""
        if event in {"call", "c_call"}:
            self.work += 1


def _size(value):
    return len(value) if type(value) in _SIZED else 0


def _into_number(function, args):
    digits = args[0] if function is int and args and type(args[0]) in {str, bytes} else ""
    return (len(digits) // 9) ** 2


def _cost(owner, name, args, kwargs, result):
    if name == "normalize":
        return len(args[1]) + _longest_run(args[1]) ** 2
    if type(owner) in {str, bytes, bytearray}:
        if name in {"startswith", "endswith"}:
            return sum(map(_size, args[:1] if isinstance(args[0], str | bytes) else args[0]))
        if name in {"find", "index"} and len(args) > 1:
            return (result if result >= 0 else len(owner)) - args[1] + 1
    if name in {"sort", "sorted"}:
        size = _size(owner) or sum(map(_size, args))
        return int(size * math.log2(size + 2))
    if type(owner) is list and name == "pop" and not args:
        return 1
    if type(owner) in {dict, set, frozenset} and name in {"pop", "remove", "__contains__"}:
        return 1
    if name == "pairwise" or (type(owner) is types.ModuleType and name in {"zip", "enumerate", "map", "filter"}):
        return 1
    own = _size(owner) if name not in {"extend", "update", "join", "insert"} or args[:1] == (0,) else 0
    values = [*args, *kwargs.values()]
    return own + sum(map(_size, values)) + (len(result) if type(result) in _COPIED else 0)


def _longest_run(text):
    longest = run = 0
    for character in text:
        marks = unicodedata.normalize("NFKD", character)
        run = run + len(marks) if all(unicodedata.combining(mark) for mark in marks) else 0
        longest = max(longest, run)
    return longest


class _Counting(ast.NodeTransformer):
    """Puts a count at each place in a module where work is done."""

    def visit_arg(self, node):
        return node

    def visit_AnnAssign(self, node):
        node.value = None if node.value is None else self.visit(node.value)
        return node

    def visit_FunctionDef(self, node):
        returns, node.returns = node.returns, None
        self.generic_visit(node)
        node.returns = returns
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_FormattedValue(self, node):
        node.value = self.visit(node.value)
        return node

    def visit_JoinedStr(self, node):
        self.generic_visit(node)
        return _counted("made", node)

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _LEAVE:
            return node
        return _counted("call", node.func, *node.args, keywords=node.keywords)

    def visit_BinOp(self, node):
        self.generic_visit(node)
        return _counted("made", node)

    def visit_Subscript(self, node):
        self.generic_visit(node)
        is_slice = isinstance(node.ctx, ast.Load) and isinstance(node.slice, ast.Slice)
        return _counted("made", node) if is_slice else node

    def visit_Compare(self, node):
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.In | ast.NotIn):
            return node
        found = _counted("contains", node.left, node.comparators[0])
        return found if isinstance(node.ops[0], ast.In) else ast.UnaryOp(ast.Not(), found)

    def visit_For(self, node):
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(_counted("step")))
        return node

    visit_AsyncFor = visit_While = visit_For

    def visit_comprehension(self, node):
        self.generic_visit(node)
        if node.ifs:
            node.ifs[0] = _counted("one", node.ifs[0])
        return node

    def visit_ListComp(self, node):
        self.generic_visit(node)
        node.elt = _counted("one", node.elt)
        return node

    visit_SetComp = visit_GeneratorExp = visit_ListComp

    def visit_DictComp(self, node):
        self.generic_visit(node)
        node.value = _counted("one", node.value)
        return node

    def visit_pattern(self, node):
        return node

    visit_MatchValue = visit_MatchMapping = visit_MatchClass = visit_pattern


def _counted(method, *args, keywords=()):
    function = ast.Attribute(ast.Name("__work__", ast.Load()), method, ast.Load())
    return ast.Call(function, list(args), list(keywords))


def _codes_of(module):
    """Compile a module with counts; return the code of each function by its name and first line."""
    tree = _Counting().visit(ast.parse(Path(module.__file__).read_text(encoding="utf-8")))
    pending, found = [compile(ast.fix_missing_locations(tree), module.__file__, "exec", dont_inherit=True)], {}
    while pending:
        for code in (item for item in pending.pop().co_consts if isinstance(item, types.CodeType)):
            found[code.co_qualname, code.co_firstlineno] = code
            pending.append(code)
    return found


def modules_of(*packages, but=()):
    """Import all modules of packages, and return them."""
    names = []
    for package in map(importlib.import_module, packages):
        names.append(package.__name__)
        paths = getattr(package, "__path__", None)
        names += [item.name for item in pkgutil.walk_packages(paths, f"{package.__name__}.")] if paths else []
    return [importlib.import_module(name) for name in names if not name.startswith(tuple(but) or ("-",))]


@contextmanager
def counted(modules):
    """Let the functions of modules count in the block; yields the count, and how many functions count."""
    count = Count()
    codes = {module.__name__: _codes_of(module) for module in modules if (module.__file__ or "").endswith(".py")}
    files = {module.__name__: module.__file__ for module in modules}
    changed = []
    builtins.__work__ = count
    gc.unfreeze()  # a server that ran in this process has frozen all functions that were there, and they are not listed
    try:
        for function in [item for item in gc.get_objects() if isinstance(item, types.FunctionType)]:
            code = function.__code__
            known = codes.get(function.__module__, {}).get((code.co_qualname, code.co_firstlineno))
            if known is None or code.co_filename != files[function.__module__] or known.co_freevars != code.co_freevars:
                continue
            changed.append((function, code))
            function.__code__ = known
        count.functions = len(changed)
        yield count
    finally:
        for function, code in changed:
            function.__code__ = code
        del builtins.__work__
