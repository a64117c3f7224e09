"""``cdv verify``: verifies files that a vault has signed. Needs no vault and no network.

:data:`KINDS` has a function for each kind of file, which verifies it and returns its statements.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NamedTuple

import typer

from vault.cli.command import TOP_LEVEL, Names, Opener, command, known_tenant, run
from vault.cli.output import FAILED, emit
from vault.consent.receipts.issue import check_receipt, read_contents
from vault.consent.receipts.model import EVENT_TEXTS
from vault.crypto.signing import LARGEST, BadDocument, key_id, parse, public_of_jwk
from vault.erasure.verify import check_certificate
from vault.erasure.verify import summary_of as summary_of_certificate
from vault.errors import InvalidInput
from vault.export.verify import check_archive

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.crypto.signing import Signed

GIVEN = "by a key that you named"
Says = Mapping[str, "str | list[str] | None"]
"""The statements of a file by name: a text, or a list of lines."""


class Checked(NamedTuple):
    """The result of verifying a file: its problem, or its signature and statements."""

    file: str
    kind: str | None
    problem: str | None
    remedy: str | None
    signed: Signed | None
    trusted: str | None
    says: dict[str, str | list[str]]

    @property
    def good(self) -> bool:
        """Return whether the file is valid and signed by a trusted key."""
        return self.problem is None and self.trusted is not None

    def as_json(self) -> dict[str, object]:
        """Return the result for scripts."""
        signed = self.signed
        return {
            "file": self.file,
            "kind": self.kind,
            "good": self.good,
            "sound": signed is not None,
            "trusted": self.trusted is not None,
            "problem": self.problem,
            "key": None if signed is None else signed.key_id,
            "signed_at": None if signed is None else signed.signed_at,
            "says": self.says,
        }


@command(
    TOP_LEVEL,
    "cdv verify receipt.json --key keys.json",
    "cdv verify access.zip --key keys.json",
    "cdv verify receipt.json --key-id kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    name="verify",
)
def verify(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Signed files: receipts, packages, certificates.")
    ],
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keys to trust: what `cdv keys signing --json` or the API prints."),
    ] = None,
    key_id: Annotated[Names, typer.Option(metavar="ID", help="Id of a key to trust.")] = None,
    vault: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="CDV_VAULT", help="Trust the keys of this vault.", show_default="none"),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Trust this tenant only.", show_default="all of them")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write a line of JSON per file, for scripts.")] = False,
) -> None:
    """Verify signed files: their integrity, and the key that signed them. Exit status 1 unless all are valid.

    In a package, every file is checked, and that none was added. The key in a file proves nothing by itself: name the
    keys that you trust. A receipt states a past decision, which may have changed since.
    """
    trusted = dict.fromkeys(key_id or [], GIVEN)
    if key is not None:
        trusted |= dict.fromkeys(_keys_in(key), GIVEN)
    if not trusted and vault is not None:
        trusted = run(_keys_of(vault, tenant))
    checked = [_check(file, trusted) for file in files]
    for result in checked:
        if as_json:
            emit(result.as_json())
        else:
            _show(result, known=bool(trusted))
    if not all(result.good for result in checked):
        raise typer.Exit(FAILED)


def _check(path: Path, trusted: Mapping[str, str]) -> Checked:
    def bad(problem: str, remedy: str | None = None, kind: str | None = None) -> Checked:
        return Checked(str(path), kind, problem, remedy, None, None, {})

    try:
        with path.open("rb") as opened:
            if opened.read(len(_ZIP)) == _ZIP:
                kind, (signed, says) = PACKAGE, _package(opened)
            else:
                opened.seek(0)
                file = parse(opened.read(LARGEST + 1))
                found = next((name for name in KINDS if name in file), None)
                if found is None:
                    known = ", ".join([*KINDS, PACKAGE])
                    return bad("unknown kind of file", f"known kinds: {known}")
                kind, (signed, says) = found, KINDS[found](file)
    except OSError:
        return bad("the file cannot be read", "check that it exists and is readable")
    except BadDocument as error:
        return bad(error.detail, "get the file again from its source")
    if not signed.sound:
        remedy = "it was changed after signing: get it again from its source"
        return bad("the signature is invalid", remedy, kind)
    printable = {
        name: _printable(part) if isinstance(part, str) else [_printable(line) for line in part]
        for name, part in says.items()
        if part is not None
    }
    return Checked(str(path), kind, None, None, signed, trusted.get(signed.key_id), printable)


def _receipt(file: Mapping[str, object]) -> tuple[Signed, Says]:
    signed = check_receipt(file)
    contents = read_contents(signed.document)
    return signed, {
        "said": EVENT_TEXTS[contents.kind],
        "purpose": contents.purpose,
        "when": contents.occurred_at,
        "how": contents.method,
        "until": contents.valid_until,
        "notice": contents.notice,
        "person": contents.person,
        "controller": contents.controller,
        "receipt": contents.receipt,
    }


def _certificate(file: Mapping[str, object]) -> tuple[Signed, Says]:
    signed = check_certificate(file)
    return signed, summary_of_certificate(signed.document)


def _package(file: BinaryIO) -> tuple[Signed, Says]:
    signed = check_archive(file)
    manifest = signed.document
    return signed, {
        "answers": manifest["kind"],
        "request": manifest["request"],
        "made": manifest["created_at"],
        "controller": manifest["controller"],
        "files": str(len(manifest["entries"]) + 1),
        "audit": manifest["audit"],
    }


KINDS: dict[str, Callable[[Mapping[str, object]], tuple[Signed, Says]]] = {
    "receipt": _receipt,
    "certificate": _certificate,
}
"""The kinds of documents, by the key that they have in the file."""
PACKAGE = "package"
"""A ZIP file with a signed manifest."""
_ZIP = b"PK\x03\x04"


def _show(checked: Checked, *, known: bool) -> None:
    typer.echo(_printable(checked.file))
    for name, part in checked.says.items():
        first, *others = [part] if isinstance(part, str) else part
        typer.echo(f"  {name:<11} {first}")
        for line in others:
            typer.echo(f"  {'':<11} {line}")
    if checked.signed is not None:
        typer.echo(f"  {'signed':<11} {checked.signed.signed_at:%Y-%m-%d %H:%M:%SZ}")
        typer.echo(f"  {'key':<11} {checked.signed.key_id}")
    if checked.good:
        typer.echo(f"  good: unchanged, and signed {checked.trusted}")
        return
    problem, remedy = checked.problem, checked.remedy
    if problem is None:
        problem = "the signature is valid, but " + (
            "signed by an untrusted key" if known else "no trusted keys were named"
        )
        remedy = "get the vault's keys from a trusted source, and name them by --key or --key-id"
    typer.echo(f"error: {_printable(checked.file)}: {problem}", err=True)
    if remedy:
        typer.echo(f"hint: {remedy}", err=True)


def _keys_in(path: Path) -> list[str]:
    """Read the ids of trusted keys (their thumbprints) from a JWK set or a single JWK (RFC 7517).

    Raises:
        InvalidInput: it contains no public key of this type.
    """
    try:
        document = json.loads(path.read_bytes())
        names = [key_id(public_of_jwk(jwk)) for jwk in document.get("keys", [document])]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        names = []
    if not names:
        hint = "`cdv keys signing --json` and the API write such files"
        raise InvalidInput("the file named by --key holds no public keys", hint=hint)
    return names


async def _keys_of(folder: Path, tenant: str | None) -> dict[str, str]:
    async with Opener(folder).vault() as session:
        keyring = session.services.keyring
        tenants = await keyring.tenants() if tenant is None else [await known_tenant(session.services, tenant)]
        return {
            key.key_id: f"by this vault, for its tenant {owner}"
            for owner in tenants
            for key in await keyring.public_keys(owner)
        }


def _printable(text: str) -> str:
    """Replace unprintable characters, so that untrusted text cannot control the terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
