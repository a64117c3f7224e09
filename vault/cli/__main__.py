"""``python -m vault.cli`` is ``cdv``, for where the command is not on the path."""

from __future__ import annotations

from vault.cli import main

main()
