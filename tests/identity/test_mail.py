"""Letters by SMTP, to a real relay: what goes out, over which line, and that nothing of it is told elsewhere."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from aiosmtpd.smtp import AuthResult

from tests.certificates import make_certificate
from tests.identity.conftest import Inbox, free_port, relay
from vault import logs
from vault.errors import Misconfigured
from vault.messaging.mail import Letter, Mail, MailFailed, MailNotConfigured

FROM = "privacy@shop.example"
LETTER = Letter("ada@example.org", "Your code", "Your code is: 1234 5678\n", language="en")


def mail_to(inbox, sender=FROM):
    return Mail(f"smtp://127.0.0.1:{inbox.port}", sender)


async def test_a_letter_arrives_as_it_was_written(inbox):
    await mail_to(inbox).send(LETTER)
    (got,) = inbox.letters
    assert (got.sender, got.recipients) == (FROM, ["ada@example.org"])
    assert got.message["From"] == FROM
    assert got.message["To"] == "ada@example.org"
    assert got.message["Subject"] == "Your code"
    assert got.message["Auto-Submitted"] == "auto-generated"
    assert got.message["Content-Language"] == "en"
    assert got.message["Message-ID"].endswith("@shop.example>")
    assert got.message.get_content_type() == "text/plain"
    assert got.body == LETTER.body


async def test_letters_of_any_language_arrive_unchanged(inbox):
    body = "Für Zoë: à bientôt, čau, 你好\n" + "x" * 2_000 + "\n.\n.."
    await mail_to(inbox).send(Letter("ada@example.org", "Prüfung: čau 你好", body))
    assert inbox.last().message["Subject"] == "Prüfung: čau 你好"
    assert inbox.last().body.rstrip("\n") == body
    assert max(map(len, inbox.last().raw.splitlines())) < 998  # RFC 5322 §2.1.1


async def test_the_letter_names_the_sender_if_the_settings_do_not(inbox):
    letter = Letter("ada@example.org", "One", "1", sender="dpo@other.example")
    await mail_to(inbox, "").send(letter)
    await mail_to(inbox).send(letter)
    assert [item.sender for item in inbox.letters] == ["dpo@other.example", FROM]


async def test_without_a_relay_or_a_sender_nothing_is_sent(inbox):
    assert not Mail("", FROM).configured
    with pytest.raises(MailNotConfigured) as refused:
        await Mail("", FROM).send(LETTER)
    assert refused.value.code == "mail-not-configured"
    with pytest.raises(MailNotConfigured):
        await mail_to(inbox, "").send(LETTER)
    assert inbox.letters == []


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x00", "\x0b", "\x85", "\u2028"])
async def test_no_header_or_recipient_can_be_injected(inbox, end):
    more = f"{end}Bcc: mallory@example.org"
    for letter in (
        Letter(f"ada@example.org{more}", "One", "1"),
        Letter(f"ada{more}@example.org", "One", "1"),
        Letter("ada@example.org", f"One{more}", "1"),
        Letter("ada@example.org", "One", "1", sender=f"x@shop.example{more}"),
    ):
        with pytest.raises(MailFailed) as refused:
            await Mail(f"smtp://127.0.0.1:{inbox.port}", "").send(
                letter if letter.sender else Letter(letter.to, letter.subject, letter.body, FROM)
            )
        assert refused.value.final
    assert inbox.letters == []


@pytest.mark.parametrize(
    "local",
    [
        "=?utf-8?q?a=0d=0aBcc=3aeve=40evil.example?=",  # a header of its own
        "=?utf-8?q?a=0d=0a=0d=0aCall_0900?=",  # a text of its own
        "=?utf-8?q?eve=40evil.example=2c?=",  # another recipient
        "=?iso-8859-1?b?ZXZlQGV2aWwuZXhhbXBsZQ==?=",
        "ada.=?utf-8?q?=0d=0aBcc:eve?=",
    ],
)
async def test_an_address_that_normalises_to_another_is_refused(inbox, local):
    """Encoded words (RFC 2047) are atoms of an address by RFC 5322, and mail libraries decode them all the same."""
    for letter in (
        Letter(f"{local}@example.org", "One", "1", FROM),
        Letter("ada@example.org", "One", "1", f"{local}@example.org"),
    ):
        with pytest.raises(MailFailed) as refused:
            await Mail(f"smtp://127.0.0.1:{inbox.port}", "").send(letter)
        assert refused.value.final
    assert inbox.letters == []


async def test_other_characters_of_an_address_are_kept(inbox):
    address = "a!#$%&'*+/=?^_`{|}~-x@example.org"
    await mail_to(inbox).send(Letter(address.replace("=?", "?="), "One", "1"))
    (got,) = inbox.letters
    assert got.recipients == [address.replace("=?", "?=")] == [got.message["To"]]


@pytest.mark.parametrize(
    "address",
    ["", "ada", "@example.org", "ada@", "a@b@c", "ada@example.org,mallory@example.org", "<ada@example.org>",
     "ada mallory@example.org", "ada@example.org>", '"ada"@example.org', "ada@example.org;x", "(c)ada@example.org"],
)  # fmt: skip
async def test_an_invalid_address_is_refused(inbox, address):
    with pytest.raises(MailFailed):
        await mail_to(inbox).send(Letter(address, "One", "1"))
    assert inbox.letters == []


async def test_a_body_cannot_end_a_letter_or_begin_another(inbox):
    body = "one\r\n.\r\nMAIL FROM:<mallory@example.org>\r\nRCPT TO:<eve@example.org>\r\nDATA\r\nBcc: eve@example.org"
    await mail_to(inbox).send(Letter("ada@example.org", "One", body))
    (got,) = inbox.letters
    assert got.recipients == ["ada@example.org"]
    assert "Bcc" not in got.message


async def test_an_international_domain_is_encoded_by_idna_2008(inbox):
    await mail_to(inbox).send(Letter("ada@straße.example", "One", "1"))
    assert inbox.last().recipients == ["ada@xn--strae-oqa.example"]  # IDNA 2003 would write to strasse.example
    assert not any("SMTPUTF8" in option for option in inbox.last().options)


async def test_an_international_local_part_requires_smtputf8(inbox):
    await mail_to(inbox).send(Letter("dörte@example.org", "One", "1"))
    assert inbox.last().recipients == ["dörte@example.org"]


async def test_a_relay_without_smtputf8_is_refused_an_international_local_part(inbox):
    with relay(Inbox(), enable_SMTPUTF8=False) as old, pytest.raises(MailFailed):
        await mail_to(old).send(Letter("dörte@example.org", "One", "1"))


async def test_tls_requires_a_trusted_certificate_of_the_relay(tmp_path, monkeypatch):
    certificate, context = make_certificate(tmp_path, "localhost")
    port = free_port()
    with relay(Inbox(), hostname="localhost", port=port, ssl_context=context) as inbox:
        with pytest.raises(MailFailed):  # a certificate that nobody vouches for
            await Mail(f"smtps://localhost:{port}", FROM).send(LETTER)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        await Mail(f"smtps://localhost:{port}", FROM).send(LETTER)
        assert len(inbox.letters) == 1
        with pytest.raises(MailFailed):  # the certificate of another host
            await Mail(f"smtps://127.0.0.1:{port}", FROM).send(LETTER)


async def test_a_password_is_sent_over_tls_alone(tmp_path, monkeypatch):
    certificate, context = make_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    seen = []

    def check(server, session, envelope, mechanism, data):
        seen.append((server.transport.get_extra_info("ssl_object") is not None, data.login, data.password))
        return AuthResult(success=data.password == b"p@ss/word", handled=False)

    how = {"tls_context": context, "authenticator": check, "auth_require_tls": True, "hostname": "localhost"}
    with relay(Inbox(), port=free_port(), **how) as inbox:
        await Mail(f"smtp://vault:p%40ss%2Fword@localhost:{inbox.port}", FROM).send(LETTER)
        assert len(inbox.letters) == 1
        with pytest.raises(MailFailed) as refused:
            await Mail(f"smtp://vault:wrong@localhost:{inbox.port}", FROM).send(LETTER)
        assert not refused.value.final  # the password can be put right
    assert seen[0] == (True, b"vault", b"p@ss/word")
    assert all(over_tls for over_tls, _login, _password in seen)


async def test_a_relay_that_does_not_offer_tls_gets_no_letter(inbox, monkeypatch):
    """A relay elsewhere, or somebody on the line, that does not offer STARTTLS: here by a name that is not this host."""
    monkeypatch.setattr("vault.messaging.mail._is_local", lambda _host: False)
    with pytest.raises(MailFailed):
        await mail_to(inbox).send(LETTER)
    assert inbox.letters == []
    await Mail(f"smtp://127.0.0.1:{inbox.port}?starttls=optional", FROM).send(LETTER)
    assert len(inbox.letters) == 1


@pytest.mark.parametrize(
    "url",
    ["smtp://", "http://relay.example", "smtp://relay.example/path", "smtp://relay.example:port",
     "smtp://relay.example?starttls=never", "smtp://relay.example?x", "smtp://user:secret@relay.example?starttls=optional"],
)  # fmt: skip
def test_the_error_for_an_invalid_relay_url_omits_the_password(url):
    with pytest.raises(Misconfigured) as refused:
        Mail(url, FROM)
    assert "secret" not in f"{refused.value} {refused.value.hint}"


async def test_answers_of_the_relay_are_not_in_errors_or_logs(inbox):
    lines = io.StringIO()
    logs.configure("debug", stream=lines)
    try:
        for answer, final in (("550 no such user", True), ("450 mailbox busy", False)):
            inbox.refuse = answer
            with pytest.raises(MailFailed) as refused:
                await mail_to(inbox).send(LETTER)
            error = refused.value
            assert error.final is final
            assert error.__cause__ is None
            assert error.__context__ is None
            assert "ada" not in f"{error!r} {error.detail} {error.hint}"
        with pytest.raises(MailFailed):
            await Mail("smtp://127.0.0.1:1", FROM).send(LETTER)
    finally:
        logs.configure()
    written = lines.getvalue()
    assert written.count("a letter was not sent") == 3
    said = [json.loads(line) for line in written.splitlines()]
    assert all("dropped" not in load for load in said)
    assert "ada" not in written
    assert "1234" not in str([{**load, "timestamp": None} for load in said])  # whose digits may be any


def test_the_repr_of_a_letter_shows_no_content():
    assert repr(LETTER) == str(LETTER) == f"{LETTER}" == "Letter([sensitive])"


async def test_background_letters_are_sent_before_shutdown(inbox):
    mail = mail_to(inbox)
    for _ in range(3):
        mail.soon(mail.send(LETTER))
    assert inbox.letters == []  # whoever asked was answered first
    await mail.close()
    assert len(inbox.letters) == 3


async def test_a_letter_that_does_not_end_is_given_up_at_shutdown():
    mail = Mail("smtp://127.0.0.1:1", FROM)
    never = asyncio.Event()
    ended = []

    async def wait():
        try:
            await never.wait()
        finally:
            ended.append(True)

    mail.soon(wait())
    await mail.close(patience=0.01)
    assert ended == [True]


async def test_waiting_letters_are_limited(inbox, monkeypatch):
    monkeypatch.setattr("vault.messaging.mail.MOST_WAITING", 2)
    mail = mail_to(inbox)
    for _ in range(5):
        mail.soon(mail.send(LETTER))
    await mail.close()
    assert len(inbox.letters) == 2


async def test_a_failure_after_the_response_is_logged():
    lines = io.StringIO()
    logs.configure("info", stream=lines)
    try:
        mail = Mail("smtp://127.0.0.1:1", FROM)

        async def fail():
            raise RuntimeError("ada@example.org")

        mail.soon(fail())
        await mail.close()
    finally:
        logs.configure()
    assert '"error": "RuntimeError"' in lines.getvalue()
    assert "ada" not in lines.getvalue()
