"""Countries, languages and postal addresses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vault.catalogue.types import codes
from vault.catalogue.types.base import EVERY_TYPE, FieldType, Option, ValueProblem
from vault.catalogue.types.text import line_of

if TYPE_CHECKING:
    from vault.catalogue.types.base import JsonValue, Options

ADDRESS_PARTS = ("street", "line2", "postal_code", "city", "region", "country")
"""Parts of an address: ``street`` with the house number; ``line2`` for floor, building or care-of."""
PART_LENGTH = 200
_LOCATING = frozenset({"street", "postal_code", "city"})

_POSTAL_CODE = re.compile(r"[A-Z0-9](?:[A-Z0-9 -]{0,14}[A-Z0-9])?")
_LANGUAGE = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3})){0,4})"
)


def country(value: object, _options: Options) -> str:
    """Return a country's ISO 3166-1 alpha-2 code; alpha-3 codes and English names are understood too.

    Raises:
        ValueProblem: no country is called that.
    """
    code = codes.countries().get(value.casefold()) if isinstance(value, str) and len(value) <= PART_LENGTH else None
    code = code or codes.countries().get(line_of(value, PART_LENGTH).casefold())
    if code is None:
        raise ValueProblem("unknown-code", "must be a country's ISO 3166-1 code, such as FR")
    return code


def language(value: object, _options: Options) -> str:
    """Return a language tag in the case and with the shortest code that BCP 47 (RFC 5646) wants: ``zh-Hant-TW``.

    Raises:
        ValueProblem: the tag is malformed, or one of its codes is not registered, or it has an extension.
    """
    found = _LANGUAGE.fullmatch(line_of(value, 64).replace("_", "-").lower())
    if found is None:
        raise ValueProblem("bad-format", "must be a language tag of BCP 47, such as de or de-AT")
    base = codes.languages().get(found["language"])
    script = found["script"].title() if found["script"] else ""
    region = (found["region"] or "").upper()
    known = (script in codes.scripts() or not script) and (region.isdigit() or not region or _is_country(region))
    if base is None or not known:
        raise ValueProblem("unknown-code", "must be a language, script and region that ISO 639, 15924 and 3166 list")
    return "-".join(part for part in (base, script, region) if part) + found["variants"]


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
        part = value.get(name)
        if part is not None and not (isinstance(part, str) and (not part or part.isspace())):
            parts[name] = _part(name, part)
    if not _LOCATING & parts.keys():
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
    return codes.countries().get(code.casefold()) == code


def _country_option(setting: object) -> str | None:
    return (
        None if isinstance(setting, str) and _is_country(setting) else "must be an ISO 3166-1 alpha-2 code, such as FR"
    )


COUNTRY = FieldType("country", "a country, by its ISO 3166-1 alpha-2 code", country, EVERY_TYPE)
LANGUAGE = FieldType("language", "a language tag of BCP 47, such as de-AT", language, EVERY_TYPE | {"base"})
ADDRESS = FieldType(
    name="address",
    title=f"a postal address: an object with some of {', '.join(ADDRESS_PARTS)}",
    normalise=address,
    views=EVERY_TYPE | {"masked", "city", "region", "country", "postal_code", "postal_area"},
    options={"country": Option("country of an address that names none", _country_option)},
)
