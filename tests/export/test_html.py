"""The page for people: self-contained, accessible, and complete in three languages."""

from __future__ import annotations

import re
import tomllib
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

from tests.export.customer import PROFILE, buy, files_of, somebody
from vault.catalogue.model import Article9, LegalBasis
from vault.consent import model as events
from vault.export import html as page_module
from vault.export.html import MOST, Diagram, value_lines
from vault.export.schema import InUse, RecipientSummary
from vault.export.translations import LANGUAGES, texts_in
from vault.policy.policy_set import PolicySet
from vault.rectification import store as rectifications
from vault.requests.model import STATES, Regime
from vault.workflows import REQUEST_KINDS

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert(1)</script>'\"&{{ 7*7 }}"
VOID = {"meta", "br", "rect", "path"}


class Page(HTMLParser):
    """The elements of a page with their attributes, checked for being well formed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.open = []
        self.words = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, *tags):
        return [attrs for tag, attrs in self.elements if tag in tags]


@pytest.fixture
async def pages(sqlite_node):
    subject = await somebody(sqlite_node, purchases=25)
    return {
        language: (await files_of(sqlite_node, subject, language=language))["index.html"].decode()
        for language in LANGUAGES
    }


async def test_the_page_stands_alone_and_runs_nothing(pages):
    for text in pages.values():
        page = Page(text)
        assert page.all("script", "link", "iframe", "img", "object", "form", "base") == []
        assert not [name for _tag, attrs in page.elements for name in attrs if name.startswith("on") or name == "style"]
        links = [attrs["href"] for attrs in page.all("a")]
        outside = {link for link in links if "://" in link}
        assert outside == {"https://www.dataprotection.ie"}
        assert "url(" not in text
        (policy,) = [attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv")]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")


async def test_the_page_is_accessible(pages):
    for language, text in pages.items():
        page = Page(text)
        assert page.elements[0] == ("html", {"lang": language})
        ids = [attrs["id"] for _tag, attrs in page.elements if "id" in attrs]
        assert len(ids) == len(set(ids))
        named = [attrs["aria-labelledby"] for _tag, attrs in page.elements if "aria-labelledby" in attrs]
        assert {word for names in named for word in names.split()} <= set(ids)
        inside = [attrs["href"][1:] for attrs in page.all("a") if attrs["href"].startswith("#")]
        assert set(inside) <= set(ids)
        assert inside[0] == "main"
        assert len(page.all("main")) == len(page.all("h1")) == len(page.all("nav")) == 1
        assert len(page.all("table")) == len(page.all("caption")) > 10
        assert all(attrs.get("scope") in {"col", "row"} for attrs in page.all("th"))
        levels = [int(tag[1]) for tag, _attrs in page.elements if re.fullmatch("h[1-6]", tag)]
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert all(attrs.get("tabindex") == "0" for attrs in page.all("div") if attrs.get("role") == "region")


async def test_no_text_is_missing_in_any_language(pages):
    german, french = (" ".join(Page(pages[item]).words) for item in ("de", "fr"))

    for english in ("Purchases", "Delivery address", "Deliver what was ordered", "parcel services", "Customer service"):
        assert english not in german
        assert english not in french
    assert "Art. 6 Abs. 1 Buchst. b DSGVO" in german
    assert "art. 6, par. 1, point b), RGPD" in french
    assert "10. Dezember 1985" in german
    assert "3 ans, à compter de votre dernière commande" in french


async def test_values_are_escaped(sqlite_node):
    profile = PROFILE | {"notes": HOSTILE, "preferences": {HOSTILE: [HOSTILE]}}
    subject = await somebody(sqlite_node, records={}, purchases=0, profile=profile)
    text = (await files_of(sqlite_node, subject))["index.html"].decode()

    assert Page(text).all("script") == []
    assert "".join(Page(text).words).count("<script>alert(1)</script>") == 3
    assert "{{ 7*7 }}" in text


async def test_the_page_shows_the_newest_records_and_links_to_all(sqlite_node, monkeypatch):
    monkeypatch.setattr(page_module, "MOST_SHOWN", 10)
    subject = await somebody(sqlite_node, records={}, purchases=0)
    await buy(sqlite_node, subject, 12)
    result = await files_of(sqlite_node, subject)
    text = result["index.html"].decode()

    assert "12 records, the newest 10 shown here" in text
    assert text.count("Punched cards") == 10
    assert result["csv/purchase.csv"].count(b"Punched cards") == 12


def test_every_language_has_the_same_texts_and_placeholders():
    read = {}
    for language in LANGUAGES:
        text = files("vault.export").joinpath("texts", f"{language}.toml").read_text(encoding="utf-8")
        read[language] = _flat(tomllib.loads(text))

    english = read["en"]
    for language in ("de", "fr"):
        assert read[language].keys() == english.keys()
        places = {key: set(re.findall(r"\{(\w+)\}", text)) for key, text in read[language].items()}
        assert places == {key: set(re.findall(r"\{(\w+)\}", text)) for key, text in english.items()}


def test_the_shipped_translations_cover_the_shipped_policies():
    shipped = PolicySet.from_folder(ROOT / "policies")
    for language in ("de", "fr"):
        words = shipped.words_in(language)
        assert words.collections.keys() == shipped.catalogue.collections.keys()
        assert words.fields.keys() == {field.whole for field in shipped.catalogue.fields()}
        for name, purpose in shipped.purposes.items():
            said = {"title", "description"} | ({"reason"} if name in shipped.retention else set())
            said |= {
                text for text in ("law", "interest", "logic", "consequences") if getattr(purpose, text) is not None
            }
            assert words.purposes[name].keys() == said, name
        others = {item.owner for item in shipped.purposes.values()} | {
            recipient for purpose in shipped.purposes.values() for recipient in purpose.recipients
        }
        assert words.others.keys() == others


def test_every_category_of_the_shipped_catalogue_has_a_word():
    shipped = PolicySet.from_folder(ROOT / "policies")
    for language in LANGUAGES:
        known = tomllib.loads(files("vault.export").joinpath("texts", f"{language}.toml").read_text(encoding="utf-8"))[
            "word"
        ]["category"]
        assert {field.category for field in shipped.catalogue.fields()} <= known.keys()


def test_every_code_on_the_page_has_a_word():
    known = tomllib.loads(files("vault.export").joinpath("texts", "en.toml").read_text(encoding="utf-8"))["word"]
    grounds = {
        code for kind in REQUEST_KINDS.values() for regime in get_args(Regime) for code in kind.refusal_grounds(regime)
    }

    assert known["ground"].keys() >= grounds
    assert known["request"].keys() == set(REQUEST_KINDS)
    assert known["request_state"].keys() == set(STATES)
    assert known["event"].keys() == set(get_args(events.Kind))
    assert known["by"].keys() == set(get_args(events.By))
    assert known["method"].keys() == set(get_args(events.Method))
    assert known["state"].keys() == set(get_args(InUse))
    assert known["basis"].keys() == {legalbasi.value for legalbasi in LegalBasis}
    assert known["condition"].keys() == {item.value for item in Article9}
    assert known["correction"].keys() == set(get_args(rectifications.State))


def _flat(table, before=""):
    result = {}
    for key, value in table.items() if isinstance(table, dict) else enumerate(table):
        path = f"{before}/{key}"
        result |= _flat(value, path) if isinstance(value, (dict, list)) else {path: value}
    return result


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ["5 March 2026", "5 March 2026, 12:30 UTC", "1,234,567", "1 year, 6 months", "2 records"]),
        ("de", ["5. März 2026", "5. März 2026, 12:30 Uhr UTC", "1.234.567", "1 Jahr, 6 Monate", "2 Einträge"]),
        (
            "fr",
            ["5 mars 2026", "5 mars 2026 à 12:30 UTC", "1\u202f234\u202f567", "1 an, 6 mois", "2 enregistrements"],
        ),
    ],
)
def test_dates_numbers_and_durations_are_localised(language, said):
    texts, moment = texts_in(language), "2026-03-05T12:30:00.000000Z"

    assert [
        texts.day("2026-03-05"), texts.moment(moment), texts.number(1_234_567), texts.span("P1Y6M"), texts.count("records", 2)
    ] == said  # fmt: skip
    assert texts.day(None) == "–"


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("text", "a", ["a"]),
        ("boolean", True, ["yes"]),
        ("date", "2026-03-05", ["5 March 2026"]),
        ("date", 2015, ["2015"]),
        ("money", {"amount": "12.90", "currency": "EUR"}, ["12.90 EUR"]),
        ("address", {"street": "A 1", "city": "B", "postal_code": "1"}, ["A 1", "1 B"]),
        ("address", {"city": "B"}, ["B"]),
        ("json", {"a": {"b": [1, None, False]}, "c": [{"d": "e"}]}, ["a.b: 1, –, no", "c.1.d: e"]),
        ("text", None, []),
    ],
)
def test_values_are_formatted_for_people(kind, value, shown):
    assert value_lines(texts_in("en"), kind, value) == shown


async def test_the_diagram_has_an_alternative_text_and_a_limited_number_of_boxes(sqlite_node):
    from msgspec.structs import replace

    from tests.export.customer import content_of

    content = await content_of(sqlite_node, await somebody(sqlite_node, records={}, purchases=0))
    many = tuple(
        RecipientSummary(recipient=f"app-{n}", kind="app", purpose=None, times=n, first="", last="", fields=())
        for n in range(1, 20)
    )
    flow = Diagram.of(replace(content.head, recipients=many), content.texts)

    assert len(flow.right) == MOST
    assert flow.right[-1].label == "14 more"
    assert int(flow.right[-1].number) + sum(int(item.number) for item in flow.right[:-1]) == sum(range(1, 20))
    assert "app-19" in flow.text
    assert "app-1" in flow.text
