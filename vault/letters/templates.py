"""The texts of letters, in all supported languages. Pure."""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vault.catalogue.controller import Controller

if TYPE_CHECKING:
    from collections.abc import Mapping

LANGUAGES: Final = ("en", "de", "fr")
MAIN: Final = "en"
_FOLDER: Final = Path(__file__).parent / "texts"
_UNNAMED: Final = "Customer Data Vault"


class Text(NamedTuple):
    """The text of a letter."""

    language: str
    subject: str
    body: str


def language_of(*preferred: str | None) -> str:
    """Return the first supported language (``de-AT`` counts as ``de``), or English."""
    for language in preferred:
        main = (language or "").partition("-")[0].lower()
        if main in LANGUAGES:
            return main
    return MAIN


def letter_names() -> list[str]:
    """List the names of the letters."""
    return sorted(_texts(MAIN)["letters"])


def require(name: str, codes: Mapping[str, Any]) -> None:
    """Check that a letter can be written.

    Raises:
        KeyError: the letter does not exist, or a code is missing.
    """
    write(name, MAIN, Controller(), codes)


def write(name: str, language: str, controller: Controller, codes: Mapping[str, Any]) -> Text:
    """Write a letter.

    Args:
        name: the name of the letter.
        language: one of ``LANGUAGES``.
        controller: the sender.
        codes: the content: ids, dates, and codes that are written in words (``kind``, ``reason``).

    Raises:
        KeyError: the letter does not exist, or a code is missing.
    """
    texts = _texts(language)
    letter = texts["letters"][name]
    words = {key: _in_words(texts, key, value) for key, value in codes.items()}
    fixed = {
        "controller": controller.name or _UNNAMED,
        "contact": _office(controller) or controller.url or "-",
        "place": controller.url or controller.name or _UNNAMED,
    }
    body = f"{letter['body']}\n{texts['end']}".strip("\n") + "\n"
    return Text(language, letter["subject"], body.format_map({**words, **fixed}))


def sender_of(controller: Controller) -> str:
    """Return the default sender: the data protection officer, otherwise the controller."""
    return _office(controller)


def _office(controller: Controller) -> str:
    return controller.email if controller.dpo is None else controller.dpo.email


def _in_words(texts: dict[str, Any], key: str, value: Any) -> str:
    if isinstance(value, datetime):
        value = value.date()
    if isinstance(value, date):
        return str(texts["date"]).format(day=value.day, month=texts["months"][value.month - 1], year=value.year)
    return str(texts.get(f"{key}s", {}).get(str(value), value))


@cache
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
