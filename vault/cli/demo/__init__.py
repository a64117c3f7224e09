"""``cdv demo``: a guided tour over the real HTTP API of a server of its own, with customers who do not exist."""

from __future__ import annotations

from typing import Annotated

import typer

from vault.cli.command import TOP_LEVEL, command


@command(TOP_LEVEL, "cdv demo", "cdv demo --serve", "cdv demo --subjects 1000 --seed 7", name="demo")
def demo(
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the server up after the tour, with keys and curl lines to try.")
    ] = False,
    subjects: Annotated[int, typer.Option(min=2, max=5000, help="How many customers to make up.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same customers.")] = 1,
) -> None:
    """Show in 15 seconds what the vault does, with real HTTP requests and generated customers."""
    from vault.cli.demo.tour import take

    take(subjects=subjects, seed=seed, stay=serve)
