"""Letters by SMTP: plain text, one recipient each, over TLS, and no word of them in logs or errors.

``smtps://`` speaks TLS from the first byte (RFC 8314 §3). ``smtp://`` begins in clear and must go over to TLS
(``STARTTLS``, RFC 3207), or nothing is sent: whoever sits on the line could otherwise keep the offer back and read the
codes. Without TLS go letters to a relay on this very host, and to one of which the URL says ``?starttls=optional``,
without a password then. Certificates are always checked, against the system's authorities.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import formatdate, make_msgid
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import email_validator

from vault import logs
from vault.errors import Conflict, Misconfigured, Unavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine

TIMEOUT: Final = 10.0
"""Seconds for each word of the conversation with the relay."""
MOST_AT_ONCE: Final = 4
"""Connections to the relay."""
MOST_WAITING: Final = 1_000
"""Letters that wait in this process; more are dropped, and the log says so."""
PORTS: Final = {"smtp": 587, "smtps": 465}
_ADDRESS: Final = re.compile(r"""([^\s@"(),:;<>\[\]\\]{1,64})@([^\s@"(),:;<>\[\]\\]{1,253})""")
_ENCODED: Final = "=?"
"""Begins an encoded word (RFC 2047), which is decoded wherever it stands in a header: to line ends and what follows."""
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f\x85\u2028\u2029]{1,200}")
_FINAL: Final = range(500, 600)

log = logs.get_logger()


class MailNotConfigured(Conflict):
    """This vault sends no letters."""

    code = "mail-not-configured"

    def __init__(self) -> None:
        super().__init__(
            "this vault has no mail relay, so that no code and no letter can be sent",
            hint="set CDV_SMTP_URL, or verify in another way: an app that vouches, or staff with evidence",
        )


class MailFailed(Unavailable):
    """A letter did not go out; ``final`` where the relay will never take it."""

    code = "mail-failed"

    def __init__(self, *, final: bool = False) -> None:
        super().__init__("the mail relay did not take the letter", hint="try again later; the log says what it was")
        self.final = final


@dataclass(frozen=True, slots=True, repr=False)
class Letter:
    """One letter to one person; shows nothing of itself where it is printed.

    Attributes:
        to: an address as the catalogue normalises it.
        subject: one line.
        body: plain text.
        sender: in ``From`` where the settings name nobody: the controller's own address.
        language: of the text.
    """

    to: str
    subject: str
    body: str
    sender: str = ""
    language: str = "en"

    def __repr__(self) -> str:
        return "Letter([sensitive])"


class Mail:
    """Sends letters.

    Args:
        url: ``smtp://user:password@host:port``, ``smtps://…``; empty: no mail is sent, and whoever needs it is told.
        sender: the address in ``From``; empty: each letter's own.

    Raises:
        Misconfigured: the URL names no relay.
    """

    def __init__(self, url: str, sender: str) -> None:
        self._relay = _relay(url) if url else None
        self._sender = sender
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def configured(self) -> bool:
        """Tell whether letters can be sent at all."""
        return self._relay is not None

    def require(self) -> None:
        """Go on only where letters can be sent.

        Raises:
            MailNotConfigured: there is no relay.
        """
        if self._relay is None:
            raise MailNotConfigured

    async def send(self, letter: Letter) -> None:
        """Send a letter, and wait until the relay has taken it.

        Raises:
            MailNotConfigured: there is no relay, or nobody to write as.
            MailFailed: the relay is not there, has no TLS, or refuses.
        """
        import aiosmtplib  # not everybody who opens a vault writes letters

        sender = self._sender or letter.sender
        if self._relay is None or not sender:
            raise MailNotConfigured
        try:
            message = _message(letter, sender)
        except (ValueError, UnicodeError):  # hushed: the words of the error quote the address
            raise MailFailed(final=True) from None
        failed: MailFailed | None = None
        async with self._places:
            try:
                await aiosmtplib.send(message, **self._how(sender))
            except (aiosmtplib.SMTPException, OSError, ValueError) as error:  # TimeoutError is an OSError
                _note(error)
                failed = MailFailed(final=_is_final(error))
        if failed is not None:  # raised out here, so that what the relay said is not in its context
            raise failed

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that ends in a letter after the caller was answered; its failure is on the log."""
        if len(self._under_way) >= MOST_WAITING:
            work.close()
            log.warning("a letter was dropped: too many wait", count=len(self._under_way))
            return
        task = asyncio.create_task(_logged(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settled(self) -> None:
        """Wait until everything that is under way has ended."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def close(self, *, patience: float = TIMEOUT) -> None:
        """Let what is under way end, and give the rest up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.settled()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _how(self, sender: str) -> dict[str, Any]:
        relay = self._relay
        if relay is None:  # pragma: no cover - send() looks first
            raise MailNotConfigured
        return {
            "hostname": relay.host,
            "port": relay.port,
            "username": relay.user,
            "password": relay.password,
            "use_tls": relay.use_tls,
            "start_tls": relay.start_tls,
            "tls_context": self._context,
            # The greeting names the sender's domain, and not this machine.
            "local_hostname": _ascii_domain(sender),
            "timeout": TIMEOUT,
        }

    @cached_property
    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


@dataclass(frozen=True, slots=True, repr=False)
class _Relay:
    host: str
    port: int
    user: str | None
    password: str | None
    use_tls: bool
    start_tls: bool | None
    """True: at any rate; None: where it is offered."""


def _relay(url: str) -> _Relay:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORTS[parts.scheme]
        optional = _options(parts.query)
    except (ValueError, KeyError):
        host = None
    if not host or parts.path not in {"", "/"}:
        raise Misconfigured(
            "smtp_url names no mail relay", hint="write smtp://user:password@host:587 or smtps://user:password@host"
        )
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if optional and user is not None and not _is_here(host):
        raise Misconfigured("smtp_url would send a password in clear", hint="leave ?starttls=optional out")
    use_tls = parts.scheme == "smtps"
    start_tls = False if use_tls else None if optional or _is_here(host) else True
    return _Relay(host, port, user, password, use_tls, start_tls)


def _options(query: str) -> bool:
    """Tell whether a relay may be written to in clear."""
    if not query:
        return False
    if parse_qs(query, strict_parsing=True) != {"starttls": ["optional"]}:
        raise ValueError
    return True


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _message(letter: Letter, sender: str) -> EmailMessage:
    """Write a letter by RFC 5322. No header can be added from within: a line has no end in it."""
    if not _LINE.fullmatch(letter.subject):
        raise ValueError("a subject is one line")
    message = EmailMessage(policy=POLICY)
    message["From"] = _address(sender)
    message["To"] = _address(letter.to)
    message["Subject"] = letter.subject
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = make_msgid(domain=_ascii_domain(sender))
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office note is to answer it
    message.set_content(letter.body, charset="utf-8", cte="quoted-printable")
    message["Content-Language"] = letter.language
    return message


def _address(text: str) -> Address:
    """Take an address apart, its domain in ASCII, so that only an unusual local part asks the relay for SMTPUTF8."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not text.isprintable() or _ENCODED in text:
        raise ValueError("no address")
    return Address(username=found[1], domain=_ascii_domain(text))


def _ascii_domain(address: str) -> str:
    """Write a domain in ASCII by IDNA 2008, as the catalogue reads it; IDNA 2003 would turn some into others."""
    domain = address.rpartition("@")[2]
    if domain.isascii():
        return domain
    found: str | None = email_validator.validate_email(f"a@{domain}", check_deliverability=False).ascii_domain
    if not found:
        raise ValueError("no domain")
    return found


def _is_final(error: Exception) -> bool:
    """Tell whether the relay will never take this letter; a wrong password can be put right."""
    from aiosmtplib import SMTPAuthenticationError, SMTPRecipientsRefused

    if isinstance(error, SMTPRecipientsRefused):
        return all(each.code in _FINAL for each in error.recipients)
    return getattr(error, "code", None) in _FINAL and not isinstance(error, SMTPAuthenticationError)


def _note(error: Exception) -> None:
    """Write down that a letter was not sent, with what the relay answered where it answered at all."""
    code = getattr(error, "code", None)
    if isinstance(code, int):
        log.warning("a letter was not sent", exc_info=error, status=code)
    else:
        log.warning("a letter was not sent", exc_info=error)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as error:  # nobody waits for it; the log tells its class and place
        log.warning("something after an answer failed", exc_info=error)
