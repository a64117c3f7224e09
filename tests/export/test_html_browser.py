"""The page for people in a real browser: on a telephone and on a desktop everything is seen without scrolling aside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.export.browser import browser, needs_browser
from tests.export.customer import files_of, somebody
from vault.export.translations import LANGUAGES

WIDER = """[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)
.map(e => e.getAttribute('aria-labelledby') + ' ' + e.scrollWidth + ' in ' + e.clientWidth)"""
ASIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
EMPTY = """[...document.querySelectorAll('tbody tr')].filter(e => e.offsetHeight > 1200).length"""
UNNAMED = """[...document.querySelectorAll('tbody td:not([colspan])')].filter(
e => !getComputedStyle(e, '::before').content.replace(/^"|"$/g, '').trim()
|| getComputedStyle(e, '::before').content === 'none').length"""
LANDMARKS = """[...document.querySelectorAll('section[aria-labelledby], nav, [role=region]')]
.map(e => e.getAttribute('aria-labelledby').split(' ').map(i => document.getElementById(i).textContent.trim()).join(' '))"""


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
async def test_the_page_fits_a_telephone_and_a_desktop(sqlite_node, tmp_path, width):
    subject = await somebody(sqlite_node, purchases=25)
    for language in LANGUAGES:
        page = tmp_path / f"{language}.html"
        page.write_bytes((await files_of(sqlite_node, subject, language=language))["index.html"])
    with browser(tmp_path / "profile") as shown:
        for language in LANGUAGES:
            shown.show(tmp_path / f"{language}.html", width)
            if pictures := os.environ.get("PICTURES"):
                shown.picture(Path(pictures) / f"{language}-{width}.png")
            assert shown.ask(ASIDE) == 0
            assert shown.ask(WIDER) == []
            assert shown.ask(EMPTY) == 0
            names = shown.ask(LANDMARKS)
            assert len(names) == len(set(names)), "each region and section has a name of its own"
            if width == 390:
                assert shown.ask(UNNAMED) == 0, "a value says of which column it is"
