"""Send letters by SMTP: plain text, one recipient each, over TLS, and nothing of them in logs or errors.

``smtps://`` uses TLS from the first byte (RFC 8314 §3). ``smtp://`` begins in clear and must switch to TLS
(``STARTTLS``, RFC 3207), or nothing is sent: an attacker on the line could otherwise suppress the offer and read the
codes. Letters go without TLS only to a relay on this host, and to one whose URL has ``?starttls=optional``, which then
must have no password. Certificates are always verified, against the system's authorities.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from contextlib import suppress
from dataclasses import asdict, dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import formatdate, make_msgid
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from vault import logs
from vault.errors import Conflict, Misconfigured, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    import aiosmtplib

TIMEOUT: Final = 10.0
"""Seconds for each step of the dialogue with the relay."""
MOST_AT_ONCE: Final = 4
"""Connections to the relay."""
MOST_WAITING: Final = 1_000
"""Letters that may wait in this process; more are dropped, with a warning in the log."""
PORTS: Final = {"smtp": 587, "smtps": 465}
_ADDRESS: Final = re.compile(r"""([^\s@"(),:;<>\[\]\\]{1,64})@([^\s@"(),:;<>\[\]\\]{1,253})""")
_ENCODED: Final = "=?"
"""Begins an encoded word (RFC 2047). Mail readers decode it anywhere in a header, and it can contain line ends."""
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f\x85\u2028\u2029]{1,200}")
_STEPS: Final = ("MAIL", "RCPT", "DATA", "the text")
"""What the relay answers between the greeting and the end."""
_FINAL: Final = range(500, 600)

log = logs.get_logger()


class MailNotConfigured(Conflict):
    """No SMTP relay is configured."""

    code = "mail-not-configured"

    def __init__(self) -> None:
        super().__init__(
            "no SMTP relay is configured, so codes and letters cannot be sent",
            hint="set CDV_SMTP_URL, or verify in another way: an app that vouches, or staff with evidence",
        )


class MailFailed(Unavailable):
    """A letter was not sent; ``final`` if the relay will never accept it."""

    code = "mail-failed"

    def __init__(self, *, final: bool = False) -> None:
        super().__init__("the mail relay did not accept the letter", hint="try again later; the log has the cause")
        self.final = final


@dataclass(frozen=True, slots=True, repr=False)
class Letter:
    """One letter to one person; its ``repr`` shows nothing of it.

    Attributes:
        to: an address as the catalogue normalises it.
        subject: one line.
        body: plain text.
        sender: the address in ``From`` if the settings have none: that of the controller.
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
        url: ``smtp://user:password@host:port``, ``smtps://…``; if it is empty, :meth:`send` raises.
        sender: the address in ``From``; if it is empty, that of each letter.

    Raises:
        Misconfigured: the URL is invalid.
    """

    def __init__(self, url: str, sender: str) -> None:
        self._relay = _relay(url) if url else None
        self._sender = sender
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def configured(self) -> bool:
        """Return whether letters can be sent."""
        return self._relay is not None

    def require(self) -> None:
        """Raise an error if no letter can be sent.

        Raises:
            MailNotConfigured: there is no relay.
        """
        if self._relay is None:
            raise MailNotConfigured

    async def send(self, letter: Letter) -> None:
        """Send a letter, and wait until the relay has accepted it.

        Raises:
            MailNotConfigured: there is no relay, or no sender.
            MailFailed: the relay does not answer, has no TLS, or refuses.
        """
        await self._converse(letter, lambda client, message: client.send_message(message))

    async def pretend(self, letter: Letter) -> None:
        """Do all that sending a letter takes, but for the letter: the relay gets as many commands that do nothing.

        Where no letter is due, so that the load of the process does not reveal who gets one.

        Raises:
            MailNotConfigured: there is no relay, or no sender.
            MailFailed: the relay does not answer, or has no TLS.
        """

        async def say_nothing(client: aiosmtplib.SMTP, _message: EmailMessage) -> None:
            for _step in _STEPS:
                await client.noop()

        await self._converse(letter, say_nothing)

    async def _converse(
        self, letter: Letter, say: Callable[[aiosmtplib.SMTP, EmailMessage], Awaitable[object]]
    ) -> None:
        import aiosmtplib  # late, because most commands send no letter

        sender = self._sender or letter.sender
        if self._relay is None or not sender:
            raise MailNotConfigured
        try:
            message = _message(letter, sender)
        except (ValueError, UnicodeError):  # from None: the error quotes the address
            raise MailFailed(final=True) from None
        failed: MailFailed | None = None
        async with self._slots:
            try:
                client = aiosmtplib.SMTP(
                    **asdict(self._relay),
                    tls_context=self._context,
                    # The greeting names the sender's domain, so that it does not disclose this machine's name.
                    local_hostname=_ascii_domain(sender),
                    timeout=TIMEOUT,
                )
                async with client:
                    await say(client, message)
            except (aiosmtplib.SMTPException, OSError, ValueError) as error:  # TimeoutError is an OSError
                code = getattr(error, "code", None)
                if isinstance(code, int):  # the status of the relay's answer
                    log.warning("a letter was not sent", exc_info=error, status=code)
                else:
                    log.warning("a letter was not sent", exc_info=error)
                failed = MailFailed(final=_is_final(error))
        if failed is not None:  # outside the handler, so that the relay's answer is not in its context
            raise failed

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that sends a letter after the response; a failure is logged."""
        if len(self._tasks) >= MOST_WAITING:
            work.close()
            log.warning("a letter was dropped: too many are waiting", count=len(self._tasks))
            return
        task = asyncio.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until all work has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self, *, patience: float = TIMEOUT) -> None:
        """Wait for running work, at most ``patience`` seconds, and cancel the rest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.settled()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


@dataclass(frozen=True, slots=True, repr=False)
class _Relay:
    """The arguments of aiosmtplib. ``start_tls`` is True if it is required, None if it is used where offered."""

    hostname: str
    port: int
    username: str | None
    password: str | None
    use_tls: bool
    start_tls: bool | None


def _relay(url: str) -> _Relay:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORTS[parts.scheme]
        optional = _tls_is_optional(parts.query)
    except (ValueError, KeyError):
        host = None
    if not host or parts.path not in {"", "/"}:
        raise Misconfigured(
            "smtp_url is invalid", hint="write smtp://user:password@host:587 or smtps://user:password@host"
        )
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if optional and user is not None and not _is_local(host):
        raise Misconfigured("smtp_url would send a password in clear", hint="remove ?starttls=optional")
    use_tls = parts.scheme == "smtps"
    start_tls = False if use_tls else None if optional or _is_local(host) else True
    return _Relay(host, port, user, password, use_tls, start_tls)


def _tls_is_optional(query: str) -> bool:
    """Return whether letters may go to the relay without TLS."""
    if not query:
        return False
    if parse_qs(query, strict_parsing=True) != {"starttls": ["optional"]}:
        raise ValueError
    return True


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _message(letter: Letter, sender: str) -> EmailMessage:
    """Build the message (RFC 5322). No header can be injected, because no header value can contain a line end."""
    if not _LINE.fullmatch(letter.subject):
        raise ValueError("a subject is one line")
    message = EmailMessage(policy=POLICY)
    message["From"] = _address(sender)
    message["To"] = _address(letter.to)
    message["Subject"] = letter.subject
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = make_msgid(domain=_ascii_domain(sender))
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic reply
    message.set_content(letter.body, charset="utf-8", cte="quoted-printable")
    message["Content-Language"] = letter.language
    return message


def _address(text: str) -> Address:
    """Parse an address, with its domain in ASCII, so that only a non-ASCII local part needs SMTPUTF8."""
    match = _ADDRESS.fullmatch(text)
    if match is None or not text.isprintable() or _ENCODED in text:
        raise ValueError("no address")
    return Address(username=match[1], domain=_ascii_domain(text))


def _ascii_domain(address: str) -> str:
    """Return a domain in ASCII by IDNA 2008, as the catalogue does; IDNA 2003 maps some domains to others."""
    domain = address.rpartition("@")[2]
    if domain.isascii():
        return domain
    import email_validator  # slow to import, and few domains need it

    encoded: str | None = email_validator.validate_email(f"a@{domain}", check_deliverability=False).ascii_domain
    if not encoded:
        raise ValueError("no domain")
    return encoded


def _is_final(error: Exception) -> bool:
    """Return whether the relay will never accept this letter; a wrong password can be corrected."""
    from aiosmtplib import SMTPAuthenticationError, SMTPRecipientsRefused

    if isinstance(error, SMTPRecipientsRefused):
        return all(recipient.code in _FINAL for recipient in error.recipients)
    return getattr(error, "code", None) in _FINAL and not isinstance(error, SMTPAuthenticationError)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as error:  # no caller waits for it, so the log has its class and place
        log.warning("work after a response failed", exc_info=error)
