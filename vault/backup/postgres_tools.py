"""Run PostgreSQL's own programs, ``pg_dump`` and ``pg_restore``, through pipes.

They get a password by the environment, where other users do not see it, and never by the command line.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote

from sqlalchemy import make_url

from vault.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

CHUNK: Final = 256 * 1024
_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")
_MOST_WORDS: Final = 300
_SEEN: Final = (
    "PG", "PATH", "HOME", "LANG", "LC_", "TZ", "TMPDIR", "USER", "LOGNAME", "KRB5", "SSL_CERT_", "LD_LIBRARY_PATH",
)  # fmt: skip
"""The beginnings of the names of variables that PostgreSQL's programs may use."""
_LIBPQ: Final = {
    name: name
    for name in (
        "host", "port", "user", "dbname", "passfile", "options", "application_name", "client_encoding", "service",
        "sslmode", "sslnegotiation", "sslcert", "sslkey", "sslrootcert", "sslcrl", "ssl_min_protocol_version",
        "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib",
    )
} | {"database": "dbname"}  # fmt: skip
"""Parts of a URL's query that libpq knows, by their names in the vault's driver."""
_SPECIAL: Final = re.compile(r"[\\\s]")


class ToolFailed(Misconfigured):
    """One of PostgreSQL's programs is missing, too old, or failed."""

    code = "postgresql-tool-failed"


class PostgresTools:
    """The programs of one PostgreSQL installation.

    Args:
        folder: that contains them; if empty, ``PATH`` is searched.
        environment: of this process. The programs do not get variables that they do not use, such as the root key.
    """

    def __init__(self, folder: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {name: value for name, value in environment.items() if name.startswith(_SEEN)}
        self._versions: dict[str, str] = {}

    def require(self, name: str, server: int) -> str:
        """Require a program that fits the major version of a server; returns its version, for the manifest.

        Raises:
            ToolFailed: the program is missing, or is older than the server.
        """
        if name not in self._versions:
            self._versions[name] = self._run([self._path(name), "--version"])
        version = self._versions[name]
        match = _VERSION.search(version)
        if match is None or int(match[1]) < server:
            raise ToolFailed(
                f"{name} is of another version than the server, which is PostgreSQL {server}",
                hint=f"install the client programs of PostgreSQL {server}, and name their folder by `pg_tools`",
            )
        return version.strip()

    def dump(self, url: str, snapshot: str, tables: Iterable[str]) -> Iterator[bytes]:
        """Dump tables as of a snapshot, in the custom format of ``pg_dump``.

        Args:
            snapshot: the name of the exported snapshot.
            tables: of the schema ``public``. Everything else belongs to other programs. A role that may not read it, or
                not create its extensions, could neither back it up nor restore it.

        Raises:
            ToolFailed: ``pg_dump`` failed.
        """
        words = [
            self._path("pg_dump"), "--format=custom", "--compress=1", "--no-owner", "--no-privileges", "--no-password",
            *(f'--table=public."{name}"' for name in tables),
            f"--snapshot={snapshot}", f"--dbname={without_password(url)}",
        ]  # fmt: skip
        with self._started(words, url, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            while chunk := process.stdout.read(CHUNK):
                yield chunk

    def restore(self, url: str, chunks: Iterable[bytes], *, chosen: Path | None = None) -> None:
        """Restore a dump to an empty database, as a whole or not at all.

        Args:
            chunks: the dump.
            chosen: a file with the lines of :meth:`listing` to restore; all by default.

        Raises:
            ToolFailed: ``pg_restore`` failed; the database is as empty as before.
        """
        words = [
            self._path("pg_restore"), "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges",
            "--no-password", f"--dbname={without_password(url)}",
            *([] if chosen is None else [f"--use-list={chosen}"]),
        ]  # fmt: skip
        with self._started(words, url, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            _feed(process, chunks)

    def listing(self, url: str, chunks: Iterable[bytes]) -> str:
        """List the content of a dump, one line per object.

        Raises:
            ToolFailed: ``pg_restore`` failed.
        """
        words = [self._path("pg_restore"), "--list"]
        with tempfile.TemporaryFile() as listed:
            with self._started(words, url, stdin=subprocess.PIPE, stdout=listed) as process:
                _feed(process, chunks)
            listed.seek(0)
            return listed.read().decode("utf-8")

    def _path(self, name: str) -> str:
        path = shutil.which(name, path=self._folder or self._environment.get("PATH"))
        if path is None:
            raise ToolFailed(
                f"{name} is not found",
                hint="install PostgreSQL's client programs, or name their folder by the setting `pg_tools`",
            )
        return path

    def _run(self, words: Sequence[str]) -> str:
        try:
            result = subprocess.run(  # noqa: S603 - a program that the settings name
                words, env=self._environment, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise ToolFailed(f"{words[0]} cannot be run: {error.strerror}", hint="look at its mode") from None
        return result.stdout

    @contextmanager
    def _started(
        self, words: Sequence[str], url: str, *, stdin: int, stdout: IO[bytes] | int
    ) -> Iterator[subprocess.Popen[bytes]]:
        environment = {**self._environment, **password_of(url)}
        with tempfile.TemporaryFile() as messages:
            process = subprocess.Popen(words, env=environment, stdin=stdin, stdout=stdout, stderr=messages)  # noqa: S603 - as above
            try:
                yield process
                status = process.wait()
            except BaseException:
                process.kill()  # half a dump is useless, and a restore is rolled back
                process.wait()
                raise
            finally:
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        with suppress(BrokenPipeError):  # the program has ended, and needs no further input
                            pipe.close()
            if status:
                raise ToolFailed(
                    _first_error(words[0], messages), hint="look at the server's log; docs/backup.md names causes"
                )


def _feed(process: subprocess.Popen[bytes], chunks: Iterable[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101 - it was asked for
    with suppress(BrokenPipeError):  # the program has ended: its exit status and its messages say why
        for chunk in chunks:
            process.stdin.write(chunk)
        process.stdin.close()


def without_password(url: str) -> str:
    """Return a database's URL as libpq understands it, without the password.

    Names that libpq does not know become settings of the session, as in the vault's driver.

    Raises:
        ToolFailed: the URL has a secret that could only be passed on the command line.
    """
    parsed = make_url(url)
    if "sslpassword" in parsed.query:
        raise ToolFailed(
            "PostgreSQL's programs take `sslpassword` by the command line only, where other users see it",
            hint="keep the client key without a passphrase, readable by the vault's user alone",
        )
    words: dict[str, str] = {}
    settings: list[str] = []
    if parsed.host:
        words["host"] = parsed.host
    if parsed.port:
        words["port"] = str(parsed.port)
    for name, value in parsed.query.items():
        text = value if isinstance(value, str) else ",".join(value)
        if name in _LIBPQ:
            words[_LIBPQ[name]] = text
        elif name != "password":
            escaped = _SPECIAL.sub(r"\\\g<0>", text)
            settings.append(f"-c {name}={escaped}")
    if settings:
        words["options"] = " ".join([*filter(None, [words.get("options")]), *settings])
    query = "&".join(f"{name}={quote(text, safe='')}" for name, text in sorted(words.items()))
    user = f"{quote(parsed.username, safe='')}@" if parsed.username else ""
    return f"postgresql://{user}/{quote(parsed.database or '', safe='')}?{query}"


def password_of(url: str) -> dict[str, str]:
    """Return a URL's password as the environment variable of libpq, if there is one."""
    parsed = make_url(url)
    password = parsed.query.get("password", parsed.password)
    return {"PGPASSWORD": str(password)} if password else {}


def _first_error(program: str, messages: IO[bytes]) -> str:
    """Return the first error that a program wrote: one line only, because further ones may quote rows."""
    messages.seek(0)
    lines = messages.read(CHUNK).decode("utf-8", "replace").splitlines()
    first = next((line for line in lines if "error:" in line), "it does not say why")
    return f"{program.rpartition('/')[2]} failed: {first.partition('error:')[2].strip() or first}"[:_MOST_WORDS]
