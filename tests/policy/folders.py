"""The shipped policy folder, and ways to spoil it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault.errors import PolicyInvalid
from vault.policy.policy_set import PolicySet

SHIPPED = Path(__file__).parents[2] / "policies"


def shipped() -> dict[str, str]:
    return {
        path.relative_to(SHIPPED).as_posix(): path.read_text()
        for path in SHIPPED.rglob("*")
        if path.suffix in {".toml", ".csv", ".conf", ".md"}
    }


def changed(file: str, old: str, new: str) -> dict[str, str]:
    """The shipped files with one passage replaced, which must be there."""
    files = shipped()
    assert old in files[file], f"{file} has no such passage"
    return files | {file: files[file].replace(old, new, 1)}


def with_rules(*lines: str) -> PolicySet:
    return PolicySet.load(shipped() | {"policy.csv": "\n".join(lines)})


def findings_of(files: dict[str, str]):
    with pytest.raises(PolicyInvalid) as caught:
        PolicySet.load(files)
    return caught.value.findings


def only(files: dict[str, str]) -> tuple[str, str]:
    """Where the one finding is and its code."""
    (finding,) = findings_of(files)
    assert finding.message
    assert finding.remedy
    return f"{finding.file}:{finding.line}", finding.code


def line_of(text: str, passage: str, *, after: str = "") -> int:
    """The line on which a passage starts, the first one after another passage."""
    start = text.index(after) + len(after)
    return text.count("\n", 0, text.index(passage, start)) + 1


def at(files: dict[str, str], file: str, passage: str, *, after: str = "") -> str:
    return f"{file}:{line_of(files[file], passage, after=after)}"
