"""The vault's own source, parsed."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

import vault

PACKAGE = Path(vault.__file__).parent
ROOT = PACKAGE.parent


class Module(NamedTuple):
    name: str
    path: Path
    tree: ast.Module

    @property
    def imports(self):
        """Whole names of what is imported, at the top or inside functions, for types only or not."""
        results = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                results |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                results |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        return results

    @property
    def imports_at_run_time(self):
        """The same without what stands under ``if TYPE_CHECKING``."""
        pruned = ast.Module(
            [
                node
                for node in self.tree.body
                if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
            ],
            [],
        )
        return self._replace(tree=pruned).imports


@cache
def modules():
    """List all modules but the migrations' scripts, which alembic runs."""
    results = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "migrations" not in parts:
            name = ".".join(("vault", *parts)).removesuffix(".__init__")
            results.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    return tuple(results)
