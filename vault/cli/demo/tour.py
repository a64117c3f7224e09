"""The tour from beginning to end: a vault in a temporary folder, a server, customers, the story, and all of it gone."""

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
from typing import TYPE_CHECKING

import httpx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from vault.bootstrap import init_vault
from vault.cli.demo.customers import MadeUp, Star, fill
from vault.cli.demo.server import Server
from vault.cli.demo.stage import App, Stage, make_console
from vault.cli.demo.story import CHAPTERS
from vault.cli.session import Opener, run
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

NEXT = "Go on with `cdv demo --serve` to try it yourself, or `cdv init my-vault` for a vault of your own."


def take(*, subjects: int, seed: int, stay: bool) -> None:
    """Take the tour.

    Args:
        subjects: how many customers to make up.
        seed: for making them up.
        stay: keep the server up until Ctrl-C.

    Raises:
        DemoFailed: an answer is not what the tour says.
    """
    console = make_console()
    with _own_settings(), _stopping_on_signals(), _temporary() as folder:
        console.print(Text("Customer Data Vault: a tour with made-up people", style="bold"))
        apps = _make_vault(folder)
        with Server(folder) as server:
            customers = MadeUp(seed, Clock().now()).customers(subjects)  # while the server starts
            url = server.wait()
            console.print(f"A vault in a temporary folder, served at {url}; {len(apps)} apps, each with a role.")
            keys = {name: app.key for name, app in apps.items()}
            with _progress(console, len(customers)) as progress:
                ids = asyncio.run(
                    fill(url, keys, customers, lambda count: progress.advance(progress.task_ids[0], count))
                )
            star = Star(ids[0], customers[0], ids[1:])
            with httpx.Client(base_url=url, timeout=30) as client:
                stage = Stage(console, client, apps, folder)
                for chapter in CHAPTERS:
                    stage.open_chapter(chapter.title, chapter.explanation)
                    chapter.play(stage, star)
            console.print()
            if stay:
                _stay(console, url, apps, star)
    if not stay:
        console.print(Text(f"The tour is over; the vault is gone. {NEXT}", style="bold"))


def _make_vault(folder: Path) -> dict[str, App]:
    async def make() -> dict[str, App]:
        await init_vault(folder)
        apps = {}
        async with Opener(folder).session() as session:
            for name, role in ROLES.items():
                _, issued = await add_app(session.services, session.tenant, name, [role])
                apps[name] = App(name, role, issued.key.reveal())
        return apps

    return run(make())


def _stay(console: Console, url: str, apps: dict[str, App], star: Star) -> None:
    table = Table("app", "role", "API key", title="The keys of the apps", title_justify="left")
    for app in apps.values():
        table.add_row(app.name, app.role, Text(app.key, overflow="fold"))
    console.print(table)
    read = {"subject": star.id, "fields": ["name", "email.masked"], "purpose": "customer-support"}
    search = {"match": {"name": {"prefix": "Ad"}}, "fields": ["name"], "purpose": "customer-support"}
    check = {"subjects": [star.id, *star.others[:2]], "purposes": ["direct-marketing"]}
    console.print(Text("\nTry these:\n", style="bold"))
    # Written as they are, without breaks: they are to be copied.
    for path, body in (("/v1/read", read), ("/v1/subjects:search", search), ("/v1/consents:check", check)):
        key = apps["helpdesk"].key
        sys.stdout.write(f"curl -s {url}{path} -H 'Authorization: Bearer {key}' ")
        sys.stdout.write(f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'\n\n")
    sys.stdout.write(f"curl -s '{url}/v1/audit/entries?limit=5' ")
    sys.stdout.write(f"-H 'Authorization: Bearer {apps['privacy-office'].key}'\n\n")
    console.print(Text("The server stays up until Ctrl-C; then the vault is gone.", style="bold"))
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
    """Keep the settings of a real vault away: its database is no place for made-up people."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("CDV_") and name != "CDV_DEBUG"}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Turn the signals that would end us at once into an exit, so that the server and the folder go first."""

    def stop(number: int, _frame: object) -> None:
        # What is interrupted half-way in its making complains when it is thrown away; we are ending anyway.
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


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Progress]:
    columns = (TextColumn("Making customers"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        progress.add_task("", total=total)
        yield progress
