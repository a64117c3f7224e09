"""The prose is plain: the worst words of a former dialect do not come back, in code or docs."""

from __future__ import annotations

import ast
import re

from tests.architecture.source import ROOT, modules

BANNED = re.compile(
    r"\b(?:whoever|whomever|of whom|anew|nobody|somebody|anybody|meanwhile)\b|not said properly|does not have its form",
    re.IGNORECASE,
)
"""Plain words instead: "the caller", "no one", "a person", "again", "in the meantime", "invalid"."""
TOLD = re.compile(r"_?told|.*Told$")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def texts(tree):
    """Yield the line and the text of each string: docstrings, messages, help."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
        ):  # a word alone is a key
            yield node.lineno, node.value


def test_the_source_has_none_of_the_banned_words():
    results = [
        f"{module.name}:{line}: {match.group()}"
        for module in modules()
        for line, text in texts(module.tree)
        for match in BANNED.finditer(text)
    ]
    assert results == []


def test_comments_have_none_of_the_banned_words():
    results = [
        f"{module.name}: {line.strip()}"
        for module in modules()
        for line in module.path.read_text(encoding="utf-8").splitlines()
        if "#" in line and BANNED.search(line.partition("#")[2])
    ]
    assert results == []


def test_no_function_or_class_is_called_told():
    results = [
        f"{module.name}.{node.name}"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and TOLD.fullmatch(node.name)
    ]
    assert results == []


def test_the_docs_have_none_of_the_banned_words():
    results = []
    for page in PAGES:
        text = re.sub(r"\]\([^)]*\)|`[^`]*`", "", page.read_text(encoding="utf-8"))
        results += [f"{page.relative_to(ROOT)}: {match.group()}" for match in BANNED.finditer(text)]
    assert results == []
