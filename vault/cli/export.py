"""``cdv packages``: the packages that answer requests for access and portability."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from vault.cli.command import Opener, Request, Session, command, make_group
from vault.cli.output import note
from vault.cli.progress import bytes_bar
from vault.crypto.age import decrypt
from vault.errors import InvalidInput
from vault.export.download import PAGE, ExpiredPackages, list_all_packages, open_package, send_package
from vault.export.store import expire_packages
from vault.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault.export.download import PackageSummary

REQUEST = "0199aabb-0000-7000-8000-000000000007"

group = make_group(
    "cdv packages list",
    f"cdv packages download {REQUEST} --encrypt",
    "cdv packages open access.zip.age",
)

To = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File to write to.", show_default="the package's name, in the current folder"),
]
PassphraseFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Read the passphrase from the first line, for scripts.")
]


@command(group, "cdv packages list", "cdv packages list --json", name="list")
async def list_all(session: Session) -> None:
    """List all packages with their state, the oldest first."""
    packages: list[PackageSummary] = []
    while True:
        after = packages[-1].id if packages else None
        page = await list_all_packages(session.services, session.caller, after=after)
        packages += page
        if len(page) < PAGE:
            break
    rows = [
        (package.request, package.kind, package.state, f"{package.size:,}", package.created_at, package.expires_at)
        for package in packages
    ]
    headings = ("request", "kind", "state", "bytes", "made", "until")
    session.show_table(packages, headings, rows, empty="there are no packages")


@command(group, f"cdv packages download {REQUEST}", f"cdv packages download {REQUEST} --encrypt", json=False)
async def download(
    opener: Opener,
    request: Request,
    to: To = None,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Encrypt the file with a passphrase; `age -d` can decrypt it too.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write the package of a request to a file. It contains all of the person's data in clear: protect it."""
    passphrase = _passphrase(passphrase_file, twice=True) if encrypt or passphrase_file else None
    async with opener.session() as session:
        package = await open_package(session.services, session.caller, request, passphrase=passphrase)
        path = to or Path(package.name)
        with _new_file(path) as out, bytes_bar("fetching", package.size) as advance:
            async for piece in package.stream:
                out.write(piece)
                advance(len(piece))
    note(f"{path} is written; `cdv {'packages open' if passphrase else 'verify'} {path}` is next")


@command(group, "cdv packages open access.zip.age", "cdv packages open access.zip.age --to a.zip", name="open")
def open_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that was encrypted with a passphrase.")],
    to: To = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Decrypt a package that was encrypted with a passphrase. Needs no vault."""
    path = to or file.with_name(file.name.removesuffix(".age") if file.suffix == ".age" else f"{file.name}.zip")
    try:
        opened = file.open("rb")
    except OSError:
        raise InvalidInput("the file cannot be read", hint="check that it exists and is readable") from None
    with opened:
        passphrase = _passphrase(passphrase_file)
        with _new_file(path) as out, bytes_bar("opening", file.stat().st_size) as advance:
            for piece in decrypt(opened, passphrase):
                out.write(piece)
                advance(len(piece))
    note(f"{path} is written; `cdv verify {path}` checks it")


@command(group, f"cdv packages send {REQUEST} https://other.example.org/inbox")
async def send(
    session: Session,
    request: Request,
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the other controller.")],
) -> None:
    """Send a portability package to another controller at the person's request (Art. 20(2) GDPR)."""
    sent = await send_package(session.services, session.caller, request, url)
    session.show(sent, f"accepted: {counted(sent.size, 'byte')} (status {sent.status}); audit entry {sent.audit}")


@command(group, "cdv packages expire")
async def expire(session: Session) -> None:
    """Delete expired packages. They can no longer be downloaded even before."""
    count = await expire_packages(session.services, session.tenant)
    session.show(ExpiredPackages(expired=count), f"{counted(count, 'package')} deleted")


def _passphrase(file: Path | None, *, twice: bool = False) -> str:
    """Read a passphrase from a file or a prompt; command arguments are visible to other users of the machine."""
    if file is None:
        passphrase: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)
        return passphrase
    try:
        return file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, ValueError):
        raise InvalidInput("the file named by --passphrase-file cannot be read") from None


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Create a file that only its owner can read; it is renamed when complete, and never replaces another."""
    part = path.with_name(f"{path.name}.part")
    if path.exists() or part.exists():
        raise InvalidInput(
            "a file with this name, or a part of it, exists", hint="move it, or name another file by --to"
        )
    try:
        out = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise InvalidInput(
            f"the file cannot be written ({type(error).__name__})", hint="check that the folder exists and is writable"
        ) from None
    try:
        with out:
            yield out
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
