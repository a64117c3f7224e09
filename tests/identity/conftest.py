"""A real mail relay in this process, and vaults that write to it."""

from __future__ import annotations

import email
import email.policy
import re
import socket
from contextlib import contextmanager
from email.message import EmailMessage
from typing import NamedTuple

import pytest
from aiosmtpd.controller import Controller

from tests.vaults import fresh_place, node, place, postgres_place, sqlite_node, sqlite_place

__all__ = ["fresh_place", "node", "place", "postgres_place", "sqlite_node", "sqlite_place"]

CODE = re.compile(r"\b(\d{4}) (\d{4})\b")


class Received(NamedTuple):
    """A letter as the relay took it: the envelope, and the message."""

    sender: str
    recipients: list[str]
    options: list[str]
    message: EmailMessage
    raw: bytes

    @property
    def body(self) -> str:
        return self.message.get_content().replace("\r\n", "\n")

    @property
    def code(self) -> str:
        (match,) = CODE.findall(self.body)
        return "".join(match)


class Inbox:
    """What the relay does with what it is sent: keeps it, or refuses it with an answer that quotes the address."""

    def __init__(self) -> None:
        self.letters: list[Received] = []
        self.refuse: str | None = None
        self.port = 0
        self.steps = 0
        """What the relay has answered between greetings and ends."""

    async def handle_NOOP(self, server, session, envelope, arg):
        self.steps += 1
        return "250 OK"

    async def handle_MAIL(self, server, session, envelope, address, options):
        self.steps += 1
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        self.steps += 1
        if self.refuse is not None:
            return f"{self.refuse} <{address}>"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.steps += 2  # the command and the text
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        options = [*envelope.mail_options, *envelope.rcpt_options]
        self.letters.append(Received(envelope.mail_from, list(envelope.rcpt_tos), options, message, envelope.content))
        return "250 OK"

    def last(self) -> Received:
        return self.letters[-1]


@contextmanager
def relay(inbox, **how):
    """Run a relay; ``how`` is for aiosmtpd's controller."""
    how = {"hostname": "127.0.0.1", "port": free_port(), "enable_SMTPUTF8": True, **how}
    controller = Controller(inbox, **how)
    controller.start()
    inbox.port = how["port"]
    try:
        yield inbox
    finally:
        controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def inbox():
    with relay(Inbox()) as inbox:
        yield inbox


@pytest.fixture
async def mailing(place, clock, inbox):
    """One open node whose letters go to the inbox."""
    async with place.node(clock, smtp_url=f"smtp://127.0.0.1:{inbox.port}") as node:
        yield node


@pytest.fixture
async def sqlite_mailing(sqlite_place, clock, inbox):
    async with sqlite_place.node(clock, smtp_url=f"smtp://127.0.0.1:{inbox.port}") as node:
        yield node
