"""What letters say, in every language that the vault writes. Pure."""

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
_NOBODY: Final = "Customer Data Vault"


class Text(NamedTuple):
    """A letter's words."""

    language: str
    subject: str
    body: str


def language_of(*wanted: str | None) -> str:
    """Choose the language: the first one wanted that the vault writes (``de-AT`` is ``de``), else English."""
    for each in wanted:
        main = (each or "").partition("-")[0].lower()
        if main in LANGUAGES:
            return main
    return MAIN


def letter_names() -> list[str]:
    """List the letters that there are."""
    return sorted(_texts(MAIN)["letters"])


def require(name: str, codes: Mapping[str, Any]) -> None:
    """See that a letter can be written, whether or not it will be.

    Raises:
        KeyError: there is no such letter, or a code of it is missing.
    """
    write(name, MAIN, Controller(), codes)


def write(name: str, language: str, controller: Controller, codes: Mapping[str, Any]) -> Text:
    """Write a letter.

    Args:
        name: which.
        language: one of ``LANGUAGES``.
        controller: in whose name.
        codes: what stands in it: ids, dates, and codes that are told in words (``kind``, ``reason``).

    Raises:
        KeyError: there is no such letter, or a code of it is missing.
    """
    texts = _texts(language)
    letter = texts["letters"][name]
    told = {key: _told(texts, key, value) for key, value in codes.items()}
    fixed = {
        "controller": controller.name or _NOBODY,
        "contact": _office(controller) or controller.url or "-",
        "place": controller.url or controller.name or _NOBODY,
    }
    body = f"{letter['body']}\n{texts['end']}".strip("\n") + "\n"
    return Text(language, letter["subject"], body.format_map({**told, **fixed}))


def sender_of(controller: Controller) -> str:
    """Say as whom letters are sent where the settings do not: the data protection officer, else the controller."""
    return _office(controller)


def _office(controller: Controller) -> str:
    return controller.email if controller.dpo is None else controller.dpo.email


def _told(texts: dict[str, Any], key: str, value: Any) -> str:
    if isinstance(value, datetime):
        value = value.date()
    if isinstance(value, date):
        return str(texts["date"]).format(day=value.day, month=texts["months"][value.month - 1], year=value.year)
    return str(texts.get(f"{key}s", {}).get(str(value), value))


@cache
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
