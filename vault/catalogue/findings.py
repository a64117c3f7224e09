"""What is wrong with a policy folder: all of it at once, each with its place and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = "policies"


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
    """Collects mistakes, so that whoever mends a folder sees them all and not one a run."""

    def __init__(self) -> None:
        self._items: list[Finding] = []

    def add(self, file: str, line: int, code: str, message: str, remedy: str) -> None:
        """Note one mistake."""
        self._items.append(Finding(file, line, message, remedy, code))

    def sorted(self) -> tuple[Finding, ...]:
        """Return what was noted, in the order of reading, each once."""
        return tuple(sorted(set(self._items), key=lambda each: (each.file, each.line, each.code, each.message)))

    def about(self, *files: str) -> bool:
        """Tell whether anything was noted in some files."""
        return any(each.file in files for each in self._items)

    def __len__(self) -> int:
        return len(self._items)


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Suggest the nearest known name as the remedy, or else what is said to do otherwise."""
    near = get_close_matches(name[:80], list(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`? Else {otherwise}" if near else otherwise
