"""The policies and settings of a vault's folder as a tar archive; they are small. Never the root key, wherever it lies.

Links are followed, for whoever keeps policies elsewhere and links to them would find none after a restore; a link that
leads to where it lies itself, or above the vault, is left out.
"""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Final

from vault.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER: Final = ("cdv.toml", "policies", "tenants")
"""What of the vault's folder goes along."""
_ROOT_KEY: Final = b"cdv-root-"


def archived(folder: Path) -> bytes:
    """Put what of a vault's folder goes into a backup into an archive.

    Raises:
        Misconfigured: some of it cannot be read.
    """
    archive = io.BytesIO()
    above = frozenset((folder.resolve(), *folder.resolve().parents))
    try:
        with tarfile.TarFile(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT, dereference=True) as tar:
            for name in FOLDER:
                for path, inside in _found(folder / name, name, above):
                    tar.add(path, arcname=inside, recursive=False, filter=_nobodys)
    except OSError as error:
        raise Misconfigured(
            f"the vault's policies and settings cannot be read: {error.strerror or type(error).__name__}",
            hint="see whether all in cdv.toml, policies and tenants belongs to the vault's user",
        ) from None
    return archive.getvalue()


def _found(path: Path, inside: str, above: frozenset[Path]) -> Iterator[tuple[Path, str]]:
    """Find files and folders, with the names that they get; ``above`` are those that lead here."""
    real = path.resolve()
    if real in above:
        return
    if path.is_dir():
        yield path, inside
        for each in sorted(path.iterdir()):
            yield from _found(each, f"{inside}/{each.name}", above | {real})
    elif path.is_file() and not _is_root_key(path):
        yield path, inside


def _is_root_key(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ROOT_KEY)) == _ROOT_KEY


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whom it belongs to."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
