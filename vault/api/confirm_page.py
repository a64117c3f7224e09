"""The page behind the link of a double opt-in. Looking at it changes nothing: mail scanners look at every link."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final, NamedTuple

from starlette.responses import Response

PATH: Final = "/v1/consents:confirm"
LANGUAGES: Final = ("en", "de", "fr")


class Words(NamedTuple):
    """What the pages say in one language."""

    ask: str
    explain: str
    button: str
    done: str
    thanks: str
    invalid: str
    why: str


WORDS: Final = {
    "en": Words(
        "Please confirm",
        "You agreed to this, or somebody who gave your address did. Only if you confirm does it count.",
        "I agree",
        "Thank you",
        "Your consent is on record. You can take it back at any time.",
        "This link is not valid",
        "It may have been used already, or be too old. Where you agreed you can ask for a new one.",
    ),
    "de": Words(
        "Bitte bestätigen Sie",
        "Sie haben hierin eingewilligt, oder jemand, der Ihre Adresse angab. Es gilt nur, wenn Sie bestätigen.",
        "Ich willige ein",
        "Vielen Dank",
        "Ihre Einwilligung ist festgehalten. Sie können sie jederzeit widerrufen.",
        "Dieser Link gilt nicht",
        "Er wurde vielleicht schon benutzt oder ist zu alt. Wo Sie eingewilligt haben, bekommen Sie einen neuen.",
    ),
    "fr": Words(
        "Veuillez confirmer",
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
    "color:#1a1a1a;background:#fff}h1{font-size:1.6rem}"
    "button{font:inherit;padding:.7rem 1.6rem;border:0;border-radius:.4rem;color:#fff;background:#0b57a4}"
    "button:focus-visible{outline:3px solid #f5a623;outline-offset:2px}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#16181c}button{color:#10233a;background:#8ec1ff}}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def ask_page(language: str, title: str, token: str) -> Response:
    """Ask to confirm, by a button that posts the token."""
    words = WORDS[_known(language)]
    about = f"<p><strong>{escape(title)}</strong></p>" if title else ""
    form = (
        f'<form method="post" action="{PATH}"><input type="hidden" name="token" value="{escape(token)}">'
        f'<button type="submit">{escape(words.button)}</button></form>'
    )
    return _page(language, words.ask, f"{about}<p>{escape(words.explain)}</p>{form}", 200)


def done_page(language: str) -> Response:
    """Say that it is confirmed."""
    words = WORDS[_known(language)]
    return _page(language, words.done, f"<p>{escape(words.thanks)}</p>", 200)


def invalid_page(accepted: str) -> Response:
    """Say that the link confirms nothing: in a language that the browser asks for, for no other is known."""
    language = next((each for each in (part.strip()[:2] for part in accepted.split(",")) if each in WORDS), "en")
    words = WORDS[language]
    return _page(language, words.invalid, f"<p>{escape(words.why)}</p>", 404)


def _known(language: str) -> str:
    base = language.partition("-")[0]
    return base if base in WORDS else "en"


def _page(language: str, heading: str, inside: str, status: int) -> Response:
    html = (
        f'<!doctype html><html lang="{_known(language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="robots" content="noindex"><title>{escape(heading)}</title><style>{_STYLE}</style></head>'
        f"<body><main><h1>{escape(heading)}</h1>{inside}</main></body></html>"
    )
    return Response(html, status, {"Content-Security-Policy": _POLICY}, "text/html; charset=utf-8")
