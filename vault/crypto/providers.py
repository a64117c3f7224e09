"""Providers of the root key, chosen by the scheme of its URL. The root key wraps tenant keys and tenant secrets only.

``file:PATH`` and ``env:VARIABLE`` keep 32 random bytes in this process and derive from them (HKDF-SHA-256, empty
salt)::

    wrapping key = HKDF(root, info = lp("cdv:root-wrap"), 32 bytes)
    reference    = "root-" + hex(HKDF(root, info = lp("cdv:root-check"), 8 bytes))
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from vault.crypto.derive import derive
from vault.crypto.primitive import KEY, Secret, WrappingKey, frame
from vault.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable

MODE: Final = 0o600
_LINE: Final = re.compile(rb"cdv-root-1 ([A-Za-z0-9+/]{43}=)\n?")
_LONGEST_FILE: Final = 128
_OPENING: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not hang us
_MAKING: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


class KeyProvider(Protocol):
    """Holds the root key, or a reference to it in another system.

    ``wrap`` and ``unwrap`` may wait for a network. They are plain functions, so that a provider needs no event loop;
    async code calls them in a thread (``asyncio.to_thread``), from several threads at a time.
    """

    @property
    def reference(self) -> str:
        """Identify the root key, without a secret and without waiting. It is stored with everything it wrapped."""

    def wrap(self, plaintext: bytes, context: bytes) -> bytes:
        """Seal a tenant's key under the root key, bound to a context.

        Raises:
            Unavailable: the system that holds the root key does not answer.
        """

    def unwrap(self, sealed: bytes, context: bytes) -> bytes:
        """Open what :meth:`wrap` sealed.

        Raises:
            CannotOpen: it was changed, or sealed by another root key or for another context.
            Unavailable: the system that holds the root key does not answer.
        """


@dataclass(frozen=True, slots=True)
class Scheme:
    """A kind of root key, by the scheme of its URL.

    Args:
        form: how the URL is written, for error messages: ``file:PATH``.
        open: ``(rest of the URL, the vault's folder) -> provider``; raises Misconfigured.
        create: makes a root key for a new vault, if that is the vault's task; raises Misconfigured.
    """

    form: str
    open: Callable[[str, Path], KeyProvider]
    create: Callable[[str, Path], KeyProvider] | None = None


_schemes: Final[dict[str, Scheme]] = {}


def register(name: str, scheme: Scheme) -> None:
    """Add a scheme; the name is in lower case."""
    _schemes[name] = scheme


def provider_of(url: str, folder: Path) -> KeyProvider:
    """Return the provider of the root key that a URL names, such as ``file:root.key``.

    Args:
        url: the setting ``root_key``. It may be the key itself by mistake, so no error repeats it.
        folder: the vault's folder, to which relative paths belong.

    Raises:
        Misconfigured: no scheme has that name, or the root key is not there.
    """
    scheme, rest = _scheme_of(url)
    return scheme.open(rest, folder)


def create_root_key(url: str, folder: Path) -> None:
    """Make the root key of a new vault, where its scheme does that.

    Raises:
        Misconfigured: no scheme has that name, or the root key exists already or cannot be written.
    """
    scheme, rest = _scheme_of(url)
    if scheme.create is not None:
        scheme.create(rest, folder)


def hide_from_git(folder: Path) -> None:
    """Keep a vault's folder out of every repository that it is in: one ``git add -A`` would commit the root key."""
    file = folder / ".gitignore"
    if not file.exists():
        file.write_text("*\n", encoding="utf-8")


def _scheme_of(url: str) -> tuple[Scheme, str]:
    name, _, rest = url.partition(":")
    scheme = _schemes.get(name)
    if scheme is None or not rest:
        forms = " or ".join(known.form for known in _schemes.values())
        raise Misconfigured("root_key names no provider", hint=f"use {forms}")
    return scheme, rest


class _LocalRootKey(Secret):
    """A root key whose bytes are in this process."""

    __slots__ = ("_wrapping", "reference")

    def __init__(self, root: bytes) -> None:
        self._wrapping = WrappingKey(derive(root, frame(b"cdv:root-wrap")))
        self.reference = "root-" + derive(root, frame(b"cdv:root-check"), length=8).hex()

    def wrap(self, plaintext: bytes, context: bytes) -> bytes:
        """Seal a tenant's key."""
        return self._wrapping.wrap(plaintext, context)

    def unwrap(self, sealed: bytes, context: bytes) -> bytes:
        """Open a tenant's key; raises :class:`vault.errors.CannotOpen`."""
        return self._wrapping.unwrap(sealed, context)


class FileRootKey(_LocalRootKey):
    """The root key in a file that only its owner can read: one line, ``cdv-root-1 <base64 of 32 bytes>``.

    Raises:
        Misconfigured: the file is not there, belongs to another user, can be read by others, or holds no root key.
    """

    __slots__ = ()

    def __init__(self, path: Path | str) -> None:
        super().__init__(_read(Path(path)))

    @classmethod
    def create(cls, path: Path | str) -> FileRootKey:
        """Make a new random root key in a file that does not exist yet, and be sure that it is on the disk.

        Raises:
            Misconfigured: the file exists, for a root key is never overwritten; or it cannot be written.
        """
        _write(Path(path), b"cdv-root-1 " + base64.b64encode(os.urandom(KEY)) + b"\n")
        return cls(path)


class EnvironmentRootKey(_LocalRootKey):
    """The root key in an environment variable: base64 of 32 bytes.

    Raises:
        Misconfigured: the variable is not set, or is not 32 bytes of base64.
    """

    __slots__ = ()

    def __init__(self, variable: str) -> None:
        text = os.environ.get(variable, "").strip()
        hint = f"set {variable} to the base64 of 32 random bytes, as `openssl rand -base64 32` prints them"
        if not text:
            raise Misconfigured(f"the environment variable {variable} holds no root key", hint=hint)
        try:
            root = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):  # ValueError: not ASCII
            root = b""
        if len(root) != KEY:
            raise Misconfigured(f"the environment variable {variable} is not a root key", hint=hint) from None
        super().__init__(root)


def _read(path: Path) -> bytes:
    if os.name != "posix":
        raise Misconfigured(
            "a root key file needs a system with POSIX permissions", hint="keep the root key in the environment"
        )
    try:
        descriptor = os.open(path, _OPENING)
    except OSError as error:
        raise Misconfigured(
            f"the root key file {path} cannot be read: {error.strerror}",
            hint="name the file that `cdv init` made, or restore it from its backup; no other key opens this vault",
        ) from None
    try:
        # Asked of the open file, not of the path, which could change in between.
        _refuse_unsafe(path, os.fstat(descriptor))
        content = os.read(descriptor, _LONGEST_FILE + 1)
    finally:
        os.close(descriptor)
    line = _LINE.fullmatch(content)
    if line is None:
        raise Misconfigured(
            f"the root key file {path} does not hold a root key",
            hint="it has one line: cdv-root-1, a space, and the base64 of 32 bytes; restore it from its backup",
        )
    return base64.b64decode(line[1], validate=True)


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Misconfigured(f"the root key file {path} is not a regular file", hint="name a file")
    if status.st_uid != os.geteuid():
        raise Misconfigured(
            f"the root key file {path} belongs to another user",
            hint="run the vault as the owner of the file, or give the file to the vault's user by chown",
        )
    if stat.S_IMODE(status.st_mode) & ~MODE:
        raise Misconfigured(f"the root key file {path} is open to others", hint=f"chmod 600 {path}")


def _write(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, _MAKING, MODE)
    except FileExistsError:
        raise Misconfigured(
            f"the root key file {path} exists already",
            hint="a root key is never overwritten, because all that it sealed would be lost; choose another path",
        ) from None
    except OSError as error:
        raise Misconfigured(
            f"the root key file {path} cannot be created: {error.strerror}",
            hint="choose a folder that can be written to",
        ) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name of a new file is durable only once its folder is
        finally:
            os.close(folder)
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key is worse than none
        raise Misconfigured(
            f"the root key file {path} cannot be written: {error.strerror}", hint="see whether the disk is full"
        ) from None


register(
    "file",
    Scheme(
        "file:PATH",
        open=lambda path, folder: FileRootKey(folder / path),
        create=lambda path, folder: FileRootKey.create(folder / path),
    ),
)
register("env", Scheme("env:VARIABLE", open=lambda variable, _folder: EnvironmentRootKey(variable)))
