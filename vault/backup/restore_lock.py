"""One restore at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vault.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def alone(folder: Path, *, make: bool = False) -> Iterator[None]:
    """See that nobody else restores into a folder, or goes on with it; a process that dies lets go.

    Args:
        folder: the new vault's.
        make: make it where it is not there.

    Raises:
        Misconfigured: somebody else does, or the folder is not there, or cannot be made.
    """
    try:
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        opened = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise Misconfigured(f"the folder {folder} cannot be used: {error.strerror}", hint="name another one") from None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Misconfigured("a restore is at work in this folder", hint="wait for its end") from None
    finally:
        os.close(opened)
