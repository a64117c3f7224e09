"""What every file of the package has, and what none has."""

from __future__ import annotations

import ast
import re
import subprocess

import pytest

from tests.architecture.source import PACKAGE, ROOT, modules

LONGEST = 800
"""Lines of a file. A file is as long as its subject; beyond this it is more likely that it has two."""


def public(node):
    return not node.name.startswith("_")


def test_every_module_says_what_it_is_for():
    assert [module.name for module in modules() if not ast.get_docstring(module.tree)] == []


def test_every_public_class_and_function_says_what_it_is_for():
    silent = []
    for module in modules():
        if any(part.startswith("_") and part != "__main__" for part in module.name.split(".")):
            continue
        for node in module.tree.body:
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or not public(node):
                continue
            if not ast.get_docstring(node):
                silent.append(f"{module.name}.{node.name}")
            if isinstance(node, ast.ClassDef):
                silent += [
                    f"{module.name}.{node.name}.{item.name}"
                    for item in node.body
                    if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))
                    and public(item)
                    and not ast.get_docstring(item)
                ]
    assert silent == []


def test_no_module_is_a_drawer_for_odds_and_ends():
    names = {part for module in modules() for part in module.name.split(".")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc", "base_repository", "service"}


def test_files_and_functions_are_small():
    sizes = {module.name: len(module.path.read_text(encoding="utf-8").splitlines()) for module in modules()}
    assert {name: size for name, size in sizes.items() if size > LONGEST} == {}
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    assert lengths[len(lengths) * 9 // 10] < 45


def test_rooms_link_by_id_and_not_by_orm_relationship():
    for module in modules():
        assert "sqlmodel.Relationship" not in module.imports, module.name
        assert not any("relationship" in item for item in module.imports if item.startswith("sqlalchemy")), module.name


def tracked():
    """Files that belong to the repository, or, outside of one, those of the package."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        return sorted(PACKAGE.rglob("*.py"))
    return [ROOT / name for name in listed.stdout.split("\0") if name]


# Put together here, so that this file is not its own finding.
NOWHERE = [
    re.compile("pypi" + r"\.org|pythonhosted" + r"\.org|--(?:extra-)?index" + "-url"),
    re.compile(r"/tmp/(?!pytest)[a-z]+/" + r"v\b"),
    re.compile("BEGIN (?:RSA |EC )?PRIVATE" + " KEY"),
]


@pytest.mark.parametrize("pattern", NOWHERE, ids=["package index", "somebody's own folder", "private key"])
def test_no_file_mentions(pattern):
    results = []
    for path in tracked():
        if path.is_file() and path.suffix not in {".png", ".parquet"}:
            text = path.read_text(encoding="utf-8", errors="replace")
            results += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
    assert results == []
