"""In which time zone a day begins: the capital's, unless a part of the country has its own."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

ZONES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AT": "Europe/Vienna", "BE": "Europe/Brussels", "BG": "Europe/Sofia", "CH": "Europe/Zurich",
        "CY": "Asia/Nicosia", "CZ": "Europe/Prague", "DE": "Europe/Berlin", "DK": "Europe/Copenhagen",
        "EE": "Europe/Tallinn", "ES": "Europe/Madrid", "ES-CN": "Atlantic/Canary", "FI": "Europe/Helsinki",
        "FR": "Europe/Paris", "GB": "Europe/London", "GR": "Europe/Athens", "HR": "Europe/Zagreb",
        "HU": "Europe/Budapest", "IE": "Europe/Dublin", "IS": "Atlantic/Reykjavik", "IT": "Europe/Rome",
        "LI": "Europe/Vaduz", "LT": "Europe/Vilnius", "LU": "Europe/Luxembourg", "LV": "Europe/Riga",
        "MT": "Europe/Malta", "NL": "Europe/Amsterdam", "NO": "Europe/Oslo", "PL": "Europe/Warsaw",
        "PT": "Europe/Lisbon", "PT-20": "Atlantic/Azores", "RO": "Europe/Bucharest", "SE": "Europe/Stockholm",
        "SI": "Europe/Ljubljana", "SK": "Europe/Bratislava", "US": "America/New_York", "US-CA": "America/Los_Angeles",
    }
)  # fmt: skip
"""By country, or part of one (ISO 3166); elsewhere days are counted in UTC."""


def zone_of(jurisdiction: str) -> ZoneInfo:
    """Return the time zone of a country or a part of one."""
    found = ZONES.get(jurisdiction) or ZONES.get(jurisdiction.partition("-")[0]) or "UTC"
    return ZoneInfo(found)
