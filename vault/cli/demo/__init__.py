"""``cdv demo``: a tour over the HTTP API of a server of its own, with generated customers in a temporary vault."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from vault.bootstrap import init_vault
from vault.cli.command import TOP_LEVEL, Opener, command, run
from vault.cli.demo.customers import Generator, Star, create_customers
from vault.cli.demo.stage import App, Server, Stage, make_console
from vault.cli.demo.story import CHAPTERS
from vault.clock import Clock
from vault.governance.tenants import add_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

ROLES = {
    "shop": "sales",
    "helpdesk": "support",
    "warehouse": "fulfilment",
    "newsletter": "marketing",
    "statistics": "analytics",
    "bookkeeping": "finance",
    "privacy-office": "dpo",
    "portal": "self-service",
}
"""The apps of the tour, and the role of each."""
NEXT = "Continue with `cdv demo --serve` to try it yourself, or `cdv init my-vault` for a vault of your own."


@command(TOP_LEVEL, "cdv demo", "cdv demo --serve", "cdv demo --subjects 1000 --seed 7", name="demo")
def demo(
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the server up after the tour, with keys and curl lines to try.")
    ] = False,
    subjects: Annotated[int, typer.Option(min=2, max=5000, help="How many customers to make up.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same customers.")] = 1,
) -> None:
    """Show in 15 seconds what the vault does, with real HTTP requests and generated customers."""
    console = make_console()
    with _own_settings(), _stopping_on_signals(), _temporary() as folder:
        console.print(Text("Customer Data Vault: a tour with generated customers", style="bold"))
        apps = run(_make_vault(folder))
        with Server(folder) as server:
            customers = Generator(seed, Clock().now()).customers(subjects)  # while the server starts
            url = server.wait()
            console.print(f"A vault in a temporary folder, served at {url}; {len(apps)} apps, each with a role.")
            keys = {name: app.key for name, app in apps.items()}
            columns = (TextColumn("Creating customers"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Progress(*columns, console=console) as progress:
                bar = progress.add_task("", total=len(customers))
                ids = asyncio.run(create_customers(url, keys, customers, lambda: progress.advance(bar)))
            star = Star(ids[0], customers[0], ids[1:])
            with httpx.Client(base_url=url, timeout=30) as client:
                stage = Stage(console, client, apps, folder)
                for chapter in CHAPTERS:
                    stage.open_chapter(chapter.title, chapter.explanation)
                    chapter.play(stage, star)
            console.print()
            if serve:
                _stay(console, url, apps, star)
    if not serve:
        console.print(Text(f"The tour is over; the vault is deleted. {NEXT}", style="bold"))


async def _make_vault(folder: Path) -> dict[str, App]:
    await init_vault(folder)
    apps = {}
    async with Opener(folder).session() as session:
        for name, role in ROLES.items():
            _, issued = await add_app(session.services, session.tenant, name, [role])
            apps[name] = App(name, role, issued.key.reveal())
    return apps


def _stay(console: Console, url: str, apps: dict[str, App], star: Star) -> None:
    table = Table("app", "role", "API key", title="The keys of the apps", title_justify="left")
    for app in apps.values():
        table.add_row(app.name, app.role, Text(app.key, overflow="fold"))
    console.print(table)
    read = {"subject": star.id, "fields": ["name", "email.masked"], "purpose": "customer-support"}
    search = {"match": {"name": {"prefix": "Ad"}}, "fields": ["name"], "purpose": "customer-support"}
    check = {"subjects": [star.id, *star.others[:2]], "purposes": ["direct-marketing"]}
    console.print(Text("\nTry these:\n", style="bold"))
    # Not by the console, which breaks long lines: they are to be copied.
    for path, body in (("/v1/read", read), ("/v1/subjects:search", search), ("/v1/consents:check", check)):
        sys.stdout.write(f"curl -s {url}{path} -H 'Authorization: Bearer {apps['helpdesk'].key}' ")
        sys.stdout.write(f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'\n\n")
    sys.stdout.write(f"curl -s '{url}/v1/audit/entries?limit=5' ")
    sys.stdout.write(f"-H 'Authorization: Bearer {apps['privacy-office'].key}'\n\n")
    console.print(Text("The server stays up until Ctrl-C; then the vault is deleted.", style="bold"))
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        signal.pause()


@contextmanager
def _temporary() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cdv-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_settings() -> Iterator[None]:
    """Hide the settings of a real vault: generated customers do not belong into its database."""
    hidden = {
        name: os.environ.pop(name) for name in list(os.environ) if name.startswith("CDV_") and name != "CDV_DEBUG"
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Turn signals that end the process at once into an exit, so that the server and the folder are removed first."""

    def stop(number: int, _frame: object) -> None:
        # Objects that are interrupted while they are made complain when they are destroyed. The process ends anyway.
        sys.unraisablehook = lambda _what: None
        warnings.simplefilter("ignore")
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
