"""The code lists of ISO 3166-1, 639, 15924 and 4217, from pycountry, loaded on first use."""

from __future__ import annotations

from functools import cache, partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALSO_COUNTRIES = {"uk": "GB", "xk": "XK", "xkx": "XK", "kosovo": "XK"}
"""In wide use in addition to ISO 3166-1: the reserved code UK, and the code that the EU and CLDR give Kosovo."""
_MINOR_UNITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
"""Currencies with another number of digits after the point than two (ISO 4217, list one)."""


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


@cache
def currencies() -> Mapping[str, int]:
    """Map each currency to the digits after the point of its minor unit (ISO 4217)."""
    digits = {code: count for count, codes in _MINOR_UNITS.items() for code in codes.split()}
    return MappingProxyType({code: digits.get(code, 2) for code in (unit.alpha_3 for unit in _pycountry().currencies)})
