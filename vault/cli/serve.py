"""``cdv serve``: open the HTTP door."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from vault.cli.options import HERE, VaultFolder, examples


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("cdv serve --vault my-vault", "cdv serve --host 0.0.0.0 --port 8300 --workers 4"))(
        serve
    )


def serve(
    vault: VaultFolder = HERE,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="as in cdv.toml")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on.", show_default="as in cdv.toml")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the work.")] = 1,
) -> None:
    """Serve the HTTP API of a vault until Ctrl-C."""
    # By name, for the two doors do not know each other: this one only asks for the other to be opened.
    import_module("vault.server").serve(
        vault,
        host=host,
        port=port,
        workers=workers,
    )
