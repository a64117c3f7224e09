"""Reads the files of a policy folder, and nothing outside it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vault.catalogue.translations import WORDS

if TYPE_CHECKING:
    from pathlib import Path

    from vault.catalogue.findings import Findings

FILES = ("catalogue.toml", "purposes.toml", "retention.toml", "model.conf", "policy.csv")
OPTIONAL = ("consent.toml", "controller.toml", "requests.toml")
"""Files that have defaults, so that folders from before there were any still load."""
NOTICES = re.compile(r"notices/[^./][^/]*\.md")
MOST_BYTES = 4 * 1024 * 1024
"""Largest file that is read: ten thousand rules are 700 kB, and a larger file is likely not a policy."""
MOST_NOTICES = 1000


def is_known(name: str) -> bool:
    """Tell whether a path within the folder is one of a policy file."""
    return name in FILES or name in OPTIONAL or any(each.fullmatch(name) is not None for each in (WORDS, NOTICES))


def read_folder(folder: Path, findings: Findings) -> dict[str, str]:
    """Read the known files by their path in the folder, noting those that cannot be read."""
    if not folder.is_dir():
        findings.add("", 1, "missing-folder", "there is no such folder", "name the policy folder; `cdv init` makes one")
        return {}
    root = folder.resolve()
    paths = [folder / name for name in (*FILES, *OPTIONAL)]
    paths += sorted(path for path in folder.glob("words.*.toml") if is_known(path.name))
    paths += sorted(folder.glob("notices/*.md"))[:MOST_NOTICES]
    found: dict[str, str] = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if is_known(name):
            text = _read(path, root, name, findings)
            if text is not None:
                found[name] = text
    return found


def _read(path: Path, root: Path, name: str, findings: Findings) -> str | None:
    if not path.resolve().is_relative_to(root):
        message, remedy = "the file is a link that leads out of the folder", "put a copy of the file here"
        findings.add(name, 1, "link-outside", message, remedy)
        return None
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError:
        findings.add(name, 1, "unreadable", "the file cannot be read", "check its owner and mode")
        return None
    return _decoded(content, name, findings)


def _decoded(content: bytes, name: str, findings: Findings) -> str | None:
    if len(content) > MOST_BYTES:
        message = f"the file is larger than {MOST_BYTES // 1024 // 1024} MiB"
        findings.add(name, 1, "too-large", message, "keep policies and nothing else in it")
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        findings.add(name, line, "not-utf-8", "the file is not UTF-8", "save it as UTF-8")
        return None


def tidied(name: str, text: str, findings: Findings) -> str:
    """Return a text with line ends as on Unix, noting what no policy holds and no database keeps."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        findings.add(name, line, "not-text", "the file holds the character NUL", "take it out")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        findings.add(name, 1, "not-utf-8", "the file is not UTF-8", "save it as UTF-8")
        return ""
    return text.replace("\r\n", "\n")
