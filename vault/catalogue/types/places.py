"""Countries, languages and postal addresses. The code lists come from pycountry, which is loaded on first use."""

from __future__ import annotations

import re
from functools import cache, partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from vault.catalogue.types.base import EVERY_TYPE, FieldType, Option, ValueProblem, View, part
from vault.catalogue.types.text import MASK, line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from vault.catalogue.types.base import JsonValue, Options

ADDRESS_PARTS = ("street", "line2", "postal_code", "city", "region", "country")
"""Parts of an address: ``street`` with the house number; ``line2`` for floor, building or care-of."""
PART_LENGTH = 200
_LOCATING = ("street", "postal_code", "city")
_MASKED_PARTS = dict.fromkeys(_LOCATING, MASK)

_POSTAL_CODE = re.compile(r"[A-Z0-9](?:[A-Z0-9 -]{0,14}[A-Z0-9])?")
_LANGUAGE = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3})){0,4})"
)


_ALSO_COUNTRIES = {"uk": "GB", "xk": "XK", "xkx": "XK", "kosovo": "XK"}
"""In wide use in addition to ISO 3166-1: the reserved code UK, and the code that the EU and CLDR give Kosovo."""


_pycountry = partial(import_module, "pycountry")  # it takes half a second to import


@cache
def countries() -> Mapping[str, str]:
    """Map each case-folded alpha-2, alpha-3 and English name to the alpha-2 code (ISO 3166-1)."""
    codes = dict(_ALSO_COUNTRIES)
    for country in _pycountry().countries:
        names = (getattr(country, key, None) for key in ("alpha_2", "alpha_3", "name", "common_name", "official_name"))
        codes.update({name.casefold(): country.alpha_2 for name in names if name})
    return MappingProxyType(codes)


@cache
def languages() -> Mapping[str, str]:
    """Map each language code (ISO 639-1, -2, -3) to the one that BCP 47 wants: the shortest."""
    shortest_codes: dict[str, str] = {}
    for language in _pycountry().languages:
        shortest = getattr(language, "alpha_2", None) or language.alpha_3
        codes = (language.alpha_3, getattr(language, "alpha_2", None), getattr(language, "bibliographic", None))
        shortest_codes.update({code: shortest for code in codes if code})
    return MappingProxyType(shortest_codes)


@cache
def scripts() -> frozenset[str]:
    """Return the codes of scripts, such as ``Latn`` (ISO 15924)."""
    return frozenset(script.alpha_4 for script in _pycountry().scripts)


def country(value: object, _options: Options) -> str:
    """Return a country's ISO 3166-1 alpha-2 code; alpha-3 codes and English names are understood too.

    Raises:
        ValueProblem: no country has that code or name.
    """
    code = countries().get(value.casefold()) if isinstance(value, str) and len(value) <= PART_LENGTH else None
    code = code or countries().get(line_of(value, PART_LENGTH).casefold())
    if code is None:
        raise ValueProblem("unknown-code", "must be a country's ISO 3166-1 code, such as FR")
    return code


def language(value: object, _options: Options) -> str:
    """Return a language tag in the case and with the shortest code that BCP 47 (RFC 5646) requires: ``zh-Hant-TW``.

    Raises:
        ValueProblem: the tag is malformed, or one of its codes is not registered, or it has an extension.
    """
    match = _LANGUAGE.fullmatch(line_of(value, 64).replace("_", "-").lower())
    if match is None:
        raise ValueProblem("bad-format", "must be a language tag of BCP 47, such as de or de-AT")
    base = languages().get(match["language"])
    script = match["script"].title() if match["script"] else ""
    region = (match["region"] or "").upper()
    known = (script in scripts() or not script) and (region.isdigit() or not region or _is_country(region))
    if base is None or not known:
        raise ValueProblem("unknown-code", "must be a language, script and region that ISO 639, 15924 and 3166 list")
    return "-".join(subtag for subtag in (base, script, region) if subtag) + match["variants"]


def address(value: object, options: Options) -> JsonValue:
    """Return a postal address as an object of its non-empty parts, in the order of :data:`ADDRESS_PARTS`.

    Raises:
        ValueProblem: it is no object, has a part that addresses do not have, or neither street, city nor postal code.
    """
    if not isinstance(value, dict):
        raise ValueProblem("wrong-type", f"must be an object with some of: {', '.join(ADDRESS_PARTS)}")
    if not value.keys() <= set(ADDRESS_PARTS):
        raise ValueProblem("unknown-part", f"must have no other parts than: {', '.join(ADDRESS_PARTS)}")
    parts: dict[str, JsonValue] = {}
    for name in ADDRESS_PARTS:
        given = value.get(name)
        if given is not None and not (isinstance(given, str) and (not given or given.isspace())):
            parts[name] = _part(name, given)
    if not parts.keys() & _LOCATING:
        raise ValueProblem("missing-part", "must have at least a street, a postal code or a city")
    if "country" in options:
        parts.setdefault("country", options["country"])
    return parts


def _part(name: str, value: object) -> str:
    try:
        if name == "country":
            return country(value, {})
        return _postal_code(value) if name == "postal_code" else line_of(value, PART_LENGTH)
    except ValueProblem as problem:
        code, detail = problem.code, problem.detail
    raise ValueProblem(code, f"its {name} {detail}")


def _postal_code(value: object) -> str:
    text = " ".join(line_of(value, 32).upper().split())
    if not _POSTAL_CODE.fullmatch(text):
        raise ValueProblem("bad-format", "must be at most 16 letters A-Z, digits, blanks and hyphens")
    return text


def _is_country(code: str) -> bool:
    return countries().get(code.casefold()) == code


def _country_option(setting: object) -> str | None:
    return (
        None if isinstance(setting, str) and _is_country(setting) else "must be an ISO 3166-1 alpha-2 code, such as FR"
    )


def postal_area(value: Mapping[str, str], _today: date, _n: int = 0) -> str | None:
    """Show the first half of the postal code, at most three characters."""
    code = re.sub("[^A-Z0-9]", "", value.get("postal_code", ""))
    return code[: min(3, len(code) // 2)] or None


def _address_lines(value: object, _write_day: Callable[[str], str]) -> list[str] | None:
    if not isinstance(value, dict):
        return None
    town = " ".join(value[name] for name in ("postal_code", "city") if name in value)
    parts = {**value, "city": town}
    return [parts[name] for name in ADDRESS_PARTS if name != "postal_code" and parts.get(name)]


COUNTRY = FieldType("country", "a country, by its ISO 3166-1 alpha-2 code", country)
LANGUAGE = FieldType(
    name="language",
    title="a language tag of BCP 47, such as de-AT",
    normalise=language,
    views={
        **EVERY_TYPE,
        "base": View(
            lambda value, _today, _n: value.partition("-")[0], "the language without script, region and variants"
        ),
    },
)
ADDRESS = FieldType(
    name="address",
    title=f"a postal address: an object with some of {', '.join(ADDRESS_PARTS)}",
    normalise=address,
    views={
        **EVERY_TYPE,
        "masked": View(
            lambda value, _today, _n: {**_MASKED_PARTS, "country": value.get("country")},
            "the country; street, postal code and city as five dots, there or not",
        ),
        "city": View(part("city"), "the city; null if there is none"),
        "region": View(part("region"), "the region; null if there is none"),
        "country": View(part("country"), "ISO 3166-1 code of the country; null if there is none"),
        "postal_code": View(part("postal_code"), "the whole postal code; null if there is none"),
        "postal_area": View(postal_area, "the first half of the postal code, at most three characters; else null"),
    },
    options={"country": Option("country of an address that names none", _country_option)},
    parts=ADDRESS_PARTS,
    lines=_address_lines,
)
