"""The entry point of ``cdv``, also as ``python -m vault``: it makes short commands start and end quickly."""

from __future__ import annotations

import gc
import os
import sys
import threading


def main() -> None:
    """Run the command line."""
    gc.disable()  # imported objects are not garbage; the command line turns it on again when all is imported
    from vault.cli import main as run

    try:
        run()
    except SystemExit as end:
        _leave(end.code)
        raise


def _leave(status: object) -> None:
    """End the process at once, if nothing is left to do: to free each imported object takes 50 ms of CPU.

    Exit handlers of libraries run only where threads or processes are left. A command's own work is over: it closed
    its files and databases before it returned.
    """
    if not isinstance(status, int) or threading.active_count() > 1 or "multiprocessing.process" in sys.modules:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return  # the reader has left: the interpreter's own exit reports it
    os._exit(status)


if __name__ == "__main__":
    main()
