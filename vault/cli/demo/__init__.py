"""``cdv demo``: a tour over the HTTP API of a server of its own, with generated customers in a temporary vault."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import termios
import time
import tty
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from vault.bootstrap import init_vault
from vault.cli.command import TOP_LEVEL, Opener, command, run
from vault.cli.demo.customers import Generator, Star, create_customers
from vault.cli.demo.screens import App, Brief, Full
from vault.cli.demo.stage import ANSWER_TIMEOUT, Server, Stage, make_console
from vault.cli.demo.story import CHAPTERS
from vault.clock import Clock
from vault.errors import Misconfigured
from vault.governance.tenants import add_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from vault.cli.demo.customers import Customer

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
PACE = "This takes a quarter of a minute on an idle machine, and more than one minute on a busy one."
PATIENCE = """
# A tour on a busy machine is slow, and goes on: no app waits for its answers.
audit_deadline = 30.0
database_timeout = 30.0
request_deadline = 60.0
"""
PAGE_MARK = "Ada Winter"
"""A page of an earlier tour has this name in it, and may be replaced."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the tour is shown.

    Attributes:
        full: every request and answer as it is.
        chapter: only this one; None for all.
        page: where the page of the access package is left.
    """

    full: bool
    chapter: int | None
    page: Path


@command(
    TOP_LEVEL,
    "cdv demo",
    "cdv demo --serve",
    "cdv demo --full --chapter 17",
    "cdv demo --subjects 1000 --seed 7",
    name="demo",
)
def demo(
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the server up after the tour, with keys and curl lines to try.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Show every request and answer as it is.")] = False,
    chapter: Annotated[
        int | None, typer.Option(min=1, max=len(CHAPTERS), help="Show this chapter only.", show_default="all")
    ] = None,
    page: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to leave the page that a customer gets on request.")
    ] = Path("ada.html"),
    subjects: Annotated[int, typer.Option(min=2, max=5000, help="How many customers to make up.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same customers.")] = 1,
) -> None:
    """Show what the vault does, with real HTTP requests and generated customers, one screen a chapter."""
    _require_replaceable(page)
    began, console = time.monotonic(), make_console(full=full)
    with _own_settings(), _stopping_on_signals(), _temporary() as folder:
        console.print(Text("Customer Data Vault: a tour with generated customers", style="bold"))
        console.print(PACE)
        apps = run(_make_vault(folder))
        with Server(folder) as server:
            customers = Generator(seed, Clock().now()).customers(subjects)  # while the server starts
            url = server.wait()
            console.print(f"A vault in a temporary folder, served at {url}; {len(apps)} apps, each with a role.")
            star = _create(console, url, apps, customers)
            made = time.monotonic() - began
            with httpx.Client(base_url=url, timeout=ANSWER_TIMEOUT) as client:
                screen = Full(console) if full else Brief(console)
                tour = Stage(screen, client, apps, folder)
                left = _play(console, tour, star, Pace(full, chapter, page))
            seconds = f"{time.monotonic() - began:.0f} seconds, {made:.0f} of them for the vault and its customers"
            _sum_up(console, f"The tour took {seconds}.", chapter, left)
            if serve:
                _stay(console, url, apps, star)
    if not serve:
        console.print(Text(f"The tour is over; the vault is deleted. {NEXT}", style="bold"))


def _create(console: Console, url: str, apps: dict[str, App], customers: list[Customer]) -> Star:
    keys = {name: app.key for name, app in apps.items()}
    columns = (TextColumn("Creating customers"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(customers))
        ids = asyncio.run(create_customers(url, keys, customers, lambda: progress.advance(bar)))
    return Star(ids[0], customers[0], ids[1:])


def _play(console: Console, stage: Stage, star: Star, pace: Pace) -> Path | None:
    """Play the chapters, and return where the page was left."""
    screen, pauses, left = stage.screen, pace.chapter is None and may_pause(console), None
    for number, each in enumerate(CHAPTERS[: pace.chapter], start=1):
        # What is not shown is played all the same: later chapters need what earlier ones did.
        stage.mute(screen if pace.chapter in {None, number} else None)
        stage.screen.chapter(number, each.title, each.explanation)
        each.play(stage, star)
        if stage.page is not None and left is None:
            left = _leave(pace.page, stage.page)
            stage.say(f"   Open {pace.page} in a browser: it is her page.", "bold")
        if pauses and number < len(CHAPTERS) and not _goes_on(console):
            break
    return left


def _sum_up(console: Console, took: str, chapter: int | None, left: Path | None) -> None:
    console.print()
    if chapter is None:
        console.print(Rule(Text("What you have seen", style="bold"), align="left", style="cyan"))
        for number, each in enumerate(CHAPTERS, start=1):
            console.print(Text(f"{number:>3}  {each.title}"))
    if left is not None:
        # Not by the console, which breaks long lines: it is to be opened.
        console.file.write(f"Ada's page, as she gets it on request: {left.as_uri()}\n")
    console.print(took)


def may_pause(console: Console) -> bool:
    """Return whether a person is there to press a key."""
    return console.is_terminal and sys.stdin.isatty() and not os.environ.get("CI")


def _goes_on(console: Console) -> bool:
    """Wait for a key; return whether it asks for the next chapter."""
    console.print(Text("any key: next chapter; q: end", style="dim"), end="")
    key = pressed_key(sys.stdin.fileno())
    console.print("\r" + " " * 30 + "\r", end="")
    return key.lower() not in {b"q", b""}


def pressed_key(terminal: int) -> bytes:
    """Read one key without Enter; nothing at the end of the input."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSANOW)  # a key that was pressed a moment before counts
        return os.read(terminal, 1)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _require_replaceable(page: Path) -> None:
    """Require that the page may be written where it is to be left; raises Misconfigured."""
    if page.exists() and not (page.is_file() and PAGE_MARK in page.read_text(encoding="utf-8", errors="replace")):
        raise Misconfigured(f"{page} exists, and is no page of a tour", hint="name another file by --page")
    if not os.access(page.resolve().parent, os.W_OK):
        raise Misconfigured(f"{page} cannot be written", hint="name a file in a folder of yours by --page")


def _leave(page: Path, text: str) -> Path:
    page.write_text(text, encoding="utf-8")
    return page.resolve()


async def _make_vault(folder: Path) -> dict[str, App]:
    settings = await init_vault(folder)
    file = settings.vault / "cdv.toml"
    file.write_text(file.read_text(encoding="utf-8") + PATIENCE, encoding="utf-8")
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
