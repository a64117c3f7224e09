"""The page behind the link of a double opt-in. A GET changes nothing, because mail scanners open every link."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.responses import Response

if TYPE_CHECKING:
    from vault.consent.double_opt_in import NoticeShown

PATH: Final = "/v1/consents:confirm"
DEFAULT_LANGUAGE: Final = "en"


class Texts(NamedTuple):
    """The texts of the pages in one language."""

    ask: str
    who: str
    explain: str
    button: str
    done: str
    thanks: str
    invalid: str
    why: str


TEXTS: Final = {
    "en": Texts(
        "Please confirm",
        "{controller} asks for your consent:",
        "You agreed to this, or someone who gave your address did. It only counts if you confirm.",
        "I agree",
        "Thank you",
        "Your consent is recorded. You can withdraw it at any time.",
        "This link is not valid",
        "It may have been used already, or be too old. You can ask for a new one where you agreed.",
    ),
    "de": Texts(
        "Bitte bestätigen Sie",
        "{controller} bittet um Ihre Einwilligung:",
        "Sie haben hierin eingewilligt, oder jemand, der Ihre Adresse angab. Es gilt nur, wenn Sie bestätigen.",
        "Ich willige ein",
        "Vielen Dank",
        "Ihre Einwilligung ist festgehalten. Sie können sie jederzeit widerrufen.",
        "Dieser Link gilt nicht",
        "Er wurde vielleicht schon benutzt oder ist zu alt. Wo Sie eingewilligt haben, bekommen Sie einen neuen.",
    ),
    "fr": Texts(
        "Veuillez confirmer",
        "{controller} vous demande votre accord :",
        "Vous avez donné votre accord, ou quelqu'un a indiqué votre adresse. Il ne vaut que si vous confirmez.",
        "Je suis d'accord",
        "Merci",
        "Votre consentement est enregistré. Vous pouvez le retirer à tout moment.",
        "Ce lien n'est pas valable",
        "Il a peut-être déjà servi, ou il est trop ancien. Vous pouvez en demander un autre là où vous avez consenti.",
    ),
}

_STYLE: Final = (
    "body{font:1.125rem/1.6 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1.5rem;"
    "color:#1a1a1a;background:#fff;overflow-wrap:break-word}h1{font-size:1.6rem}h2{font-size:1.2rem}"
    "section{border-left:4px solid #8a97a5;padding-left:1rem}section p{white-space:pre-line}"
    "button{font:inherit;padding:.7rem 1.6rem;border:0;border-radius:.4rem;color:#fff;background:#0b57a4}"
    "button:focus-visible{outline:3px solid #f5a623;outline-offset:2px}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#16181c}button{color:#10233a;background:#8ec1ff}}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# The page runs no script and posts only to this vault; its one style is allowed by its hash.
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def ask_page(shown: NoticeShown, token: str) -> Response:
    """Return the page that asks to confirm: who asks, for what, and a button that posts the token."""
    language = _supported(shown.language)
    texts = TEXTS[language]
    who = texts.who.format(controller=escape(shown.controller)) if shown.controller else ""
    title = f"<h2>{escape(shown.title)}</h2>" if shown.title else ""
    # The text that was agreed to, word for word: what is asked has to be before the person's eyes (Art. 7(2) GDPR).
    notice = f'<section lang="{escape(shown.language)}">{title}{_paragraphs(shown.text)}</section>' if title else ""
    purpose = f"<p>{who}</p>{notice}" if who else notice
    form = (
        f'<form method="post" action="{PATH}"><input type="hidden" name="token" value="{escape(token)}">'
        f'<button type="submit">{escape(texts.button)}</button></form>'
    )
    return _page(language, texts.ask, f"{purpose}<p>{escape(texts.explain)}</p>{form}", 200)


def _paragraphs(text: str) -> str:
    """Return a text in Markdown as paragraphs; its marks stay, for they are readable, and nothing of it is markup."""
    blocks = (block.strip() for block in text.split("\n\n"))
    return "".join(f"<p>{escape(block)}</p>" for block in blocks if block)


def done_page(language: str) -> Response:
    """Return the page that says that the consent is confirmed."""
    language = _supported(language)
    texts = TEXTS[language]
    return _page(language, texts.done, f"<p>{escape(texts.thanks)}</p>", 200)


def invalid_page(accept_language: str) -> Response:
    """Return the page for an invalid link, in a language that the browser asks for, because no other is known."""
    codes = [entry.strip()[:2] for entry in accept_language.split(",")]
    language = next((code for code in codes if code in TEXTS), DEFAULT_LANGUAGE)
    texts = TEXTS[language]
    return _page(language, texts.invalid, f"<p>{escape(texts.why)}</p>", 404)


def _supported(language: str) -> str:
    code = language.partition("-")[0]
    return code if code in TEXTS else DEFAULT_LANGUAGE


def _page(language: str, heading: str, body: str, status: int) -> Response:
    html = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="robots" content="noindex"><title>{escape(heading)}</title><style>{_STYLE}</style></head>'
        f"<body><main><h1>{escape(heading)}</h1>{body}</main></body></html>"
    )
    return Response(html, status, {"Content-Security-Policy": _POLICY}, "text/html; charset=utf-8")
